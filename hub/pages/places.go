package pages

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// placesView is the page of all places, those in trouble first.
type placesView struct {
	Sentence string
	Node     string // the filter
	Trouble  bool
	Rows     []placeRow
	More     string
}

type placeRow struct {
	Node, Short, Detail string
	State, Class, Why   string
	Pending             string
	P50, P99, Samples   string
	Last, LastBy, Clock string
}

// placeRoom is how many places the page lists; with more, one searches.
const placeRoom = 200

func (p *pages) places(w http.ResponseWriter, r *http.Request) {
	all, err := p.source.Places(r.Context())
	if err != nil {
		p.fail(w, r, "places", err)
		return
	}
	q := r.URL.Query()
	v := newPlacesView(all, q.Get("node"), q.Has("trouble"))
	p.draw(w, http.StatusOK, "places", page{Title: "Places", Section: "places", Root: "./", Body: v})
}

func newPlacesView(all []report.Place, node string, trouble bool) placesView {
	v := placesView{Node: report.Visible(node), Trouble: trouble, Sentence: placesSentence(all)}
	shown := slices.DeleteFunc(slices.Clone(all), func(p report.Place) bool {
		return !strings.Contains(p.Node, node) || trouble && p.State == report.PlaceOK
	})
	slices.SortStableFunc(shown, func(a, b report.Place) int {
		return cmp.Or(worse(a)-worse(b), cmp.Compare(b.Last, a.Last), cmp.Compare(orZero(b.P99), orZero(a.P99)),
			cmp.Compare(a.Node, b.Node))
	})
	for i, p := range shown {
		if i == placeRoom {
			v.More = report.Count(len(shown) - placeRoom)
			break
		}
		v.Rows = append(v.Rows, newPlaceRow(p))
	}
	return v
}

func placesSentence(all []report.Place) string {
	states := map[report.PlaceState]int{}
	for _, p := range all {
		states[p.State]++
	}
	s := report.Plural(len(all), "place")
	if n := states[report.PlaceStuck]; n > 0 {
		s += ", " + report.Count(n) + " stuck: new connections can still go to pods that have left"
	}
	if n := states[report.PlaceNotMeasured]; n > 0 {
		s += ", " + report.Count(n) + " not measured"
	}
	if len(all) > 0 && states[report.PlaceOK] == len(all) {
		s += ", all of them work"
	}
	return s + "."
}

func worse(p report.Place) int {
	switch p.State {
	case report.PlaceStuck:
		return 0
	case report.PlaceNotMeasured:
		return 1
	}
	return 2
}

func orZero(f *float64) float64 {
	if f == nil {
		return 0
	}
	return *f
}

func newPlaceRow(p report.Place) placeRow {
	r := placeRow{
		Node: report.Visible(p.Node), Short: report.Shorten(p.Node, nameRoom),
		State: report.Shorten(string(p.State), nameRoom), Why: report.Visible(p.Why),
		P50: known(p.P50), P99: known(p.P99), Samples: report.Count(p.Samples), Pending: report.Count(p.Pending),
		Last: report.Count(p.Last), Clock: "unknown",
	}
	var detail []string
	for _, s := range []string{p.Kind, p.Replica, p.Backend, string(p.Family)} {
		if s != "" {
			detail = append(detail, report.Visible(s))
		}
	}
	r.Detail = strings.Join(detail, ", ")
	switch p.State {
	case report.PlaceOK:
		r.Class = "good"
	case report.PlaceStuck:
		r.Class = "bad"
	default:
		r.Class = "odd"
	}
	if p.Oldest != nil {
		r.Pending += ", oldest " + report.Seconds(*p.Oldest)
	}
	var by []string
	for _, stage := range []string{"api", "watch", "program"} {
		if n := p.LastBy[stage]; n > 0 {
			by = append(by, report.Count(n)+" by "+stage)
		}
	}
	r.LastBy = strings.Join(by, ", ")
	if p.ClockError != nil {
		r.Clock = "± " + report.Seconds(*p.ClockError)
	}
	return r
}

func known(f *float64) string {
	if f == nil {
		return "–"
	}
	return report.Seconds(*f)
}
