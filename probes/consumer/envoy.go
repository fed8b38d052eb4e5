package consumer

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// envoy is every product that routes with Envoy. /clusters shows the main thread's host sets with their health.
//
// Additions and removals are posted to the workers at once, and each takes them in the next turn of its loop: that a worker
// gets no processor for so long is what LagGone allows for. A change of health alone, such as Envoy Gateway's DRAINING, may be
// merged for a second (source/common/upstream/cluster_manager_impl.cc, is_mergeable; update_merge_window of the
// cluster's common_lb_config).
var envoy = Kind{
	Name: "envoy", Fidelity: ShowsDataplane, Lag: time.Second, LagGone: 100 * time.Millisecond,
	Find: []Finder{
		{Product: "Contour", Labels: map[string]string{"app": "envoy"}, Container: "envoy", Unread: "its admin interface listens on 127.0.0.1:9001 of its pod", Local: 9001},
		{Product: "Envoy Gateway", Labels: map[string]string{"app.kubernetes.io/managed-by": "envoy-gateway", "app.kubernetes.io/component": "proxy"}, Container: "envoy", Unread: "its admin interface listens on 127.0.0.1:19000 of its pod", Local: 19000},
		{Product: "Istio gateway", Labels: map[string]string{"istio": "ingressgateway"}, Container: "istio-proxy", Unread: "its admin interface listens on 127.0.0.1:15000 of its pod", Local: 15000},
	},
	Open: func(s Source) (*Reader, error) {
		g := newGetter(s)
		return &Reader{Close: g.close, Read: func(ctx context.Context, _ []Want, active Active) (Answer, error) {
			drains := map[netip.AddrPort]struct{}{}
			err := g.get(ctx, cmp.Or(s.Path, "/clusters?format=json"), "", func(_ *http.Response, body *bounded) error {
				return parseEnvoy(body, addressOnly(active), func(at netip.AddrPort) { drains[at] = struct{}{} })
			})
			if len(drains) > maxActive {
				drains = nil
			}
			return Answer{Drains: drains}, err
		}}, nil
	},
}

// parseEnvoy reads admin.v3.Clusters.
//
// DRAINING, UNHEALTHY and TIMEOUT are what the control plane says: such a host is not chosen, unless so
// few are healthy that Envoy panics and chooses any. A host that failed a health check or was ejected is still a
// member and may come back by itself: it counts as active. So does one that is pending_dynamic_removal: it was
// removed, and is kept and chosen as long as its health check passes (Envoy 1.40.0, testdata/envoy-clusters.jsonl).
func parseEnvoy(r io.Reader, active, drains func(netip.AddrPort)) error {
	w := newWalker(r)
	found := false
	err := w.object("cluster_statuses", func(key string) error {
		if key != "cluster_statuses" {
			return w.skip()
		}
		found = true
		return w.array("cluster_statuses", func() error {
			return w.object("clusters", func(key string) error {
				if key != "host_statuses" {
					return w.skip()
				}
				return w.array("host_statuses", func() error {
					var h envoyHost
					if err := w.value("host_statuses", &h); err != nil {
						return err
					}
					switch at, ok := h.at(); {
					case !ok:
					case h.drains():
						drains(at)
					default:
						active(at)
					}
					return nil
				})
			})
		})
	})
	switch {
	case err != nil:
		return err
	case !found:
		return shapeError{"cluster_statuses"}
	}
	return w.end()
}

type envoyHost struct {
	Address struct {
		Socket struct {
			Address string `json:"address"`
			Port    uint16 `json:"port_value"`
		} `json:"socket_address"`
	} `json:"address"`
	Health struct {
		EDS string `json:"eds_health_status"`
	} `json:"health_status"`
}

func (h envoyHost) at() (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(h.Address.Socket.Address)
	return netip.AddrPortFrom(a.Unmap().WithZone(""), h.Address.Socket.Port), err == nil
}

func (h envoyHost) drains() bool {
	switch h.Health.EDS {
	case "DRAINING", "UNHEALTHY", "TIMEOUT":
		return true
	}
	return false
}
