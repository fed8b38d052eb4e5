package ledger

import "time"

// Witness is what connection tracking on one node showed of the connections to one departing pod: sums over
// a window, one line when it ends. Only TCP is counted, but for Datagrams. What was not proved is in no count.
type Witness struct {
	// Own: told by the pod's own node, which sees connections by whatever way they came, as long as the
	// pod is there. Other nodes tell of those that their own rules sent to the pod.
	Own bool `json:"own,omitempty"`
	// Since and Until are the window: outside of it nothing was seen.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Incomplete says why the counts are lower bounds, if something may have been missed inside the window.
	Incomplete []Missed `json:"incomplete,omitempty"`
	// Older: connections that were open before the window are in Drain too. Since Linux 6.0 the kernel reports
	// only those that began while somebody listened (nf_conntrack_events=2).
	Older bool `json:"older,omitempty"`

	// DNAT are connections whose destination this node translated, Direct those that came with the pod's own
	// address: from another node's kube-proxy, or from whoever knows the pod, such as an ingress.
	DNAT   Flows `json:"dnat,omitzero"`
	Direct Flows `json:"direct,omitzero"`
	// Last is when the last new connection began; Began is when they began, of the pod's own node only.
	Last  time.Time `json:"last,omitzero"`
	Began *Series   `json:"began,omitempty"`
	// LastRefused is when the last connection began that was refused.
	LastRefused time.Time `json:"last_refused,omitzero"`

	// AfterLanding are new connections that this node's rules sent to the pod after every path to it had
	// landed: our error, or a place that routes again. Reused revived an old entry instead, which keeps its
	// translation.
	AfterLanding int `json:"after_landing,omitempty"`
	Reused       int `json:"reused,omitempty"`

	Drain *Drain `json:"drain,omitempty"` // of the pod's own node only

	// Datagrams are nil if no UDP flow was sent to the pod by this node's rules.
	Datagrams *Datagrams `json:"datagrams,omitempty"`
}

// Datagrams are UDP flows that a node's rules sent to the pod. A flow keeps its translation after landed, as long as its
// entry is there: kube-proxy deletes it after its rules are in place (pkg/proxy/conntrack/cleanup.go; of UDP only, and not while the
// endpoint still serves).
type Datagrams struct {
	New int `json:"new,omitempty"`
	// Cleared is when the last entry went after its path had landed: deleted, or it ran out, which the kernel does not tell.
	Cleared time.Time `json:"cleared,omitzero"`
	// Open are those of paths that had landed, and whose entries were still there when the window ended.
	Open int `json:"open,omitempty"`
}

// Flows are new connections of one way, and those of them that were proved lost.
type Flows struct {
	New int `json:"new,omitempty"`
	// Reset: the only answer was a reset; nobody listened any more.
	Reset int `json:"reset,omitempty"`
	// Silent: no answer for 10 s, three retransmissions included.
	Silent int `json:"silent,omitempty"`
}

// Refused are those that were proved lost.
func (f Flows) Refused() int { return f.Reset + f.Silent }

// Drain is how connections to a pod ended while it was leaving.
type Drain struct {
	// Closed began to end by a FIN, Cut by a reset, of either side.
	Closed int       `json:"closed,omitempty"`
	Cut    int       `json:"cut,omitempty"`
	Last   time.Time `json:"last,omitzero"` // when the last of them did
	Ended  *Series   `json:"ended,omitempty"`
	Resets *Series   `json:"resets,omitempty"` // of Ended those that were cut
	// Accepted is when the last connection began that the pod answered.
	Accepted time.Time `json:"accepted,omitzero"`
	// Open began inside the window, and their end was not seen in it.
	Open int `json:"open,omitempty"`
}

// Missed is why connections may have been missed.
type Missed string

