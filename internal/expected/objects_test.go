//go:build linux

package expected

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/watcher"
)

const namespace = "expected"

// create makes the objects of testdata/objects.yaml.
func create(ctx context.Context, t *testing.T, client kubernetes.Interface) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, doc := range documents(t) {
		var err error
		switch o := decode(t, doc).(type) {
		case *corev1.Service:
			err = createService(ctx, client, o)
		case *discoveryv1.EndpointSlice:
			_, err = client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, o, metav1.CreateOptions{})
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
	}
}

func documents(t *testing.T) [][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(text, []byte("---\n"))
}

func decode(t *testing.T, doc []byte) (obj runtime.Object) {
	t.Helper()
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &meta); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	var err error
	switch meta.Kind {
	case "Service":
		svc := &corev1.Service{}
		err = yaml.UnmarshalStrict(doc, svc)
		svc.Namespace, obj = namespace, svc
	case "EndpointSlice":
		sl := &discoveryv1.EndpointSlice{}
		err = yaml.UnmarshalStrict(doc, sl)
		sl.Namespace, obj = namespace, sl
	default:
		err = fmt.Errorf("kind %q", meta.Kind)
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	return obj
}

func createService(ctx context.Context, client kubernetes.Interface, svc *corev1.Service) error {
	status := svc.Status
	svc, err := client.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{})
	if err != nil || len(status.LoadBalancer.Ingress) == 0 {
		return err
	}
	svc.Status = status
	_, err = client.CoreV1().Services(namespace).UpdateStatus(ctx, svc, metav1.UpdateOptions{})
	return err
}

// objects are all Services and slices of the cluster, as the API server hands them out.
type objects struct {
	services []corev1.Service
	slices   []discoveryv1.EndpointSlice
}

func list(ctx context.Context, t *testing.T, client kubernetes.Interface, services, slices metav1.ListOptions) objects {
	t.Helper()
	svcs, err := client.CoreV1().Services("").List(ctx, services)
	if err != nil {
		t.Fatal(err)
	}
	sls, err := client.DiscoveryV1().EndpointSlices("").List(ctx, slices)
	if err != nil {
		t.Fatal(err)
	}
	return objects{svcs.Items, sls.Items}
}

// watched lists what kube-proxy, and the watcher, ask for.
func watched(ctx context.Context, t *testing.T, client kubernetes.Interface) objects {
	return list(ctx, t, client,
		metav1.ListOptions{LabelSelector: watcher.ServiceLabels, FieldSelector: watcher.ServiceFields},
		metav1.ListOptions{LabelSelector: watcher.SliceLabels})
}

// conceivable are all paths that the objects could give rise to if every rule were forgotten: each port of a
// Service under each policy, from each address it has, to each address and port of its slices.
func (o objects) conceivable() []ledger.Removal {
	var paths []ledger.Removal
	for i := range o.services {
		svc := &o.services[i]
		for _, port := range svc.Spec.Ports {
			for _, sl := range o.slices {
				if sl.Namespace != svc.Namespace || sl.Labels[discoveryv1.LabelServiceName] != svc.Name {
					continue
				}
				family, _ := ledger.ParseFamily(string(sl.AddressType))
				for _, e := range sl.Endpoints {
					for _, p := range sl.Ports {
						for _, policy := range []ledger.Policy{ledger.Cluster, ledger.Local} {
							paths = append(paths, ledger.Removal{Frontends: frontends(svc, port, family), Key: ledger.Key{Path: ledger.Path{
								Service: ledger.ServicePort{Namespace: svc.Namespace, Name: svc.Name, Port: port.Name, Protocol: strings.ToLower(string(port.Protocol))},
								Policy:  policy, Endpoint: netip.AddrPortFrom(netip.MustParseAddr(e.Addresses[0]), uint16(*p.Port))}}})
						}
					}
				}
			}
		}
	}
	slices.SortFunc(paths, func(a, b ledger.Removal) int { return strings.Compare(line(a), line(b)) })
	return slices.CompactFunc(paths, func(a, b ledger.Removal) bool { return a.Path == b.Path })
}

// frontends are all addresses that a Service has in a family, whatever they lead to.
func frontends(svc *corev1.Service, port corev1.ServicePort, family ledger.Family) []ledger.Frontend {
	var fs []ledger.Frontend
	addrs := append(slices.Clone(svc.Spec.ClusterIPs), svc.Spec.ExternalIPs...)
	for _, in := range svc.Status.LoadBalancer.Ingress {
		addrs = append(addrs, in.IP)
	}
	for _, a := range addrs {
		if addr, err := netip.ParseAddr(a); err == nil && ledger.FamilyOf(addr) == family {
			fs = append(fs, ledger.Frontend{Addr: addr, Port: uint16(port.Port)})
		}
	}
	if port.NodePort != 0 {
		fs = append(fs, ledger.Frontend{Port: uint16(port.NodePort)})
	}
	return fs
}
