//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	options
	*generator
	*results
	*subject
	path, token string

	first time.Time // second 0
	down  [2]int    // seconds of the stop
}

func (b *bench) connect(ctx context.Context) error {
	took, err := b.follows(ctx, b.Agents, 3*time.Minute)
	if err != nil {
		return err
	}
	b.Connected = took.Seconds()
	r, err := b.ask(request{Do: "begin"})
	b.first = r.Begun
	note("%d agents followed after %.1f s", b.Agents, b.Connected)
	return err
}

// steady measures a window in which nothing happens but departures.
func (b *bench) steady(ctx context.Context) error {
	if err := pause(ctx, time.Until(b.first)+b.warm); err != nil {
		return err
	}
	stop, err := b.profiled("steady")
	if err != nil {
		return err
	}
	before, err := b.health()
	if err != nil {
		return err
	}
	gen, err := b.ask(request{Do: "look"})
	if err != nil {
		return err
	}
	cpu, begun := processor(), time.Now()
	stored, err := b.store.Stats(ctx)
	if err != nil {
		return err
	}
	var lags, behind []float64
	b.Overdue = map[string]int{}
	at := int(time.Since(b.first) / time.Second) // the second whose rows are waited for
	for time.Since(begun) < b.window {
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		h, err := b.health()
		if err != nil {
			return err
		}
		lags = append(lags, h.lag)
		for {
			why, err := b.wrong(ctx, b.uid(at, 0), b.Agents)
			if err != nil {
				return err
			}
			if why != "" {
				if time.Since(b.first).Seconds() > float64(at+20) {
					b.Overdue[why]++
					at++
					continue
				}
				break
			}
			behind = append(behind, time.Since(b.first.Add(time.Duration(at)*time.Second)).Seconds())
			at++
		}
	}
	took := time.Since(begun).Seconds()
	after, err := b.health()
	if err != nil {
		return err
	}
	gen2, err := b.ask(request{Do: "look"})
	if err != nil {
		return err
	}
	stored2, err := b.store.Stats(ctx)
	if err != nil {
		return err
	}
	stop()
	b.Window, b.Lines, b.Written = took, (after.lines-before.lines)/took, float64(gen2.Lines-gen.Lines)/took
	b.Rows = float64(stored2.Departures-stored.Departures-(stored2.Incomplete-stored.Incomplete)) / took
	b.Settled = b.Rows * float64(b.Agents)
	b.HubCPU, b.GeneratorCPU = 100*(processor()-cpu)/took, 100*(gen2.CPU-gen.CPU)/took
	b.RSS, b.PeakRSS = memory("VmRSS:"), memory("VmHWM:")
	b.Lag, b.Behind = quantiles(lags), quantiles(behind)
	note("lag %v s, rows stored after %v s, overdue %v; agents %v", b.Lag, b.Behind, b.Overdue, after.states)
	note("%.0f lines/s read of %.0f written, %.1f rows/s complete; CPU %.0f %% hub, %.0f %% generator; RSS %d MiB, peak %d", b.Lines, b.Written,
		b.Rows, b.HubCPU, b.GeneratorCPU, b.RSS, b.PeakRSS)
	return b.heap("steady")
}

// catchUp stops the hub while the agents go on, and starts another on its store.
func (b *bench) catchUp(ctx context.Context) error {
	if b.options.pause == 0 {
		return nil
	}
	if err := b.keepCounts(); err != nil {
		return err
	}
	b.down[0] = int(time.Since(b.first)/time.Second) - 5
	begun := time.Now()
	err := b.subject.stop(ctx)
	b.subject = nil
	if err != nil {
		return err
	}
	b.Stopped = time.Since(begun).Seconds()
	if err := pause(ctx, b.options.pause); err != nil {
		return err
	}
	debug.FreeOSMemory()
	resetPeak()
	if _, err := b.ask(request{Do: "cool", Path: b.path}); err != nil {
		return err
	}
	stop, err := b.profiled("catch-up")
	if err != nil {
		return err
	}
	if b.subject, err = run(ctx, b.generator, b.path, b.token); err != nil {
		return err
	}
	took, err := b.follows(ctx, b.Agents, 5*time.Minute)
	stop()
	if err != nil {
		return err
	}
	h, err := b.health()
	if err != nil {
		return err
	}
	b.down[1] = int(time.Since(b.first)/time.Second) + 1
	b.CatchUp, b.CatchUpLines, b.CatchUpPeak = took.Seconds(), h.lines, memory("VmHWM:")
	note("stopped in %.1f s; caught up after %.1f s: %.0f lines, peak RSS %d MiB", b.Stopped, b.CatchUp, b.CatchUpLines, b.CatchUpPeak)
	return b.heap("catch-up")
}

