//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// script is what all agents write: in every second two blocks of lines each, one that opens removals and one that
// settles them. A line is a function of agent and sequence number, so nobody has to keep it until it is read.
type script struct {
	shape
	begun time.Time // of second 0

	mu    sync.Mutex
	last  int // no pod leaves in this second or later
	texts map[textKey]*text
}

type textKey struct{ clock, second int }

// text is what the agents with one clock write about a second, all but boot and sequence number.
type text struct {
	own       [][]byte // lines' ends, one for each pod, of the agent on its node
	farewells [][]byte
	opened    []byte // a line's end
	settled   []byte // field departures of the line that settles
}

func (s *script) until() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// end lets no more pods leave, and returns the number of seconds in which some did.
func (s *script) end(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = int(now.Sub(s.begun)/time.Second) + 2
	return s.last
}

func (s *script) tick(second int) time.Time { return s.begun.Add(time.Duration(second) * time.Second) }

// due is when an agent writes its block. API events reach all agents within 200 ms; kube-proxies sync once a second.
func (s *script) due(agent, block int) time.Time {
	spread := func(most time.Duration) time.Duration {
		return most * time.Duration(agent*2654435761%1009) / 1009
	}
	if block%2 == 0 {
		return s.tick(block / 2).Add(spread(200 * time.Millisecond))
	}
	return s.tick(block / 2).Add(500*time.Millisecond + spread(400*time.Millisecond))
}

// count is the number of lines in a block.
func (s *script) count(agent, block, last int) (n int) {
	second := block / 2
	if second < last {
		n++
	}
	if block%2 == 1 {
		return n
	}
	if second < last {
		for i := range s.Rate {
			if s.owner(second, i) == agent {
				n++
			}
		}
	}
	if gone := second - s.Gone; gone >= 0 && gone < last {
		for i := range s.Rate {
			if s.owner(gone, i) == agent {
				n++
			}
		}
	}
	return n
}

// write appends a block's lines, the first with sequence number seq.
func (s *script) write(b []byte, agent, block, last int, seq uint64) []byte {
	second, clock := block/2, agent%clocks
	begin := func() {
		b = append(b, `{"boot":"`...)
		b = append(b, boot(agent)...)
		b = append(b, `","seq":`...)
		b = strconv.AppendUint(b, seq, 10)
		b = append(b, ',')
		seq++
	}
	if block%2 == 1 {
		if second >= last {
			return b
		}
		begin()
		hi := s.due(agent, block).Add(offset(agent))
		b = append(b, `"type":"removals","at":"`...)
		b = hi.AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","place":"kube-proxy","backend":"nftables","family":"ipv4","lo":"`...)
		b = hi.Add(-time.Millisecond).AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","hi":"`...)
		b = hi.AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","generation":`...)
		b = strconv.AppendInt(b, int64(second), 10)
		return append(b, s.text(clock, second).settled...)
	}
	if second < last {
		t := s.text(clock, second)
		for i := range s.Rate {
			if s.owner(second, i) == agent {
				begin()
				b = append(b, t.own[i]...)
			}
		}
		begin()
		b = append(b, t.opened...)
	}
	if gone := second - s.Gone; gone >= 0 && gone < last {
		for i := range s.Rate {
			if s.owner(gone, i) == agent {
				begin()
				b = append(b, s.text(clock, gone).farewells[i]...)
			}
		}
	}
	return b
}

func boot(agent int) string { return fmt.Sprintf("boot-%d", agent) }

// version is the resource version of the slices' change in a second.
func version(second int) string { return strconv.Itoa(1000 + second) }

func (s *script) text(clock, second int) *text {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := textKey{clock, second}
	if t := s.texts[k]; t != nil {
		return t
	}
	by := s.tick(second).Add(offset(clock))
	t := &text{}
	opened := ledger.Event{Type: ledger.EventRemovals, At: by, Place: "kube-proxy", Backend: "nftables", Family: ledger.IPv4}
	settled := ledger.Event{}
	grace, sleep := int64(30), int64(5)
	for i := range s.Rate {
		app := second / 10 % 50
		pod := ledger.Pod{UID: s.uid(second, i), Namespace: fmt.Sprintf("team-%d", app%20),
			Name: fmt.Sprintf("app-%d-5d8f7c9b64-%05x", app, second*s.Rate+i), Node: nodeName(s.owner(second, i))}
		slice := ledger.Leaving{Pod: pod, Reason: ledger.Delete, T0: by.Add(-time.Duration(i) * time.Millisecond), T0Source: ledger.FromSlice}
		own := ledger.Event{Type: ledger.EventDeparture, At: by, Pod: &pod, Reason: ledger.Delete, T0: slice.T0.Add(-10 * time.Millisecond),
			T0Source: ledger.FromPod, Grace: &grace, ResourceVersion: version(second), Workload: fmt.Sprintf("deployment/app-%d", app), Revision: "5d8f7c9b64"}
		own.Containers = []ledger.Container{{Name: "app", Ports: []uint16{8080}, PreStop: ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &sleep}}}
		t.own = append(t.own, tail(own))
		end := by.Add(time.Duration(s.Gone) * time.Second)
		t.farewells = append(t.farewells, tail(ledger.Event{Type: ledger.EventFarewell, At: end, Pod: &pod, Gone: true,
			Exits: []ledger.Exit{{Name: "app", Finished: end.Truncate(time.Second), Told: end}}}))
		opened.Departures = append(opened.Departures, ledger.Settled{UID: pod.UID, Leaving: &slice, ResourceVersion: version(second), Ports: []uint16{8080}, Open: ledger.Open{Pending: removals}})
		seen := opened.At.Add(-5 * time.Millisecond)
		settled.Departures = append(settled.Departures, ledger.Settled{UID: pod.UID, Outcomes: map[ledger.Outcome]int{ledger.Landed: removals},
			SeenFirst: seen, SeenLast: seen})
	}
	t.opened = tail(opened)
	_, fields, _ := bytes.Cut(tail(settled), []byte(`"type":""`)) // nothing before it is set
	t.settled = fields
	s.texts[k] = t
	return t
}

// tail is a line without boot and sequence number.
func tail(e ledger.Event) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // an event is strings, numbers and times
	}
	return append(bytes.TrimPrefix(b, []byte(`{"boot":"",`)), '\n')
}
