//go:build linux

package restarts

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lastcall-k8s/lastcall/probes/consumer"
)

// looks notices when the place's agent has looked at it, by a counter that it asks for.
type looks struct {
	mu    sync.Mutex
	count uint64
	at    time.Time // before the last one that was noticed
	why   error
}

// noticeEvery is how often the counter is asked for.
const noticeEvery = 200 * time.Millisecond

// notice keeps asking until ctx ends.
func (p *place) notice(ctx context.Context) {
	tick := time.NewTicker(noticeEvery)
	defer tick.Stop()
	asked := time.Now()
	for {
		before := asked
		asked = time.Now()
		s, err := p.status(ctx)
		p.looks.take(s.Asked[consumer.Look], before, err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// take: a look that was counted now and not before was made since before. What was looked for was so then or later.
func (l *looks) take(count uint64, before time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = err
	if err == nil && count > l.count {
		l.count, l.at = count, before
	}
}

func (p *place) looked() (at time.Time, why string) {
	p.looks.mu.Lock()
	defer p.looks.mu.Unlock()
	if p.looks.why != nil {
		why = fmt.Sprintf(" (%v)", p.looks.why)
	}
	return p.looks.at, why
}
