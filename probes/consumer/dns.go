package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// dnsServer is each replica of the cluster's DNS, asked for headless Services: A or AAAA, and SRV where the
// port has a name. CoreDNS's kubernetes plugin follows the EndpointSlice within milliseconds; what takes
// long are caches, its own (plugin cache) and those of clients, which the place does not have.
var dnsServer = Kind{
	Name: "dns", Fidelity: ShowsDataplane, Named: true,
	Find: []Finder{{Product: "CoreDNS", Labels: map[string]string{"k8s-app": "kube-dns"}, PortName: "dns", Port: 53}},
	Open: openDNS,
}

// nodeLocalDNS is the cache on each node. It has a kind of its own: it lets go when an entry's time is over.
var nodeLocalDNS = Kind{
	Name: "node-local-dns", Fidelity: ShowsDataplane, Named: true,
	Find: []Finder{{Product: "NodeLocal DNSCache", Labels: map[string]string{"k8s-app": "node-local-dns"}, PortName: "dns", Port: 53}},
	Open: openDNS,
}

// maxNames bounds how many Services are asked for in one reading.
const maxNames = 2000

func openDNS(s Source) (*Reader, error) {
	if s.Unix != "" || s.TLS {
		return nil, errors.New("dns is asked by an address, such as dns://10.96.0.10")
	}
	d := &resolver{at: s.Addr.String(), domain: cmp.Or(s.Domain, "cluster.local"), answered: map[dns.Question]answered{}}
	return &Reader{Read: d.read, Close: func() {}}, nil
}

// resolver asks one server and learns whether it answers from a cache.
type resolver struct {
	at, domain string

	mu       sync.Mutex
	answered map[dns.Question]answered
	caches   caching
	longest  time.Duration // time to live of any answer
}

// answered is the first of the answers that may come from one entry of a cache.
type answered struct {
	at  time.Time
	ttl time.Duration
}

type caching int

const (
	cachingUnknown caching = iota
	cachesNot
	cachesAnswers
)

func (d *resolver) read(ctx context.Context, of []Want, active Active) (Answer, error) {
	if len(of) > maxNames {
		return Answer{}, fmt.Errorf("%d names to ask for, more than %d", len(of), maxNames)
	}
	// Two ports of a Service share its A record.
	var order []dns.Question
	asking := map[dns.Question][]Want{}
	for _, w := range of {
		for _, q := range d.questions(w) {
			if asking[q] == nil {
				order = append(order, q)
			}
			asking[q] = append(asking[q], w)
		}
	}
	all := Answer{}
	for i, q := range order {
		a, err := d.ask(ctx, q, func(at netip.AddrPort) {
			for _, w := range asking[q] {
				active(w.Service, at)
			}
		})
		if err != nil {
			return Answer{}, err
		}
		all.Age, all.Lag, all.Again = max(all.Age, a.Age), max(all.Lag, a.Lag), max(all.Again, a.Again)
		if i == 0 || a.Hold < all.Hold {
			all.Hold = a.Hold // the first that may change
		}
	}
	return all, nil
}

func (d *resolver) questions(w Want) []dns.Question {
	name := w.Service.Name + "." + w.Service.Namespace + ".svc." + dns.Fqdn(d.domain)
	byFamily := dns.TypeA
	if w.Family == ledger.IPv6 {
		byFamily = dns.TypeAAAA
	}
	qs := []dns.Question{{Name: name, Qtype: byFamily, Qclass: dns.ClassINET}}
	if w.Service.Port != "" {
		qs = append(qs, dns.Question{Name: "_" + w.Service.Port + "._" + w.Service.Protocol + "." + name,
			Qtype: dns.TypeSRV, Qclass: dns.ClassINET})
	}
	return qs
}

func (d *resolver) ask(ctx context.Context, question dns.Question, active func(netip.AddrPort)) (Answer, error) {
	q := new(dns.Msg)
	q.Id, q.Question = dns.Id(), []dns.Question{question}
	// With DO set, a cache keeps the answer apart from those to clients, whose resolvers do not set it
	// (CoreDNS plugin/cache/cache.go, hash): no entry of theirs is made or kept warm by our asking.
	q.SetEdns0(1232, true)
	at := time.Now()
	a, err := exchange(ctx, d.at, q)
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s for %s %s: %w", d.at, question.Name, dns.TypeToString[question.Qtype], broken(err))
	}
	positive, ttl, err := parseDNS(a, question, active)
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s for %s %s: %w", d.at, question.Name, dns.TypeToString[question.Qtype], err)
	}
	return d.note(question, at, positive, ttl), nil
}

