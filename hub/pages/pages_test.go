package pages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

func TestAnswers(t *testing.T) {
	broken := hub()
	broken.err = errors.New("disk I/O error")
	full := hub()
	full.err = errors.New("database or disk is full")
	full.status.StoreError = "the disk of the store is full: make room in /data"
	slow := hub()
	slow.err = fmt.Errorf("read the store: %w", context.DeadlineExceeded)

	for _, c := range []struct {
		hub  *fixture
		path string
		code int
		says []string
	}{
		{hub(), "/", 200, []string{"The hub follows the agents of 3 of 4 nodes", "node-10", "gpu=true:NoSchedule", "deployment/shop", "longer than 5 min 12 s", "Older episodes"}},
		{hub(), "/?namespace=none", 200, []string{"No episode matches"}},
		{&fixture{}, "/", 200, []string{"The hub knows of no node", "kubectl rollout restart"}},
		{hub(), "/episodes/7", 200, []string{"3 pods of deployment/shop left in a rollout; 2 late; 1 unknown; at most 3 terminating at once."}},
		{hub(), "/departures/two", 200, []string{"node-2 let go last, 1.21\u00a0s after the pod began to leave; the pod had been told to stop at once, so for up to 1.21\u00a0s new connections could reach a stopping server."}},
		{hub(), "/departures/thousands", 200, []string{"4,997 of 5,000 nodes", "half by", "the 32 slowest"}},
		{hub(), "/places", 200, []string{"5 places, 1 stuck", "kube-proxy has not synced", "29 by program"}},
		{hub(), "/departures/nobody", 404, []string{"The hub has no departure with this UID", "Recent episodes"}},
		{hub(), "/episodes/777", 404, []string{"The hub has no episode with this number"}},
		{hub(), "/episodes/seven", 404, []string{"The hub has no episode with this number"}},
		{hub(), "/nowhere/at/all", 404, []string{"There is no such page"}},
		{broken, "/episodes/7", 500, []string{"The hub failed to answer", "disk I/O error"}},
		{full, "/departures/two", 503, []string{"The hub cannot read its store", "make room in /data", "tries again by itself"}},
		{slow, "/", 503, []string{"not able to answer at the moment"}},
	} {
		w := get(t, c.hub, c.path)
		if w.Code != c.code {
			t.Errorf("%s: %d, want %d", c.path, w.Code, c.code)
		}
		said := text(parse(t, w.Body.String()))
		for _, s := range c.says {
			if !strings.Contains(said, strings.Join(strings.Fields(s), " ")) {
				t.Errorf("%s does not say %q", c.path, s)
			}
		}
		if c.code == 503 && (w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `http-equiv="refresh"`)) {
			t.Errorf("%s does not try again", c.path)
		}
		csp := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script") {
			t.Errorf("%s: content security policy %q", c.path, csp)
		}
	}
}

// TestStoreError holds that a hub that measures without a store says so on its first page.
func TestStoreError(t *testing.T) {
	f := hub()
	f.status.StoreError = "the disk of the store is full: make room in /data"
	if page := get(t, f, "/").Body.String(); !strings.Contains(page, f.status.StoreError) {
		t.Error("not on the first page")
	}
}

