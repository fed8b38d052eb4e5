// Package browser shows a test what a page looks like in a real headless Chromium, and what is wrong with it.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser is a Chromium of the test's own, with an empty profile. It ends with the test.
type Browser struct{ ctx context.Context }

// patience bounds what a page may take. Chromium beside a busy build on two cores takes seconds to start.
const patience = 60 * time.Second

// Start starts Chromium. Without one it skips the test, or fails it with REQUIRE_CLUSTER=1.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := find()
	if path == "" {
		missing(t, "no chromium in $PATH (apt-get install chromium)")
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path)}
	for _, f := range []string{"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
		"disable-component-update", "disable-sync", "disable-breakpad", "disable-dev-shm-usage", "hide-scrollbars",
		"ignore-certificate-errors"} { // the pages under test come with certificates of their own
		options = append(options, chromedp.Flag(f, true))
	}
	options = append(options, chromedp.Flag("force-color-profile", "srgb"))
	// Without a user-data-dir of ours the allocator makes an empty one, and at the end kills whatever process
	// still uses it and removes it.
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		soon, stop := context.WithTimeout(ctx, 10*time.Second)
		defer stop()
		if err := chromedp.Cancel(soon); err != nil { // asks it to end, and waits
			t.Logf("end chromium: %v", err)
		}
		cancel()
		end()
	})
	starting := make(chan error, 1)
	go func() { starting <- chromedp.Do(ctx) }()
	select {
	case err := <-starting:
		if err != nil {
			t.Fatalf("start %s: %v", path, err)
		}
	case <-time.After(patience):
		t.Fatalf("start %s: not up after %s", path, patience)
	}
	return &Browser{ctx}
}

func find() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_CLUSTER") == "1" {
		t.Fatal(what)
	}
	t.Skip(what + " (REQUIRE_CLUSTER=1 makes this a failure)")
}

// View is how a page is looked at.
type View struct {
	Width, Height int // of the window, in px
	Dark          bool
	Print         bool
	Header        map[string]string // of every request, such as Authorization
}

// String names the view: "400-dark".
func (v View) String() string {
	switch {
	case v.Print:
		return fmt.Sprintf("%d-print", v.Width)
	case v.Dark:
		return fmt.Sprintf("%d-dark", v.Width)
	}
	return fmt.Sprintf("%d-light", v.Width)
}

// Views are the four that every page must stand.
var Views = []View{
	{Width: 1280, Height: 900}, {Width: 1280, Height: 900, Dark: true},
	{Width: 400, Height: 800}, {Width: 400, Height: 800, Dark: true},
}

// Page is an open page.
type Page struct {
	ctx context.Context
	// Status is the HTTP status it came with.
	Status int

	mu      sync.Mutex
	console []string
}

// Open loads a page in a tab of its own and waits until it has loaded. The tab closes with the test.
func (b *Browser) Open(t testing.TB, url string, v View) *Page {
	t.Helper()
	tab, closeTab := chromedp.NewContext(b.ctx)
	ctx, cancel := context.WithTimeout(tab, patience)
	t.Cleanup(func() { cancel(); closeTab() })
	p := &Page{ctx: ctx}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	resp, err := chromedp.RunResponse(ctx, chromedp.Steps(p.prepare(v), chromedp.Navigate(url)))
	if err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	if resp != nil {
		p.Status = int(resp.Status)
	}
	return p
}

func (p *Page) prepare(v View) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := chromedp.EmulateViewport(int64(v.Width), int64(v.Height))(ctx, t); err != nil {
			return err
		}
		scheme, media := "light", ""
		if v.Dark {
			scheme = "dark"
		}
		if v.Print {
			media = "print"
		}
		_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Media:    media,
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		if err != nil || len(v.Header) == 0 {
			return err
		}
		headers := network.Headers{}
		for k, v := range v.Header {
			headers[k] = v
		}
		_, err = chromedp.Call(p.ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: headers})
		return err
	})
}

// listen keeps what the page complains about: errors, warnings, refused resources.
func (p *Page) listen(ev any) {
	var line string
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		line = "exception: " + e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		line = fmt.Sprintf("console.%s", e.Type)
	case *log.EventEntryAdded:
		line = fmt.Sprintf("%s (%s): %s", e.Entry.Level, e.Entry.Source, e.Entry.Text)
	default:
		return
	}
	p.mu.Lock()
	p.console = append(p.console, line)
	p.mu.Unlock()
}

// Text is the text that a reader sees.
func (p *Page) Text(t testing.TB) string {
	t.Helper()
	s, err := chromedp.Run(p.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		t.Fatalf("read the page: %v", err)
	}
	return s
}

// Screenshot writes the whole page as NAME.png into a directory.
func (p *Page) Screenshot(t testing.TB, dir, name string) {
	t.Helper()
	png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatalf("screenshot of %s: %v", name, err)
	}
	file := filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+".png")
	if err := os.WriteFile(file, png, 0o644); err != nil {
		t.Fatal(err)
	}
}
