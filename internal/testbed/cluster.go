//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is a cluster that was brought up, by this process or another.
type Cluster struct {
	Spec           Spec
	Kubeconfig     string // for this machine
	NodeKubeconfig string // for processes inside nodes' network namespaces
	Nodes          []Node

	dir      string
	state    *state
	control  *machine
	machines map[string]*machine // by node name
	client   kubernetes.Interface
	config   *rest.Config
}

func newCluster(s *state) *Cluster {
	dir := filepath.Join(s.Spec.Dir, s.Spec.Name)
	c := &Cluster{
		Spec:           s.Spec,
		Kubeconfig:     filepath.Join(dir, "kubeconfig"),
		NodeKubeconfig: filepath.Join(dir, "node.kubeconfig"),
		Nodes:          s.Spec.plan(),
		dir:            dir,
		state:          s,
		machines:       map[string]*machine{},
	}
	for _, m := range s.Machines {
		c.adopt(m)
	}
	return c
}

func (c *Cluster) adopt(m *machine) {
	if m.Name == controlPlane {
		c.control = m
		return
	}
	c.machines[m.Name] = m
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Name == m.Name {
			n.NetnsPath, n.Root, n.Logs = m.netnsPath(), m.root(), filepath.Join(m.dir, "log")
		}
	}
}

// Attach finds a running cluster. Empty arguments mean the defaults; the error
// is ErrNotRunning if there is none of that name.
func Attach(dir, name string) (*Cluster, error) {
	if dir == "" {
		dir = DefaultDir
	}
	if name == "" {
		name = DefaultName
	}
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("%q is not the name of a cluster", name)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s, err := readState(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	c := newCluster(s)
	if !s.Complete || c.control == nil {
		return nil, fmt.Errorf("cluster %q did not finish coming up: run `testbed down` and `testbed up` again", name)
	}
	return c, c.connect()
}

// connect makes the client; it dials nothing.
func (c *Cluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return fmt.Errorf("reading %s: %w", c.Kubeconfig, err)
	}
	config.QPS = -1 // no queue in the client: tests measure the server
	config.UserAgent = "lastcall-testbed"
	fast := rest.CopyConfig(config) // Load makes tens of thousands of objects
	fast.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(fast)
	if err != nil {
		return err
	}
	c.config, c.client = config, client
	return nil
}

// Client is an administrator's client without rate limit.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// RESTConfig is what Client uses, speaking JSON, for custom resources too.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }

// Node finds a node by name.
func (c *Cluster) Node(name string) (Node, error) {
	for _, n := range c.Nodes {
		if n.Name == name && c.machines[name] != nil {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("cluster %q has no node %q", c.Spec.Name, name)
}

// machine finds a node's machine, or the control plane's.
func (c *Cluster) machine(name string) (*machine, error) {
	m := c.machines[name]
	if name == controlPlane {
		m = c.control
	}
	if m == nil {
		return nil, fmt.Errorf("cluster %q has no node %q", c.Spec.Name, name)
	}
	// Its namespaces are found by pid, which may be somebody else's by now.
	if !m.Process.alive() {
		return nil, fmt.Errorf("%s of cluster %q is gone", name, c.Spec.Name)
	}
	return m, nil
}

// NetnsPath is the path of a node's network namespace, or the control plane's;
// "" if there is no such node.
func (c *Cluster) NetnsPath(node string) string {
	m, err := c.machine(node)
	if err != nil {
		return ""
	}
	return m.netnsPath()
}

// RunIn calls f on an OS thread inside the node's network namespace. Sockets
// opened by f belong to the node for good; goroutines started by f do not.
func (c *Cluster) RunIn(node string, f func() error) error {
	m, err := c.machine(node)
	if err != nil {
		return err
	}
	return inNetns(m.netnsPath(), f)
}

// Dialer dials from inside the node's network namespace, to literal addresses.
func (c *Cluster) Dialer(node string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	m, err := c.machine(node)
	if err != nil {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	return netnsDialer(m.netnsPath())
}

// Command is a command that will run inside the node's network namespace, with
// the file system of this machine, the node's iptables first on PATH and a
// KUBECONFIG that works there. nsenter becomes the command (it execs), so pid,
// signals and exit code are the command's.
func (c *Cluster) Command(node, name string, args ...string) *exec.Cmd {
	argv, env, err := c.enter(node)
	cmd := exec.Command(argv[0], append(append(argv[1:], name), args...)...)
	cmd.Env = env
	if err != nil {
		cmd.Err = err
	}
	return cmd
}

func (c *Cluster) enter(node string) (argv, env []string, err error) {
	m, err := c.machine(node)
	if err != nil {
		return []string{"nsenter"}, nil, err
	}
	env = append(os.Environ(), "KUBECONFIG="+c.NodeKubeconfig,
		"PATH="+filepath.Join(m.dir, "bin")+":"+os.Getenv("PATH")+":"+systemPath)
	return []string{lookPath("nsenter"), "--net=" + m.netnsPath(), "--"}, env, nil
}

// Service is a running program of the cluster.
type Service struct {
	Machine string // node name or "control-plane"
	Name    string
	Pid     int // as seen from this machine
	Started time.Time
	Exited  bool
	Status  string // of an exited one
}

// Service finds a program on a node or on "control-plane".
func (c *Cluster) Service(machineName, name string) (Service, error) {
	m, err := c.machine(machineName)
	if err != nil {
		return Service{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	services, err := m.list(ctx)
	if err != nil {
		return Service{}, err
	}
	for _, s := range services {
		if s.Name != name {
			continue
		}
		found := Service{Machine: m.Name, Name: s.Name, Started: s.Started, Exited: s.Exited, Status: s.Status}
		if !s.Exited {
			found.Pid, err = outsidePid(m.Process.Pid, s.Pid)
		}
		return found, err
	}
	return Service{}, fmt.Errorf("no %s on %s", name, m.Name)
}

// healthy reports what of the cluster does not run.
func (c *Cluster) healthy(ctx context.Context) error {
	if c.control == nil {
		return errors.New("it has no control plane")
	}
	if err := c.control.broken(ctx, controlPlaneServices); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		m := c.machines[n.Name]
		if m == nil {
			return fmt.Errorf("%s is missing", n.Name)
		}
		if err := m.broken(ctx, n.services()); err != nil {
			return err
		}
	}
	return nil
}

// Logs copies every log of the cluster into dir.
func (c *Cluster) Logs(dir string) error {
	logs, err := filepath.Glob(filepath.Join(c.dir, "*", "log", "*.log"))
	if err != nil {
		return err
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		machineName := filepath.Base(filepath.Dir(filepath.Dir(log)))
		if err := os.MkdirAll(filepath.Join(dir, machineName), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, machineName, filepath.Base(log)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
