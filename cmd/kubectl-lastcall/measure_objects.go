package main

import (
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// canary is what is made, and by name all that is needed to remove it:
//
//	Job NAME          runs nothing (parallelism 0), fails at its deadline, and is then removed by the cluster
//	├── Service NAME  what kube-proxy routes
//	│   └── Pods      with the Service as their controller: what the hub knows them by
//	├── Service NAME-headless
//	└── Ingress NAME
//
// The Job is the dead man's switch. Kubernetes has no other object that a stock cluster removes after a time: a Pod with a deadline
// stays as Failed, a ConfigMap stays for ever. At its deadline the job controller fails the Job, which needs no pod for
// that (k8s v1.36.3 pkg/controller/job/job_controller.go:1090), the TTL controller deletes what has finished 0 s ago,
// and the garbage collector deletes what belonged to it.
type canary struct {
	k               kubernetes.Interface
	name, namespace string
	image           string
	policy          corev1.PullPolicy
	ingressClass    string
	headless        bool
	life            time.Duration

	made    time.Time // when the Job was, by the API server's clock
	service types.UID // of the Service that the pods belong to
}

const (
	canaryPrefix   = report.CanaryPrefix
	canaryApp      = "lastcall-measure"
	canarySelector = "app.kubernetes.io/name=" + canaryApp
	// servesLabel is what makes the Service send to a pod. Pods without it are ready and wait: what they do while they start
	// changes no EndpointSlice, and to begin to serve takes one patch.
	servesLabel, servesValue = "lastcall-measure", "serves"
	canaryPort               = 8080
	// canaryLinger is for how long a pod answers after SIGTERM: who is sent there late is served. Longer would only pile up pods.
	canaryLinger = 5
	// spareLife is what a run takes beside its trials, with time to spare.
	spareLife = 4 * time.Minute
)

// ends is when the cluster removes it by itself. Clocks may differ by minutes, which is why it is only said.
func (c *canary) ends() time.Time { return c.made.Add(c.life) }

func (c *canary) meta(name string, owners ...metav1.OwnerReference) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: c.namespace, OwnerReferences: owners, Labels: map[string]string{
		"app.kubernetes.io/name": canaryApp, "app.kubernetes.io/instance": c.name, "app.kubernetes.io/managed-by": "kubectl-lastcall"}}
}

func (c *canary) job() *batchv1.Job {
	pod := c.pod()
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.ActiveDeadlineSeconds = nil
	return &batchv1.Job{ObjectMeta: c.meta(c.name), Spec: batchv1.JobSpec{
		Parallelism: ptr.To[int32](0), Completions: ptr.To[int32](1), BackoffLimit: ptr.To[int32](0),
		ActiveDeadlineSeconds: ptr.To(int64(c.life.Seconds())), TTLSecondsAfterFinished: ptr.To[int32](0),
		Template: corev1.PodTemplateSpec{Spec: pod.Spec}}}
}

func (c *canary) services(owners ...metav1.OwnerReference) []*corev1.Service {
	of := func(name, ip string) *corev1.Service {
		return &corev1.Service{ObjectMeta: c.meta(name, owners...), Spec: corev1.ServiceSpec{ClusterIP: ip,
			Selector: map[string]string{"app.kubernetes.io/instance": c.name, servesLabel: servesValue},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(canaryPort)}}}}
	}
	all := []*corev1.Service{of(c.name, "")}
	if c.headless {
		all = append(all, of(c.name+"-headless", corev1.ClusterIPNone))
	}
	return all
}

// ingress is for a host that nobody asks for (RFC 2606).
func (c *canary) ingress(owners ...metav1.OwnerReference) *networkingv1.Ingress {
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: c.name, Port: networkingv1.ServiceBackendPort{Name: "http"}}}
	return &networkingv1.Ingress{ObjectMeta: c.meta(c.name, owners...), Spec: networkingv1.IngressSpec{IngressClassName: &c.ingressClass,
		Rules: []networkingv1.IngressRule{{Host: c.name + ".invalid", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: ptr.To(networkingv1.PathTypePrefix), Backend: backend}}}}}}}}
}

// pod fits the Pod Security Standard "restricted". It is spread over the nodes, ends by itself at the latest when the Job does, and
// does not keep a node from being scaled down.
func (c *canary) pod() *corev1.Pod {
	m := c.meta("")
	m.GenerateName = c.name + "-"
	m.Annotations = map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
	if c.service != "" {
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: c.name, UID: c.service, Controller: ptr.To(true)}}
	}
	return &corev1.Pod{ObjectMeta: m, Spec: corev1.PodSpec{
		ActiveDeadlineSeconds: ptr.To(int64(c.life.Seconds())), TerminationGracePeriodSeconds: ptr.To[int64](canaryLinger + 5),
		AutomountServiceAccountToken: ptr.To(false), EnableServiceLinks: ptr.To(false),
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), RunAsGroup: ptr.To[int64](65532),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/instance": c.name}}}},
		Containers: []corev1.Container{{Name: "canary", Image: c.image, ImagePullPolicy: c.policy, Args: []string{"canary"},
			Ports:     []corev1.ContainerPort{{Name: "http", ContainerPort: canaryPort}},
			Resources: corev1.ResourceRequirements{Requests: resources("5m", "24Mi"), Limits: resources("", "128Mi")},
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}}}}}
}

func owner(apiVersion, kind, name string, uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: uid}
}

// isCanary is by the name: a label may be on anything.
func isCanary(name string) bool { return strings.HasPrefix(name, canaryPrefix) }
