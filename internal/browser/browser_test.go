package browser

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bad has one of everything that Problems looks for, and words that say what.
const bad = `<!doctype html><html><head><title>bad</title><link rel=stylesheet href="/none.css"></head><body style="margin:0">
<p style="width:3000px">wide</p>
<p style="color:#aaa;background:#fff">pale</p>
<p style="position:absolute;left:5000px">outside</p>
<table style="table-layout:fixed;width:300px"><tr><td style="width:20px">overflowing</td><td>x</td></tr></table>
<svg width="200" height="40"><text x="10" y="20">first</text><text x="20" y="22">second</text><text x="190" y="20">clipped</text></svg>
<script>console.error("no")</script></body></html>`

const good = `<!doctype html><html><head><title>good</title></head><body><p>text</p>
<svg width="200" height="60"><text x="10" y="20">first</text><text x="10" y="50">second</text></svg></body></html>`

func TestProblems(t *testing.T) {
	b := Start(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			w.Header().Set("Content-Security-Policy", "default-src 'none'")
			w.Write([]byte(good))
		case "/blocked":
			w.Header().Set("Content-Security-Policy", "default-src 'none'")
			w.Write([]byte(strings.Replace(good, "<p>", `<p style="color:red">`, 1)))
		case "/bad":
			w.Write([]byte(bad))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()

	if p := b.Open(t, server.URL+"/good", Views[0]).Problems(t); len(p) > 0 {
		t.Errorf("a good page has problems: %q", p)
	}
	p := b.Open(t, server.URL+"/bad", Views[0])
	found := strings.Join(p.Problems(t), "\n")
	for _, want := range []string{
		"px wide in a window of 1280 px", `"pale" has a contrast`, `"outside" lies outside`, `"overflowing" runs out of its <TD>`,
		`"first" and "second" overlap`, `"clipped" is cut off`, "console.error", "none.css",
	} {
		if !strings.Contains(found, want) {
			t.Errorf("not found: %s\nin:\n%s", want, found)
		}
	}
	if found := strings.Join(b.Open(t, server.URL+"/blocked", Views[0]).Problems(t), "\n"); !strings.Contains(found, "Content Security Policy") {
		t.Errorf("a violation of the content security policy was not found: %q", found)
	}
	if got := p.Text(t); !strings.Contains(got, "pale") {
		t.Errorf("text: %q", got)
	}
	dir := t.TempDir()
	p.Screenshot(t, dir, "bad/page")
	if f, err := os.Stat(filepath.Join(dir, "bad-page.png")); err != nil || f.Size() == 0 {
		t.Errorf("screenshot: %v", err)
	}
}

// TestEnd holds that nothing of a browser is left when its test is over: no process, no profile.
func TestEnd(t *testing.T) {
	profiles := t.TempDir()
	t.Run("one", func(t *testing.T) {
		t.Setenv("TMPDIR", profiles)
		Start(t)
		if len(using(t, profiles)) == 0 {
			t.Error("no browser runs: this test sees nothing")
		}
	})
	left := using(t, profiles)
	for end := time.Now().Add(5 * time.Second); len(left) > 0 && time.Now().Before(end); left = using(t, profiles) {
		time.Sleep(50 * time.Millisecond) // the end of a child of Chromium is no event that we could wait for
	}
	if len(left) > 0 {
		t.Errorf("processes left behind: %v", left)
	}
	if files, err := os.ReadDir(profiles); err != nil || len(files) > 0 {
		t.Errorf("files left behind: %v %v", files, err)
	}
}

// using are the processes that have a path in their arguments.
func using(t *testing.T, path string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if args, err := os.ReadFile(f); err == nil && strings.Contains(string(args), path) {
			found = append(found, f)
		}
	}
	return found
}
