package probes

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestBothHooked: a path has landed when the last of them lets go, whoever that is; and who does is taken for the one
// that kube-proxy programs.
func TestBothHooked(t *testing.T) {
	ns := legacyNamespace(t, "iptables-nft-restore")
	restore(t, ns, read(t, "iptables-1.36.rules"))
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	var found Found
	must(t, ns.Do(func() (err error) { found, err = Detect(Hints{Mover: iptablesLegacy}); return err }))
	if found.Backend != iptablesLegacy || len(found.backends) != 1 || len(found.legacy) != 1 {
		t.Fatalf("found %+v", found)
	}
	for _, tt := range []struct {
		r           ledger.Removal
		first, last func(testing.TB, *freshnet.Namespace, string)
		edit        string
	}{
		{web1, restore, restoreLegacy, legacyWithoutWeb1},
		{api1, restoreLegacy, restore, legacyDispatchesNoMore},
	} {
		p := start(t, ns, KubeProxyConfig{})
		p.Watch([]ledger.Removal{tt.r, web2})
		p.reads(t)
		tt.first(t, ns, tt.edit)
		p.reads(t)
		if len(p.landings) > 0 {
			t.Fatalf("%v landed although one still routes it", tt.r.Path)
		}
		began := time.Now()
		tt.last(t, ns, tt.edit)
		ended := time.Now()
		ld := receive(t, p.landings, "landing")
		if ld.Key != tt.r.Key || ld.Lo.IsZero() || ld.Hi.Before(began) || ld.Lo.After(ended) {
			t.Errorf("%v landed in (%v, %v], want it to hold the last commit in (%v, %v]", ld.Key, ld.Lo, ld.Hi, began, ended)
		}
	}
}

// TestDataplaneChangesToLegacy: kube-proxy comes back on iptables-legacy; what is pending goes on.
func TestDataplaneChangesToLegacy(t *testing.T) {
	ns := legacyNamespace(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	var found Found
	must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
	landings := make(chan ledger.Landing, 1)
	k, err := NewKubeProxy(KubeProxyConfig{Verified: func(time.Duration) {}, Land: func(ls []ledger.Landing) { landings <- ls[0] }})
	must(t, err)
	k.lookGap = 50 * time.Millisecond
	k.Watch([]ledger.Removal{web2})
	done := make(chan error, 1)
	go func() { done <- ns.Do(func() error { return k.Run(t.Context(), found) }) }()
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	if err := receive(t, done, "end of Run"); !errors.Is(err, ErrDataplaneChanged) || !strings.Contains(err.Error(), iptablesLegacy) {
		t.Fatalf("Run: %v, want %v to %s", err, ErrDataplaneChanged, iptablesLegacy)
	}
	must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
	k.lookGap = time.Hour
	go func() { done <- ns.Do(func() error { return k.Run(t.Context(), found) }) }()
	nft(t, ns, "flush ruleset\n")
	began := time.Now()
	restoreLegacy(t, ns, "*nat\n-F OUTPUT\n-F PREROUTING\nCOMMIT\n")
	if ld := receive(t, landings, "landing"); ld.Key != web2.Key || ld.Lo.IsZero() || ld.Hi.Before(began) {
		t.Errorf("landed in (%v, %v], want it after %v", ld.Lo, ld.Hi, began)
	}
}

func TestLastOf(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	landing := func(lo, hi int) ledger.Landing {
		ld := ledger.Landing{Interval: ledger.Interval{Hi: at(hi)}}
		if lo != 0 {
			ld.Lo = at(lo)
		}
		return ld
	}
	for _, tt := range []struct {
		name            string
		nft, legacy     ledger.Landing
		inNFT, inLegacy bool
		lo, hi          int // 0: no bound
	}{
		{"legacy is later", landing(1, 2), landing(5, 9), true, true, 5, 9},
		{"nf_tables is later", landing(5, 6), landing(1, 3), true, true, 5, 6},
		{"they overlap", landing(2, 6), landing(1, 8), true, true, 2, 8},
		{"only in legacy: what nf_tables may have done before counts for nothing", landing(3, 4), landing(1, 3), false, true, 1, 4},
		{"only in nf_tables: legacy let go by its first read at the latest", landing(3, 4), landing(0, 5), true, false, 3, 5},
		{"never seen in either", landing(3, 4), landing(0, 5), false, false, 0, 5},
	} {
		got := lastOf(tt.nft, tt.inNFT, tt.legacy, tt.inLegacy)
		want := landing(tt.lo, tt.hi)
		if !got.Lo.Equal(want.Lo) || !got.Hi.Equal(want.Hi) || got.Absent {
			t.Errorf("%s: (%v, %v] absent=%v, want (%v, %v]", tt.name, got.Lo, got.Hi, got.Absent, want.Lo, want.Hi)
		}
	}
}
