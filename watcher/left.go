package watcher

import (
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

const (
	// leftFor is how long a path that was left is remembered: longer than a removal is watched, expired
	// ones included, so that it can still be told to have returned or to be superseded.
	leftFor = 24 * time.Hour
	// leftMax bounds them, as ledger.Config.MaxOpen bounds the removals.
	leftMax = 50_000
)

// leftPaths remembers who last left each path. Whether the removal is still pending is not known
// here: the ledger ignores what it has settled.
type leftPaths struct {
	byPath map[ledger.Path]*leftPath
	order  []*leftPath // oldest first, those taken since included
}

type leftPath struct {
	ledger.Key
	at time.Time
}

func (l *leftPaths) add(k ledger.Key, at time.Time) {
	for len(l.order) > 0 && (at.Sub(l.order[0].at) > leftFor || len(l.order) >= leftMax) {
		if oldest := l.order[0]; l.byPath[oldest.Path] == oldest {
			delete(l.byPath, oldest.Path)
		}
		l.order[0] = nil
		l.order = l.order[1:]
	}
	p := &leftPath{k, at}
	l.byPath[k.Path] = p
	l.order = append(l.order, p)
}

// take returns who left the path last and forgets it.
func (l *leftPaths) take(p ledger.Path) (uid string, ok bool) {
	if e := l.byPath[p]; e != nil {
		delete(l.byPath, p)
		return e.UID, true
	}
	return "", false
}
