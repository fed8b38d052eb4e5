package pages

import (
	"net/http"
	"strconv"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// refresh is after how many seconds the page of something that still happens loads itself again.
const refresh = 5

// departureView is the page of one departure.
type departureView struct {
	Pod, Short, Namespace string
	Headline              string
	Figures               []figure
	Facts                 []fact
	Containers            []containerView
	Missing               []missingView
	MissingMore           string
	Waterfall             *waterfall
	Episode, Workload     string // URLs
	Open                  string // why the page loads itself again
}

// figure is one of the few values that matter most.
type figure struct{ Name, Value, Note, Class string }

type fact struct{ Name, Value, Note, URL string }

type containerView struct{ Name, Role, PreStop, Ended, Exit string }

type missingView struct{ Place, Why string }

func (p *pages) departure(w http.ResponseWriter, r *http.Request) {
	d, err := p.source.Departure(r.Context(), r.PathValue("uid"))
	if err != nil {
		p.fail(w, r, "departure with this UID", err)
		return
	}
	pg := page{Title: "Pod " + report.Shorten(d.Pod, nameRoom), Section: "episodes", Root: rootOf(r.URL.Path)}
	v := newDepartureView(d, pg.Root)
	if v.Open != "" {
		pg.Still = r.URL.Query().Has("still")
		if !pg.Still {
			pg.Refresh = refresh
		}
	}
	pg.Body = v
	p.draw(w, http.StatusOK, "departure", pg)
}

func newDepartureView(d report.Departure, root string) departureView {
	v := departureView{
		Pod: report.Visible(d.Pod), Short: report.Shorten(d.Pod, nameRoom), Namespace: report.Visible(d.Namespace),
		Headline:  together(d.Headline()),
		Figures:   figures(d),
		Facts:     facts(d),
		Waterfall: newWaterfall(d),
	}
	if d.Episode != 0 {
		v.Episode = episodeURL(root, d.Episode)
	}
	v.Workload = workloadURL(root, d.Namespace, d.Workload)
	for i := range v.Facts {
		if v.Facts[i].Name == "Workload" {
			v.Facts[i].URL = v.Workload
		}
	}
	switch {
	case d.Pending > 0:
		v.Open = report.Plural(d.Pending, "removal") + " pending"
	case !d.Complete:
		v.Open = "not every agent has answered yet"
	}
	for _, c := range d.Containers {
		v.Containers = append(v.Containers, newContainerView(c))
	}
	for _, m := range d.Missing {
		v.Missing = append(v.Missing, missingView{report.Visible(m.Place), report.Visible(m.Why)})
	}
	if d.MissingMore > 0 {
		v.MissingMore = report.Count(d.MissingMore)
	}
	return v
}

func figures(d report.Departure) []figure {
	f := []figure{lastCallFigure(d), toldFigure(d), lateFigure(d), coverageFigure(d)}
	for i := range f {
		f[i].Value, f[i].Note = together(f[i].Value), together(f[i].Note)
	}
	return f
}

func lastCallFigure(d report.Departure) figure {
	f := figure{Name: "Last call", Value: d.LastCallWords()}
	switch {
	case d.Pending > 0:
		f.Class = "bad"
		f.Note = report.Plural(d.Pending, "removal") + " pending"
	case d.LastCall == nil:
		f.Note = "no node was seen to let go"
	case d.Straggler != nil:
		f.Note = report.Shorten(d.Straggler.Node, nameRoom) + " was last"
	case d.OneOf > 1:
		f.Note = "one of " + report.Count(d.OneOf) + ", too close to tell"
	}
	return f
}

func toldFigure(d report.Departure) figure {
	return figure{Name: "Told to stop", Value: d.ToldWords(), Note: report.Visible(d.ToldWhy)}
}

func lateFigure(d report.Departure) figure {
	f := figure{Name: "Late", Value: d.Late.Words()}
	switch {
	case d.Late == report.Yes:
		f.Value, f.Class = "yes", "bad"
		switch {
		case d.Pending > 0:
			f.Note = "nodes still route to it after it was told to stop"
		case d.Exposure != nil:
			f.Note = "a stopping server could be reached for " + d.Exposure.String()
		}
	case d.Late == report.No:
		f.Value, f.Class = "no", "good"
		f.Note = "everyone let go before it was told to stop"
	case d.Kept:
		f.Note = "it was kept on purpose: not a question of preStop"
	case d.Told == nil:
		f.Note = "when it was told to stop is not known"
	case d.Pending > 0:
		f.Note = "not everyone has let go yet"
	case d.LastCall == nil:
		f.Note = "there is no last call to compare"
	default:
		f.Note = "too close, or not everyone answered; never called safe"
	}
	if d.Refused != nil {
		f.Note += "; " + report.Plural(*d.Refused, "connection") + " proved lost"
	}
	return f
}

func coverageFigure(d report.Departure) figure {
	f := figure{Name: "Coverage", Value: report.Count(d.Answered) + " of " + report.Plural(d.Expected, "node")}
	switch missing := d.Expected - d.Answered; {
	case d.Expected == 0:
		f.Value, f.Note = "unknown", "nobody knows which nodes had to let go"
	case missing > 0 && d.Complete:
		f.Class, f.Note = "odd", report.Count(missing)+" did not answer: this is a lower bound"
	case missing > 0:
		f.Note = "waiting for " + report.Count(missing)
	case len(d.Missing) > 0:
		f.Note = "others are not measured, see below"
	default:
		f.Note = "everyone answered"
	}
	return f
}

func facts(d report.Departure) []fact {
	var f []fact
	add := func(name, value, note string) {
		if value != "" {
			f = append(f, fact{Name: name, Value: value, Note: note})
		}
	}
	add("Pod", report.Visible(d.Pod), "in namespace "+report.Visible(d.Namespace))
	add("UID", report.Visible(d.UID), "")
	add("Workload", report.Visible(d.Workload), revision(d))
	add("Node", report.Visible(d.Node), "")
	add("Reason", report.Visible(report.ReasonWords(d.Reason)), "")
	if d.T0.IsZero() || d.T0Source == ledger.T0Unknown {
		add("T0", "unknown", "nobody saw the pod begin to leave")
	} else {
		add("T0", d.T0.UTC().Format("2006-01-02 15:04:05.000")+" UTC", t0Note(d))
	}
	if d.Seen != nil {
		add("First seen", report.Seconds(*d.Seen)+" after T0", "when the first node learnt that it should let go")
	}
	if d.Within99 != nil {
		add("99 % of the places", "within "+report.Seconds(*d.Within99), "")
	}
	if d.Grace != nil {
		add("Grace period", report.Count(int(*d.Grace))+" s", "preStop and shutdown have to fit in it")
	}
	for _, k := range d.Kinds {
		add(report.Visible(k.Kind), kindWords(k), report.Visible(k.FidelityWords()))
	}
	return f
}

func revision(d report.Departure) string {
	if d.Revision == "" {
		return ""
	}
	return "revision " + report.Visible(d.Revision)
}

func t0Note(d report.Departure) string {
	note := report.T0Words(d.T0Source)
	if d.T0Error > 0 {
		note = "± " + report.Seconds(d.T0Error) + ", " + note
	}
	return note
}

func kindWords(k report.Kind) string {
	s := report.Plural(k.Places, "place")
	if k.LastCall != nil {
		s += "; last call " + k.LastCall.String()
	}
	if o := report.OutcomesWords(k.Outcomes); o != "" {
		s += "; removals: " + o
	}
	if k.Pending > 0 {
		s += ", " + report.Count(k.Pending) + " pending"
	}
	if k.Retained > 0 {
		s += ", " + report.Count(k.Retained) + " kept on purpose"
	}
	return s
}

func newContainerView(c report.Container) containerView {
	v := containerView{Name: report.Visible(c.Name), PreStop: report.PreStopWords(c.PreStop), Ended: "not seen", Exit: "not seen"}
	switch {
	case c.Serves && c.Sidecar:
		v.Role = "sidecar, serves"
	case c.Serves:
		v.Role = "serves"
	case c.Sidecar:
		v.Role = "sidecar"
	}
	if c.Finished != nil {
		v.Ended = report.Seconds(*c.Finished) + " after T0"
	}
	if c.ExitCode != nil {
		v.Exit = strconv.Itoa(int(*c.ExitCode)) + exitWords(*c.ExitCode)
	}
	return v
}

// exitWords explains the codes that say how a shutdown went.
func exitWords(code int32) string {
	switch code {
	case 0:
		return " (in order)"
	case 137:
		return " (killed: SIGKILL)"
	case 143:
		return " (ended by SIGTERM)"
	}
	return ""
}