func TestMethods(t *testing.T) {
	h := New(hub(), slog.New(slog.DiscardHandler), atNow)
	for method, want := range map[string]int{"HEAD": 200, "POST": 405, "DELETE": 405} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/departures/two", nil))
		if w.Code != want {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
}

// TestReload holds that only pages of what still happens load themselves again, and that a reader can stop it.
func TestReload(t *testing.T) {
	for path, want := range map[string]bool{
		"/departures/stuck": true, "/departures/waiting": true, "/departures/stuck?still": false, "/departures/two": false,
		"/episodes/8": true, "/episodes/8?still": false, "/episodes/7": false, "/": false,
	} {
		page := get(t, hub(), path).Body.String()
		if got := strings.Contains(page, `<meta http-equiv="refresh" content="5">`); got != want {
			t.Errorf("%s: reloads: %v", path, got)
		}
		if said := strings.Contains(page, "Not over yet"); said != (want || strings.Contains(path, "still")) {
			t.Errorf("%s: says that it is not over: %v", path, said)
		}
	}
}

// TestUnderAPrefix holds that the pages work behind a proxy that strips a prefix.
func TestUnderAPrefix(t *testing.T) {
	server := httptest.NewServer(http.StripPrefix("/hub", New(hub(), slog.New(slog.DiscardHandler), atNow)))
	defer server.Close()
	style := regexp.MustCompile(`href="([^"]*style.css[^"]*)"`)
	for _, path := range []string{"/hub/", "/hub/places", "/hub/departures/two", "/hub/episodes/7"} {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		resp.Write(&b)
		resp.Body.Close()
		m := style.FindStringSubmatch(b.String())
		if resp.StatusCode != 200 || m == nil {
			t.Fatalf("%s: %d", path, resp.StatusCode)
		}
		to, err := resp.Request.URL.Parse(m[1])
		if err != nil {
			t.Fatal(err)
		}
		css, err := http.Get(to.String())
		if err != nil {
			t.Fatal(err)
		}
		css.Body.Close()
		if css.StatusCode != 200 || css.Header.Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(css.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: its stylesheet %s: %d %v", path, to, css.StatusCode, css.Header)
		}
	}
}

// TestEpisodesPaging reads all episodes by following the links.
func TestEpisodesPaging(t *testing.T) {
	f := hub()
	seen, path := 0, "/"
	for range 10 {
		root := parse(t, get(t, f, path).Body.String())
		seen += len(all(all(root, "tbody")[0], "tr"))
		next := ""
		for _, a := range all(root, "a") {
			if attr(a, "rel") == "next" {
				next = strings.TrimPrefix(attr(a, "href"), ".")
			}
		}
		if path = next; path == "" {
			break
		}
	}
	if seen != len(f.episodes) {
		t.Errorf("%d of %d episodes", seen, len(f.episodes))
	}
}

// TestManyPlaces holds that a large cluster does not make a large page.
func TestManyPlaces(t *testing.T) {
	f := hub()
	f.places = f.places[:0]
	for i := range 5000 {
		f.places = append(f.places, report.Place{Node: "node-" + strconv.Itoa(i), Kind: "kube-proxy", State: report.PlaceOK})
	}
	f.places[4711].State = report.PlaceStuck
	page := get(t, f, "/places").Body.String()
	root := parse(t, page)
	if rows := all(all(root, "tbody")[0], "tr"); len(rows) != placeRoom || !strings.Contains(text(rows[0]), "node-4711") {
		t.Errorf("%d rows, the first: %s", len(rows), text(rows[0]))
	}
	if !strings.Contains(page, "4,800 more are not listed") || len(page) > 300_000 {
		t.Errorf("%d bytes", len(page))
	}
	if rows := all(all(parse(t, get(t, f, "/places?node=node-4999").Body.String()), "tbody")[0], "tr"); len(rows) != 1 {
		t.Errorf("%d rows for one node", len(rows))
	}
}

// TestShapesHaveContrast holds that what is drawn can be told from the paper, in both schemes: 3 to 1 (WCAG 1.4.11).
// Text is checked in the browser, where what is behind it is known.
func TestShapesHaveContrast(t *testing.T) {
	css := string(style)
	light, dark, ok := strings.Cut(css, "@media screen and (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark scheme")
	}
	dark, _, _ = strings.Cut(dark, "* {")
	for scheme, rules := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--(\w+): #([0-9a-f]{6});`).FindAllStringSubmatch(rules, -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, name := range strings.Fields("api watch program whole bad told ink soft good odd link heat3 heat4") {
			a, b := colours[name], colours["paper"]
			if contrast := (max(a, b) + .05) / (min(a, b) + .05); contrast < 3 {
				t.Errorf("%s: %s has a contrast of %.1f", scheme, name, contrast)
			}
		}
	}
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	var sum float64
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		v := float64(n) / 255
		if v <= .04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}
