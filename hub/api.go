package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/pages"
	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/store"
)

// V1 answers /v1: JSON of package report.
func (h *Hub) V1() http.Handler {
	mux := http.NewServeMux()
	answer := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
			defer cancel()
			v, err := f(r.WithContext(ctx))
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				w.WriteHeader(statusOf(err))
				v = map[string]string{"error": err.Error()}
			}
			json.NewEncoder(w).Encode(v) //nolint:errcheck // the reader has left
		})
	}
	answer("/v1/status", func(r *http.Request) (any, error) { return h.Status(r.Context()) })
	answer("/v1/places", func(r *http.Request) (any, error) {
		ps, err := h.Places(r.Context())
		if node := r.FormValue("node"); node != "" {
			ps = slices.DeleteFunc(ps, func(p report.Place) bool { return p.Node != node })
		}
		return ps, err
	})
	answer("/v1/nodes/{name}", func(r *http.Request) (any, error) { return h.NodeHistory(r.Context(), r.PathValue("name")) })
	answer("/v1/episodes", func(r *http.Request) (any, error) {
		since, limit, err := h.span(r)
		if err != nil {
			return nil, err
		}
		return h.episodes(r.Context(), store.EpisodeFilter{Namespace: r.FormValue("namespace"), Workload: r.FormValue("workload"),
			Since: since, Limit: limit})
	})
	answer("/v1/episodes/{id}", func(r *http.Request) (any, error) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err != nil {
			return nil, badRequest("an episode has a number")
		}
		return h.Explanation(r.Context(), id)
	})
	h.adviceRoutes(answer)
	answer("/v1/explain", h.explain)
	answer("/v1/departures/{uid}", func(r *http.Request) (any, error) { return h.Departure(r.Context(), r.PathValue("uid")) })
	answer("/v1/departures", func(r *http.Request) (any, error) {
		since, limit, err := h.span(r)
		if err != nil {
			return nil, err
		}
		return h.departures(r.Context(), store.Filter{Namespace: r.FormValue("namespace"), Workload: r.FormValue("workload"),
			Pod: r.FormValue("pod"), Node: r.FormValue("node"), Since: since, Limit: limit})
	})
	return mux
}

// badRequest is for what makes no sense.
type badRequest string

func (b badRequest) Error() string { return string(b) }

func statusOf(err error) int {
	var bad badRequest
	switch {
	case errors.As(err, &bad):
		return http.StatusBadRequest
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	}
	return http.StatusServiceUnavailable
}

// span reads since, a time or a duration back from now, and limit.
func (h *Hub) span(r *http.Request) (since time.Time, limit int, err error) {
	if text := r.FormValue("since"); text != "" {
		if d, e := time.ParseDuration(text); e == nil {
			since = h.cfg.Now().Add(-d)
		} else if since, e = time.Parse(time.RFC3339, text); e != nil {
			return since, 0, badRequest(fmt.Sprintf("since=%q: want a time like 2026-01-02T15:04:05Z or a duration like 1h", text))
		}
	}
	limit = 100
	if text := r.FormValue("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return since, 0, badRequest(fmt.Sprintf("limit=%q: want a number above 0", text))
		}
	}
	return since, min(limit, 1000), nil
}

// episodes are the stored ones, with what is open as it is now.
func (h *Hub) episodes(ctx context.Context, f store.EpisodeFilter) ([]report.Episode, error) {
	es, err := h.cfg.Store.Episodes(ctx, f)
	h.mu.Lock()
	for _, e := range h.chain.open {
		if f.Namespace != "" && e.Namespace != f.Namespace || f.Workload != "" && e.Workload != f.Workload || e.Begun.Before(f.Since) {
			continue
		}
		if i := slices.IndexFunc(es, func(s report.Episode) bool { return s.ID == e.ID }); i >= 0 {
			es[i] = e.Episode
		} else {
			es = append(es, e.Episode)
		}
	}
	h.mu.Unlock()
	if err != nil && len(es) == 0 {
		return nil, err
	}
	slices.SortStableFunc(es, func(a, b report.Episode) int { return b.Begun.Compare(a.Begun) })
	if es == nil {
		es = []report.Episode{}
	}
	return es[:min(len(es), f.Limit)], nil
}

func (h *Hub) departures(ctx context.Context, f store.Filter) ([]report.Departure, error) {
	page, err := h.cfg.Store.Departures(ctx, f)
	live := h.live(func(r *row) bool {
		return (f.Namespace == "" || r.pod.Namespace == f.Namespace) && (f.Workload == "" || r.workload == f.Workload) &&
			(f.Pod == "" || r.pod.Name == f.Pod) && (f.Node == "" || r.pod.Node == f.Node) && !r.origin().at.Before(f.Since)
	})
	if err != nil && len(live) == 0 {
		return nil, err
	}
	ds := merge(page.Departures, live)
	slices.SortStableFunc(ds, func(a, b report.Departure) int { return b.T0.Compare(a.T0) })
	if ds == nil {
		ds = []report.Departure{}
	}
	return ds[:min(len(ds), f.Limit)], nil
}

// explain answers for a workload its last episode, for a pod its own.
func (h *Hub) explain(r *http.Request) (any, error) {
	namespace, workload, pod := r.FormValue("namespace"), r.FormValue("workload"), r.FormValue("pod")
	since, _, err := h.span(r)
	switch {
	case err != nil:
		return nil, err
	case namespace == "" || (workload == "") == (pod == ""):
		return nil, badRequest("want namespace, and workload (like deployment/shop) or pod")
	case workload != "":
		es, err := h.episodes(r.Context(), store.EpisodeFilter{Namespace: namespace, Workload: workload, Since: since, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(es) == 0 {
			return nil, missingError("no pod of " + workload + " in namespace " + namespace + " has left while lastcall watched")
		}
		return h.Explanation(r.Context(), es[0].ID)
	}
	ds, err := h.departures(r.Context(), store.Filter{Namespace: namespace, Pod: pod, Since: since, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(ds) == 0 {
		return nil, missingError("pod " + pod + " in namespace " + namespace + " has not left while lastcall watched")
	}
	d, err := h.Departure(r.Context(), ds[0].UID)
	if err != nil {
		return nil, err
	}
	if d.Episode == 0 {
		return report.Explanation{Departures: []report.Departure{d}}, nil
	}
	x, err := h.Explanation(r.Context(), d.Episode)
	x.Departures = []report.Departure{d}
	return x, err
}

// Pages answers with HTML.
func (h *Hub) Pages() http.Handler { return pages.New(pageSource{h}, h.cfg.Log, h.cfg.Now) }

type pageSource struct{ *Hub }

func (s pageSource) Episode(ctx context.Context, id int64) (report.Explanation, error) {
	return s.Explanation(ctx, id)
}

func (s pageSource) Episodes(ctx context.Context, f pages.Filter) ([]report.Episode, error) {
	limit := 1000
	if !f.Late && f.Before == 0 && f.Limit > 0 {
		limit = f.Limit
	}
	es, err := s.episodes(ctx, store.EpisodeFilter{Namespace: f.Namespace, Workload: f.Workload, Limit: limit})
	es = slices.DeleteFunc(es, func(e report.Episode) bool { return f.Late && e.Late == 0 || f.Before != 0 && e.ID >= f.Before })
	if f.Limit > 0 {
		es = es[:min(len(es), f.Limit)]
	}
	return es, err
}
