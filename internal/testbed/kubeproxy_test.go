//go:build linux

package testbed

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestApplySettings(t *testing.T) {
	config := map[string]any{"mode": "nftables", "conntrack": map[string]any{"min": 0}}
	err := applySettings(config, []string{"mode=iptables", "nftables.minSyncPeriod=10s", "conntrack.maxPerCore=5", "featureGates.X=true", `nodePortAddresses=["primary"]`})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"mode":              "iptables",
		"nftables":          map[string]any{"minSyncPeriod": "10s"},
		"conntrack":         map[string]any{"min": 0, "maxPerCore": 5.0},
		"featureGates":      map[string]any{"X": true},
		"nodePortAddresses": []any{"primary"},
	}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	for _, wrong := range []string{"mode", "=x", "mode.deeper=1"} {
		if err := applySettings(config, []string{wrong}); err == nil {
			t.Errorf("setting %q was accepted", wrong)
		}
	}
}
