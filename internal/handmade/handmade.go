//go:build linux

// Package handmade makes Services whose EndpointSlices are written by hand, so that a removal takes one
// request instead of a pod's life.
package handmade

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Port of every Service here, named "tcp".
const Port = 8081

// Service makes a Service, and its namespace if need be, and returns its frontend. Without a selector the real
// EndpointSlice controller leaves it alone.
func Service(ctx context.Context, client kubernetes.Interface, namespace, name string, selector map[string]string) (netip.AddrPort, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return netip.AddrPort{}, err
	}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Name: "tcp", Port: Port}}}}
	made, err := client.CoreV1().Services(namespace).Create(ctx, s, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		made, err = client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr, err := netip.ParseAddr(made.Spec.ClusterIP)
	return netip.AddrPortFrom(addr, Port), err
}

// Slice is the slice of a Service, without endpoints yet; it is created if it is not there.
func Slice(ctx context.Context, client kubernetes.Interface, namespace, service string) (*discoveryv1.EndpointSlice, error) {
	name, number, tcp := "tcp", int32(Port), corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: service, Labels: map[string]string{
			discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "lastcall-bench"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &tcp}},
	}
	_, err := client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		err = nil
	}
	return slice, err
}

// Endpoint is a ready endpoint of a pod that exists in the slice only.
func Endpoint(a netip.Addr, uid string) discoveryv1.Endpoint {
	yes := true
	return discoveryv1.Endpoint{Addresses: []string{a.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: uid, UID: types.UID(uid)}}
}

// Terminating are the conditions of an endpoint whose pod was deleted and still serves.
func Terminating() discoveryv1.EndpointConditions {
	no, yes := false, true
	return discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
}
