package pages

import (
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/internal/browser"
)

// TestPagesInBrowser opens the pages in a real browser, wide and narrow, light and dark, and looks for what is wrong
// in each. `go test -artifacts` keeps the screenshots.
func TestPagesInBrowser(t *testing.T) {
	b := browser.Start(t)
	good := serve(t, hub())
	bad := serve(t, hostileHub())
	wide := browser.Views[0]
	print := browser.View{Width: 800, Height: 1100, Print: true}

	look := func(server, path string, views ...browser.View) {
		for _, v := range views {
			name := fileName(path) + "-" + v.String()
			if server == bad {
				name = "hostile-" + name
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := b.Open(t, server+path, v)
				for _, problem := range p.Problems(t) {
					// That a page came with status 404 is an error to Chromium's console, too.
					if p.Status != 200 && strings.Contains(problem, "the server responded with a status of") {
						continue
					}
					t.Error(problem)
				}
				p.Screenshot(t, t.ArtifactDir(), name)
			})
		}
	}
	for _, path := range []string{"/", "/places", "/episodes/7", "/episodes/8", "/episodes/9"} {
		look(good, path, browser.Views...)
	}
	for _, uid := range uids() {
		look(good, "/departures/"+uid+"?still", browser.Views...)
	}
	for _, uid := range []string{"far", "mixture", "slow", "stuck"} { // where the layout changes
		look(good, "/departures/"+uid+"?still", browser.View{Width: 761, Height: 900}, browser.View{Width: 1061, Height: 900})
	}
	wall := browser.View{Width: 1400, Height: 900}
	phone := browser.View{Width: 360, Height: 740}
	look(good, "/workloads", append(browser.Views, wall, phone)...)
	for i, path := range workloadPaths(hub()) { // each wide and narrow, in one of the two schemes
		look(good, "/"+path+"?still", browser.Views[i%2], browser.Views[3-i%2])
	}
	look(good, "/workloads/lastcall-demo/deployment/checkout", wall, phone, browser.View{Width: 761, Height: 900}, browser.View{Width: 1061, Height: 900}, print)
	look(good, "/?late=1&before=4", wide)
	look(good, "/nowhere", browser.Views[3])
	look(good, "/departures/forty", print)
	look(good, "/episodes/9", print)

	narrow := browser.Views[2]
	for _, path := range []string{"/", "/places", "/workloads", "/episodes/1", "/episodes/9"} {
		look(bad, path, wide, narrow)
	}
	for i, path := range workloadPaths(hostileHub()) {
		look(bad, "/"+path, []browser.View{wide, narrow}[i%2])
	}
	for i, uid := range hostile {
		look(bad, "/departures/"+url.PathEscape(uid)+"?still", []browser.View{wide, narrow}[i%2])
	}
}

func serve(t *testing.T, f *fixture) string {
	server := httptest.NewServer(New(f, slog.New(slog.DiscardHandler), atNow))
	t.Cleanup(server.Close)
	return server.URL
}

// fileName makes a short file name of a path.
func fileName(path string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, path[1:])
	if name == "" {
		return "index"
	}
	return name[:min(len(name), 60)]
}
