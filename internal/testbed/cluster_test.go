//go:build linux

package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestCluster walks through the life of one cluster, because a cluster takes
// seconds and every step needs the one before.
func TestCluster(t *testing.T) {
	if os.Getenv("REQUIRE_CLUSTER") != "1" {
		t.Skip("needs a cluster: set REQUIRE_CLUSTER=1")
	}
	links := linkNames(t)
	spec := Spec{
		Name: "selftest", Thin: []NodeSpec{{Mode: IPTablesLegacy}},
		KubeProxy: []string{"iptables.minSyncPeriod=100ms", "nftables.minSyncPeriod=100ms"},
	}
	c := RequireCluster(t, spec)
	step := func(name string, f func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, f) {
			t.FailNow()
		}
	}
	var address string
	step("a Deployment becomes ready", func(t *testing.T) { address = deploy(t, c) })
	step("its Service answers on every node", func(t *testing.T) {
		for _, n := range c.Nodes {
			if n.Thin {
				continue
			}
			eventually(t, "an answer on "+n.Name, func(ctx context.Context) error {
				name, err := ask(ctx, c, n.Name, address)
				if err == nil && !strings.HasPrefix(name, "web-") {
					err = fmt.Errorf("answer %q", name)
				}
				return err
			})
		}
	})
	step("deleting a pod changes the rules of every node", func(t *testing.T) { deletePod(t, c) })
	step("the API server restarts", func(t *testing.T) {
		if err := c.RestartAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	step("kube-proxy restarts in another mode", func(t *testing.T) { restartKubeProxy(t, c) })
	step("load comes and goes", func(t *testing.T) {
		for _, load := range []LoadSpec{{Services: 20, Endpoints: 3}, {Services: 5, Endpoints: 2, Pods: true, Namespace: "load-pods"}} {
			for _, load.Delete = range []bool{false, true} {
				if err := c.Load(t.Context(), load, t.Output()); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	step("another spec is refused", func(t *testing.T) {
		other := spec
		other.Nodes = []NodeSpec{{Mode: IPTablesLegacy}}
		if _, err := Up(t.Context(), other, t.Output()); err == nil || !strings.Contains(err.Error(), "down") {
			t.Fatalf("up with another spec: %v", err)
		}
	})
	inv := inventory{}
	inv.add(t, c.holders())
	step("a killed node is noticed", func(t *testing.T) {
		if err := c.machines["node-1"].Process.kill(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		if s := c.Status(t.Context()); !strings.Contains(s.Problem, "node-1") {
			t.Errorf("status of a broken cluster: %q", s.Problem)
		}
		if _, err := Up(t.Context(), spec, t.Output()); err == nil || !strings.Contains(err.Error(), "down") {
			t.Fatalf("up of a broken cluster: %v", err)
		}
	})
	step("down leaves nothing", func(t *testing.T) {
		inv.add(t, c.holders())
		if err := c.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := leftovers(t, c.Spec, inv, links); len(left) > 0 {
			t.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
		}
		if err := c.Down(t.Context()); err != nil {
			t.Fatalf("second down: %v", err)
		}
		if _, err := Attach(spec.Dir, spec.Name); !errors.Is(err, ErrNotRunning) {
			t.Fatalf("attach after down: %v", err)
		}
	})
}

func deploy(t *testing.T, c *Cluster) (address string) {
	labels := map[string]string{"app": "web"}
	replicas := int32(4)
	_, err := c.Client().AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "server", Image: ServerImage, ImagePullPolicy: corev1.PullNever,
					ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
						HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(8080)}}},
					Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}},
				}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	svc, err := c.Client().CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)},
			{Name: "tcp", Port: 81, TargetPort: intstr.FromInt32(8081)},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "4 ready replicas", func(ctx context.Context) error {
		d, err := c.Client().AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas != replicas {
			err = fmt.Errorf("%d of %d ready", d.Status.ReadyReplicas, replicas)
		}
		return err
	})
	return net.JoinHostPort(svc.Spec.ClusterIP, "81")
}

// ask connects from a node and reads the name of the pod that answers.
func ask(ctx context.Context, c *Cluster, node, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := c.Dialer(node)(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

func deletePod(t *testing.T, c *Cluster) {
	pods, err := c.Client().CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("pods of the Deployment: %v", err)
	}
	pod := pods.Items[0]
	for _, n := range c.Nodes {
		eventually(t, "rules for "+pod.Status.PodIP+" on "+n.Name, func(context.Context) error {
			return wantRules(c, n, pod.Status.PodIP, true)
		})
	}
	if err := c.Client().CoreV1().Pods("default").Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		eventually(t, "no rules for "+pod.Status.PodIP+" on "+n.Name, func(context.Context) error {
			return wantRules(c, n, pod.Status.PodIP, false)
		})
	}
}

