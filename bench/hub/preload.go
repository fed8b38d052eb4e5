//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/store"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// stored is what pages are asked for.
type stored struct {
	uids     []string
	episodes []int64
}

// preload stores departures of the week before, a hundred to an episode.
func preload(ctx context.Context, path string, n, agents int) (got stored, err error) {
	s, err := store.Open(ctx, path, keep)
	if err != nil {
		return got, err
	}
	r := rand.New(rand.NewPCG(1, 2))
	before := time.Now().Add(-7 * 24 * time.Hour)
	const batch = 100
	for at := 0; at < n; at += batch {
		id := int64(at/batch + 1)
		b := store.Batch{}
		e := workload(id)
		e.Tag, e.LastCall = report.Rollout, &report.Span{Lo: 4, Hi: 4.2}
		for i := at; i < min(n, at+batch); i++ {
			t0 := before.Add(time.Duration(float64(6*24*time.Hour) * float64(i) / float64(n)))
			d := row(r, e, i, t0, agents)
			b.Departures = append(b.Departures, d)
			got.uids = append(got.uids, d.UID)
			if e.Begun.IsZero() {
				e.Begun, e.Worst = t0, d.UID
			}
			e.Ended, e.Left = t0, e.Left+1
		}
		b.Episodes = []report.Episode{e}
		got.episodes = append(got.episodes, id)
		if err := s.Commit(ctx, b); err != nil {
			return got, err
		}
	}
	return got, s.Close(ctx)
}

// workloads are as many as a hub sizes.
const workloads = 8000

// workload is whose episode one is.
func workload(id int64) report.Episode {
	return report.Episode{ID: id, Namespace: fmt.Sprintf("team-%d", id%20), Workload: fmt.Sprintf("deployment/app-%d", id%workloads)}
}

// row is a departure as the hub writes it in a cluster of so many nodes: 32 places and the strip, 9 KB of JSON.
func row(r *rand.Rand, e report.Episode, i int, t0 time.Time, agents int) report.Departure {
	last, seen, grace, code, finished := .2+4*r.Float64(), .01*r.Float64(), int64(30), int32(0), 6+r.Float64()
	d := report.Departure{UID: fmt.Sprintf("%08x-%04x-4000-a000-%012x", i, r.Uint32N(1<<16), r.Uint64N(1<<48)), Namespace: e.Namespace,
		Pod: fmt.Sprintf("app-%d-5d8f7c9b64-%05x", e.ID%workloads, i), Node: nodeName(r.IntN(agents)), Workload: e.Workload, Revision: "5d8f7c9b64",
		Reason: ledger.Delete, Episode: e.ID, T0: t0, T0Source: ledger.FromPod, T0Error: .002 * r.Float64(), Seen: &seen,
		Kinds:    []report.Kind{{Kind: "kube-proxy", Places: agents, Outcomes: map[ledger.Outcome]int{ledger.Landed: removals * agents}}},
		LastCall: &report.Span{Lo: last - .003*r.Float64(), Hi: last}, Within99: &last, Complete: true, Expected: agents, Answered: agents, Grace: &grace,
		Containers: []report.Container{{Name: "app", Serves: true, PreStop: ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &grace},
			ExitCode: &code, Finished: &finished}},
		Told: &report.Span{Lo: 5, Hi: 6}, ToldWhy: "app sleeps 5 s in preStop", Late: report.No, Exposure: &report.Span{}, Strip: &report.Strip{Width: last / 64}}
	for range 32 {
		hi := last - .3*r.Float64()
		watch := hi * r.Float64()
		d.Slowest = append(d.Slowest, report.Landing{Node: nodeName(r.IntN(agents)), Kind: "kube-proxy", Backend: "nftables", Family: ledger.IPv4,
			Landed: &report.Span{Lo: hi - .001, Hi: hi}, Seen: &watch, Outcomes: map[ledger.Outcome]int{ledger.Landed: removals},
			Stages: &report.Stages{API: seen, Watch: watch, Program: hi - watch - seen}, ClockError: .001 * r.Float64()})
	}
	d.Straggler = &d.Slowest[0]
	for range 64 {
		d.Strip.Counts = append(d.Strip.Counts, r.IntN(300))
	}
	return d
}
