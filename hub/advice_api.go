package hub

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// adviceRoutes are those of recommendations.
func (h *Hub) adviceRoutes(answer func(pattern string, f func(*http.Request) (any, error))) {
	answer("/v1/recommendations", func(r *http.Request) (any, error) {
		all := h.Advices()
		if ns := r.FormValue("namespace"); ns != "" {
			of := all.Items[:0]
			for _, a := range all.Items {
				if a.Namespace == ns {
					of = append(of, a)
				}
			}
			all.Items = of
		}
		return all, nil
	})
	answer("/v1/recommend", func(r *http.Request) (any, error) {
		q, err := h.ask(r)
		if err != nil {
			return nil, err
		}
		return h.Advice(r.Context(), q)
	})
}

// ask reads the question. live is what the asker knows of the workload as it is now (sizing.Live as JSON).
func (h *Hub) ask(r *http.Request) (q Ask, err error) {
	q.Namespace, q.Workload = r.FormValue("namespace"), r.FormValue("workload")
	if q.Namespace == "" || q.Workload == "" {
		return q, badRequest("want namespace and workload, like deployment/shop")
	}
	if q.Since, _, err = h.span(r); err != nil {
		return q, err
	}
	if text := r.FormValue("quantile"); text != "" {
		if q.Quantile, err = strconv.ParseFloat(text, 64); err != nil || !(q.Quantile >= 0.5 && q.Quantile <= 0.9999) {
			return q, badRequest(fmt.Sprintf("quantile=%q: want a number from 0.5 to 0.9999", text))
		}
	}
	if text := r.FormValue("unmeasured"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > 24*time.Hour {
			return q, badRequest(fmt.Sprintf("unmeasured=%q: want a duration like 60s, of at most a day", text))
		}
		q.Unmeasured = int64(math.Ceil(d.Seconds()))
	}
	if text := r.FormValue("live"); text != "" {
		var l sizing.Live
		if err := json.Unmarshal([]byte(text), &l); err != nil || len(l.Containers) == 0 || len(l.Containers) > 100 || l.Grace != nil && *l.Grace < 0 {
			return q, badRequest("live: want the containers of a pod template as JSON")
		}
		q.Live = &l
	}
	return q, nil
}
