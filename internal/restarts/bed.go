//go:build linux

// Package restarts takes pods away under client load, and holds when an ingress controller, a DNS server and a proxy let go of
// them, as lastcall's agents say, against what clients of each of them saw.
//
// The pods of one Deployment are reached in three ways: through Contour's Envoy, through HAProxy, which finds them by DNS, and by
// asking CoreDNS for their headless Service. An agent on the node reads the DNS servers over the pod network; one in the pod of each
// proxy reads what listens on its localhost or in a file. The clients are in the node's network namespace, so all times are of one
// clock.
package restarts

import (
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/manifests"
	"github.com/lastcall-k8s/lastcall/probes/consumer"
)

// Spec is a cluster to measure on: one node, since readers and clients shall have one clock.
func Spec(name string) testbed.Spec {
	return testbed.Spec{Name: name, Nodes: []testbed.NodeSpec{{Mode: testbed.NFTables}}, With: []string{testbed.Contour, testbed.CoreDNS, testbed.HAProxy}}
}

const (
	agentImage = "testbed.local/lastcall:restarts"
	host       = "web.test" // of the Ingress
)

//go:embed objects.yaml
var objectsYAML string

// Bed is a cluster with a workload, agents and clients.
type Bed struct {
	*testbed.Cluster
	node    testbed.Node
	pods    int
	places  []*place
	onNode  *nodeagent.Agent
	readyAt map[types.UID]time.Time // when a pod was first seen to be ready
	landed  []landing               // not yet compared
	result  Result                  // what is known of them already
	log     io.Writer
	end     context.CancelFunc
	stop    func() error
	wait    sync.WaitGroup
}

// place is one replica of a consumer, with who reads it and who uses it.
type place struct {
	kind, replica string
	byAddress     bool // its clients see addresses, not names of pods
	lag           time.Duration
	looks         looks
	agent         *nodeagent.Agent
	client        *client
	// kept uses connections that the place keeps open to pods, nil if client does too: who is let go of may be reached over them.
	kept *client
}

// Up prepares everything on a cluster of Spec: binary is the agent's, rate what each client asks a second.
func Up(ctx context.Context, c *testbed.Cluster, binary string, pods, rate int, log io.Writer) (b *Bed, err error) {
	b = &Bed{Cluster: c, node: c.Nodes[0], pods: pods, log: log, readyAt: map[types.UID]time.Time{}, stop: func() error { return nil }}
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	b.end = end
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Down())
		}
	}()
	image, err := testbed.ImageFromBinary(agentImage, binary)
	if err != nil {
		return b, err
	}
	if err := c.LoadImage(ctx, image); err != nil {
		return b, err
	}
	objects := strings.NewReplacer("SERVER_IMAGE", testbed.ServerImage, "PODS", fmt.Sprint(pods), "HOST", host).Replace(objectsYAML)
	if err := c.Apply(ctx, manifests.ClusterRoles()+"\n---\n"+objects); err != nil {
		return b, err
	}
	if _, err := b.ready(ctx); err != nil {
		return b, err
	}
	if err := b.addSidecars(ctx); err != nil {
		return b, err
	}
	agent, err := nodeagent.Start(ctx, c, binary, b.node.Name, log, "--consumers", "auto")
	if err != nil {
		return b, err
	}
	b.onNode, b.stop = agent, agent.Stop
	b.follow(running, agent)
	if err := b.findPlaces(ctx, running); err != nil {
		return b, err
	}
	for _, p := range b.places {
		b.wait.Go(func() { p.notice(running) })
		b.wait.Go(func() { p.client.run(running, time.Second/time.Duration(rate)) })
		if p.kept != nil {
			b.wait.Go(func() { p.kept.run(running, 4*time.Second/time.Duration(rate)) })
		}
	}
	return b, b.read(ctx)
}

