package probes

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
)

var record = flag.Bool("record", false, "write what this kernel answers to testdata anew: tables, and seeds of FuzzAnswers")

// recordings are what this machine's kernel answered (amd64) when iptables-1.36.rules and the IPv6 rules were loaded:
// struct ipt_getinfo, then the entries.
var recordings = map[uint8]string{unix.NFPROTO_IPV4: "testdata/legacy-nat-4.bin", unix.NFPROTO_IPV6: "testdata/legacy-nat-6.bin"}

func recorded(t testing.TB, family uint8) (tableInfo, []byte) {
	t.Helper()
	b, err := os.ReadFile(recordings[family])
	must(t, err)
	return decodeTableInfo(b), b[tableInfoLen:]
}

// TestRecordedTable reads tables without a kernel: chains, jumps by offset, addresses.
func TestRecordedTable(t *testing.T) {
	for family, want := range map[uint8]map[string]rule{
		unix.NFPROTO_IPV4: {
			"OUTPUT":                             {jumps: []string{"KUBE-SERVICES"}},
			"SVC(shop/web:http)":                 {jumps: []string{"KUBE-MARK-MASQ", "SEP(shop/web:http,10.244.1.2:8080)", "SEP(shop/web:http,10.244.2.3:8080)"}},
			"EXT(shop/web:http)":                 {jumps: []string{"KUBE-MARK-MASQ", "SVC(shop/web:http)"}},
			"SEP(shop/api,10.244.1.4:9090)":      {jumps: []string{"KUBE-MARK-MASQ"}, dnat: []netip.AddrPort{api1.Path.Endpoint}},
			"KUBE-MARK-MASQ":                     {},
			"KUBE-NOT-THERE":                     {},
			"SEP(shop/web:http,10.244.1.2:8080)": {jumps: []string{"KUBE-MARK-MASQ"}, dnat: []netip.AddrPort{web1.Path.Endpoint}},
		},
		unix.NFPROTO_IPV6: {
			"OUTPUT":                                {jumps: []string{"KUBE-SERVICES"}},
			"PREROUTING":                            {},
			"SVC(shop/web:http)":                    {jumps: []string{"SEP(shop/web:http,[fd00:244::2]:8080)"}},
			"SEP(shop/web:http,[fd00:244::2]:8080)": {dnat: []netip.AddrPort{netip.MustParseAddrPort("[fd00:244::2]:8080")}},
		},
	} {
		if *record {
			recordTable(t, family)
		}
		info, b := recorded(t, family)
		table, err := indexTable(family, info, b)
		must(t, err)
		for chain, w := range want {
			rs, err := table.rules(chainNames(chain))
			must(t, err)
			var got rule
			for _, r := range rs {
				got.jumps, got.dnat = append(got.jumps, r.jumps...), append(got.dnat, r.dnat...)
			}
			for i := range w.jumps {
				w.jumps[i] = chainNames(w.jumps[i])
			}
			if !slices.Equal(got.jumps, w.jumps) || !slices.Equal(got.dnat, w.dnat) {
				t.Errorf("family %d, %s: jumps %q, DNAT %v; want %q, %v", family, chain, got.jumps, got.dnat, w.jumps, w.dnat)
			}
		}
		// Cut anywhere, it is refused or has fewer chains, and nobody crashes.
		for n := range len(b) {
			cut, err := indexTable(family, info, b[:n])
			if err == nil && n > 0 && len(cut.heads) >= len(table.heads) {
				t.Fatalf("family %d: %d of %d bytes are taken for the whole", family, n, len(b))
			}
		}
	}
}

func recordTable(t *testing.T, family uint8) {
	t.Helper()
	ns := freshnet.New(t, "iptables-legacy-restore", "ip6tables-legacy-restore")
	if family == unix.NFPROTO_IPV4 {
		restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	} else {
		restoreLegacy6(t, ns, iptablesV6)
	}
	must(t, ns.Do(func() error {
		s, err := openXtables(family)
		if err != nil {
			return err
		}
		defer s.close()
		b := make([]byte, tableInfoLen)
		copy(b, nat)
		if _, err := s.get(xtGetInfo, b); err != nil {
			return err
		}
		var buf tableBuffer
		defer buf.release()
		table, err := s.readTable(&buf)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Clean(recordings[family]), append(b, table.b...), 0o644)
	}))
}

// FuzzTable: bytes that are no table are an error, and never a crash or a walk without end.
func FuzzTable(f *testing.F) {
	for family := range recordings {
		info, b := recorded(f, family)
		f.Add(b, info.entry[unix.NF_INET_LOCAL_OUT], info.underflow[unix.NF_INET_LOCAL_OUT])
	}
	f.Fuzz(func(t *testing.T, b []byte, entry, underflow uint32) {
		info := tableInfo{hooks: 0x1f, size: uint32(len(b))}
		for h := range info.entry {
			info.entry[h], info.underflow[h] = entry, underflow
		}
		for family := range recordings {
			table, err := indexTable(family, info, b)
			if err != nil {
				continue
			}
			for name := range table.heads {
				table.rules(name) //nolint:errcheck // it must only return
			}
			table.rules("OUTPUT") //nolint:errcheck // see above
		}
	})
}
