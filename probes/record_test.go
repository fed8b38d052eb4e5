package probes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
)

// nft135 is what kube-proxy wrote up to 1.35: a verdict map to a chain for each endpoint.
const nft135 = `
add table ip kube-proxy
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add chain ip kube-proxy service-WEB
add chain ip kube-proxy endpoint-1
add chain ip kube-proxy endpoint-2
add rule ip kube-proxy nat-output ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy service-WEB numgen random mod 2 vmap { 0 : goto endpoint-1 , 1 : goto endpoint-2 }
add rule ip kube-proxy endpoint-1 ip saddr 10.244.1.2 meta mark set 0x4000
add rule ip kube-proxy endpoint-1 meta l4proto tcp dnat to 10.244.1.2:8080
add rule ip kube-proxy endpoint-2 meta l4proto tcp dnat to 10.244.2.3:8080
add element ip kube-proxy service-ips { 10.96.0.10 . tcp . 80 : goto service-WEB }
`

const nftIPv6 = `
add table ip6 kube-proxy
add chain ip6 kube-proxy nat-output { type nat hook output priority -100 ; }
add map ip6 kube-proxy service-ips { type ipv6_addr . inet_proto . inet_service : verdict ; }
add chain ip6 kube-proxy service-WEB
add rule ip6 kube-proxy nat-output ip6 daddr . meta l4proto . th dport vmap @service-ips
add rule ip6 kube-proxy service-WEB meta l4proto tcp dnat ip6 addr . port to numgen random mod 1 map { 0 : fd00:244::2 . 8080 }
add element ip6 kube-proxy service-ips { fd00:96::10 . tcp . 80 : goto service-WEB }
`

// TestRecordings asks a real kernel for rule sets in every way in which the probe asks, and holds that what the fuzz target
// promises of an answer is so. With -record the answers become its seeds.
func TestRecordings(t *testing.T) {
	for _, r := range []struct {
		name, table string
		family      uint8
		load        func(*freshnet.Namespace)
		maps        []string
	}{
		{"nftables-1.36", "kube-proxy", unix.NFPROTO_IPV4, func(ns *freshnet.Namespace) { nft(t, ns, read(t, "nftables-1.36.nft")) }, []string{"service-ips", "__map0"}},
		{"nftables-1.35", "kube-proxy", unix.NFPROTO_IPV4, func(ns *freshnet.Namespace) { nft(t, ns, nft135) }, []string{"__map0"}},
		{"nftables-ipv6", "kube-proxy", unix.NFPROTO_IPV6, func(ns *freshnet.Namespace) { nft(t, ns, nftIPv6) }, []string{"__map0"}},
		{"iptables-1.36", "nat", unix.NFPROTO_IPV4, func(ns *freshnet.Namespace) { restore(t, ns, read(t, "iptables-1.36.rules")) }, nil},
	} {
		ns := freshnet.New(t, "nft", "iptables-nft-restore")
		r.load(ns)
		sock, err := openRecorder(ns)
		must(t, err)
		ask := func(name string, msg uint16, dump bool, a []byte) {
			t.Helper()
			d, err := sock.ask(msg, r.family, dump, a)
			must(t, err)
			if n := checkAnswers(t, d, dump, 1); n == 0 {
				t.Errorf("%s %s: the kernel's answer holds nothing", r.name, name)
			}
			if *record {
				writeSeed(t, "FuzzAnswers", r.name+"-"+name, d, dump)
			}
		}
		table := ruleset{family: r.family, table: r.table}
		ask("generation", unix.NFT_MSG_GETGEN, false, nil)
		ask("chains", unix.NFT_MSG_GETCHAIN, true, table.named(0, ""))
		ask("rules", unix.NFT_MSG_GETRULE, true, table.named(0, ""))
		for _, m := range r.maps {
			ask("set-"+m, unix.NFT_MSG_GETSET, false, table.named(unix.NFTA_SET_NAME, m))
			ask("elements-"+m, unix.NFT_MSG_GETSETELEM, true, table.named(unix.NFTA_SET_ELEM_LIST_SET, m))
		}
		unix.Close(sock.fd)
	}
}

