//go:build linux

package testbed

import "testing"

// TestParseAudit: a line as Kubernetes v1.36.3 writes it, shortened.
func TestParseAudit(t *testing.T) {
	events, err := parseAudit([]byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/pods/b/portforward","verb":"create","user":{"username":"system:serviceaccount:a:c","groups":["system:serviceaccounts"]},"objectRef":{"resource":"pods","namespace":"a","name":"b","apiVersion":"v1","subresource":"portforward"},"responseStatus":{"metadata":{},"status":"Failure","message":"no","code":403}}` + "\n"))
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	e := events[0]
	if e.Verb != "create" || e.User.Username != "system:serviceaccount:a:c" || e.ResponseStatus.Code != 403 || e.ResponseStatus.Message != "no" ||
		e.ObjectRef == nil || e.ObjectRef.Resource != "pods" || e.ObjectRef.Subresource != "portforward" || e.ObjectRef.Namespace != "a" || e.ObjectRef.Name != "b" {
		t.Errorf("%+v", e)
	}
	if _, err := parseAudit([]byte("{\n")); err == nil {
		t.Error("half a line is no error")
	}
}