// read waits until every place is read, and notes what its kind promises. A DNS server is asked twice before it is known not to
// cache; what landed before that would have a whole time to live for its bound.
func (b *Bed) read(ctx context.Context) error {
	for _, p := range b.places {
		err := until(ctx, "it is read", func() error {
			s, err := p.status(ctx)
			if err == nil && p.byAddress && s.Asked[consumer.Look] < 2 {
				err = fmt.Errorf("%s %s was looked at %d times, not twice", p.kind, p.replica, s.Asked[consumer.Look])
			}
			p.lag = s.Lag
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Down ends clients and agents; the cluster is the caller's.
func (b *Bed) Down() error {
	err := b.stop()
	b.end()
	b.wait.Wait()
	return err
}

func (b *Bed) follow(ctx context.Context, a *nodeagent.Agent) {
	b.wait.Go(func() {
		// Whoever waits for a line gets none then, and fails.
		if err := a.Follow(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintln(b.log, err)
		}
	})
}

// addSidecars puts an agent into the pods of Envoy and HAProxy, as docs/consumers.md has it.
func (b *Bed) addSidecars(ctx context.Context) error {
	sidecar := func(mounts ...string) string {
		mounts = append(mounts, `{"name":"lastcall","mountPath":"/etc/lastcall"}`)
		return `{"name":"lastcall","image":"` + agentImage + `","imagePullPolicy":"Never",
			"args":["agent","--only-consumers","--consumers=/etc/lastcall/consumers.yaml","--list-jitter=0"],
			"env":[{"name":"NODE_NAME","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}},{"name":"NODE_IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},
				{"name":"POD_NAMESPACE","valueFrom":{"fieldRef":{"fieldPath":"metadata.namespace"}}},{"name":"POD_NAME","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}],
			"readinessProbe":{"httpGet":{"path":"/readyz","port":9747},"periodSeconds":1},
			"securityContext":{"runAsUser":65534,"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":true,"capabilities":{"drop":["ALL"]}},
			"volumeMounts":[` + strings.Join(mounts, ",") + `]}`
	}
	patch := func(sidecar string) []byte {
		return []byte(`{"spec":{"template":{"spec":{"automountServiceAccountToken":true,"containers":[` + sidecar + `],"volumes":[{"name":"lastcall","configMap":{"name":"lastcall"}}]}}}}`)
	}
	apps := b.Client().AppsV1()
	if _, err := apps.DaemonSets("projectcontour").Patch(ctx, "envoy", types.StrategicMergePatchType, patch(sidecar()), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("add a sidecar to Envoy: %w", err)
	}
	socket := `{"name":"run","mountPath":"/var/run/haproxy"}`
	if _, err := apps.Deployments("haproxy").Patch(ctx, "haproxy", types.StrategicMergePatchType, patch(sidecar(socket)), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("add a sidecar to HAProxy: %w", err)
	}
	return b.GuestsReady(ctx)
}

// findPlaces follows the sidecars, and gives each place its clients.
func (b *Bed) findPlaces(ctx, running context.Context) error {
	guests, err := b.Guests(ctx)
	if err != nil {
		return err
	}
	token, err := b.token(ctx)
	if err != nil {
		return err
	}
	dial := b.Dialer(b.node.Name)
	for _, g := range guests {
		p := &place{replica: g.Namespace + "/" + g.Pod}
		beside := func() *nodeagent.Agent {
			a := nodeagent.Beside(g.Node, g.IP, bearing(token, dial))
			b.follow(running, a)
			return a
		}
		switch {
		case g.Of == testbed.CoreDNS:
			p.kind, p.agent, p.byAddress = "dns", b.onNode, true
			p.client = resolving(dial, net.JoinHostPort(g.IP, "53"), testbed.HAProxyBackend)
		case g.Of == testbed.HAProxy:
			p.kind, p.agent = "haproxy", beside()
			p.client = through(dial, net.JoinHostPort(g.IP, "8081"), host)
			p.kept = through(dial, net.JoinHostPort(g.IP, "8080"), host)
		case strings.HasPrefix(g.Pod, "envoy-"):
			p.kind, p.agent = "envoy", beside()
			p.client = through(dial, net.JoinHostPort(g.IP, "8080"), host)
		default:
			continue // Contour itself, which nobody connects to
		}
		b.places = append(b.places, p)
	}
	return nil
}

// token is one of an account that may read /v1, and nothing else.
func (b *Bed) token(ctx context.Context) (string, error) {
	hours := int64(6 * 3600)
	r, err := b.Client().CoreV1().ServiceAccounts("default").CreateToken(ctx, "reader",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"lastcall"}, ExpirationSeconds: &hours}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return r.Status.Token, nil
}

type bearer struct {
	token string
	http.RoundTripper
}

func (b bearer) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	q.Header.Set("Authorization", "Bearer "+b.token)
	return b.RoundTripper.RoundTrip(q)
}

// bearing is a client with a token. A sidecar makes its own certificate, which nobody can verify.
func bearing(token string, dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: bearer{token, &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
}

// status is what the place's agent says of its reading.
func (p *place) status(ctx context.Context) (consumer.Status, error) {
	text, err := p.agent.V1(ctx, "/consumers")
	if err != nil {
		return consumer.Status{}, fmt.Errorf("%s %s: %w", p.kind, p.replica, err)
	}
	var all struct {
		Replicas []consumer.Status `json:"replicas"`
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return consumer.Status{}, err
	}
	for _, s := range all.Replicas {
		if s.Place == p.kind && s.Replica == p.replica {
			return s, nil
		}
	}
	return consumer.Status{}, fmt.Errorf("%s %s is not read: %s", p.kind, p.replica, text)
}
