package report

import (
	"fmt"
	"strings"
)

// Connections are the new connections to a departing pod after T0 and what became of them, as the nodes' connection
// tracking showed. Only TCP but for Datagrams, only to ports that Services name; every count is a lower bound.
type Connections struct {
	// Own: the pod's own node told, which sees connections whichever way they came.
	Own bool `json:"own,omitempty"`
	New int  `json:"new"`
	// DNAT were sent to the pod by some node's rules, Direct went to its address by themselves.
	DNAT   int `json:"dnat"`
	Direct int `json:"direct"`
	// Last is when the last one began, in seconds after T0.
	Last *float64 `json:"last_seconds,omitempty"`
	// AfterTold is how many began after the pod was told to stop, as its own node saw; nil if one of the two is not known.
	AfterTold *Bounds `json:"after_told_to_stop,omitempty"`

	// Reset were answered by a reset only, Silent by nothing for 10 s: both are lost.
	Reset       int      `json:"reset"`
	Silent      int      `json:"silent"`
	LastRefused *float64 `json:"last_refused_seconds,omitempty"`

	// AfterLanding reached the pod by a node's rules after every path there had landed, which must not be; Reused
	// revived an old entry of conntrack.
	AfterLanding int `json:"after_landing,omitempty"`
	Reused       int `json:"reused,omitempty"`

	Drain *Draining `json:"drain,omitempty"`
	// Datagrams are nil if no node's rules sent a UDP flow to the pod.
	Datagrams *Datagrams `json:"datagrams,omitempty"`
	// Older: the drain has connections from before T0 too.
	Older bool `json:"older,omitempty"`

	// Incomplete says why some were missed for certain reasons: "rate", "overrun", "capacity", "age", "stopped", "error".
	Incomplete []string `json:"incomplete,omitempty"`
	// Unwitnessed is how many expected nodes do not witness.
	Unwitnessed int `json:"unwitnessed,omitempty"`
}

// Datagrams are the UDP flows that nodes' rules sent to the pod. They go on until kube-proxy has deleted their entries,
// which it does after its rules are in place.
type Datagrams struct {
	New int `json:"new"`
	// Cleared is when the last of their entries went, in seconds after T0; nil if none went after its path had landed.
	Cleared *float64 `json:"cleared_seconds,omitempty"`
	// Open had still an entry when the witness left, about 12 s after the last landing.
	Open int `json:"open"`
}

// Words is a sentence.
func (d Datagrams) Words() string {
	s := Plural(d.New, "UDP flow") + " to it began after T0"
	if d.Cleared != nil {
		s += "; the last entry that still led there was gone at " + Seconds(*d.Cleared)
	}
	if d.Open > 0 {
		s += "; " + Count(d.Open) + " led there still when the witness left"
	}
	return s + "."
}

// Bounds of a count.
type Bounds struct {
	Least int `json:"least"`
	Most  int `json:"most"`
}

// Draining is how connections to the pod ended, as its own node saw.
type Draining struct {
	// OpenAtTold is how many were open when the pod was told to stop; nil if that is not known.
	OpenAtTold *Bounds `json:"open_at_told_to_stop,omitempty"`
	Closed     int     `json:"closed"` // by a FIN
	Cut        int     `json:"cut"`    // by a reset, of either side: nobody can tell which
	// CutAfterTold is how many were cut after the pod was told to stop; nil if that is not known.
	CutAfterTold *Bounds `json:"cut_after_told_to_stop,omitempty"`
	// Unended are those whose end was not seen.
	Unended int `json:"unended"`
	// LastAccepted is when the last connection began that the pod answered, and Last when the last of all ended, in seconds
	// after T0.
	LastAccepted *float64 `json:"last_accepted_seconds,omitempty"`
	Last         *float64 `json:"last_seconds,omitempty"`
}

func (b Bounds) String() string {
	if b.Least == b.Most {
		return Count(b.Least)
	}
	return Count(b.Least) + " to " + Count(b.Most)
}

// Words is a sentence or two: what the departure cost.
func (c Connections) Words() string {
	s := Plural(c.New, "new connection") + " after it began to leave"
	if c.Last != nil && c.New > 0 {
		s += ", the last at " + Seconds(*c.Last)
	}
	if c.AfterTold != nil {
		s += "; " + c.AfterTold.String() + " of them after it was told to stop"
	}
	s += "; "
	if lost := c.Reset + c.Silent; lost > 0 {
		s += fmt.Sprintf("%s proved lost (%s refused, %s never answered)", Count(lost), Count(c.Reset), Count(c.Silent))
		if c.LastRefused != nil {
			s += ", the last at " + Seconds(*c.LastRefused)
		}
	} else {
		s += "none proved lost"
	}
	s += "."
	if d := c.Drain; d != nil && d.Cut > 0 {
		s += " " + Plural(d.Cut, "connection") + " ended by a reset."
	}
	if d := c.Datagrams; d != nil {
		s += " " + d.Words()
	}
	if c.AfterLanding > 0 {
		s += " " + Plural(c.AfterLanding, "connection") + " reached it after every node had let go: that should not be."
	}
	var but []string
	if len(c.Incomplete) > 0 {
		but = append(but, "some were missed ("+strings.Join(c.Incomplete, ", ")+")")
	}
	if c.Unwitnessed > 0 {
		but = append(but, Plural(c.Unwitnessed, "node")+" did not witness")
	}
	if !c.Own {
		but = append(but, "its own node did not tell")
	}
	if len(but) > 0 {
		s += " At least, since " + strings.Join(but, "; ") + "."
	}
	return s
}
