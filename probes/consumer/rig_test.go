package consumer

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// rig is a server that answers as a consumer does, and misbehaves when it is told to.
type rig struct {
	t      *testing.T
	source Source

	mu     sync.Mutex
	mode   mode
	active []netip.AddrPort
	away   []netip.AddrPort // that drain
	came   chan struct{}    // a request that is not answered
	astray int              // requests where no redirect should have led
	stop   func()
}

type mode string

const (
	well     mode = ""
	garbage  mode = "garbage"
	status   mode = "an error"
	slow     mode = "no answer"
	huge     mode = "an endless answer"
	redirect mode = "a redirect elsewhere"
	cut      mode = "an answer that breaks off"
)

func (r *rig) show(active ...netip.AddrPort) { r.set(well, active, nil) }

func (r *rig) set(m mode, active, away []netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode, r.active, r.away = m, active, away
}

func (r *rig) now() (mode, []netip.AddrPort, []netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mode, r.active, r.away
}

func newRig(t *testing.T, start func(*rig, string) (net.Addr, func())) *rig {
	r := &rig{t: t, came: make(chan struct{}, 100)}
	at, stop := start(r, "127.0.0.1:0")
	if at.Network() == "unix" {
		r.source.Unix = at.String()
	} else {
		r.source.Addr = netip.MustParseAddrPort(at.String())
	}
	r.stop = stop
	t.Cleanup(func() { r.stop() })
	return r
}

func listen(t *testing.T, network, at string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// overHTTP answers with what render makes.
func overHTTP(render func(path string, active, away []netip.AddrPort) string) func(*rig, string) (net.Addr, func()) {
	return func(r *rig, at string) (net.Addr, func()) {
		elsewhere := listen(r.t, "tcp", "127.0.0.1:0")
		other := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.astray++
		})}
		go other.Serve(elsewhere) //nolint:errcheck // until it is closed
		l := listen(r.t, "tcp", at)
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.Method != http.MethodGet {
				r.t.Errorf("%s %s: a probe only gets", q.Method, q.URL)
			}
			m, active, away := r.now()
			switch m {
			case well:
				io.WriteString(w, render(q.URL.Path, active, away)) //nolint:errcheck // the client left
			case garbage:
				io.WriteString(w, "<html>s3cret</html>") //nolint:errcheck // likewise
			case status:
				http.Error(w, "s3cret", http.StatusInternalServerError)
			case slow:
				r.came <- struct{}{}
				<-q.Context().Done()
			case huge:
				io.Copy(w, newEndless(" ")) //nolint:errcheck // the client gives up
			case redirect:
				http.Redirect(w, q, "http://"+elsewhere.Addr().String()+"/s", http.StatusFound)
			case cut:
				text := render(q.URL.Path, active, away)
				w.Header().Set("Content-Length", fmt.Sprint(len(text)+1))
				io.WriteString(w, text) //nolint:errcheck // the server sees that it is too short, and hangs up
			}
		})}
		go s.Serve(l) //nolint:errcheck // until it is closed
		return l.Addr(), func() { s.Close(); other.Close() }
	}
}

// overSocket answers on a unix socket, one command for each connection.
func overSocket(command string, render func(active, away []netip.AddrPort) string) func(*rig, string) (net.Addr, func()) {
	path := ""
	return func(r *rig, _ string) (net.Addr, func()) {
		if path == "" {
			dir, err := os.MkdirTemp("", "lastcall") // t.TempDir's are too long for a socket
			if err != nil {
				r.t.Fatal(err)
			}
			r.t.Cleanup(func() { os.RemoveAll(dir) })
			path = dir + "/s"
		}
		l := listen(r.t, "unix", path)
		ctx, cancel := context.WithCancel(context.Background())
		var g sync.WaitGroup
		g.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				g.Go(func() {
					defer c.Close()
					defer context.AfterFunc(ctx, func() { c.Close() })()
					line, err := bufio.NewReader(c).ReadString('\n')
					if err != nil {
						return
					}
					if line != command {
						r.t.Errorf("%q: a probe only shows", line)
					}
					m, active, away := r.now()
					switch m {
					case well:
						io.WriteString(c, render(active, away)) //nolint:errcheck // the client left
					case garbage, redirect:
						io.WriteString(c, "Unknown command: s3cret\n\n") //nolint:errcheck // likewise
					case status:
						io.WriteString(c, "Permission denied\n\n") //nolint:errcheck // likewise
					case slow:
						r.came <- struct{}{}
						<-ctx.Done()
					case huge:
						io.Copy(c, newEndless("a")) //nolint:errcheck // likewise
					case cut:
						text := render(active, away)
						io.WriteString(c, text[:len(text)-1]) //nolint:errcheck // likewise
					}
				})
			}
		})
		return l.Addr(), func() { cancel(); l.Close(); g.Wait() }
	}
}

