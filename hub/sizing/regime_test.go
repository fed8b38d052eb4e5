package sizing

import "testing"

// TestUnknownDiffersFromNothing: a kube-proxy that did not answer makes no regime of its own, and hides none that is known.
func TestUnknownDiffersFromNothing(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"v1.36.3", "v1.36.3", true},
		{"v1.36.3", "v1.35.4", false},
		{"", "v1.36.3", true},
		{"unknown, v1.36.3", "v1.36.3", true},
		{"unknown, v1.35.4", "v1.36.3", false},
		{"unknown, v1.36.3", "v1.35.4, v1.36.3", true},
		{"unknown, v1.35.4, v1.36.3", "v1.36.3", false},
		{"unknown, v1.35.4", "unknown, v1.36.3", true}, // each may be the other's
		{"", "", true},
	} {
		for _, order := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			if got := agree(order[0], order[1]); got != c.want {
				t.Errorf("%q and %q agree: %t", order[0], order[1], got)
			}
			r, now := Regime{Version: order[0], Nodes: 3}, Regime{Version: order[1], Nodes: 3}
			if got := r.differs(now); (got == "") != c.want {
				t.Errorf("%q in a regime of %q differs in %q", order[0], order[1], got)
			}
		}
	}
}
