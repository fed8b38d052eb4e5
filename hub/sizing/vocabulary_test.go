package sizing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/ledger"
)

func TestVocabulary(t *testing.T) {
	for ours, theirs := range map[string]string{
		reasonDelete: string(ledger.Delete), reasonEvict: string(ledger.Evict), reasonPreempt: string(ledger.Preempt),
		reasonNodeShutdown: string(ledger.NodeShutdown), reasonKubeletEvict: string(ledger.KubeletEvict),
		t0Timestamp: string(ledger.FromDeletion), t0Unknown: string(ledger.T0Unknown),
		outcomeLanded: string(ledger.Landed), outcomeExpired: string(ledger.Expired), outcomeGap: string(ledger.Gap),
		hookNone: string(ledger.NoPreStop), hookSleep: string(ledger.PreStopSleep), hookExec: string(ledger.PreStopExec), hookHTTP: string(ledger.PreStopHTTP),
	} {
		if ours != theirs {
			t.Errorf("%q here is %q in the ledger", ours, theirs)
		}
	}
}

// TestNoClock: what was recommended can be worked out again.
func TestNoClock(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []string{"time.No" + "w(", "time.Sinc" + "e(", "time.Unti" + "l("} {
			if strings.Contains(string(source), call) {
				t.Errorf("%s calls %s", f, call)
			}
		}
	}
}
