package consumer

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// traefik shows its services on the API's entry point. The object that is shown is the one that
// routes (the API followed the last answer of the pod by at most 40 ms, Traefik 3.7.13). A fenced server gets
// requests of sticky sessions only (pkg/server/service/loadbalancer, v3.7).
var traefik = Kind{
	Name: "traefik", Fidelity: ShowsDataplane,
	Find: []Finder{{Product: "Traefik", Labels: map[string]string{"app.kubernetes.io/name": "traefik"}, PortName: "traefik", Port: 8080}},
	Open: func(s Source) (*Reader, error) {
		g := newGetter(s)
		return &Reader{Close: g.close, Read: func(ctx context.Context, _ []Want, active Active) (Answer, error) {
			for i, path := range traefikPaths {
				err := g.get(ctx, s.Path+path, "", func(a *http.Response, body *bounded) error {
					// The last page names the first as the next (pkg/api/handler.go, pagination).
					if next := a.Header.Get("X-Next-Page"); next != "" && next != "1" {
						return fmt.Errorf("it has more than %d services", traefikPage)
					}
					return parseTraefik(body, i == 0, addressOnly(active))
				})
				if err != nil {
					return Answer{}, err
				}
			}
			return Answer{}, nil
		}}, nil
	},
}

const traefikPage = 100_000

var traefikPaths = []string{
	fmt.Sprintf("/api/http/services?per_page=%d", traefikPage), // never empty: Traefik's own are there
	fmt.Sprintf("/api/tcp/services?per_page=%d", traefikPage),
	fmt.Sprintf("/api/udp/services?per_page=%d", traefikPage),
}

// parseTraefik reads a list of services. serverStatus stays "UP" for a fenced server and is not looked at.
func parseTraefik(r io.Reader, some bool, active func(netip.AddrPort)) error {
	w := newWalker(r)
	services := 0
	err := w.array("list of services", func() error {
		services++
		return w.object("services", func(key string) error {
			if key != "loadBalancer" {
				return w.skip()
			}
			return w.object("loadBalancer", func(key string) error {
				if key != "servers" {
					return w.skip()
				}
				return w.array("servers", func() error {
					var s struct {
						URL, Address string
						Fenced       bool
					}
					if err := w.value("servers", &s); err != nil {
						return err
					}
					if at, ok := serverAddress(s.URL, s.Address); ok && !s.Fenced {
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
	case some && services == 0:
		return shapeError{"services"}
	}
	return w.end()
}

// serverAddress is that of a server's URL, or of "host:port"; a host name is none.
func serverAddress(link, address string) (netip.AddrPort, bool) {
	if link != "" {
		u, err := url.Parse(link)
		if err != nil {
			return netip.AddrPort{}, false
		}
		port := u.Port()
		switch {
		case port != "":
		case u.Scheme == "https":
			port = "443"
		default:
			port = "80"
		}
		address = net.JoinHostPort(u.Hostname(), port)
	}
	at, err := netip.ParseAddrPort(address)
	return at, err == nil
}

// addressOnly is for kinds whose answers are not by Service.
func addressOnly(active Active) func(netip.AddrPort) {
	return func(at netip.AddrPort) { active(ledger.ServicePort{}, at) }
}
