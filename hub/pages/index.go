package pages

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// indexView is the first page: how the hub does, and the recent episodes.
type indexView struct {
	Status statusView
	Filter Filter
	// What the form shows: anybody can make a link with a filter in it.
	Namespace, Workload string
	Filtered            bool
	Episodes            []episodeRow
	Next                string // URL of older episodes
	Newest              string // URL of the first page, on later ones
}

type episodeRow struct {
	Workload, Short, URL, Namespace string
	Tag, Began, Ago                 string
	Left, Late, Unknown             string
	LateClass                       string
	LastCall, Last                  string
	Open                            bool
}

// perPage is how many episodes a page has. For each, its worst departure is read to name the straggler.
const perPage = 25

func (p *pages) index(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	q := r.URL.Query()
	f := Filter{Namespace: q.Get("namespace"), Workload: q.Get("workload"), Late: q.Has("late"), Limit: perPage + 1}
	f.Before, _ = strconv.ParseInt(q.Get("before"), 10, 64) // nonsense is the first page
	status, err := p.source.Status(ctx)
	if err != nil {
		p.fail(w, r, "status", err)
		return
	}
	episodes, err := p.source.Episodes(ctx, f)
	if err != nil {
		p.fail(w, r, "episodes", err)
		return
	}
	v := indexView{Status: newStatusView(status), Filter: f, Namespace: report.Visible(f.Namespace), Workload: report.Visible(f.Workload), Filtered: f.Namespace != "" || f.Workload != "" || f.Late}
	if len(episodes) > perPage {
		episodes = episodes[:perPage]
		v.Next = "./?" + older(f, episodes[perPage-1].ID)
	}
	if f.Before != 0 {
		v.Newest = "./?" + older(f, 0)
	}
	for _, e := range episodes {
		row := p.episodeRow(e)
		p.worst(ctx, &row, e)
		v.Episodes = append(v.Episodes, row)
	}
	p.draw(w, http.StatusOK, "index", page{Title: "Recent episodes", Section: "episodes", Root: "./", Body: v})
}

// keptLast bounds what is remembered of worst departures: some 500 KB.
const keptLast = 5000

// worst fills in what an episode's worst departure says. Without it a row is still right, only less is in it.
func (p *pages) worst(ctx context.Context, row *episodeRow, e report.Episode) {
	if e.Worst == "" {
		return
	}
	p.mu.Lock()
	words, known := p.last[e.Worst]
	p.mu.Unlock()
	if known && e.Pending == 0 {
		row.Last = words
		return
	}
	d, err := p.source.Departure(ctx, e.Worst)
	if err != nil {
		return
	}
	row.Last = lastWords(d, "")
	if d.Pending > 0 {
		row.LastCall = d.LastCallWords()
	}
	if d.Complete && d.Pending == 0 {
		p.mu.Lock()
		if len(p.last) >= keptLast {
			clear(p.last)
		}
		p.last[e.Worst] = row.Last
		p.mu.Unlock()
	}
}

// older is the query of the same episodes before one.
func older(f Filter, before int64) string {
	q := url.Values{}
	if f.Namespace != "" {
		q.Set("namespace", f.Namespace)
	}
	if f.Workload != "" {
		q.Set("workload", f.Workload)
	}
	if f.Late {
		q.Set("late", "1")
	}
	if before != 0 {
		q.Set("before", strconv.FormatInt(before, 10))
	}
	return q.Encode()
}

func (p *pages) episodeRow(e report.Episode) episodeRow {
	row := episodeRow{
		Workload: report.Visible(e.Workload), Short: workloadName(e.Workload, nameRoom), URL: episodeURL("./", e.ID),
		Namespace: report.Shorten(e.Namespace, nameRoom), Tag: report.Shorten(string(e.Tag), nameRoom),
		Began: when(e.Begun), Ago: ago(p.now(), e.Begun), Open: e.Open,
		Left: report.Count(e.Left), Late: report.Count(e.Late), Unknown: report.Count(e.Unknown),
		LastCall: "none", Last: "–",
	}
	if e.Late > 0 {
		row.LateClass = "bad"
	}
	if e.LastCall != nil {
		row.LastCall = e.LastCall.String()
	}
	return row
}
