package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/serving"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestServed: what serves a workload and is not read is named in its rows, and nothing is called safe that it may send to. What does
// not serve it is not named.
func TestServed(t *testing.T) {
	proxy, nginx := serving.Way{Place: kubeProxy}, serving.Way{Place: "ingress-nginx", Controller: "k8s.io/ingress-nginx"}
	dns, own := serving.Way{Place: "dns"}, serving.Way{Controller: "example.com/gateway"}
	read := func(kind string) ledger.Consumer { return ledger.Consumer{Place: kind, Replica: "edge/" + kind} }
	unread := func(kind string) ledger.Consumer {
		return ledger.Consumer{Place: kind, Replica: "edge/" + kind, Unread: "on localhost"}
	}
	for _, tt := range []struct {
		name   string
		serves serving.Serves
		reads  []ledger.Consumer
		want   []string // place: beginning of why
	}{
		{"kube-proxy alone", serving.Serves{Ways: []serving.Way{proxy}}, nil, nil},
		{"an Ingress, and nobody reads who serves it", serving.Serves{Ways: []serving.Way{proxy, nginx}}, nil,
			[]string{"ingress-nginx: it serves this workload (k8s.io/ingress-nginx), and no agent reads a replica of it"}},
		{"one that is read", serving.Serves{Ways: []serving.Way{proxy, nginx}}, []ledger.Consumer{read("ingress-nginx")}, nil},
		{"one that cannot be read", serving.Serves{Ways: []serving.Way{proxy, nginx}}, []ledger.Consumer{unread("ingress-nginx")},
			[]string{"ingress-nginx: it serves this workload, and 1 of 1 replica cannot be read (edge/ingress-nginx: on localhost)"}},
		{"one that cannot be read, and serves others", serving.Serves{Ways: []serving.Way{proxy}}, []ledger.Consumer{unread("ingress-nginx"), unread("node-local-dns")}, nil},
		{"one that may serve whom it likes", serving.Serves{Ways: []serving.Way{proxy}}, []ledger.Consumer{unread("envoy")},
			[]string{"envoy: 1 of 1 replica cannot be read, and whether they send to this pod is not known"}},
		{"one whose routes lead elsewhere", serving.Serves{Ways: []serving.Way{proxy}, Other: []string{"traefik"}}, []ledger.Consumer{unread("traefik")},
			[]string{"traefik: 1 of 1 replica cannot be read, and whether they send to this pod is not known"}},
		{"a controller that nobody knows", serving.Serves{Ways: []serving.Way{own, proxy}}, nil,
			[]string{"example.com/gateway: it serves this workload, and lastcall does not know how to read it"}},
		{"labels are not known", serving.Serves{Ways: []serving.Way{proxy, nginx}, Maybe: true}, []ledger.Consumer{unread("ingress-nginx")},
			[]string{"ingress-nginx: 1 of 1 replica cannot be read, and whether they send to this pod is not known"}},
		{"labels are not known, and nobody reads", serving.Serves{Ways: []serving.Way{proxy, nginx}, Maybe: true}, nil,
			[]string{"ingress-nginx: it may serve this workload (k8s.io/ingress-nginx), and no agent reads a replica of it"}},
		{"a headless Service", serving.Serves{Ways: []serving.Way{dns}}, nil, []string{"dns: it serves this workload by a headless Service, and no agent reads a replica of it"}},
		{"a headless Service and its cache", serving.Serves{Ways: []serving.Way{dns}}, []ledger.Consumer{read("dns"), unread("node-local-dns")},
			[]string{"node-local-dns: it serves this workload, and 1 of 1 replica"}},
		{"nobody may look", serving.Serves{Unknown: "no right"}, []ledger.Consumer{read("traefik"), unread("dns")},
			[]string{"consumers: which of them serve this workload is not known: no right", "dns: 1 of 1 replica cannot be read, and whether"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "a")
			w.compare(ms)
			asked := ""
			w.j.serves = func(namespace, workload string) (serving.Serves, bool) {
				asked = namespace + " " + workload
				return tt.serves, false
			}
			w.reads("a", tt.reads...)
			w.deleted("a", 0, 30, sleeps("web", 5, 8080))
			w.seen("a", 10*ms)
			w.landed("a", 10*ms, 98*ms, 100*ms)
			w.applied(11)
			d := w.judged(3 * time.Second)
			late := report.No
			if len(tt.want) > 0 {
				late = report.Unknown
			}
			if !d.Complete || d.Late != late || d.Answered != 1 || d.Expected != 1 || len(d.Missing) != len(tt.want) || asked != "shop deployment/web" {
				t.Fatalf("asked for %q, late %s, missing %+v", asked, d.Late, d.Missing)
			}
			for i, m := range d.Missing {
				if m.Kind != m.Place || !strings.HasPrefix(m.Place+": "+m.Why, tt.want[i]) {
					t.Errorf("%+v, want %s", m, tt.want[i])
				}
			}
		})
	}
}

