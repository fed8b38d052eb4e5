package consumer

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// The answers of products that are scraped, in the shape of their documentation or source.

// APISIX docs/en/latest/control-api.md.
func renderAPISIX(path string, active, away []netip.AddrPort) string {
	nodes := each(active, away, func(at netip.AddrPort, draining bool) any {
		return object{"host": at.Addr().String(), "port": at.Port(), "weight": map[bool]int{false: 1}[draining]}
	})
	switch path {
	case "/v1/upstreams":
		return text([]any{object{"value": object{"type": "roundrobin", "hash_on": "vars", "nodes": nodes, "id": "1"}, "key": "/apisix/upstreams/1", "createdIndex": 938, "modifiedIndex": 1225}})
	case "/v1/services":
		return text([]any{object{"value": object{"id": "200", "upstream": object{"type": "roundrobin", "nodes": nodes}}, "key": "/apisix/services/200"}})
	}
	return text([]any{object{"value": object{"id": "1", "uri": "/", "upstream_id": "1"}, "key": "/apisix/routes/1"}})
}

// Kong Gateway's Admin API, /upstreams and /upstreams/NAME/targets/all.
func renderKong(path string, active, away []netip.AddrPort) string {
	if path == "/upstreams" {
		return text(object{"next": nil, "data": []any{object{"id": "6eed5e9c", "name": "web.shop.80.svc", "algorithm": "round-robin"}}})
	}
	if path != "/upstreams/web.shop.80.svc/targets/all" {
		return text(object{"message": "Not found"})
	}
	return text(object{"next": nil, "data": each(active, away, func(at netip.AddrPort, draining bool) any {
		return object{"id": "a3ad71a8", "target": at.String(), "weight": map[bool]int{false: 100}[draining], "upstream": object{"id": "6eed5e9c"}}
	})})
}

// Skipper's eskip, as routing.ServeHTTP prints it without pretty-printing.
func renderSkipper(_ string, active, _ []netip.AddrPort) string {
	urls := ""
	for _, at := range active {
		urls += `, "http://` + at.String() + `"`
	}
	return `kube_shop__web: Host("^(web[.]test[.]?(:[0-9]+)?)$") && PathSubtree("/") -> <roundRobin` + urls + ">;\nkube__redirect: PathSubtree(\"/\") -> redirectTo(308, \"https:\") -> <shunt>;\n"
}

// NGINX Plus, /api/9/http/upstreams.
func renderNginxPlus(_ string, active, away []netip.AddrPort) string {
	return text(object{"shop-web-80": object{"zone": "shop-web-80", "keepalive": 0, "zombies": 0,
		"peers": each(active, away, func(at netip.AddrPort, draining bool) any {
			return object{"id": 0, "server": at.String(), "name": at.String(), "backup": false, "weight": 1,
				"state": map[bool]string{true: "draining", false: "up"}[draining], "active": 0}
		})}})
}

func TestScrapeRefusesWhatIsWrong(t *testing.T) {
	err := func() error {
		_, err := Scrape{Fidelity: "sure", LagBound: "-1s", Format: "xml", Fetch: []string{"upstreams"}, Each: ".[", DrainingIf: "nosuch()",
			List: &ScrapeList{Path: "x"}}.Kind("x")
		return err
	}()
	for _, want := range []string{"fidelity", "lagBound", "format", "each", "address", "drainingIf", "list.each", `path "upstreams"`, `path "x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
	// Programs see no environment, and files neither.
	t.Setenv("S3CRET", "s3cret")
	for _, program := range []string{"env.S3CRET", "$ENV.S3CRET"} {
		k, err := Scrape{Fidelity: ShowsConfig, Fetch: []string{"/"}, Each: ".[]", Address: program}.Kind("x")
		if err != nil {
			continue
		}
		s := newRig(t, overHTTP(func(string, []netip.AddrPort, []netip.AddrPort) string { return "[1]" }))
		r, err := k.Open(s.source)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "string for address") {
			t.Errorf("%s: %v", program, err)
		}
		r.Close()
	}
	if _, err := (Scrape{Fidelity: ShowsConfig, Fetch: []string{"/"}, Each: `import "x" as x; .`, Address: "."}).Kind("x"); err == nil {
		t.Error("a program may import")
	}
}

// TestScrapeEndlessProgram: a program that does not end is ended with the reading.
func TestScrapeEndlessProgram(t *testing.T) {
	k, err := Scrape{Fidelity: ShowsConfig, Fetch: []string{"/"}, Each: "[repeat(1)] | length", Address: "."}.Kind("x")
	if err != nil {
		t.Fatal(err)
	}
	s := newRig(t, overHTTP(func(string, []netip.AddrPort, []netip.AddrPort) string { return "[]" }))
	p := runProbe(t, k, s.source)
	p.Look(nil)
	p.mu.Lock()
	p.looks.early = time.Now()
	p.mu.Unlock()
	p.kick()
	if err := <-p.asked; err == nil || !strings.Contains(err.Error(), "no complete answer within") {
		t.Errorf("%v", err)
	}
	p.end(t)
}

func TestExamplesAreInTheDocs(t *testing.T) {
	docs, err := os.ReadFile("../../docs/consumers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"apisix", "kong", "skipper", "nginx-plus"} {
		if !strings.Contains(string(docs), name+".yaml") {
			t.Errorf("docs/consumers.md does not name %s.yaml", name)
		}
	}
}
