//go:build linux

package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// controllers are the ones a workload needs. Without node-lifecycle a node
// without heartbeats (a thin one) stays Ready; without nodeipam the pod CIDRs
// are ours to give.
var controllers = []string{
	"deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller", "job-controller", "ttl-after-finished-controller",
	"endpointslice-controller", "endpointslice-mirroring-controller",
	"namespace-controller", "serviceaccount-controller", "serviceaccount-token-controller", "root-ca-certificate-publisher-controller",
	"garbage-collector-controller", "pod-garbage-collector-controller", "disruption-controller", "clusterrole-aggregation-controller",
	"taint-eviction-controller",
}

// identities are everybody who talks to the API server, and it itself.
func (c *Cluster) identities() []identity {
	ids := []identity{
		{file: "apiserver", user: "kube-apiserver", hosts: []string{
			"127.0.0.1", "localhost", controlPlaneIP, kubernetesIP,
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		{file: "apiserver-kubelet", user: "kube-apiserver-kubelet-client", group: "system:masters"},
		{file: "admin", user: "testbed-admin", group: "system:masters"},
		{file: "controller-manager", user: "system:kube-controller-manager"},
		{file: "scheduler", user: "system:kube-scheduler"},
		{file: "kube-proxy", user: "system:kube-proxy"},
	}
	for _, n := range c.Nodes {
		if !n.Thin {
			ids = append(ids, identity{file: n.Name, user: "system:node:" + n.Name, group: "system:nodes", hosts: []string{n.Name, n.IP, "127.0.0.1"}})
		}
	}
	return ids
}

// writeIdentities issues the certificates and writes every kubeconfig.
func (c *Cluster) writeIdentities() error {
	ca, err := newAuthority(c.pki())
	if err != nil {
		return err
	}
	inside := fmt.Sprintf("https://%s:%d", controlPlaneIP, apiServerPort)
	for _, id := range c.identities() {
		if err := ca.issue(id); err != nil {
			return err
		}
		if id.file == "apiserver" || id.file == "apiserver-kubelet" {
			continue
		}
		if err := writeKubeconfig(c.identityKubeconfig(id.file), c.pki(), id.file, inside); err != nil {
			return err
		}
	}
	if err := writeKubeconfig(c.NodeKubeconfig, c.pki(), "admin", inside); err != nil {
		return err
	}
	return writeKubeconfig(c.Kubeconfig, c.pki(), "admin", fmt.Sprintf("https://127.0.0.1:%d", c.state.Port))
}

func (c *Cluster) pki() string { return filepath.Join(c.dir, "pki") }

func (c *Cluster) identityKubeconfig(file string) string {
	return filepath.Join(c.pki(), file+".kubeconfig")
}

func (c *Cluster) component(name string) string {
	return componentPath(c.Spec.CacheDir, c.Spec.Version, name)
}

func (c *Cluster) verbosity() string { return fmt.Sprintf("--v=%d", c.Spec.Verbosity) }

func (c *Cluster) etcd() command {
	return command{name: "etcd", args: []string{lookPath("etcd"),
		"--data-dir=" + filepath.Join(c.control.dir, "etcd"),
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380", "--initial-cluster=default=http://127.0.0.1:2380",
		"--unsafe-no-fsync",                // the cluster does not outlive the machine anyway
		"--quota-backend-bytes=4294967296", // 10k Services x 10 endpoints with churn fit
		"--log-level=error",
	}}
}

func (c *Cluster) apiServer(more ...string) command {
	pki := c.pki()
	return command{name: "kube-apiserver", args: append([]string{c.component("kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", fmt.Sprintf("--secure-port=%d", apiServerPort), "--advertise-address=" + controlPlaneIP,
		"--service-cluster-ip-range=" + c.Spec.joined(serviceCIDR, serviceCIDR6),
		"--tls-cert-file=" + pki + "/apiserver.crt", "--tls-private-key-file=" + pki + "/apiserver.key", "--client-ca-file=" + pki + "/ca.crt",
		"--service-account-key-file=" + pki + "/sa.key", "--service-account-signing-key-file=" + pki + "/sa.key",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		// It taints new nodes not-ready, and only node-lifecycle, which does not run, takes that away.
		"--disable-admission-plugins=TaintNodesByCondition",
		"--kubelet-client-certificate=" + pki + "/apiserver-kubelet.crt", "--kubelet-client-key=" + pki + "/apiserver-kubelet.key",
		"--kubelet-certificate-authority=" + pki + "/ca.crt", "--kubelet-preferred-address-types=InternalIP",
		"--enable-aggregator-routing=true", // no kube-proxy here: webhooks go to endpoints
		"--allow-privileged=true",
		c.verbosity(),
	}, more...)}
}

func (c *Cluster) controllerManager() command {
	return command{name: "kube-controller-manager", args: []string{c.component("kube-controller-manager"),
		"--kubeconfig=" + c.identityKubeconfig("controller-manager"),
		"--controllers=" + strings.Join(controllers, ","),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + c.pki() + "/sa.key", "--root-ca-file=" + c.pki() + "/ca.crt",
		"--leader-elect=false", "--secure-port=0",
		// The defaults (20, 30) make a hundred deletions take seconds in the client's own queue.
		"--kube-api-qps=200", "--kube-api-burst=400",
		c.verbosity(),
	}}
}

func (c *Cluster) scheduler() command {
	return command{name: "kube-scheduler", args: []string{c.component("kube-scheduler"),
		"--kubeconfig=" + c.identityKubeconfig("scheduler"),
		"--leader-elect=false", "--secure-port=0", "--kube-api-qps=200", "--kube-api-burst=400",
		c.verbosity(),
	}}
}

var controlPlaneServices = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// startControlPlane returns when the API server is ready and knows the nodes.
func (c *Cluster) startControlPlane(ctx context.Context, p *progress) error {
	if err := c.control.start(ctx, c.etcd()); err != nil {
		return err
	}
	broken := func() error { return c.control.broken(ctx, nil) }
	dial := netnsDialer(c.control.netnsPath())
	err := waitFor(ctx, "etcd", 20*time.Second, func(ctx context.Context) error {
		conn, err := dial(ctx, "tcp", "127.0.0.1:2379")
		if err == nil {
			conn.Close()
		}
		return err
	}, broken)
	if err != nil {
		return err
	}
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	p.say("API server is ready")
	if err := c.createNodes(ctx); err != nil {
		return err
	}
	for _, cmd := range []command{c.controllerManager(), c.scheduler()} {
		if err := c.control.start(ctx, cmd); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startAPIServer(ctx context.Context) error {
	audit, err := c.auditFlags()
	if err != nil {
		return err
	}
	if err := c.control.start(ctx, c.apiServer(audit...)); err != nil {
		return err
	}
	return c.waitAPIServer(ctx)
}

func (c *Cluster) waitAPIServer(ctx context.Context) error {
	broken := func() error { return c.control.broken(ctx, []string{"etcd", "kube-apiserver"}) }
	return waitFor(ctx, "the API server", 2*time.Minute, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}, broken)
}

// ThinLabel marks Node objects without a kubelet. They carry a taint of the
// same name: nothing that is scheduled would ever run there.
const ThinLabel = "testbed.local/thin"

// createNodes makes the Node objects before any kubelet does, so that pod
// CIDRs are known from the plan, and with addresses, because kube-proxy asks
// for its node's once and backs off for seconds if there are none.
func (c *Cluster) createNodes(ctx context.Context) error {
	for _, n := range c.Nodes {
		_, err := c.client.CoreV1().Nodes().Create(ctx, n.object(), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating node %s: %w", n.Name, err)
		}
	}
	return nil
}

func (n Node) object() *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
			corev1.LabelHostname:             n.Name,
			corev1.LabelOSStable:             "linux",
			"node-role.kubernetes.io/worker": "",
			"testbed.local/mode":             string(n.Mode),
		}},
		Spec: corev1.NodeSpec{PodCIDR: n.PodCIDR, PodCIDRs: []string{n.PodCIDR}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: n.IP},
			{Type: corev1.NodeHostName, Address: n.Name},
		}},
	}
	if n.IP6 != "" {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, n.PodCIDR6)
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: n.IP6})
	}
	if !n.Thin {
		return node
	}
	node.Labels[ThinLabel] = "true"
	node.Spec.Taints = []corev1.Taint{{Key: ThinLabel, Effect: corev1.TaintEffectNoSchedule}}
	now := metav1.Now()
	node.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Thin", Message: "kube-proxy only",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}}
	node.Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: "none", OperatingSystem: "linux", ContainerRuntimeVersion: "none"}
	return node
}

