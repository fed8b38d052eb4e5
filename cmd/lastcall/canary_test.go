package main

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLingering: what a canary does goes on after it is told to stop, for as long as was said, and no longer.
func TestLingering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		began := time.Now()
		time.AfterFunc(time.Minute, stop)
		err := lingering(ctx, 5*time.Second, func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})
		if took := time.Since(began); err != nil || took != 65*time.Second {
			t.Errorf("it ended after %v, %v", took, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		broken, began := errors.New("broken"), time.Now()
		err := lingering(t.Context(), time.Hour, func(context.Context) error { return broken })
		if !errors.Is(err, broken) || time.Since(began) != 0 {
			t.Errorf("what ended by itself is waited for: %v after %v", err, time.Since(began))
		}
	})
}

func TestCanary(t *testing.T) {
	w := httptest.NewRecorder()
	canaryAnswers().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/any", nil))
	body, _ := io.ReadAll(w.Body)
	if host, _ := os.Hostname(); w.Code != 200 || strings.TrimSpace(string(body)) != host {
		t.Errorf("%d %s, want the pod's name %s", w.Code, body, host)
	}
	c := canaryCommand()
	c.SetArgs([]string{"--linger=-1s"})
	c.SilenceUsage, c.SilenceErrors = true, true
	if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "--linger") {
		t.Errorf("a negative time to linger: %v", err)
	}
}
