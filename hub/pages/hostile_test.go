package pages

import (
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// hostile are names that no API server would accept, and that a page must survive all the same.
var hostile = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' onmouseover='alert(1)`,
	`javascript:alert(1)`,
	`../../places?x=1#y`,
	"safe\u202egnp.exe\u2066\u200b",
	"\x1b[31mred\x1b[0m\x07\r\n\x00end",
	"\xff\xfe not utf-8 \xc3(",
	"e\u0301\u0336\u0336\u0336\u0336\u05d0\u05d1 \U000e0041",
	strings.Repeat("a", 253),
	strings.Repeat("0123456789.", 23),
	"</title></svg></textarea>--><b>",
	"{{.}} &amp; &lt; %00 %zz",
}

// hostileHub is a hub in which every name is one of the hostile ones.
func hostileHub() *fixture {
	f := &fixture{departures: map[string]report.Departure{}}
	at := 0
	name := func() string { at++; return hostile[at%len(hostile)] }
	spoil := func(d report.Departure) report.Departure {
		d.Namespace, d.Node, d.Workload, d.Revision = name(), name(), name(), name()
		d.Reason, d.T0Source, d.ToldWhy, d.Late = ledger.Reason(name()), ledger.T0Source(name()), name(), report.Late(name())
		d.Containers = slices.Clone(d.Containers)
		for i := range d.Containers {
			d.Containers[i].Name, d.Containers[i].PreStop.Kind = name(), ledger.PreStopKind(name())
		}
		d.Slowest = slices.Clone(d.Slowest)
		for i := range d.Slowest {
			l := &d.Slowest[i]
			l.Node, l.Kind, l.Backend, l.Family = name(), name(), name(), ledger.Family(name())
			if i%2 == 1 {
				l.Replica = name()
			}
			if l.Landed == nil && l.Pending == 0 {
				l.Outcomes = map[ledger.Outcome]int{ledger.Outcome(name()): 1}
			}
		}
		if d.Straggler != nil {
			d.Straggler = &d.Slowest[0]
		}
		d.Kinds = []report.Kind{{Kind: name(), Places: 3, Outcomes: map[ledger.Outcome]int{ledger.Outcome(name()): 2}, Fidelity: name()}}
		for range 5 {
			d.Missing = append(d.Missing, report.Missing{Place: name(), Why: name()})
		}
		return d
	}
	id := int64(0)
	for i, uid := range uids() {
		for _, as := range []int{i, i + len(uids())} {
			d := spoil(scenes()[uid])
			d.UID, d.Pod = hostile[as%len(hostile)], hostile[(as+3)%len(hostile)]
			f.departures[d.UID] = d
			id++
			x := explain(id, report.Tag(name()), d)
			f.episodes = append(f.episodes, x)
		}
	}
	f.workloads = map[string]Workload{}
	for i, s := range sizedScenes {
		s.namespace, s.workload, s.container = name(), name()+"/"+name(), name()
		if s.missing != nil {
			s.missing = []report.Missing{{Place: name(), Kind: name(), Why: name()}}
		}
		w := s.sized(int64(1000 * (i + 1)))
		a := w.Advice
		a.Regime.Dataplane, a.Regime.Places, a.Basis = name(), name(), sizing.Basis(name())
		a.Verdicts = append(a.Verdicts, sizing.Verdict{Code: sizing.Code(name()), Owner: sizing.Owner(name()), Container: name()})
		if a.Driver != nil {
			a.Driver.Node, a.Driver.Kind = name(), name()
		}
		for j := range w.Account.Places {
			p := &w.Account.Places[j]
			p.Node, p.Kind, p.Replica = name(), name(), name()
		}
		for j := range w.Account.Points {
			if w.Account.Points[j].Other != "" {
				w.Account.Points[j].Other = name()
			}
		}
		for j := range w.Episodes {
			w.Episodes[j].Tag = report.Tag(name())
		}
		f.workloads[s.namespace+"\x1f"+s.workload] = w
		f.advices.Items = append(f.advices.Items, *a)
	}
	for range hostile {
		f.places = append(f.places, report.Place{Node: name(), Kind: name(), Replica: name(), Backend: name(), Family: ledger.Family(name()), State: report.PlaceState(name()), Why: name(), LastBy: map[string]int{name(): 1}})
		f.status.Agents = append(f.status.Agents, report.Agent{Node: name(), State: report.AgentState(name()), Why: name(), NotReady: name(), Backend: name(), Taints: []string{name()}, Lost: 1 << 60})
	}
	f.status.Version, f.status.StoreError = name(), strings.Join(hostile, " ")
	return f
}