// wantRules looks for an address in what the node's own tool prints.
func wantRules(c *Cluster, n Node, ip string, want bool) error {
	cmd := c.Command(n.Name, "iptables-save", "-t", "nat")
	if n.Mode == NFTables {
		cmd = c.Command(n.Name, "nft", "list", "table", "ip", "kube-proxy")
	}
	rules, err := cmd.Output()
	if err != nil {
		return err
	}
	// As a target; the address alone also appears in comments and sources.
	if got := strings.Contains(string(rules), ip+":8080") || strings.Contains(string(rules), ip+" . 8080"); got != want {
		return fmt.Errorf("rules contain %s: %t", ip, got)
	}
	return nil
}

func restartKubeProxy(t *testing.T, c *Cluster) {
	before, err := c.KubeProxy("node-1")
	if err != nil {
		t.Fatal(err)
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", before.Pid)); err != nil || filepath.Base(exe) != "kube-proxy" {
		t.Fatalf("pid %d of kube-proxy is %q, %v", before.Pid, exe, err)
	}
	if err := c.StopKubeProxy(t.Context(), "node-1"); err != nil {
		t.Fatal(err)
	}
	if s, err := c.KubeProxy("node-1"); err != nil || !s.Exited {
		t.Fatalf("kube-proxy after stop: %+v, %v", s, err)
	}
	if err := c.StartKubeProxy(t.Context(), "node-1", "mode=iptables"); err != nil {
		t.Fatal(err)
	}
	rules, err := c.Command("node-1", "iptables-save", "-t", "nat").Output()
	if err != nil || !strings.Contains(string(rules), "KUBE-SERVICES") {
		t.Fatalf("no iptables rules after the change of mode: %v\n%s", err, rules)
	}
}

// TestDownAfterKilledUp kills up with SIGKILL in the middle of its work.
func TestDownAfterKilledUp(t *testing.T) {
	if os.Getenv("REQUIRE_CLUSTER") != "1" {
		t.Skip("needs a cluster: set REQUIRE_CLUSTER=1")
	}
	spec, err := Spec{Name: "killtest"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("TESTBED_UP_AND_BE_KILLED") == "1" {
		_, err := Up(t.Context(), spec, t.Output())
		t.Fatalf("not killed: %v", err)
	}
	links := linkNames(t)
	dir := filepath.Join(spec.Dir, spec.Name)
	// Right after the first process exists, and when containers may run.
	for _, until := range []func(*state) bool{
		func(s *state) bool { return len(s.Machines) >= 1 },
		func(s *state) bool {
			return len(s.Machines) == 3 && exists(filepath.Join(dir, "node-1/log/kubelet.log"))
		},
	} {
		t.Cleanup(func() { Down(context.Background(), spec.Dir, spec.Name, t.Output()) })
		victim := exec.Command(os.Args[0], "-test.run=^TestDownAfterKilledUp$")
		victim.Env = append(os.Environ(), "TESTBED_UP_AND_BE_KILLED=1")
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		var s *state
		eventually(t, "up to get far enough", func(context.Context) (err error) {
			if s, err = readState(dir); err == nil && !until(s) {
				err = errors.New("not there yet")
			}
			return err
		})
		victim.Process.Kill()
		victim.Wait()
		if s, err = readState(dir); err != nil {
			t.Fatal(err)
		}
		inv, holders := inventory{}, map[int]bool{}
		for _, m := range s.Machines {
			holders[m.Process.Pid] = true
		}
		inv.add(t, holders)
		if _, err := Up(t.Context(), spec, t.Output()); err == nil || !strings.Contains(err.Error(), "down") {
			t.Errorf("up after a killed up: %v", err)
		}
		if err := Down(t.Context(), spec.Dir, spec.Name, t.Output()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "nothing to be left", func(context.Context) error {
			if left := leftovers(t, spec, inv, links); len(left) > 0 {
				return errors.New(strings.Join(left, "\n"))
			}
			return nil
		})
	}
}

// TestInterruptedUpCleansUp ends up's context in the middle of its work.
func TestInterruptedUpCleansUp(t *testing.T) {
	if os.Getenv("REQUIRE_CLUSTER") != "1" {
		t.Skip("needs a cluster: set REQUIRE_CLUSTER=1")
	}
	spec, err := Spec{Name: "interrupttest"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	links := linkNames(t)
	ctx, interrupt := context.WithCancel(t.Context())
	said := writerFunc(func(line string) {
		if strings.Contains(line, "API server is ready") {
			interrupt()
		}
	})
	if _, err := Up(ctx, spec, said); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted up: %v", err)
	}
	if left := leftovers(t, spec, nil, links); len(left) > 0 {
		t.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

type writerFunc func(string)

func (f writerFunc) Write(text []byte) (int, error) {
	f(string(text))
	return len(text), nil
}

func eventually(t *testing.T, what string, ready func(context.Context) error) {
	t.Helper()
	if err := waitFor(t.Context(), what, 60*time.Second, ready, nil); err != nil {
		t.Fatal(err)
	}
}