// RestartAPIServer ends the API server and starts it again; it returns when it
// is ready. Its address stays. It is killed after a second of grace: with
// watches open it would take its whole shutdown time-out, over 20 s.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	if err := c.control.stop(ctx, "kube-apiserver", time.Second); err != nil {
		return err
	}
	return c.startAPIServer(ctx)
}

// listenForKubectl opens the one socket of the testbed in the machine's own
// network namespace; the control plane's holder accepts on it.
func listenForKubectl(port int) (*net.TCPListener, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return nil, fmt.Errorf("listening for kubectl: %w", err)
	}
	return l, nil
}

// CompactHistory makes etcd forget every revision but the newest. An API server that starts after it can answer no watch
// from before.
func (c *Cluster) CompactHistory(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	web := &http.Client{Transport: &http.Transport{DialContext: netnsDialer(c.control.netnsPath()), DisableKeepAlives: true}}
	ask := func(path, body string, answer any) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:2379/v3/kv/"+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := web.Do(req)
		if err != nil {
			return fmt.Errorf("asking etcd to %s: %w", path, err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("asking etcd to %s: %s: %s", path, resp.Status, text)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(text, answer)
	}
	var newest struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	if err := ask("range", `{"key":"AA=="}`, &newest); err != nil {
		return err
	}
	return ask("compaction", `{"revision":"`+newest.Header.Revision+`","physical":true}`, &struct{}{})
}