// overDNS is a server for the names of one Service.
func overDNS(r *rig, at string) (net.Addr, func()) {
	pc, err := net.ListenPacket("udp", at)
	if err != nil {
		r.t.Fatal(err)
	}
	l := listen(r.t, "tcp", pc.LocalAddr().String())
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m, active, _ := r.now()
		a := new(dns.Msg).SetReply(q)
		question := q.Question[0]
		if o := q.IsEdns0(); q.RecursionDesired || o == nil || !o.Do() {
			r.t.Errorf("a question that may share a cache's entry with clients, or be passed on: %v", q)
		}
		switch m {
		case well, cut:
			for _, at := range active {
				answerDNS(a, question, at, 1)
			}
			if len(a.Answer) == 0 {
				a.Rcode = dns.RcodeNameError
			}
			if m == cut {
				a.Truncated, a.Answer = true, nil // over TCP too
			}
		case garbage:
			w.Write([]byte("s3cret")) //nolint:errcheck // the client left
			return
		case status:
			a.Rcode = dns.RcodeServerFailure
		case slow:
			r.came <- struct{}{}
			return
		case redirect:
			a.Question[0].Name = "s3cret.elsewhere."
		case huge:
			if w.LocalAddr().Network() == "udp" {
				a.Truncated = true
				break
			}
			for range 3000 {
				a.Extra = append(a.Extra, &dns.TXT{Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeTXT}, Txt: []string{strings.Repeat("s3cret", 30)}})
			}
		}
		if w.LocalAddr().Network() == "udp" {
			a.Truncate(1232)
		}
		w.WriteMsg(a) //nolint:errcheck // more than 64 KiB cannot be sent: no answer
	})
	var up sync.WaitGroup
	up.Add(2)
	udp := &dns.Server{PacketConn: pc, Handler: h, NotifyStartedFunc: up.Done}
	tcp := &dns.Server{Listener: l, Handler: h, NotifyStartedFunc: up.Done}
	for _, s := range []*dns.Server{udp, tcp} {
		go s.ActivateAndServe() //nolint:errcheck // until it is shut down
	}
	up.Wait()
	return pc.LocalAddr(), func() { udp.Shutdown(); tcp.Shutdown() } //nolint:errcheck // it runs
}

// answerDNS adds an endpoint to an answer as CoreDNS's kubernetes plugin does.
func answerDNS(a *dns.Msg, q dns.Question, at netip.AddrPort, ttl uint32) {
	header := dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}
	ip := net.IP(at.Addr().AsSlice())
	var rr dns.RR = &dns.A{Hdr: header, A: ip}
	if at.Addr().Is6() {
		header.Rrtype = dns.TypeAAAA
		rr = &dns.AAAA{Hdr: header, AAAA: ip}
	}
	switch {
	case q.Qtype == header.Rrtype && q.Name == "web.shop.svc.cluster.local.":
		a.Answer = append(a.Answer, rr)
	case q.Qtype == dns.TypeSRV && q.Name == "_http._tcp.web.shop.svc.cluster.local.":
		target := strings.NewReplacer(".", "-", ":", "-").Replace(at.Addr().String()) + ".web.shop.svc.cluster.local."
		a.Answer = append(a.Answer, &dns.SRV{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: ttl},
			Weight: 50, Port: at.Port(), Target: target})
		rr.Header().Name = target
		a.Extra = append(a.Extra, rr)
	}
}

// The answers of each consumer, from who is active and who drains.

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type object = map[string]any

func each(active, away []netip.AddrPort, f func(at netip.AddrPort, draining bool) any) []any {
	list := []any{}
	for _, at := range active {
		list = append(list, f(at, false))
	}
	for _, at := range away {
		list = append(list, f(at, true))
	}
	return list
}

func renderTraefik(path string, active, away []netip.AddrPort) string {
	if path != "/api/http/services" {
		return "[]"
	}
	servers := each(active, away, func(at netip.AddrPort, draining bool) any {
		s := object{"url": "http://" + at.String()}
		if draining {
			s["fenced"] = true
		}
		return s
	})
	return text([]any{object{"name": "api@internal", "status": "enabled"},
		object{"loadBalancer": object{"servers": servers, "strategy": "wrr"}, "name": "shop-web-80@kubernetes"}})
}

func renderEnvoy(_ string, active, away []netip.AddrPort) string {
	return text(object{"cluster_statuses": []any{object{"name": "shop/web/80", "added_via_api": true,
		"host_statuses": each(active, away, func(at netip.AddrPort, draining bool) any {
			h := object{"address": object{"socket_address": object{"address": at.Addr().String(), "port_value": at.Port()}},
				"stats": []any{object{"name": "cx_active"}}, "health_status": object{"eds_health_status": "HEALTHY"}}
			if draining {
				h["health_status"] = object{"eds_health_status": "DRAINING"}
			}
			return h
		})}}})
}

func renderIngressNginx(_ string, active, _ []netip.AddrPort) string {
	return text([]any{object{"name": "shop-web-80", "endpoints": each(active, nil, func(at netip.AddrPort, _ bool) any {
		return object{"address": at.Addr().String(), "port": fmt.Sprint(at.Port())}
	})}})
}

func renderServersState(active, away []netip.AddrPort) string {
	lines := "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_port\n"
	for _, l := range each(active, away, func(at netip.AddrPort, draining bool) any {
		return fmt.Sprintf("3 shop_web 1 SRV_1 %s 2 %d 1 1 %d\n", at.Addr(), map[bool]int{true: 8}[draining], at.Port())
	}) {
		lines += l.(string)
	}
	return lines + "3 shop_web 9 SRV_9 127.0.0.1 0 5 1 1 1\n\n"
}

func renderStats(_ string, active, away []netip.AddrPort) string {
	lines := "# pxname,svname,status,weight,addr\nshop_web,SRV_9,MAINT,1,127.0.0.1:1\n"
	for _, l := range each(active, away, func(at netip.AddrPort, draining bool) any {
		return "shop_web,SRV_1," + map[bool]string{true: "DRAIN", false: "UP"}[draining] + ",1," + at.String() + "\n"
	}) {
		lines += l.(string)
	}
	return lines + "shop_web,BACKEND,UP,1,\n"
}
