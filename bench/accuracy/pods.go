//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lastcall-k8s/lastcall/internal/handmade"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// preStop keeps a removed pod answering long enough for the truth: without it the server is gone first.
const preStop = 4 * time.Second

// realPods deletes one of two pods of a Service, again and again: kubelet, containerd and the real
// EndpointSlice controller do the rest.
func (b *bench) realPods(ctx context.Context, binary string, log io.Writer) (f figures, err error) {
	name := "pods-" + b.node.Name
	selector := map[string]string{"app": name}
	service, err := handmade.Service(ctx, b.cluster.Client(), namespace, name, selector)
	if err != nil {
		return f, err
	}
	if err := prepare(b.cluster, b.node.Name); err != nil {
		return f, err
	}
	done, err := b.begin(ctx, binary, log, service)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, done()) }()
	today := watchToday(ctx, b.cluster, b.node)
	defer today.stop()

	old, err := b.pod(ctx, name, 0)
	if err != nil {
		return f, err
	}
	var samples []sample
	var programmed uint64
	for i := range b.pods {
		young, err := b.pod(ctx, name, i+1)
		if err != nil {
			return f, err
		}
		if err := b.bothAnswer(ctx); err != nil {
			return f, err
		}
		// kube-proxy counts the young pod at the end of the sync that made it reachable.
		if err := sleep(ctx, time.Second); err != nil {
			return f, err
		}
		before, err := b.kubeProxySamples(ctx)
		if err != nil {
			return f, err
		}
		s, err := b.remove(ctx, string(old.UID), old.Name, func() error {
			return b.cluster.Client().CoreV1().Pods(namespace).Delete(ctx, old.Name, metav1.DeleteOptions{})
		})
		if err != nil {
			return f, fmt.Errorf("removal of pod %s: %w", old.Name, err)
		}
		after, err := b.kubeProxySamples(ctx)
		if err != nil {
			return f, err
		}
		programmed += after - before
		if s != nil {
			// The listing of the second after the removal must be there.
			if err := sleep(ctx, 2*time.Second); err != nil {
				return f, err
			}
			s.Polled = today.goneAfter(s.Truth.Last, netip.MustParseAddr(old.Status.PodIP))
			samples = append(samples, *s)
		}
		old = young
	}
	return figuresOf(b, "real pods", samples, b.pods, programmed), nil
}

// pod makes a pod of the service and waits until it is ready.
func (b *bench) pod(ctx context.Context, app string, n int) (*corev1.Pod, error) {
	pods := b.cluster.Client().CoreV1().Pods(namespace)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	made, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", app, n), Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			NodeName: b.node.Name,
			Containers: []corev1.Container{{
				Name: "server", Image: testbed.ServerImage, ImagePullPolicy: corev1.PullNever,
				Ports:     []corev1.ContainerPort{{ContainerPort: port}},
				Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: int64(preStop.Seconds())}}},
			}}}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + made.Name, ResourceVersion: made.ResourceVersion})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok || e.Type == watch.Deleted {
			return nil, fmt.Errorf("pod %s: %v", made.Name, e.Object)
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return p, nil
			}
		}
	}
	return nil, fmt.Errorf("pod %s is not ready: %w", made.Name, ctx.Err())
}
