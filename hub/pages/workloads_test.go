package pages

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// listed are the workloads that a page lists, in order.
func listed(root *html.Node) (names []string) {
	for _, n := range all(root, "th") {
		if attr(n, "scope") == "row" {
			names = append(names, attr(n, "title"))
		}
	}
	return names
}

// many are so many workloads, of all scenes in turn.
func many(n int) *fixture {
	_, all := workloadScenes()
	f := &fixture{}
	for i := range n {
		a := all.Items[i%len(all.Items)]
		a.Namespace, a.Workload = fmt.Sprintf("team-%d", i%40), fmt.Sprintf("deployment/app-%d", i)
		f.advices.Items = append(f.advices.Items, a)
	}
	f.advices.Read, f.advices.Of = n, n
	return f
}

// TestWorkloadsOrder: those to act on come first, of these the ones that lost most; what fits is last.
func TestWorkloadsOrder(t *testing.T) {
	got := listed(parse(t, get(t, hub(), "/workloads").Body.String()))
	want := []string{"deployment/mixture", "deployment/checkout", "deployment/shop", "deployment/assumed", "deployment/api", "deployment/far", "deployment/deaf",
		"daemonset/gateway", "deployment/web", "deployment/edge", "statefulset/db"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestWorkloadsFilter: each filter, and all of them, and pages that keep them.
func TestWorkloadsFilter(t *testing.T) {
	f := many(1100)
	for _, c := range []struct {
		query string
		n     int
		takes func(a *sizing.Advice) bool
	}{
		{"", 1100, func(*sizing.Advice) bool { return true }},
		{"namespace=team-7", 28, func(a *sizing.Advice) bool { return a.Namespace == "team-7" }},
		{"namespace=team", 0, nil},
		{"verdict=fits", 200, func(a *sizing.Advice) bool { return has(a, sizing.Fits) }},
		{"verdict=ignores-sigterm", 100, func(a *sizing.Advice) bool { return has(a, sizing.IgnoresSIGTERM) }},
		{"text=app-10", 111, func(a *sizing.Advice) bool { return strings.Contains(a.Workload, "app-10") }},
		{"text=postgres", 100, func(a *sizing.Advice) bool { return a.Present.Container == "postgres" }},
		{"verdict=too-short&text=server&namespace=team-8", 13, func(a *sizing.Advice) bool {
			return has(a, sizing.TooShort) && a.Present.Container == "server" && a.Namespace == "team-8"
		}},
	} {
		var names []string
		next := "workloads?" + c.query
		for next != "" {
			root := parse(t, get(t, f, "/"+next).Body.String())
			page := listed(root)
			if len(page) > workloadsPerPage {
				t.Fatalf("%s lists %d", next, len(page))
			}
			names = append(names, page...)
			next = ""
			for _, a := range all(root, "a") {
				if attr(a, "rel") == "next" {
					next = attr(a, "href")
				}
			}
		}
		slices.Sort(names)
		if n := len(slices.Compact(slices.Clone(names))); n != len(names) || n != c.n {
			t.Errorf("%q: %d workloads, %d of them different, want %d", c.query, len(names), n, c.n)
		}
		for i := range f.advices.Items {
			a := &f.advices.Items[i]
			if _, is := slices.BinarySearch(names, a.Workload); c.takes != nil && is != c.takes(a) {
				t.Errorf("%q: %s/%s is listed: %v", c.query, a.Namespace, a.Workload, is)
			}
		}
	}
}

// TestWorkloadsSay: what the hub cannot say is said.
func TestWorkloadsSay(t *testing.T) {
	for _, c := range []struct {
		hub  *fixture
		path string
		says []string
	}{
		{hub(), "/workloads", []string{"11 workloads, 7 to act on.", "it has read 11 of 12 workloads", "the 6,000 that no pod has left for longest are not sized", "69 s (9 + 60 assumed)", ">= 7 s", "pods that nothing owns"}},
		{hub(), "/workloads?page=99", []string{"1 to 11 of 11 workloads"}},
		{hub(), "/workloads?text=nobody", []string{"No workload matches"}},
		{&fixture{}, "/workloads", []string{"0 workloads", "kubectl rollout restart"}},
		{hub(), "/workloads/prod/deployment/unread", []string{"not worked out yet", "reads this workload next", "the episode that goes on"}},
		{hub(), "/workloads/prod/deployment/dropped", []string{"the 6,000 that no pod has left for longest are not sized. This is one of them"}},
		{hub(), "/workloads/prod/pod/alone", []string{"Nothing owns this pod"}},
		{hub(), "/workloads/prod/deployment/edge", []string{"preStop must sleep >= 7 s; it sleeps 10 s as last read.", "what is missing may make it longer", "contour: its replicas listen on localhost only"}},
		{hub(), "/workloads/prod/deployment/deaf", []string{"ignores SIGTERM", "137 in 20 of 20 pods", "nothing was connected: SIGTERM was ignored"}},
		{hub(), "/workloads/lastcall-demo/deployment/checkout", []string{"ip-10-3-7-21 was last", "kubectl -n lastcall-demo patch deployment checkout --patch-file patch.json", "1 of 12 episodes took longer"}},
	} {
		w := get(t, c.hub, c.path)
		said := text(parse(t, w.Body.String()))
		for _, s := range c.says {
			if w.Code != 200 || !strings.Contains(strings.ReplaceAll(said, "\u00a0", " "), s) {
				t.Errorf("%s: %d, does not say %q", c.path, w.Code, s)
			}
		}
	}
	// Nothing to type where a patch would not help, or lower what is known only from below.
	for _, path := range []string{"/workloads/prod/deployment/edge", "/workloads/prod/statefulset/db", "/workloads/test/deployment/api", "/workloads/prod/deployment/web"} {
		if strings.Contains(get(t, hub(), path).Body.String(), "patch-file") {
			t.Errorf("%s says what to patch", path)
		}
	}
}

// TestSameWords: the page of a workload says what `recommend` says, all of it.
func TestSameWords(t *testing.T) {
	f := hub()
	for key, w := range f.workloads {
		if w.Advice == nil {
			continue
		}
		namespace, workload, _ := strings.Cut(key, "\x1f")
		said := strings.ReplaceAll(text(parse(t, get(t, f, "/"+workloadURL("", namespace, workload)).Body.String())), "\u00a0", " ")
		want := []string{w.Advice.Headline()[1:]} // a capital begins it
		for _, v := range w.Advice.Verdicts {
			want = append(want, v.Code.Words(), v.Says())
		}
		for _, l := range w.Advice.Argument(when(w.Advice.AsOf)) {
			want = append(want, l.Text)
		}
		for _, s := range want {
			if !strings.Contains(said, strings.ReplaceAll(s, "`", "")) {
				t.Errorf("%s does not say %q", workload, s)
			}
		}
	}
}

// TestSpread: every episode that counts is in the distribution once, and what is right of today's preStop is marked.
func TestSpread(t *testing.T) {
	f := hub()
	for key, w := range f.workloads {
		if w.Advice == nil {
			continue
		}
		sp := newSpread(w.Advice, w, atNow(), "./")
		total, counted, beyond := 0, 0, 0
		for _, c := range sp.Heap.Columns {
			n := 0
			fmt.Sscanf(c.Pieces, "%d", &n)
			total += n
			if c.X < 0 || c.End() > 101 || c.Y < 0 {
				t.Errorf("%s: a column at %+v", key, c)
			}
		}
		for _, p := range w.Account.Points {
			if p.Other == "" {
				counted++
			}
		}
		if total != counted || counted != w.Advice.Episodes.Used {
			t.Errorf("%s: %d in the distribution, of %d that count, used %d", key, total, counted, w.Advice.Episodes.Used)
		}
		if len(sp.Rows) != len(w.Episodes) {
			t.Errorf("%s: %d rows for %d episodes", key, len(sp.Rows), len(w.Episodes))
		}
		for i, r := range sp.Rows {
			if r.Beyond != nil {
				beyond++
			}
			pre := w.Advice.Present.PreStop
			if late := w.Episodes[i].Late > 0 && pre != nil && r.Note == ""; late && r.Beyond == nil {
				t.Errorf("%s: the episode of %s had late pods, and nothing of it is drawn beyond preStop", key, r.Began)
			}
		}
		want := map[string]bool{"want": w.Advice.Seconds != nil, "told": w.Advice.Present.PreStop != nil, "more": w.Advice.AtLeast || w.Advice.Added > 0}
		for _, fl := range sp.Flags {
			delete(want, fl.Class)
		}
		for class, is := range want {
			if is {
				t.Errorf("%s: no flag %q", key, class)
			}
		}
	}
}

// BenchmarkWorkloads draws a page of 8,000 workloads.
func BenchmarkWorkloads(b *testing.B) {
	h := New(many(8000), slog.New(slog.DiscardHandler), atNow)
	for _, path := range []string{"/workloads", "/workloads?" + url.Values{"text": {"app-7"}, "verdict": {"too-short"}}.Encode()} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				if w.Code != 200 {
					b.Fatal(w.Code)
				}
			}
		})
	}
}
