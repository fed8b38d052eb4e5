package pages

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// workloadsView is the page of all workloads, those to act on first.
type workloadsView struct {
	Sentence                 string
	Notes                    []string // what the hub cannot say
	Verdicts                 []verdictCount
	Namespace, Verdict, Text string // the filter, as the form shows it
	Filtered                 bool
	Rows                     []workloadRow
	Shown                    string // "51 to 100 of 1,203"
	Previous, Next           string // URLs
}

// verdictCount is a verdict with how many workloads have it.
type verdictCount struct {
	Code, Words, Count, Class, URL string
	Chosen                         bool
}

type workloadRow struct {
	Workload, Short, URL, Namespace string
	Container, PreStop, Number      string
	Late, LateClass, Refused        string
	Basis, Missing                  string
	Verdict, Class, Owner, Beside   string
}

// workloadsPerPage is how many the page lists.
const workloadsPerPage = 50

// workloadFilter is what the form asks for.
type workloadFilter struct {
	namespace, verdict, text string
	page                     int // from 1
}

func (p *pages) workloads(w http.ResponseWriter, r *http.Request) {
	all, err := p.source.Advices(r.Context())
	if err != nil {
		p.fail(w, r, "workloads", err)
		return
	}
	q := r.URL.Query()
	f := workloadFilter{namespace: q.Get("namespace"), verdict: q.Get("verdict"), text: q.Get("text")}
	f.page, _ = strconv.Atoi(q.Get("page")) // nonsense is the first page
	p.draw(w, http.StatusOK, "workloads", page{Title: "Workloads", Section: "workloads", Root: "./", Body: newWorkloadsView(all, f)})
}

func newWorkloadsView(all sizing.Advices, f workloadFilter) workloadsView {
	v := workloadsView{Sentence: workloadsSentence(all), Notes: all.Notes(), Verdicts: verdictCounts(all.Items, f),
		Namespace: report.Visible(f.namespace), Verdict: report.Visible(f.verdict), Text: report.Visible(f.text),
		Filtered: f.namespace != "" || f.verdict != "" || f.text != ""}
	var shown []*sizing.Advice // they are a kilobyte each
	for i := range all.Items {
		if a := &all.Items[i]; len(a.Verdicts) > 0 && f.takes(a) {
			shown = append(shown, a)
		}
	}
	slices.SortFunc(shown, func(a, b *sizing.Advice) int {
		return cmp.Or(a.Urgency()-b.Urgency(), cmp.Compare(lost(b), lost(a)), cmp.Compare(b.Departures.Late, a.Departures.Late),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Workload, b.Workload))
	})
	last := max(1, (len(shown)+workloadsPerPage-1)/workloadsPerPage)
	at := min(max(f.page, 1), last)
	from, to := (at-1)*workloadsPerPage, min(at*workloadsPerPage, len(shown))
	for _, a := range shown[from:to] {
		v.Rows = append(v.Rows, newWorkloadRow(a))
	}
	v.Shown = report.Count(from+1) + " to " + report.Count(to) + " of " + report.Plural(len(shown), "workload")
	if at > 1 {
		v.Previous = f.with(f.verdict, at-1)
	}
	if at < last {
		v.Next = f.with(f.verdict, at+1)
	}
	return v
}

func (f workloadFilter) takes(a *sizing.Advice) bool {
	return (f.namespace == "" || a.Namespace == f.namespace) && (f.verdict == "" || has(a, sizing.Code(f.verdict))) &&
		(f.text == "" || strings.Contains(a.Namespace+"/"+a.Workload+" "+a.Present.Container, f.text))
}

func has(a *sizing.Advice, c sizing.Code) bool {
	return slices.ContainsFunc(a.Verdicts, func(v sizing.Verdict) bool { return v.Code == c })
}

