package hub

import (
	"context"

	"github.com/lastcall-k8s/lastcall/hub/pages"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/hub/store"
)

// Advices are what all workloads should sleep.
func (s pageSource) Advices(context.Context) (sizing.Advices, error) { return s.Hub.Advices(), nil }

// Workload is what is known of one: its newest episodes as they are now, and what was worked out of those that are over. A page
// reads no rows, which takes 0.16 ms each: a workload that was not sized yet is next, and one that the hub has no room for is told so.
func (s pageSource) Workload(ctx context.Context, namespace, workload string) (w pages.Workload, err error) {
	k := workloadKey{namespace, workload}
	w.Episodes, err = s.episodes(ctx, store.EpisodeFilter{Namespace: namespace, Workload: workload, Limit: pages.WorkloadEpisodes})
	if err != nil {
		return w, err
	}
	if len(w.Episodes) == 0 {
		return w, missingError("no pod of " + workload + " in namespace " + namespace + " has left while lastcall watched")
	}
	a := s.advice
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Sized = sized(k)
	switch is := a.of[k]; {
	case is != nil && !is.read.IsZero():
		advice, account := is.Advice, is.account
		w.Advice, w.Account = &advice, account
	case is != nil:
		a.again[k] = true
	case a.dropped > 0:
		w.Dropped = a.dropped
	}
	return w, nil
}
