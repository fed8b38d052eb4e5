//go:build linux

package expected

import (
	"fmt"
	"net/netip"
)

// packet is the first of a new connection. Where it can go is answered here from the listings of the node's own
// tools, with the rules' conditions and without regard to the names of chains: by other means than the probe's.
type packet struct {
	client string // "pod", "node" or "outside"

	src, dst           netip.Addr
	srcLocal, dstLocal bool // an address of the node itself
	proto              string
	port               uint16
}

// answer is whether a condition holds; what chance or memory decides (statistic, recent, affinity) may.
type answer int

const (
	no answer = iota
	may
	yes
)

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

func (a answer) not() answer { return yes - a }

func (a answer) and(b answer) answer { return min(a, b) }

// routes is where a packet can be sent.
type routes map[netip.AddrPort]bool

// within reports whether an address is in what a rule writes as an address or a prefix.
func within(addr netip.Addr, text string) (answer, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return is(p.Contains(addr)), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return no, fmt.Errorf("no address: %q", text)
	}
	return is(a == addr), nil
}