// TestServedSoon: a row waits a moment for the answer, and no longer.
func TestServedSoon(t *testing.T) {
	w := newWorld(t, "a")
	w.compare(ms)
	soon := true
	w.j.serves = func(string, string) (serving.Serves, bool) { return serving.Serves{}, soon }
	w.deleted("a", 0, 30, sleeps("web", 5, 8080))
	w.seen("a", 10*ms)
	w.landed("a", 10*ms, 98*ms, 100*ms)
	w.applied(11)
	if d := w.judged(learning - time.Second); d.Complete {
		t.Error("complete before it is known what serves the workload")
	}
	if d := w.judged(learning); !d.Complete {
		t.Error("waits for ever")
	}
}

// TestServedEverywhere: places, explain and recommendations name what serves and is not read.
func TestServedEverywhere(t *testing.T) {
	f := newFleet(t, "a")
	f.serves = func(namespace, _ string) (serving.Serves, bool) {
		if namespace != "shop" {
			return serving.Serves{}, false
		}
		return serving.Serves{Ways: []serving.Way{{Place: kubeProxy}, {Place: "traefik", Controller: "traefik.io"}}}, false
	}
	f.served = func() []serving.Served {
		name := serving.Name{Namespace: "shop", Name: "web"}
		return []serving.Served{{Way: serving.Way{Place: kubeProxy}, Services: 3, Example: name}, {Way: serving.Way{Place: "traefik", Controller: "traefik.io"}, Services: 1, Example: name},
			{Way: serving.Way{Place: "traefik", Controller: "traefik.io/two"}, Services: 1, Example: name}, {Way: serving.Way{Controller: "example.com/own"}, Services: 2, Example: name}}
	}
	f.start()
	defer f.stop()
	f.agents[0].leave("u", true)
	f.until("the row names it", func() (bool, string) {
		d, err := f.hub.Departure(t.Context(), "u")
		return err == nil && d.Complete && len(d.Missing) == 1 && d.Missing[0].Kind == "traefik", fmt.Sprint(d, err)
	})
	f.until("the recommendation is a lower bound for it", func() (bool, string) {
		v, err := f.hub.Advice(t.Context(), Ask{Namespace: "shop", Workload: "deployment/web"})
		return err == nil && len(v.Missing) == 1 && v.Missing[0].Kind == "traefik" && v.Missing[0].Departures == 0, fmt.Sprint(v, err)
	})
	f.until("places name it", func() (bool, string) {
		ps, err := f.hub.Places(t.Context())
		var got []string
		for _, p := range ps {
			if p.Node == "" {
				got = append(got, fmt.Sprint(p.Kind, " ", p.State, ": ", p.Why))
			}
		}
		want := []string{"example.com/own NOT MEASURED: it serves 2 Services, such as shop/web, and lastcall does not know how to read it",
			"traefik NOT MEASURED: it serves 1 Service, such as shop/web, and no agent reads a replica of it"}
		return err == nil && strings.Join(got, "\n") == strings.Join(want, "\n"), fmt.Sprint(got, err)
	})
	// Once an agent reads a replica, there is nothing to name.
	n := f.hub.join.nodes["a"]
	f.hub.mu.Lock()
	n.consumed([]ledger.Consumer{{Place: "traefik", Replica: "edge/x"}})
	f.hub.mu.Unlock()
	if ms := f.hub.notMeasured(workloadKey{"shop", "deployment/web"}); len(ms) != 0 {
		t.Errorf("%+v", ms)
	}
}
