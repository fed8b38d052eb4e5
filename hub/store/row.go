package store

import (
	"fmt"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// row is a departure as it is stored: what it is, and its places apart.
type row struct {
	report.Departure
	settled      int // removals with an outcome: how much the row knows
	last         *straggler
	json, places []byte // places is nil if it has none
}

// placesJSON are the fields that only a look at one departure needs, 12 of its 13.5 KB.
type placesJSON struct {
	Slowest []report.Landing `json:"slowest,omitempty"`
	Strip   *report.Strip    `json:"strip,omitempty"`
}

// straggler is who was last, and by which stage.
type straggler struct {
	placeKey
	stage string // "" if the stages are unknown
}

func (c codec) packDeparture(d report.Departure) (r row, err error) {
	r.Departure = d
	for _, k := range d.Kinds {
		for _, n := range k.Outcomes {
			r.settled += n
		}
	}
	if l := d.Straggler; l != nil {
		r.last = &straggler{placeKey{l.Node, l.Kind, l.Family}, longest(l.Stages)}
	}
	places := placesJSON{d.Slowest, d.Strip}
	d.Slowest, d.Strip = nil, nil
	if r.json, err = c.pack(d); err == nil && (len(places.Slowest) > 0 || places.Strip != nil) {
		r.places, err = c.pack(places)
	}
	if err != nil {
		err = fmt.Errorf("encode departure %s: %w", d.UID, err)
	}
	return r, err
}

// unpackDeparture reads what packDeparture wrote; places may be nil.
func (c codec) unpackDeparture(row, places []byte) (d report.Departure, err error) {
	if err := c.unpack(row, &d); err != nil || places == nil {
		return d, err
	}
	var p placesJSON
	err = c.unpack(places, &p)
	d.Slowest, d.Strip = p.Slowest, p.Strip
	return d, err
}

// longest is the stage that took most of the time.
func longest(s *report.Stages) string {
	switch {
	case s == nil:
		return ""
	case s.Program >= s.API && s.Program >= s.Watch:
		return "program"
	case s.Watch >= s.API:
		return "watch"
	}
	return "api"
}
