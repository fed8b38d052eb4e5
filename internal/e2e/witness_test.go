//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestWitnessAgainstClients: a restart without preStop under load from every node, one with a kube-proxy that is
// stuck for 2 s longer than the others.
// What the witness proves to be refused is what the clients could not connect to, within 5 %, when each of them comes from a
// port of its own. Those that take the port of one that had no answer are lost unseen (probes, TestWitnessOfTheSamePortAgain).
func TestWitnessAgainstClients(t *testing.T) {
	w := newWorld(t)
	s := w.shop(t, "witness", 2, 0)
	var agents []*nodeagent.Agent
	var clients []*clientLoad
	for _, n := range w.Nodes {
		agents = append(agents, w.agent(t, n.Name))
		clients = append(clients, s.load(t, n.Name))
	}
	old := s.pods(t)
	resume := w.stopKubeProxy(t, w.Nodes[0].Name)
	patch := `{"spec":{"template":{"metadata":{"annotations":{"restarted":"yes"}}}}}`
	if _, err := s.client.AppsV1().Deployments(s.namespace).Patch(t.Context(), "shop", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range old {
		outcome(t, agents[1], string(p.UID))
	}
	<-time.After(2 * time.Second) // it is stuck for so long after the others had let go
	resume()

	for _, p := range old {
		for _, a := range agents {
			outcome(t, a, string(p.UID))
		}
	}
	// A window ends 12 s after the last landing and the pod's end; when nobody listens any more, all lines are written.
	within(t, time.Minute, func() error {
		for _, a := range agents {
			if listens, err := w.listens(a.Node); err != nil || listens {
				return fmt.Errorf("%s still listens to conntrack: %v", a.Node, err)
			}
		}
		return nil
	})
	failed, lost := tallyOf(clients), 0
	own, others := map[string]ledger.Witness{}, map[string]ledger.Flows{}
	for _, a := range agents {
		seen := witnessed(t, a)
		for _, p := range old {
			r, told := seen[string(p.UID)]
			if !told && a.Node != p.Spec.NodeName {
				continue // nothing was sent there from here, and nothing missed
			}
			t.Logf("%s of %s, seen on %s: translated %+v, direct %+v, drain %s", p.Name, p.Spec.NodeName, a.Node, r.DNAT, r.Direct, drainWords(r.Drain))
			if r.Own {
				own[string(p.UID)] = r
			} else {
				o := others[string(p.UID)]
				others[string(p.UID)] = ledger.Flows{Reset: o.Reset + r.DNAT.Reset, Silent: o.Silent + r.DNAT.Silent}
			}
			if r.Own != (a.Node == p.Spec.NodeName) || len(r.Incomplete) != 0 || r.AfterLanding != 0 {
				t.Errorf("%s on %s: own %v, incomplete %v, %d new after landing", p.Name, a.Node, r.Own, r.Incomplete, r.AfterLanding)
			}
		}
	}
	for uid, r := range own { // as the hub does: hub/witness.go
		lost += r.DNAT.Refused() + max(r.Direct.Reset, others[uid].Reset) + max(r.Direct.Silent, others[uid].Silent)
	}
	truth := failed.refused + failed.timeout + failed.unreachable
	t.Logf("clients: %+v; not connected %d, proved by the witness %d", failed, truth, lost)
	if failed.other > 0 {
		t.Errorf("%d connections failed in another way", failed.other)
	}
	if truth < 100 {
		t.Fatalf("only %d connections failed: too few to compare", truth)
	}
	if off := float64(lost)/float64(truth) - 1; off < -0.05 || off > 0 { // it never proves what did not happen
		t.Errorf("the witness proves %d lost, the clients could not make %d: %+.1f %%", lost, truth, 100*off)
	}
	for _, a := range agents {
		metric(t, a, `lastcall_connections_after_landing_total{kind="new",place="kube-proxy"} 0`)
	}
}

// witnessed is what a node's witness said, by pod UID.
func witnessed(t *testing.T, a *nodeagent.Agent) map[string]ledger.Witness {
	t.Helper()
	text, err := a.Get(t.Context(), "http://127.0.0.1:9749/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]ledger.Witness{}
	err = ledger.ReadEvents(strings.NewReader(text), func(e ledger.Event) {
		if e.Type != ledger.EventWitness {
			return
		}
		if _, twice := seen[e.UID]; twice {
			t.Errorf("%s: two witness lines of %s", a.Node, e.UID)
		}
		seen[e.UID] = *e.Witness
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// listens reports whether somebody on the node listens to conntrack's events.
func (w *world) listens(node string) (bool, error) {
	out, err := w.Command(node, "cat", "/proc/net/netlink").Output()
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "12" && f[3] == "00000007" { // NETLINK_NETFILTER; NEW, UPDATE, DESTROY
			return true, nil
		}
	}
	return false, nil
}

// tally is what became of clients' connections. Cut: connected, and reset or closed before an answer.
type tally struct{ ok, refused, timeout, unreachable, cut, other int }

// clientLoad makes connections from a node as long as its test runs.
type clientLoad struct {
	mu sync.Mutex
	tally
	stop func()
}

func tallyOf(cs []*clientLoad) (sum tally) {
	for _, c := range cs {
		c.stop()
		sum.ok += c.ok
		sum.refused += c.refused
		sum.timeout += c.timeout
		sum.unreachable += c.unreachable
		sum.cut += c.cut
		sum.other += c.other
	}
	return sum
}

// load requests a page through the Service over a new connection each time: 40 clients, 5 requests a second each at most.
func (s *shop) load(t *testing.T, node string) *clientLoad {
	ctx, cancel := context.WithCancel(context.Background())
	c := &clientLoad{}
	var clients sync.WaitGroup
	dial := s.fromOwnPorts(node)
	for i := range 40 {
		clients.Go(func() {
			<-time.After(time.Duration(i) * 5 * time.Millisecond) // one after the other, not all at once
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				err := request(dial, netip.AddrPortFrom(s.vip, 80).String())
				c.mu.Lock()
				c.count(err)
				c.mu.Unlock()
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	c.stop = func() { cancel(); clients.Wait() }
	t.Cleanup(c.stop)
	return c
}

// fromOwnPorts dials from a node, from another port each time. None is of the range that the kernel chooses from (32768 up), or of
// those that listen on a node.
func (w *world) fromOwnPorts(node string) func(context.Context, string, string) (net.Conn, error) {
	var used atomic.Int32
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		from := &net.TCPAddr{Port: 12000 + int(used.Add(1))}
		if from.Port >= 32768 {
			return nil, errors.New("no port is left")
		}
		err = w.RunIn(node, func() error {
			c, err = (&net.Dialer{LocalAddr: from}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
}

var errCut = errors.New("connected, but not answered")

func request(dial func(context.Context, string, string) (net.Conn, error), address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second) // a busy machine takes more than 1 s at times
	defer cancel()
	c, err := dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // it is open
	fmt.Fprintf(c, "GET / HTTP/1.0\r\n\r\n")
	if answer, err := io.ReadAll(c); err != nil || len(answer) == 0 {
		return errors.Join(errCut, err)
	}
	return nil
}

func (t *tally) count(err error) {
	switch {
	case err == nil:
		t.ok++
	case errors.Is(err, errCut), errors.Is(err, syscall.ECONNRESET): // before a connection stands, a reset is ECONNREFUSED
		t.cut++
	case errors.Is(err, syscall.ECONNREFUSED):
		t.refused++
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		t.unreachable++
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		t.timeout++
	default:
		t.other++
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func drainWords(d *ledger.Drain) string {
	if d == nil {
		return "none"
	}
	return fmt.Sprintf("%d closed, %d cut, %d whose end was not seen", d.Closed, d.Cut, d.Open)
}
