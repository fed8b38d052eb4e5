package hub

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// line is what an agent writes when ten pods leave at once.
func line(t testing.TB) []byte {
	e := ledger.Event{Boot: "boot-1", Seq: 5, Type: ledger.EventRemovals, At: epoch, Place: kubeProxy, Backend: "nftables", Family: ledger.IPv4}
	for i := range 10 {
		e.Departures = append(e.Departures, ledger.Settled{UID: fmt.Sprintf("%08x-0000-4000-b000-%012x", i, i), ResourceVersion: "1234", Ports: []uint16{8080},
			Leaving: &ledger.Leaving{Pod: ledger.Pod{Namespace: "team-1", Name: "app-1-5d8f7c9b64-abcde", Node: "ip-10-1-1-1.eu-central-1.compute.internal"},
				Reason: ledger.Delete, T0: epoch, T0Source: ledger.FromSlice}, Open: ledger.Open{Pending: 2}})
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestDecode: an event read into the memory of another has nothing of it, and reads as encoding/json does.
func TestDecode(t *testing.T) {
	var events []ledger.Event
	if err := decode(line(t), next(&events)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`{"boot":"b","seq":6,"type":"removals","departures":[{"uid":"u","outcomes":{"landed":1},"pending":0,"retained":0}]}`,
		`{"boot":"b","type":"heartbeat","next":7}`,
	} {
		events = events[:0]
		got := next(&events)
		if err := decode([]byte(text), got); err != nil {
			t.Fatal(err)
		}
		var want ledger.Event
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if len(want.Departures) == 0 {
			got.Departures = nil
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, want %+v", text, *got, want)
		}
	}
	for _, text := range []string{`{"boot":`, `[]`, `{"seq":-1}`, `{"at":"yesterday"}`, `{"seq":1}{"seq":2}`} {
		if err := decode([]byte(text), next(&events)); err == nil {
			t.Errorf("%s decodes", text)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	text := line(b)
	for name, f := range map[string]func([]byte, any) error{
		"encoding-json": json.Unmarshal,
		"here":          func(text []byte, e any) error { return decode(text, e.(*ledger.Event)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var events []ledger.Event
			for b.Loop() {
				events = events[:0]
				if err := f(text, next(&events)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
