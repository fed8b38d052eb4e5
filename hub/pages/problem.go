package pages

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// problem is a page that says what is wrong and what to do next.
type problem struct {
	Heading, What, Next string
}

// unknown answers for pages that do not exist.
func (p *pages) unknown(w http.ResponseWriter, r *http.Request) {
	p.problem(w, r, http.StatusNotFound, problem{"There is no such page",
		"The hub has pages for episodes, departures, workloads and places.", "Begin at the recent episodes."})
}

// missing answers for an episode or a departure that is not there; what names it.
func (p *pages) missing(w http.ResponseWriter, r *http.Request, what string) {
	p.problem(w, r, http.StatusNotFound, problem{"The hub has no " + what,
		"It may have been removed: the hub keeps rows for a limited time. Or it belongs to another cluster's hub.",
		"Look for it among the recent episodes."})
}

// fail answers for a source that failed: not found, not able at the moment, or broken.
func (p *pages) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	if r.Context().Err() != nil {
		return // the reader is gone
	}
	if errors.Is(err, fs.ErrNotExist) {
		p.missing(w, r, what)
		return
	}
	p.log.Error("page", "path", r.URL.Path, "err", err)
	st, statusErr := p.source.Status(r.Context())
	switch {
	case statusErr == nil && st.StoreError != "":
		p.problem(w, r, http.StatusServiceUnavailable, problem{"The hub cannot read its store",
			report.Visible(st.StoreError),
			"Measuring goes on. This page tries again by itself."})
	case errors.Is(err, context.DeadlineExceeded) || statusErr != nil:
		p.problem(w, r, http.StatusServiceUnavailable, problem{"The hub is not able to answer at the moment",
			"It is starting, or busy catching up with its agents.",
			"This page tries again by itself. If that does not help, the hub's log says what it is doing."})
	default:
		p.problem(w, r, http.StatusInternalServerError, problem{"The hub failed to answer",
			report.Visible(err.Error()), "The hub's log has more. Please report it if it happens again."})
	}
}

func (p *pages) problem(w http.ResponseWriter, r *http.Request, code int, what problem) {
	pg := page{Title: what.Heading, Root: rootOf(r.URL.Path), Body: what}
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
		pg.Refresh = 5
	}
	p.draw(w, code, "problem", pg)
}

// rootOf is the relative way from a page to "/".
func rootOf(path string) string {
	if n := strings.Count(path, "/") - 1; n > 0 {
		return strings.Repeat("../", n)
	}
	return "./"
}
