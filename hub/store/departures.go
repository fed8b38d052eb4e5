package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Filter chooses departures; a zero field does not.
type Filter struct {
	Namespace string
	Workload  string // "deployment/shop"
	Pod       string
	Node      string // where the pod ran
	LastNode  string // whose place was the straggler
	Reason    ledger.Reason
	Since     time.Time // T0 at or after
	Until     time.Time // T0 before
	Limit     int       // 100 if it is 0
	Before    string    // where the last page ended: its Next
}

// Page is a part of a list.
type Page struct {
	Departures []report.Departure
	Next       string // for the next page's Filter.Before, "" if this was the last one
}

const defaultLimit = 100

// Departure returns the row of a pod with its places.
func (s *Store) Departure(ctx context.Context, uid string) (d report.Departure, found bool, err error) {
	list, err := s.read(ctx, "read departure "+uid, one(uid))
	if err != nil || len(list) == 0 {
		return d, false, err
	}
	return list[0].Departure, true, nil
}

// Departures lists rows without their Slowest and Strip, newest T0 first; one without a T0 counts from when it was
// first stored. A page is stable: rows that arrive meanwhile do not shift the next one.
func (s *Store) Departures(ctx context.Context, f Filter) (Page, error) {
	q := query{limit: f.Limit}
	if q.limit <= 0 {
		q.limit = defaultLimit
	}
	for _, c := range []struct{ column, value string }{ // the one that leaves fewest first
		{"pod", f.Pod}, {"last_node", f.LastNode}, {"node", f.Node}, {"workload", f.Workload},
		{"namespace", f.Namespace}, {"reason", string(f.Reason)},
	} {
		if c.value == "" {
			continue
		}
		if q.index == "" {
			q.index = "departures_" + c.column
		}
		q.and(c.column+" = ?", c.value)
	}
	q.index = cmp.Or(q.index, "departures_at")
	if !f.Since.IsZero() {
		q.and("at >= ?", f.Since.UnixNano())
	}
	if !f.Until.IsZero() {
		q.and("at < ?", f.Until.UnixNano())
	}
	if f.Before != "" {
		at, id, err := parsePlace(f.Before)
		if err != nil {
			return Page{}, err
		}
		q.and("at <= ?", at) // what the index can use
		q.and("(at, id) < (?, ?)", at, id)
	}
	q.limit++ // one more, to know whether there is one
	list, err := s.read(ctx, "list departures", q)
	if err != nil {
		return Page{}, err
	}
	var p Page
	if len(list) == q.limit {
		list = list[:q.limit-1]
		last := list[len(list)-1]
		p.Next = fmt.Sprintf("%d-%d", last.at, last.id)
	}
	p.Departures = departures(list)
	return p, nil
}

// Incomplete returns the rows that may still change with their places, newest first: what a restarted hub has to go on with.
func (s *Store) Incomplete(ctx context.Context) ([]report.Departure, error) {
	list, err := s.read(ctx, "read the incomplete departures", query{places: true, where: []string{"complete = 0"}, limit: -1})
	return departures(list), err
}

// parsePlace reads a Page's Next.
func parsePlace(s string) (at, id int64, err error) {
	a, b, ok := strings.Cut(s, "-")
	if ok {
		at, err = strconv.ParseInt(a, 10, 64)
	}
	if ok && err == nil {
		id, err = strconv.ParseInt(b, 10, 64)
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("read %q: not the end of a page, take it from Page.Next", s)
	}
	return at, id, nil
}

// query chooses rows of departures, the newest up to a limit.
type query struct {
	where  []string
	args   []any
	limit  int    // -1 is none
	index  string // to use; without statistics SQLite would guess, and a wrong guess reads 100,000 rows (340 ms)
	places bool   // with them
}

// one is the row of a pod.
func one(uid string) query {
	return query{places: true, where: []string{"uid = ?"}, args: []any{uid}, limit: 1}
}

func (q *query) and(condition string, args ...any) {
	q.where, q.args = append(q.where, condition), append(q.args, args...)
}

// sql joins the JSON only to the rows that are listed: the inner SELECT touches the narrow table alone.
func (q query) sql() (string, []any) {
	var b strings.Builder
	b.WriteString("SELECT d.id, d.at, r.json, ")
	if q.places {
		b.WriteString("p.json")
	} else {
		b.WriteString("NULL")
	}
	b.WriteString(" FROM (SELECT id, at FROM departures")
	if q.index != "" {
		b.WriteString(" INDEXED BY " + q.index)
	}
	for i, w := range q.where {
		b.WriteString([]string{" WHERE ", " AND "}[min(i, 1)] + w)
	}
	b.WriteString(" ORDER BY at DESC, id DESC LIMIT ?) d CROSS JOIN departure_rows r ON r.id = d.id")
	if q.places {
		b.WriteString(" LEFT JOIN departure_places p ON p.id = d.id")
	}
	return b.String(), append(q.args, q.limit)
}

// listed is a departure with its place in the list.
type listed struct {
	report.Departure
	at, id int64
}

func departures(list []listed) []report.Departure {
	out := make([]report.Departure, len(list))
	for i, l := range list {
		out[i] = l.Departure
	}
	return out
}

func (s *Store) read(ctx context.Context, what string, q query) ([]listed, error) {
	f, err := s.readable()
	if err != nil {
		return nil, err
	}
	list, err := s.list(ctx, f.read, q)
	return list, s.noteRead(ctx, what, err)
}

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (s *Store) list(ctx context.Context, db querier, q query) ([]listed, error) {
	text, args := q.sql()
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []listed
	for rows.Next() {
		var l listed
		var row, places []byte
		if err := rows.Scan(&l.id, &l.at, &row, &places); err != nil {
			return nil, err
		}
		if l.Departure, err = s.codec.unpackDeparture(row, places); err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	// SQL promises no order of a join whose inner SELECT alone is ordered.
	slices.SortFunc(list, func(a, b listed) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.id, a.id)) })
	return list, rows.Err()
}