// with is the URL of the same filter with another verdict and page.
func (f workloadFilter) with(verdict string, page int) string {
	q := url.Values{}
	for name, value := range map[string]string{"namespace": f.namespace, "verdict": verdict, "text": f.text} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if page > 1 {
		q.Set("page", strconv.Itoa(page))
	}
	if len(q) == 0 {
		return "workloads"
	}
	return "workloads?" + q.Encode()
}

func lost(a *sizing.Advice) int {
	if n := a.Departures.Refused; n != nil {
		return *n
	}
	return 0
}

func workloadsSentence(all sizing.Advices) string {
	late, pods, act := 0, 0, 0
	for i := range all.Items {
		a := &all.Items[i]
		d := a.Departures
		late, pods = late+d.Late, pods+d.Late+d.InTime+d.Unknown
		if len(a.Verdicts) > 0 && a.Urgency() == 0 {
			act++
		}
	}
	s := report.Plural(len(all.Items), "workload")
	if act > 0 {
		s += ", " + report.Count(act) + " to act on"
	}
	return s + ". " + report.Count(late) + " of " + report.Plural(pods, "pod") + " that left were late."
}

// verdictCounts are the verdicts that occur, the most urgent first. A workload may have several.
func verdictCounts(all []sizing.Advice, f workloadFilter) (vs []verdictCount) {
	counts := map[sizing.Code]int{}
	for i := range all {
		for _, v := range all[i].Verdicts {
			counts[v.Code]++
		}
	}
	codes := make([]sizing.Code, 0, len(counts))
	for c := range counts {
		codes = append(codes, c)
	}
	slices.SortFunc(codes, func(a, b sizing.Code) int {
		return cmp.Or(moodOf(a)-moodOf(b), counts[b]-counts[a], cmp.Compare(a, b))
	})
	for _, c := range codes[:min(len(codes), 24)] {
		v := verdictCount{Code: report.Visible(string(c)), Words: report.Shorten(c.Words(), nameRoom), Count: report.Count(counts[c]), Class: moods[moodOf(c)], Chosen: string(c) == f.verdict}
		v.URL = f.with(string(c), 1)
		if v.Chosen {
			v.URL = f.with("", 1)
		}
		vs = append(vs, v)
	}
	return vs
}

var moods = []string{"bad", "odd", "good"}

// moodOf a verdict is an index of moods.
func moodOf(c sizing.Code) int {
	switch c {
	case sizing.Fits:
		return 2
	case sizing.LongerThanNeeded, sizing.TooFew, sizing.NothingLeft, sizing.NotAllMeasured, sizing.Unreadable:
		return 1
	}
	return 0
}

func newWorkloadRow(a *sizing.Advice) workloadRow {
	first, c := a.Verdicts[0], a.Cells()
	r := workloadRow{
		Workload: report.Visible(a.Workload), Short: workloadName(a.Workload, nameRoom), URL: workloadURL("./", a.Namespace, a.Workload),
		Namespace: report.Shorten(a.Namespace, nameRoom), Container: report.Shorten(a.Present.Container, nameRoom),
		PreStop: c.PreStop, Number: together(a.Number()), Late: c.Late, Refused: c.Refused, Basis: report.Shorten(c.Basis, 16), Missing: c.Missing,
		Verdict: report.Shorten(first.Code.Words(), nameRoom), Class: moods[moodOf(first.Code)], Owner: report.Shorten(string(first.Owner), 16),
	}
	if a.Departures.Late > 0 {
		r.LateClass = "bad"
	}
	var beside []string
	for _, v := range a.Verdicts[1:] {
		if v.Code != sizing.Fits {
			beside = append(beside, report.Shorten(v.Code.Words(), nameRoom))
		}
	}
	r.Beside = strings.Join(beside, "; ")
	return r
}

// workloadURL is "" for what has no page.
func workloadURL(root, namespace, workload string) string {
	if path := report.WorkloadPath(namespace, workload); path != "" {
		return root + path
	}
	return ""
}
