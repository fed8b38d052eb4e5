//go:build linux

package testbed

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// auditPolicy logs who of the service accounts asked for what, once per request when it is answered, and a watch when
// it has begun too. Of a SubjectAccessReview also the question and the answer: it is how a permission on a path that is
// not the API server's own is used. Never the body of a TokenReview: it is a token.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: RequestResponse
    userGroups: ["system:serviceaccounts"]
    verbs: [create]
    resources:
      - group: authorization.k8s.io
        resources: [subjectaccessreviews]
  - level: Metadata
    userGroups: ["system:serviceaccounts"]
  - level: None
`

// AuditEvent is one line of the API server's audit log, as far as tests read it: https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/.
type AuditEvent struct {
	Stage      string
	Verb       string
	RequestURI string
	UserAgent  string
	User       struct{ Username string }
	// ObjectRef is nil for paths that are no resource.
	ObjectRef *struct {
		APIGroup, Resource, Subresource, Namespace, Name string
	}
	ResponseStatus struct {
		Code    int
		Message string
	}
	// Of SubjectAccessReviews alone.
	RequestObject  json.RawMessage
	ResponseObject json.RawMessage
}

func (c *Cluster) auditLog() string { return filepath.Join(c.control.dir, "log", "audit.log") }

// auditFlags are the API server's flags for Spec.Audit.
func (c *Cluster) auditFlags() ([]string, error) {
	if !c.Spec.Audit {
		return nil, nil
	}
	policy := filepath.Join(c.control.dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o644); err != nil {
		return nil, err
	}
	return []string{"--audit-policy-file=" + policy, "--audit-log-path=" + c.auditLog(), "--audit-log-maxsize=0"}, nil
}

// Audit reads what service accounts asked of the API server since the cluster came up, those of kube-system excepted.
// The cluster's Spec must say Audit.
func (c *Cluster) Audit() ([]AuditEvent, error) {
	if !c.Spec.Audit {
		return nil, errors.New("this cluster keeps no audit log: bring it up with Spec.Audit")
	}
	text, err := os.ReadFile(c.auditLog())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // made with the first line
	}
	if err != nil {
		return nil, err
	}
	return parseAudit(text)
}

func parseAudit(text []byte) ([]AuditEvent, error) {
	var events []AuditEvent
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e AuditEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("line %d of the audit log: %w", len(events)+1, err)
		}
		events = append(events, e)
	}
	return events, lines.Err()
}
