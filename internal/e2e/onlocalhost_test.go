//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// onLocalhost: what listens on the localhost of its pod is read by the node's agent, which enters the pod's network namespace, and by an
// agent beside it; and an ingress controller that serves a workload and is not there is named.
func onLocalhost(t *testing.T, i *installed, edge string) {
	ctx := t.Context()
	// It says of itself what Envoy would say, at whatever path.
	clusters := func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": p.Name}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NAME", Value: `{"cluster_statuses":[{"host_statuses":[{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}}]}]}`}}
	}
	i.upgrade(t, "sidecars[0].namespace="+edge, "sidecars[0].serviceAccount=default", "agent.consumers.enabled=true", "agent.consumers.enterPods=true",
		"agent.consumers.config.skip={*}", "agent.consumers.config.consumers[0].place=envoy", "agent.consumers.config.consumers[0].pods.labels.app=entered",
		"agent.consumers.config.consumers[0].pods.port=8080", "agent.consumers.config.consumers[0].pods.local=true")
	if _, err := i.client.CoreV1().ConfigMaps(edge).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "consumers"},
		Data: map[string]string{"consumers.yaml": "skip: ['*']\nconsumers: [{place: envoy, at: 'http://127.0.0.1:8080'}]\n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	i.current(t, i.pod(t, edge, "entered", clusters), i.pod(t, edge, "beside", clusters, withSidecar))
	within(t, time.Minute, func() error {
		out, said, err := i.ask(t, "places", "-o", "json")
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		var list struct{ Items []report.Place }
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return err
		}
		for _, name := range []string{"edge/entered", "edge/beside"} {
			if !slices.ContainsFunc(list.Items, func(p report.Place) bool {
				return p.Replica == name && p.Kind == "envoy" && p.State == report.PlaceOK && p.Node != ""
			}) {
				return fmt.Errorf("%s is not read: %+v", name, list.Items)
			}
		}
		return nil
	})
	if out, said, err := i.ask(t, "check"); err != nil || !strings.Contains(out, "envoy: 2 of 2 replicas read") {
		t.Errorf("check: %v %s\n%s", err, said, out)
	}

	s := i.shop(t, "behind-ingress", 2, 0)
	class, to := "nginx", networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "shop", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	if _, err := i.client.NetworkingV1().IngressClasses().Create(ctx, &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: class},
		Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.client.NetworkingV1().Ingresses(s.namespace).Create(ctx, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: networkingv1.IngressSpec{IngressClassName: &class, DefaultBackend: &to}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, func() error { // the hub has seen the Ingress
		out, said, err := i.ask(t, "places")
		if err != nil || !strings.Contains(said, "it serves 1 Service, such as "+s.namespace+"/shop, and no agent reads a replica of it") {
			return fmt.Errorf("%w: %s%s", err, out, said)
		}
		return nil
	})
	s.delete(t, s.pods(t)[0])
	d := i.explained(t, s.namespace, 1).Departures[0]
	if len(d.Missing) != 1 || d.Missing[0].Kind != "ingress-nginx" || !strings.HasPrefix(d.Missing[0].Why, "it serves this workload") || d.Late == report.No || d.Answered != 2 {
		t.Errorf("late %s, %d answered, missing %+v", d.Late, d.Answered, d.Missing)
	}
}

// withSidecar adds the container of docs/consumers.md.
func withSidecar(p *corev1.Pod) {
	always, group, mode := corev1.ContainerRestartPolicyAlways, int64(65532), int32(0o440)
	user, no, yes := int64(65532), false, true
	p.Labels["lastcall/sidecar"] = "true"
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	p.Spec.InitContainers = []corev1.Container{{Name: "lastcall", RestartPolicy: &always, Image: "testbed.local/lastcall:e2e", ImagePullPolicy: corev1.PullNever,
		Args:            []string{"agent", "--only-consumers", "--consumers=/etc/lastcall/consumers/consumers.yaml", "--tls-cert-file=/etc/lastcall/tls/tls.crt", "--tls-key-file=/etc/lastcall/tls/tls.key"},
		Env:             []corev1.EnvVar{field("NODE_NAME", "spec.nodeName"), field("NODE_IP", "status.podIP"), field("POD_NAMESPACE", "metadata.namespace"), field("POD_NAME", "metadata.name")},
		Ports:           []corev1.ContainerPort{{Name: "lastcall", ContainerPort: 9748}},
		SecurityContext: &corev1.SecurityContext{RunAsUser: &user, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		VolumeMounts:    []corev1.VolumeMount{{Name: "consumers", MountPath: "/etc/lastcall/consumers", ReadOnly: true}, {Name: "tls", MountPath: "/etc/lastcall/tls", ReadOnly: true}}}}
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
	p.Spec.Volumes = []corev1.Volume{
		{Name: "consumers", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "consumers"}}}},
		{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "lastcall-sidecar-tls", DefaultMode: &mode}}}}
}