// exchange asks over UDP, and over TCP if the answer does not fit.
func exchange(ctx context.Context, at string, q *dns.Msg) (*dns.Msg, error) {
	for _, network := range []string{"udp", "tcp"} {
		c := dns.Client{Net: network}
		a, _, err := c.ExchangeContext(ctx, q, at)
		if err != nil {
			return nil, err
		}
		if !a.Truncated {
			return a, nil
		}
	}
	return nil, errors.New("the answer is cut off, over TCP too")
}

// parseDNS reads an answer: the addresses in it, whether there are any, and how long it may be kept.
func parseDNS(a *dns.Msg, q dns.Question, active func(netip.AddrPort)) (positive bool, ttl time.Duration, err error) {
	if a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError {
		return false, 0, fmt.Errorf("the server answers %s", dns.RcodeToString[a.Rcode])
	}
	if len(a.Question) != 1 || a.Question[0] != q {
		return false, 0, errors.New("the answer is to another question")
	}
	ports := map[string][]uint16{} // by target
	for _, rr := range a.Answer {
		h := rr.Header()
		switch rr := rr.(type) {
		case *dns.A, *dns.AAAA:
			if q.Qtype == h.Rrtype {
				positive = true
				active(netip.AddrPortFrom(address(rr), 0))
			}
		case *dns.SRV:
			positive = true
			ports[rr.Target] = append(ports[rr.Target], rr.Port)
		default:
			continue
		}
		if t := time.Duration(h.Ttl) * time.Second; ttl == 0 || t < ttl {
			ttl = t
		}
	}
	for _, rr := range a.Extra { // CoreDNS adds the addresses of the targets
		for _, port := range ports[rr.Header().Name] {
			if at := address(rr); at.IsValid() {
				active(netip.AddrPortFrom(at, port))
			}
		}
	}
	return positive, ttl, nil
}

func address(rr dns.RR) netip.Addr {
	var a netip.Addr
	switch rr := rr.(type) {
	case *dns.A:
		a, _ = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		a, _ = netip.AddrFromSlice(rr.AAAA)
	}
	return a.Unmap()
}

// note learns from an answer's time to live whether the server caches, and says what that makes of it.
//
// A server that does not cache gives the whole time in every answer; an entry of a cache counts down in
// seconds. Until two answers a good second apart have been compared, both are possible.
func (d *resolver) note(q dns.Question, at time.Time, positive bool, ttl time.Duration) Answer {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !positive {
		delete(d.answered, q)
		return Answer{Lag: d.lag()}
	}
	d.longest = max(d.longest, ttl)
	switch first, ok := d.answered[q]; {
	case !ok || ttl > first.ttl || at.Sub(first.at) > first.ttl:
		if len(d.answered) >= 4*maxNames {
			clear(d.answered) // of Services that are gone
		}
		d.answered[q] = answered{at, ttl}
	case ttl < first.ttl:
		d.caches = cachesAnswers
	case at.Sub(first.at) >= countsDown && d.caches == cachingUnknown:
		d.caches = cachesNot
	}
	switch {
	case d.caches == cachesNot:
		return Answer{}
	case d.caches == cachesAnswers:
		return Answer{Age: d.longest - ttl + time.Second, Lag: d.lag(), Hold: ttl}
	case ttl <= countsDown: // too short to tell, and to matter
		return Answer{Age: countsDown, Lag: d.lag()}
	}
	return Answer{Age: time.Second, Lag: d.lag(), Again: countsDown}
}

// countsDown is when an entry has surely lost a second.
const countsDown = 1100 * time.Millisecond

// lag: a client's entry may have been made just before the server itself learnt of the removal.
func (d *resolver) lag() time.Duration {
	switch {
	case d.caches == cachesNot:
		return 0
	case d.longest == 0:
		return 30 * time.Second // nothing was ever answered; kubeadm's Corefile says `cache 30`
	}
	return d.longest
}