const (
	MissedRate     Missed = "rate"     // more events than are worth a witness: it left for a while
	MissedOverrun  Missed = "overrun"  // the kernel dropped events, since they were read too slowly
	MissedCapacity Missed = "capacity" // more connections or pods at once than are held
	MissedAge      Missed = "age"      // the window is bounded, the departure lasted longer
	MissedStopped  Missed = "stopped"  // the agent stopped before it was over
	MissedError    Missed = "error"    // the kernel could not be asked
)

// AfterLanding is the kind of a connection that reached an endpoint after it had landed.
type AfterLanding string

const (
	NewConnection AfterLanding = "new"
	ReusedEntry   AfterLanding = "reused"
)

// SeriesCells bounds the cells of a Series: 128 cells of 125 ms are 16 s.
const (
	SeriesCells = 128
	seriesWidth = 125 * time.Millisecond
)

// Series counts moments in cells of equal width. The width doubles when they no longer fit.
type Series struct {
	Start  time.Time `json:"start"`
	Width  float64   `json:"width_seconds"`
	Counts []int     `json:"counts"`
}

// NewSeries returns an empty series that begins at start.
func NewSeries(start time.Time) *Series { return &Series{Start: start, Width: seriesWidth.Seconds()} }

// Add counts a moment. One before the start counts as at the start.
func (s *Series) Add(at time.Time) {
	since := max(at.Sub(s.Start).Seconds(), 0)
	for since >= s.Width*SeriesCells {
		half := (len(s.Counts) + 1) / 2
		for i := range half {
			n := s.Counts[2*i]
			if 2*i+1 < len(s.Counts) {
				n += s.Counts[2*i+1]
			}
			s.Counts[i] = n
		}
		s.Counts, s.Width = s.Counts[:half], 2*s.Width
	}
	cell := int(since / s.Width)
	for len(s.Counts) <= cell {
		s.Counts = append(s.Counts, 0)
	}
	s.Counts[cell]++
}

// After is how many moments lie after one that is itself only known to be in [lo, hi]: at least those of
// the cells that begin at or after hi, at most those of the cells that end after lo.
func (s *Series) After(lo, hi time.Time) (least, most int) {
	if s == nil {
		return 0, 0
	}
	from, to := lo.Sub(s.Start).Seconds(), hi.Sub(s.Start).Seconds()
	for i, n := range s.Counts {
		if float64(i)*s.Width >= to {
			least += n
		}
		if float64(i+1)*s.Width > from {
			most += n
		}
	}
	return least, most
}

// Witnessed writes what the witness of a departure has summed up, after the line that announces the pod.
func (l *Ledger) Witnessed(uid string, w Witness) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, untold := l.untold.leaving[uid]; untold {
		l.tell()
	}
	l.cfg.Events.witness(uid, w)
}

func (r *Ring) witness(uid string, w Witness) {
	r.append(Event{Type: EventWitness, At: w.Until, UID: uid, Witness: w.clone()})
}

// clone copies what the ring puts on its own timeline.
func (w Witness) clone() *Witness {
	series := func(s *Series) *Series {
		if s == nil {
			return nil
		}
		c := *s
		return &c // the counts are not changed
	}
	w.Began = series(w.Began)
	if w.Datagrams != nil {
		d := *w.Datagrams
		w.Datagrams = &d
	}
	if w.Drain != nil {
		d := *w.Drain
		d.Ended, d.Resets = series(d.Ended), series(d.Resets)
		w.Drain = &d
	}
	return &w
}

func (w *Witness) onTimeline(move func(*time.Time)) {
	for _, t := range []*time.Time{&w.Since, &w.Until, &w.Last, &w.LastRefused} {
		move(t)
	}
	if w.Began != nil {
		move(&w.Began.Start)
	}
	if w.Datagrams != nil {
		move(&w.Datagrams.Cleared)
	}
	if d := w.Drain; d != nil {
		move(&d.Last)
		move(&d.Accepted)
		for _, s := range []*Series{d.Ended, d.Resets} {
			if s != nil {
				move(&s.Start)
			}
		}
	}
}
