package main

import (
	"log/slog"

	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/probes"
)

// newWitness returns what watches the connections to leaving pods; one that watches nothing if it is switched off.
func newWitness(f agentFlags, families []ledger.Family, books *ledger.Ledger, metrics *ledger.Metrics, log *slog.Logger) (*probes.Witness, error) {
	if f.witness {
		metrics.Witnessing()
	}
	return probes.NewWitness(probes.WitnessConfig{
		Off:          !f.witness,
		Families:     families,
		Report:       books.Witnessed,
		AfterLanding: metrics.ConnectionAfterLanding,
		Lost:         func() { metrics.Lost("conntrack", 1) },
		Log:          log,
	})
}
