//go:build linux

package main

import (
	"os"
	"testing"
	"time"
)

// TestMain lets the test's binary be the generator, too.
func TestMain(m *testing.M) {
	if os.Getenv(generatorEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestEveryDepartureIsCompleteOnceAndRight(t *testing.T) {
	r, err := measure(t.Context(), options{shape: shape{Agents: 20, Rate: 10, Gone: 2}, window: 3 * time.Second,
		pause: time.Second, preload: 200, pages: 2})
	if err != nil {
		t.Fatal(err)
	}
	if r.Correct != r.Departures || r.Departures == 0 {
		t.Errorf("%d of %d rows are complete and right; wrong: %v", r.Correct, r.Departures, r.Wrong)
	}
	if r.Lost != 0 || r.Malformed != 0 || r.Refused != 0 {
		t.Errorf("%v lines lost, %v malformed, %v answers refused, want none", r.Lost, r.Malformed, r.Refused)
	}
	if r.Lines == 0 {
		t.Error("the hub read no line")
	}
}