// look asks for pages, each with the store's file out of the kernel's cache.
func (b *bench) look(ctx context.Context, have stored) error {
	r := rand.New(rand.NewPCG(3, 4))
	b.Pages = map[string]times{}
	client := &http.Client{Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	for _, p := range []struct {
		name string
		path func() string
	}{
		{"/", func() string { return "/" }},
		{"/episodes/{id}", func() string { return fmt.Sprintf("/episodes/%d", have.episodes[r.IntN(len(have.episodes))]) }},
		{"/departures/{uid}", func() string { return "/departures/" + have.uids[r.IntN(len(have.uids))] }},
		{"/places", func() string { return "/places" }},
		{"/workloads", func() string { return "/workloads" }},
		{"/workloads/{...}", func() string {
			of := workload(have.episodes[r.IntN(len(have.episodes))])
			return "/workloads/" + of.Namespace + "/" + of.Workload
		}},
	} {
		var took []float64
		for range b.options.pages {
			if err := pause(ctx, 100*time.Millisecond+rand.N(100*time.Millisecond)); err != nil {
				return err
			}
			if _, err := b.ask(request{Do: "cool", Path: b.path}); err != nil {
				return err
			}
			begun := time.Now()
			path := p.path()
			a, err := client.Get(b.subject.pages + path)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, a.Body)
			a.Body.Close()
			if err != nil || a.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s, %v", path, a.Status, err)
			}
			took = append(took, 1000*time.Since(begun).Seconds())
		}
		b.results.Pages[p.name] = quantiles(took)
		note("%s: %v ms", p.name, b.results.Pages[p.name])
	}
	return nil
}

// check lets the last pods leave, waits for their rows, and looks at every row.
func (b *bench) check(ctx context.Context) error {
	end, err := b.ask(request{Do: "end"})
	if err != nil {
		return err
	}
	most := time.Now().Add(time.Minute + time.Until(b.first.Add(time.Duration(end.Last)*time.Second)))
	for time.Now().Before(most) {
		why, err := b.wrong(ctx, b.uid(end.Last-1, b.Rate-1), b.Agents)
		if err != nil {
			return err
		}
		if why == "" {
			break
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	if err := pause(ctx, 3*time.Second); err != nil { // those that waited for one more judgement
		return err
	}
	b.Wrong = map[string]int{}
	for second := range end.Last {
		for i := range b.Rate {
			why, err := b.wrong(ctx, b.uid(second, i), b.Agents)
			if err != nil {
				return err
			}
			b.Departures++
			switch {
			case why == "":
				b.Correct++
			case second >= b.down[0] && second < b.down[1]:
				b.Wrong["while stopped or catching up: "+why]++
			default:
				b.Wrong[why]++
			}
		}
	}
	note("%d of %d rows are complete and right; wrong: %v", b.Correct, b.Departures, b.Wrong)
	return b.keepCounts()
}

// keepCounts adds what a hub counted to what the ones before it did.
func (b *bench) keepCounts() error {
	h, err := b.health()
	b.Lost += h.lost
	b.Malformed += h.malformed
	b.Refused += h.refused
	return err
}

// profiled profiles the processor if asked to, until what it returns is called.
func (b *bench) profiled(name string) (stop func(), err error) {
	if b.profile == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(b.profile, name+".cpu"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}

func (b *bench) heap(name string) error {
	if b.profile == "" {
		return nil
	}
	f, err := os.Create(filepath.Join(b.profile, name+".heap"))
	if err != nil {
		return err
	}
	defer f.Close()
	return pprof.Lookup("heap").WriteTo(f, 0)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// memory is a line of /proc/self/status in MiB.
func memory(name string) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(status))
	if i := slices.Index(fields, name); i >= 0 {
		n, _ := strconv.Atoi(fields[i+1])
		return n / 1024
	}
	return 0
}

// resetPeak forgets what filling the store took (proc_pid_clear_refs(5): 5 resets the peak resident size).
func resetPeak() {
	debug.FreeOSMemory()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) //nolint:errcheck // the peak is then that of the whole run
}