// writeSeed writes a seed in the format of `go test fuzz v1`.
func writeSeed(t *testing.T, target, name string, data []byte, dump bool) {
	dir := filepath.Join("testdata", "fuzz", target)
	must(t, os.MkdirAll(dir, 0o755))
	text := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\nbool(%v)\n", data, dump)
	must(t, os.WriteFile(filepath.Join(dir, strings.Trim(name, "_")), []byte(text), 0o644))
}

// recorder is a socket of its own that keeps datagrams as they come.
type recorder struct {
	fd  int
	seq uint32
}

func openRecorder(ns *freshnet.Namespace) (r *recorder, err error) {
	r = &recorder{}
	return r, ns.Do(func() error {
		if r.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			return err
		}
		return unix.Bind(r.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
}

// ask returns the datagrams of an answer behind each other.
func (r *recorder) ask(msg uint16, family uint8, dump bool, attrs []byte) (all []byte, err error) {
	r.seq = 1
	flags := uint16(unix.NLM_F_REQUEST)
	if dump {
		flags |= unix.NLM_F_DUMP
	}
	var req []byte
	ne := binary.NativeEndian
	req = ne.AppendUint32(req, uint32(unix.NLMSG_HDRLEN+nfHeaderLen+len(attrs)))
	req = ne.AppendUint16(req, unix.NFNL_SUBSYS_NFTABLES<<8|msg)
	req = ne.AppendUint16(req, flags)
	req = ne.AppendUint32(req, r.seq)
	req = ne.AppendUint32(req, 0)
	req = append(append(req, family, unix.NFNETLINK_V0, 0, 0), attrs...)
	if err := unix.Sendto(r.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(r.fd, buf, 0)
		if err != nil {
			return nil, err
		}
		all = append(all, buf[:n]...)
		s := netfilterSocket{seq: r.seq}
		if done, err := s.answers(buf[:n], dump, func(uint16, []byte) error { return nil }); done {
			return all, err
		}
	}
}

// TestStrangeRulesInIPTables: a rule in one of kube-proxy's chains that no iptables writes so far may lead to the endpoint.
// It is not called gone. (Found by FuzzReachable.)
func TestStrangeRulesInIPTables(t *testing.T) {
	sep := chainNames("SEP(shop/web:http,10.244.1.2:8080)")
	svc := chainNames("SVC(shop/web:http)")
	for name, edit := range map[string]string{
		"a map in the endpoint's chain": "flush chain ip nat " + sep + "\nadd rule ip nat " + sep +
			" meta l4proto tcp dnat ip addr . port to numgen inc mod 1 map { 0 : 10.244.1.2 . 8080 }\n",
		"an address without a port": "flush chain ip nat " + sep + "\nadd rule ip nat " + sep + " dnat to 10.244.1.2\n",
		"a verdict map in the service's chain": "flush chain ip nat " + svc + "\nadd rule ip nat " + svc +
			" numgen random mod 1 vmap { 0 : goto " + sep + " }\n",
	} {
		ns := freshnet.New(t, "nft", "iptables-nft-restore")
		restore(t, ns, read(t, "iptables-1.36.rules"))
		var found Found
		must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
		nft(t, ns, edit)
		must(t, ns.Do(func() error {
			sock, err := openNetfilter()
			if err != nil {
				return err
			}
			defer sock.close()
			k := &KubeProxy{planes: found.planes(sock)}
			if ok, err := k.reachable(newMemo(found.baseChains), web1); ok || !errors.Is(err, errLayout) {
				t.Errorf("%s: reachable %v, %v, want %v", name, ok, err, errLayout)
			}
			return nil
		}))
	}
}
