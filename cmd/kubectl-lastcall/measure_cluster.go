package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

func resources(cpu, memory string) corev1.ResourceList {
	l := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
	if cpu != "" {
		l[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	return l
}

// try has the API server try everything: quotas, Pod Security, webhooks and policies answer as they will.
func (c *canary) try(ctx context.Context) error {
	return c.create(ctx, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// make creates everything but the pods.
func (c *canary) make(ctx context.Context) error {
	return c.create(ctx, metav1.CreateOptions{})
}

// create makes the Job first, so that there is no moment at which something belongs to nobody.
func (c *canary) create(ctx context.Context, o metav1.CreateOptions) error {
	dry := len(o.DryRun) > 0
	j, err := c.k.BatchV1().Jobs(c.namespace).Create(ctx, c.job(), o)
	if err != nil {
		return c.denied(ctx, "a Job", err)
	}
	var job []metav1.OwnerReference
	if !dry {
		c.made = j.CreationTimestamp.Time
		job = append(job, owner("batch/v1", "Job", j.Name, j.UID))
	}
	for _, s := range c.services(job...) {
		s, err := c.k.CoreV1().Services(c.namespace).Create(ctx, s, o)
		if err != nil {
			return c.denied(ctx, "a Service", err)
		}
		if !dry && s.Name == c.name {
			c.service = s.UID
		}
	}
	if c.ingressClass != "" {
		if _, err := c.k.NetworkingV1().Ingresses(c.namespace).Create(ctx, c.ingress(job...), o); err != nil {
			return c.denied(ctx, "an Ingress", err)
		}
	}
	if dry { // owners are not there, and one pod stands for all
		_, err = c.k.CoreV1().Pods(c.namespace).Create(ctx, c.pod(), o)
		return c.denied(ctx, "a pod", err)
	}
	return nil
}

// denied says what the API server has against it.
func (c *canary) denied(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no namespace %s: %w\nMake it, or choose another with -n", c.namespace, err)
	case apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		return fmt.Errorf("the API server does not take %s of the canary in namespace %s: %w\nChoose another namespace with -n", what, c.namespace, err)
	}
	return answered(err, fmt.Sprintf("create %s of the canary in namespace %s", what, c.namespace))
}

// add creates one more pod.
func (c *canary) add(ctx context.Context) error {
	_, err := c.k.CoreV1().Pods(c.namespace).Create(ctx, c.pod(), metav1.CreateOptions{})
	return c.denied(ctx, "another pod", err)
}

// list returns the canary's pods, the oldest first.
func (c *canary) list(ctx context.Context) ([]corev1.Pod, error) {
	l, err := c.k.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + c.name})
	if err != nil {
		return nil, answered(err, "list pods in namespace "+c.namespace)
	}
	slices.SortStableFunc(l.Items, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return l.Items, nil
}

// serve lets pods serve, and returns when the EndpointSlices say so: that is when a Deployment would let go of the old ones.
func (c *canary) serve(ctx context.Context, pods []corev1.Pod) error {
	if err := each(pods, func(p corev1.Pod) error {
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, servesLabel, servesValue)
		_, err := c.k.CoreV1().Pods(c.namespace).Patch(ctx, p.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}); err != nil {
		return answered(err, "patch pods in namespace "+c.namespace)
	}
	for ctx.Err() == nil {
		ready, err := c.routed(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return !ready[p.Name] }) {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // a Deployment's controllers take about as long
		}
	}
	return ctx.Err()
}

// routed are the pods that the Service sends to.
func (c *canary) routed(ctx context.Context) (map[string]bool, error) {
	l, err := c.k.DiscoveryV1().EndpointSlices(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + c.name})
	if err != nil {
		return nil, answered(err, "list endpointslices in namespace "+c.namespace)
	}
	ready := map[string]bool{}
	for _, s := range l.Items {
		for _, e := range s.Endpoints {
			if e.TargetRef != nil && ptr.Deref(e.Conditions.Ready, true) {
				ready[e.TargetRef.Name] = true
			}
		}
	}
	return ready, nil
}

// leave deletes pods at once, with their own grace.
func (c *canary) leave(ctx context.Context, pods []corev1.Pod) error {
	return each(pods, func(p corev1.Pod) error {
		return c.k.CoreV1().Pods(c.namespace).Delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
	})
}

// each does something with all at the same time.
func each[T any](all []T, do func(T) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { errs[i] = do(one) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

const (
	// removeTime is how long to try to remove a canary and to wait until it is gone: the garbage collector follows the Job within
	// seconds, and pods need theirs to end.
	removeTime = time.Minute
	removeWait = 250 * time.Millisecond
)

// removed removes the canary and waits until nothing of it is left. An API server that does not answer is asked again.
func (c *canary) removed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	for {
		left, err := c.remove(ctx)
		if err == nil && len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, still(left))
		case <-time.After(removeWait):
		}
	}
}

func still(left []string) error {
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("still there: %s", strings.Join(left, ", "))
}

// remove deletes the Job, and the pods with a short grace, and says what is still there. The rest belongs to the Job.
func (c *canary) remove(ctx context.Context) (left []string, err error) {
	background := metav1.DeletePropagationBackground
	err = c.k.BatchV1().Jobs(c.namespace).Delete(ctx, c.name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, answered(err, "delete job "+c.name)
	}
	if err == nil {
		left = append(left, "job "+c.name)
	}
	pods, err := c.list(ctx)
	if err != nil {
		return left, err
	}
	err = each(pods, func(p corev1.Pod) error {
		if p.DeletionTimestamp != nil && ptr.Deref(p.DeletionGracePeriodSeconds, 0) <= 1 {
			return nil
		}
		e := c.k.CoreV1().Pods(c.namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](1)})
		if apierrors.IsNotFound(e) {
			return nil
		}
		return e
	})
	for _, p := range pods {
		left = append(left, "pod "+p.Name)
	}
	selector := metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + c.name}
	services, e := c.k.CoreV1().Services(c.namespace).List(ctx, selector)
	if e != nil {
		return left, errors.Join(err, answered(e, "list services in namespace "+c.namespace))
	}
	for _, s := range services.Items {
		left = append(left, "service "+s.Name)
	}
	// Whoever may not list Ingresses has made none.
	if is, e := c.k.NetworkingV1().Ingresses(c.namespace).List(ctx, selector); e == nil {
		for _, i := range is.Items {
			left = append(left, "ingress "+i.Name)
		}
	}
	return left, err
}

// leftovers are the canaries of a namespace, by their Jobs. What has lost its Job the garbage collector is about to remove.
func leftovers(ctx context.Context, k kubernetes.Interface, ns string) (all []*canary, err error) {
	l, err := k.BatchV1().Jobs(ns).List(ctx, metav1.ListOptions{LabelSelector: canarySelector})
	if err != nil {
		return nil, answered(err, "list jobs in namespace "+ns)
	}
	for _, j := range l.Items {
		if isCanary(j.Name) {
			all = append(all, &canary{k: k, name: j.Name, namespace: ns, made: j.CreationTimestamp.Time,
				life: time.Duration(ptr.Deref(j.Spec.ActiveDeadlineSeconds, 0)) * time.Second})
		}
	}
	return all, nil
}
