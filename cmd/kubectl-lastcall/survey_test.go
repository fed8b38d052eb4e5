package main

import (
	"testing"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// TestAgentsThatBegin: right after an installation agents list; that is no failure, and what else is not ready is.
func TestAgentsThatBegin(t *testing.T) {
	s := survey{status: report.Status{Agents: []report.Agent{
		{Node: "a", State: report.AgentFollowing, NotReady: "kubernetes API: services are not listed yet; pods are not listed yet"},
		{Node: "b", State: report.AgentFollowing, NotReady: "kubernetes API: list services: forbidden"},
	}}}
	fs := s.readyFindings()
	if len(fs) != 2 || fs[0].Result != fail || fs[0].Do != "" || fs[1].Result != warn || fs[1].Do == "" {
		t.Errorf("%+v", fs)
	}
}
