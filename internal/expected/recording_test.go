//go:build linux

package expected

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// line writes a path and its frontends as recordings have it: "local ns/name:port/tcp 10.0.0.1:80 via 10.96.0.1:80 *:30080".
func line(r ledger.Removal) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s/%s %s via", r.Path.Policy, r.Path.Service, r.Path.Service.Protocol, r.Path.Endpoint)
	for _, f := range r.Frontends {
		b.WriteString(" " + frontend(f))
	}
	return b.String()
}

func frontend(f ledger.Frontend) string {
	if f.Addr.IsValid() {
		return netip.AddrPortFrom(f.Addr, f.Port).String()
	}
	return "*:" + strconv.Itoa(int(f.Port))
}

func parseLine(text string) (r ledger.Removal, err error) {
	words := strings.Fields(text)
	if len(words) < 4 || words[3] != "via" {
		return r, fmt.Errorf("no path: %q", text)
	}
	parts := strings.Split(words[1], "/")
	if len(parts) != 3 {
		return r, fmt.Errorf("no service port: %q", text)
	}
	r.Path.Policy = ledger.Policy(words[0])
	r.Path.Service.Namespace, r.Path.Service.Protocol = parts[0], parts[2]
	r.Path.Service.Name, r.Path.Service.Port, _ = strings.Cut(parts[1], ":")
	if r.Path.Endpoint, err = netip.ParseAddrPort(words[2]); err != nil {
		return r, err
	}
	for _, w := range words[4:] {
		if port, ok := strings.CutPrefix(w, "*:"); ok {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return r, err
			}
			r.Frontends = append(r.Frontends, ledger.Frontend{Port: uint16(n)})
			continue
		}
		ap, err := netip.ParseAddrPort(w)
		if err != nil {
			return r, err
		}
		r.Frontends = append(r.Frontends, ledger.Frontend{Addr: ap.Addr(), Port: ap.Port()})
	}
	return r, nil
}
