package hub

import "github.com/lastcall-k8s/lastcall/hub/report"

// view is the hub as it was at the last flush, about a second ago. Whoever only looks need not wait for the lock: when a
// sync reaches 5,000 agents at once, their readers stand before it for 200 ms.
type view struct {
	agents []report.Agent
	lag    float64
	places []report.Place
	rows   map[string]*row // in memory, by pod UID
}

// look takes a view for everybody.
func (h *Hub) look() {
	v := &view{rows: map[string]*row{}}
	v.agents, v.lag = h.agents()
	v.places = h.places()
	h.mu.Lock()
	for uid, r := range h.join.rows {
		v.rows[uid] = r
	}
	h.mu.Unlock()
	h.seen.Store(v)
}

// view is the newest. What is in it must not be changed.
func (h *Hub) view() *view {
	if h.seen.Load() == nil {
		h.look()
	}
	return h.seen.Load()
}
