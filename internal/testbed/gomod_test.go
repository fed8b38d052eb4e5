//go:build linux

package testbed

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestComponentsModule(t *testing.T) {
	upstream := `module k8s.io/kubernetes

go 1.26.0

godebug default=go1.26

require (
	github.com/spf13/cobra v1.10.0
	k8s.io/api v0.0.0
	k8s.io/utils v0.0.0-20260210185600-b8788abfbbc2
)

require github.com/davecgh/go-spew v1.1.1 // indirect

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/client-go => ./staging/src/k8s.io/client-go
)
`
	want := `module lastcall.test/components

go 1.26.0

godebug default=go1.26

require (
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/spf13/cobra v1.10.0 // indirect
	k8s.io/api v0.0.0 // indirect
	k8s.io/kubernetes v1.36.3
	k8s.io/utils v0.0.0-20260210185600-b8788abfbbc2 // indirect
)

replace k8s.io/api => k8s.io/api v0.36.3

replace k8s.io/client-go => k8s.io/client-go v0.36.3

tool (
	k8s.io/kubernetes/cmd/kube-apiserver
	k8s.io/kubernetes/cmd/kube-controller-manager
	k8s.io/kubernetes/cmd/kube-proxy
	k8s.io/kubernetes/cmd/kube-scheduler
	k8s.io/kubernetes/cmd/kubelet
)
`
	got, err := componentsModule("v1.36.3", []byte(upstream))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("go.mod (-want +got):\n%s", diff)
	}
	if _, err := componentsModule("v1.36.3", []byte("module k8s.io/kubernetes\n")); err == nil {
		t.Error("a go.mod without staging replacements was accepted")
	}
}
