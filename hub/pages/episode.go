package pages

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// episodeView is the page of one episode.
type episodeView struct {
	Heading, Namespace string
	Workload           string // URL
	Summary            string
	Figures            []figure
	Timeline           *timeline
	Departures         []departureRow
	More               string // how many departures the table leaves out
	Open               string
}

// departureRow is one departure in the table, worst first.
type departureRow struct {
	Pod, Short, URL                        string
	Began, LastCall, Told, Late, LateClass string
	Exposure, Last                         string
}

// tableRoom is how many departures a table shows.
const tableRoom = 300

func (p *pages) episode(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		p.missing(w, r, "episode with this number")
		return
	}
	x, err := p.source.Episode(r.Context(), id)
	if err != nil {
		p.fail(w, r, "episode with this number", err)
		return
	}
	pg := page{Title: "Episode of " + workloadName(x.Episode.Workload, nameRoom), Section: "episodes", Root: rootOf(r.URL.Path)}
	v := newEpisodeView(x, pg.Root)
	if v.Open != "" {
		pg.Still = r.URL.Query().Has("still")
		if !pg.Still {
			pg.Refresh = refresh
		}
	}
	pg.Body = v
	p.draw(w, http.StatusOK, "episode", pg)
}

func newEpisodeView(x report.Explanation, root string) episodeView {
	e := x.Episode
	v := episodeView{
		Heading:   workloadName(e.Workload, nameRoom),
		Namespace: report.Visible(e.Namespace),
		Workload:  workloadURL(root, e.Namespace, e.Workload),
		Summary:   e.Summary() + ".",
		Figures:   episodeFigures(x),
		Timeline:  newTimeline(x.Departures, root),
	}
	switch {
	case e.Pending > 0:
		v.Open = report.Plural(e.Pending, "departure") + " with something pending"
	case e.Open:
		v.Open = "another pod may still join this episode"
	}
	var nodes []string
	for _, d := range x.Departures {
		for _, l := range d.Slowest {
			nodes = append(nodes, l.Node)
		}
	}
	end := commonEnd(nodes)
	for i, d := range x.Departures {
		if i == tableRoom {
			v.More = report.Count(len(x.Departures) - tableRoom)
			break
		}
		v.Departures = append(v.Departures, newDepartureRow(d, root, end))
	}
	return v
}

func episodeFigures(x report.Explanation) []figure {
	e := x.Episode
	worst := figure{Name: "Worst last call", Value: "none"}
	if e.LastCall != nil {
		worst.Value = e.LastCall.String()
	}
	if e.Pending > 0 {
		worst.Class, worst.Note = "bad", "and "+report.Plural(e.Pending, "departure")+" not over"
	}
	if len(x.Departures) > 0 && x.Departures[0].Pending > 0 {
		worst.Value = x.Departures[0].LastCallWords()
	}
	for _, d := range x.Departures {
		if d.UID == e.Worst && d.Straggler != nil && worst.Note == "" {
			worst.Note = report.Shorten(d.Straggler.Node, nameRoom) + " was last"
		}
	}
	late := figure{Name: "Late", Value: report.Count(e.Late) + " of " + report.Count(e.Left)}
	switch {
	case e.Late > 0:
		late.Class = "bad"
		late.Note = "told to stop before everyone had let go"
	case e.Unknown == 0 && e.Left > 0 && e.Pending == 0:
		late.Class = "good"
		late.Note = "everyone had let go before the pods were told to stop"
	}
	if e.Unknown > 0 {
		late.Note = report.Count(e.Unknown) + " unknown, never called safe"
	}
	what := figure{Name: "What it was", Value: report.Shorten(string(e.Tag), nameRoom), Note: report.Plural(e.Left, "pod") + " left"}
	if e.Most > 0 {
		what.Note += ", at most " + report.Count(e.Most) + " terminating at once"
	}
	return []figure{what, late, worst, {Name: "Began", Value: e.Begun.UTC().Format("15:04:05") + " UTC", Note: duration(e)}}
}

// duration says on which day the episode began and how long it took.
func duration(e report.Episode) string {
	s := "on " + e.Begun.UTC().Format("2006-01-02")
	if e.Ended.After(e.Begun) {
		s += ", took " + report.Seconds(e.Ended.Sub(e.Begun).Seconds())
	}
	if e.Open {
		s += " so far"
	}
	return s
}

func newDepartureRow(d report.Departure, root, end string) departureRow {
	r := departureRow{
		Pod: report.Visible(d.Pod), Short: report.Shorten(d.Pod, nameRoom), URL: departureURL(root, d.UID),
		Began: "unknown", LastCall: d.LastCallWords(), Told: d.ToldWords(),
		Late: d.Late.Words(), LateClass: lateClass(d.Late), Exposure: "–", Last: lastWords(d, end),
	}
	if !d.T0.IsZero() {
		r.Began = d.T0.UTC().Format("15:04:05.000")
	}
	if d.Kept {
		r.Late, r.LateClass = "kept", ""
	}
	if d.Late == report.Yes && d.Exposure != nil {
		r.Exposure = d.Exposure.String()
	}
	return r
}

// lastWords names the place that was last, as far as one can, without the end that names share.
func lastWords(d report.Departure, end string) string {
	n, more := d.PendingPlaces()
	switch {
	case more:
		return "at least " + report.Plural(n, "node") + " pending"
	case n > 1:
		return report.Plural(n, "node") + " pending"
	case n == 1:
		for _, l := range d.Slowest {
			if l.Pending > 0 {
				return report.Shorten(strings.TrimSuffix(l.Node, end), nameRoom) + " pending"
			}
		}
	case d.Straggler != nil:
		return report.Shorten(strings.TrimSuffix(d.Straggler.Node, end), nameRoom)
	case d.OneOf > 1:
		return "one of " + report.Count(d.OneOf)
	}
	return "–"
}

func lateClass(l report.Late) string {
	switch l {
	case report.Yes:
		return "bad"
	case report.No:
		return "good"
	}
	return "odd"
}

func workloadName(w string, room int) string {
	if w == "" {
		return "pods without a workload"
	}
	return report.Shorten(w, room)
}
