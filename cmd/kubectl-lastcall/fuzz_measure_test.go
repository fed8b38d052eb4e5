package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// FuzzMeasurement: whatever rows a hub tells of a trial's pods, each is counted once, no number comes of too few, and nothing of them is
// obeyed by a terminal.
func FuzzMeasurement(f *testing.F) {
	for _, t := range append(trialsOf(burst, ascending(2, 3)), trialsOf(single, ascending(2, .1))...) {
		text, err := json.Marshal(t.Departures)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`[{"uid":"burst0","complete":true,"expected":-1,"slowest":[{"landed":{"lo":9,"hi":-1e300}}],"age_seconds":1e300,"last_call":{"hi":1e300}}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var rows []report.Departure
		if json.Unmarshal(text, &rows) != nil {
			return
		}
		tr := newTrial(burst, []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{UID: "burst0"}}, {ObjectMeta: metav1.ObjectMeta{UID: "burst0-1"}}}, sceneTime)
		tr.take(rows, sceneTime)
		if tr.settled() {
			tr.ended = sceneTime
		}
		if late := tr.landed().Sub(sceneTime); late > 48*time.Hour {
			t.Errorf("the next trial is to wait %v", late)
		}
		m := measurement{Namespace: "sandbox", Canary: "service/lastcall-measure-x7k2p", BurstSize: 3, Trials: []measuredTrial{tr.measured()}}
		m.sum()
		if n := len(m.Trials[0].Departures) + m.Trials[0].Unheard; n != 2 || m.Recommendation.Seconds != nil {
			t.Errorf("%d pods of 2, number %s of one trial", n, m.Recommendation.Number())
		}
		v := view{screen: screen{width: 80, terminal: true}, now: func() time.Time { return sceneTime }, zone: time.UTC}
		var b bytes.Buffer
		v.measurement(&b, m)
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == '\u202e' }); i >= 0 {
			t.Errorf("%q", b.String()[max(0, i-20):min(b.Len(), i+20)])
		}
	})
}
