package consumer

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// ingressNginx shows what the controller posted last. Each worker takes it over by a timer of its
// own, each second (rootfs/etc/nginx/lua/balancer.lua, BACKENDS_SYNC_INTERVAL): hence the lag bound. The port
// beside it, 10247, must never be touched: a connection to it wipes the TCP backends.
var ingressNginx = Kind{
	Name: "ingress-nginx", Fidelity: ShowsConfig, Lag: time.Second,
	Find: []Finder{{Product: "ingress-nginx",
		Labels:    map[string]string{"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"},
		Container: "controller", Unread: "its status server listens on 127.0.0.1:10246 of its pod", Local: 10246}},
	Open: func(s Source) (*Reader, error) {
		g := newGetter(s)
		return &Reader{Close: g.close, Read: func(ctx context.Context, _ []Want, active Active) (Answer, error) {
			return Answer{}, g.get(ctx, cmp.Or(s.Path, "/configuration/backends"), "", func(_ *http.Response, body *bounded) error {
				return parseIngressNginx(body, addressOnly(active))
			})
		}}, nil
	},
}

// parseIngressNginx reads a list of backends. Their names are ambiguous (namespace-service-port, and all three may
// have dashes): addresses count.
func parseIngressNginx(r io.Reader, active func(netip.AddrPort)) error {
	w := newWalker(r)
	backends := 0
	err := w.array("list of backends", func() error {
		backends++
		return w.object("backends", func(key string) error {
			if key != "endpoints" {
				return w.skip()
			}
			return w.array("endpoints", func() error {
				var e struct{ Address, Port string }
				if err := w.value("endpoints", &e); err != nil {
					return err
				}
				if at, err := netip.ParseAddrPort(net.JoinHostPort(e.Address, e.Port)); err == nil {
					active(at)
				}
				return nil
			})
		})
	})
	switch {
	case err != nil:
		return err
	case backends == 0:
		return shapeError{"backends"} // even without an Ingress the default backend is there
	}
	return w.end()
}
