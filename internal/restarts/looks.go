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
		p.looks.take(s, before, err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// take: a look that was counted now and not before was made since before; what it showed was so then or later. Of those that
// were made before anybody counted, the last was the last reading, unless there were others.
func (l *looks) take(s consumer.Status, before time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = err
	count := s.Asked[consumer.Look]
	switch {
	case err != nil || count <= l.count:
		return
	case l.count > 0:
		l.at = before
	case s.Asked[consumer.Pending] == 0:
		l.at = s.Read.Add(-time.Second) // no reading takes so long here
	}
	l.count = count
}

func (p *place) looked() (at time.Time, why string) {
	p.looks.mu.Lock()
	defer p.looks.mu.Unlock()
	if p.looks.why != nil {
		why = fmt.Sprintf(" (%v)", p.looks.why)
	}
	return p.looks.at, why
}
