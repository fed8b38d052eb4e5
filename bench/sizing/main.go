//go:build linux

// Command sizing simulates how often recommendations hold, for episodes whose law is known.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/simulated"
)

const quantile = 0.95

type results struct {
	benchresult.Run
	Seed     uint64            `json:"seed"`
	Drawn    int               `json:"drawn"` // episodes that a law was drawn from
	Worlds   []simulated.Study `json:"worlds"`
	Censored []simulated.Study `json:"censored"`
	Change   simulated.Changed `json:"regime_change"`
	Pool     simulated.Pooled  `json:"pool"`
}

func main() {
	runs := flag.Int("runs", 10_000, "runs for each law and number of episodes")
	drawn := flag.Int("drawn", 300_000, "episodes to draw each law from")
	seed := flag.Uint64("seed", 6, "of all that is drawn")
	out := flag.String("out", "bench/results", `where the JSON goes; "" for nowhere`)
	render := flag.Bool("render", false, "only render bench/RESULTS.md from the JSON files")
	flag.Parse()
	if err := run(*runs, *drawn, *seed, *out, *render); err != nil {
		fmt.Fprintln(os.Stderr, "sizing:", err)
		os.Exit(1)
	}
}

func run(runs, drawn int, seed uint64, out string, onlyRender bool) error {
	dir := out
	if onlyRender {
		return renderResults(dir)
	}
	r := results{Run: benchresult.Describe("make sizing"), Seed: seed, Drawn: drawn}
	if len(os.Args) > 1 {
		r.Command = "go run ./bench/sizing " + strings.Join(os.Args[1:], " ")
	}
	draws := rand.New(rand.NewPCG(seed, 0))
	for _, tail := range []simulated.Tail{simulated.Lognormal, simulated.Pareto} {
		for _, rho := range []float64{0, 0.5, 0.9} {
			for _, pods := range []int{1, 5, 50, 200, 0} {
				w := simulated.World{Tail: tail, Correlation: rho, Pods: pods}
				l := w.LawOf(draws, drawn)
				for _, n := range []int{19, 40, 100} {
					s := simulated.Run(w, l, draws, n, runs, simulated.Censoring{}, quantile)
					fmt.Printf("%s, n = %d: %s, naive %s\n", s.World, n, percent(s.Coverage), percent(s.Naive))
					r.Worlds = append(r.Worlds, s)
				}
			}
		}
	}
	for _, tail := range []simulated.Tail{simulated.Lognormal, simulated.Pareto} {
		w := simulated.World{Tail: tail, Correlation: 0.5, Pods: 20}
		l := w.LawOf(draws, drawn)
		for _, n := range []int{19, 40, 100} {
			for _, longest := range []bool{false, true} {
				s := simulated.Run(w, l, draws, n, runs, simulated.Censoring{Share: 0.05, Longest: longest}, quantile)
				fmt.Printf("%s, n = %d, not known: %s: %s, firm in %s\n", s.World, n, s.Censored, percent(s.Coverage), percent(s.FirmShare))
				r.Censored = append(r.Censored, s)
			}
		}
	}
	r.Change = simulated.Change(simulated.World{Tail: simulated.Lognormal, Correlation: 0.5, Pods: 3}, draws, runs)
	r.Pool = simulated.PoolStudy(simulated.World{Tail: simulated.Lognormal, Correlation: 0.98, Pods: 1}, draws, runs)
	fmt.Printf("change of regime: %s, blind %s\npool: %s, apart %s\n", percent(r.Change.Coverage.Mean()), percent(r.Change.Blind.Mean()),
		percent(r.Pool.Coverage.Mean()), percent(r.Pool.Apart.Mean()))
	if out == "" {
		return nil
	}
	if err := benchresult.Write(dir, "sizing", r.Date, r); err != nil {
		return err
	}
	return renderResults(dir)
}

func percent(m simulated.Mean) string {
	return fmt.Sprintf("%.2f +- %.2f %%", 100*m.Value, 100*m.Error)
}

// renderResults writes the newest result into RESULTS.md beside the results.
func renderResults(dir string) error {
	var r results
	file, ok, err := benchresult.Newest(dir, "sizing", &r)
	if err != nil || !ok {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n`%s` at commit %s, %s, seed %d. Data: [%s](results/%s)\n\n", r.Command, r.Commit, r.Date.Format(time.DateOnly), r.Seed,
		filepath.Base(file), filepath.Base(file))
	b.WriteString("| law of an episode | coverage, n = 19 | n = 40 | n = 100 | departures taken for independent, n = 19 | n = 100 |\n|---|---|---|---|---|---|\n")
	for i := 0; i+2 < len(r.Worlds); i += 3 {
		w := r.Worlds[i : i+3]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", w[0].World, percent(w[0].Coverage), percent(w[1].Coverage), percent(w[2].Coverage),
			percent(w[0].Naive), percent(w[2].Naive))
	}
	b.WriteString("\n5 % of the episodes are not known to the end:\n\n| law | which | n | a number in | coverage of those | claims broken, of all runs | coverage of all that is shown, lower bounds too | coverage if they were left out |\n|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Censored {
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s | %s | %s | %s |\n", s.World, s.Censored, s.Episodes, percent(s.FirmShare), percent(s.Coverage), percent(s.Broken), percent(s.Shown), percent(s.Dropped))
	}
	c, p := r.Change, r.Pool
	fmt.Fprintf(&b, "\n| | runs | too few episodes | numbers from those | coverage of the others | without it |\n|---|---|---|---|---|---|\n")
	fmt.Fprintf(&b, "| kube-proxy syncs ten times as seldom, from somewhere in the window on; known as a regime | %d | %d | %d | %s | %s |\n", c.Runs, c.TooFew, c.Numbers, percent(c.Coverage.Mean()), percent(c.Blind.Mean()))
	fmt.Fprintf(&b, "| a pool of ten workloads that leave at once, chained | %d | %d | 0 | %s | %s |\n\n", p.Runs, p.TooFew, percent(p.Coverage.Mean()), percent(p.Apart.Mean()))
	return benchresult.ReplaceSection(filepath.Join(filepath.Dir(dir), "RESULTS.md"), "sizing", b.String())
}
