// Package pages draws what the hub says as HTML that needs no JavaScript.
//
// Every page is a pure function of report values: a view (what to write where, with all text made visible and all
// shapes placed), which a template of html/ draws. Nothing is loaded from elsewhere and the content security
// policy forbids it; names from the cluster are text and nothing else.
package pages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// Source is what the pages draw: the hub. What does not exist is an error that wraps fs.ErrNotExist.
type Source interface {
	Departure(ctx context.Context, uid string) (report.Departure, error)
	Episode(ctx context.Context, id int64) (report.Explanation, error)
	// Episodes are the newest that match, newest first.
	Episodes(ctx context.Context, f Filter) ([]report.Episode, error)
	// Advices are the verdicts on all workloads, Workload is one: "type/name".
	Advices(ctx context.Context) (sizing.Advices, error)
	Workload(ctx context.Context, namespace, workload string) (Workload, error)
	Places(ctx context.Context) ([]report.Place, error)
	Status(ctx context.Context) (report.Status, error)
}

// Filter selects episodes. Empty fields select all.
type Filter struct {
	Namespace, Workload string // exactly; the workload as "type/name"
	Late                bool   // only those with a late departure
	Before              int64  // only with a smaller ID: the next page
	Limit               int
}

// New returns a handler of "/", "/episodes/{id}", "/departures/{uid}", "/workloads", "/workloads/{namespace}/{type}/{name}",
// "/places" and "/style.css". Links are relative, so it works below a prefix that was stripped. now is the hub's clock, for "3 min ago".
func New(source Source, log *slog.Logger, now func() time.Time) http.Handler {
	p := &pages{source: source, log: log, now: now, last: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /episodes/{id}", p.episode)
	mux.HandleFunc("GET /departures/{uid}", p.departure)
	mux.HandleFunc("GET /workloads", p.workloads)
	mux.HandleFunc("GET /workloads/{namespace}/{kind}/{name}", p.workload)
	mux.HandleFunc("GET /places", p.places)
	mux.HandleFunc("GET /style.css", serveStyle)
	mux.HandleFunc("GET /", p.unknown)
	return mux
}

type pages struct {
	source Source
	log    *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	last map[string]string // words for who was last, by the UID of a complete departure: they do not change any more
}

// page is what every page has.
type page struct {
	Title   string
	Section string // of the navigation: "episodes", "workloads" or "places"
	Root    string // the relative way to "/"
	Style   string // the stylesheet's version
	Refresh int    // seconds after which the page loads itself again; 0: never
	Still   bool   // it would, but the reader asked it not to
	Body    any
}

//go:embed html style.css
var files embed.FS

var style = must(files.ReadFile("style.css"))

var styleVersion = func() string {
	sum := sha256.Sum256(style)
	return hex.EncodeToString(sum[:6])
}()

var templates = func() map[string]*template.Template {
	t := map[string]*template.Template{}
	for _, name := range []string{"index", "episode", "departure", "workloads", "workload", "places", "problem"} {
		t[name] = template.Must(template.ParseFS(files, "html/layout.html", "html/chart.html", "html/spread.html", "html/"+name+".html"))
	}
	return t
}()

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// draw writes a page, all of it or none: a template that fails must not leave half an answer.
func (p *pages) draw(w http.ResponseWriter, code int, name string, pg page) {
	pg.Style = styleVersion
	var b bytes.Buffer
	if err := templates[name].ExecuteTemplate(&b, "layout", pg); err != nil {
		p.log.Error("draw page", "page", name, "err", err)
		http.Error(w, "lastcall: this page could not be drawn; the hub's log says why", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store") // it names pods, and a reload must show what is new
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // the URL of a departure is of no concern to others
	w.WriteHeader(code)
	w.Write(b.Bytes()) // the reader may be gone: nothing to do about it
}

func serveStyle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Query().Get("v") == styleVersion {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Write(style)
}

func episodeURL(root string, id int64) string {
	return root + "episodes/" + strconv.FormatInt(id, 10)
}

// departureURL escapes the UID, which is the cluster's word as any other.
func departureURL(root, uid string) string {
	return root + "departures/" + url.PathEscape(uid)
}

// when writes a moment, in UTC: nobody knows the reader's time zone without JavaScript.
func when(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// ago says roughly how long ago something was.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	switch d := now.Sub(t); {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s ago"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h ago"
	default:
		return strconv.Itoa(int(d.Hours()/24)) + " days ago"
	}
}

var quantity = regexp.MustCompile(`(\d) (ms|s|min|h|d)\b`)

// together keeps a number and its unit on one line.
func together(s string) string { return quantity.ReplaceAllString(s, "$1\u00a0$2") }
