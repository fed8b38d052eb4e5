package consumer

import (
	"maps"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Status says how one replica is read, for people.
type Status struct {
	Place    string        `json:"place"`
	Replica  string        `json:"replica"`
	Source   string        `json:"source"`
	Fidelity Fidelity      `json:"fidelity"`
	Lag      time.Duration `json:"lag_bound_ns,omitempty"`
	// Asked counts readings by why they were made, Failed those that said nothing.
	Asked  map[Why]uint64 `json:"asked,omitempty"`
	Failed uint64         `json:"failed,omitempty"`
	// Read is the end of the last complete reading.
	Read time.Time `json:"read,omitzero"`
	// Trouble is why the last reading failed, "" if it did not.
	Trouble string `json:"trouble,omitempty"`
	// Active is how many addresses were active at the last look, Pending how many removals are open.
	Active  int `json:"active"`
	Pending int `json:"pending"`
}

func (s *Status) count(r *reading) {
	if s.Asked == nil {
		s.Asked = map[Why]uint64{}
	}
	s.Asked[r.why]++
	if r.err != nil {
		s.Failed++
		s.Trouble = r.err.Error()
		return
	}
	s.Trouble, s.Read = "", r.ended
}

// Status is a copy.
func (p *Poller) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	s.Asked, s.Active, s.Pending = maps.Clone(s.Asked), p.roll.size, len(p.watched)
	return s
}

// Active says whether a path was active when the replica was last looked at, and whether anybody has looked
// since the path is expected.
func (p *Poller) Active(of ledger.Removal) (active, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.roll.before(of)
	return s.presence == wasActive, s.presence != neverLooked
}
