package main

//lint:file-ignore SA1019 schema v1 is read by every Grafana, v2 by the newest only

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

const (
	onInstances = `cluster="$cluster", instance=~"$instance"`
	ofAgents    = `cluster="$cluster", job="lastcall-agent", instance=~"$instance"`
)

// agents is whether lastcall can be believed, and what it costs.
func agents() *dashboard.DashboardBuilder {
	b := board("lastcall-agents", "Agents", "What lastcall could not observe, how wide its intervals are, whether clocks agree, and what it costs.", "now-6h",
		anyOf("instance", "Instance", `label_values(lastcall_agent_dataplane_info{cluster="$cluster"}, instance)`))

	b.WithRow(dashboard.NewRowBuilder("Lost events and gaps"))
	b.WithPanel(stacked(series("Holes by source", "watch: bridged by a relist; kernel: the record of commits broke; conntrack: connections were not witnessed; dataplane: another one took over; malformed, capacity.", "cps",
		query{`sum by (source) (rate(lastcall_agent_events_lost_total{` + onInstances + `}[` + lately + `]))`, "{{source}}"})))
	b.WithPanel(series("Removals of which nothing can be said", "Outcome gap, per second, of the 10 agents with most of them.", "cps",
		query{`topk(10, sum by (instance) (rate(lastcall_removals_total{` + onInstances + `, outcome="gap"}[` + lately + `])))`, "{{instance}}"}))
	b.WithPanel(series("What must not be", "after landing: new connections to endpoints that had landed, a bug of lastcall; again routed: somebody put landed paths back; late: landed after they had expired.", "cps",
		query{`sum by (place) (rate(lastcall_connections_after_landing_total{` + onInstances + `, kind="new"}[` + lately + `]))`, "{{place}}, after landing"},
		query{`sum by (place) (rate(lastcall_endpoint_resurrections_total{` + onInstances + `}[` + lately + `]))`, "{{place}}, again routed"},
		query{`sum by (place) (rate(lastcall_late_landings_total{` + onInstances + `}[` + lately + `]))`, "{{place}}, late"}))
	b.WithPanel(rows("Agents that do not watch", "Resources whose watch is established: 1, or 0.", []string{"instance", "resource"},
		column{`bottomk(50, min by (instance, resource) (lastcall_agent_watch_synced{` + onInstances + `}))`, "synced", "short"}))

	b.WithRow(dashboard.NewRowBuilder("Uncertainty"))
	b.WithPanel(series("Width of intervals", "Within which a landing happened: 99 in 100 are narrower. Between the bounds 1, 5 and 50 ms, and 1 s it is interpolated.", "s",
		query{`histogram_quantile(0.99, sum by (place, le) (rate(lastcall_removal_uncertainty_seconds_bucket{` + onInstances + `}[` + lately + `])))`, "{{place}}, 99 in 100"},
		query{`histogram_quantile(0.5, sum by (place, le) (rate(lastcall_removal_uncertainty_seconds_bucket{` + onInstances + `}[` + lately + `])))`, "{{place}}, half"}))
	b.WithPanel(series("Without a lower bound, and before they were seen", "Share of the landings. No lower bound: they landed while no agent ran. Before seen: the place was faster than our watch, and counts 0.", "percentunit",
		query{`sum by (place) (rate(lastcall_landed_unbounded_total{` + onInstances + `}[` + lately + `])) / (sum by (place) (rate(lastcall_removals_total{` + onInstances + `, outcome="landed"}[` + lately + `])) > 0)`, "{{place}}, no lower bound"},
		query{`sum by (place) (rate(lastcall_landed_before_seen_total{` + onInstances + `}[` + lately + `])) / (sum by (place) (rate(lastcall_removals_total{` + onInstances + `, outcome="landed"}[` + lately + `])) > 0)`, "{{place}}, before seen"}))
	b.WithPanel(series("Clocks", "The kernel's own bound on the error of each node's clock, of the 10 worst. The hub compares clocks itself; this is for other data of these nodes.", "s",
		query{`topk(10, lastcall_agent_clock_max_error_seconds{` + onInstances + `})`, "{{instance}}"}))
	b.WithPanel(series("Consumers", "How much later than what its replicas show a consumer may still act as before: it is in every interval. And readings that failed, per second.", "s",
		query{`max by (place, fidelity) (lastcall_consumer_lag_bound_seconds{` + onInstances + `})`, "{{place}}, {{fidelity}}"},
		query{`sum by (place) (rate(lastcall_consumer_failures_total{` + onInstances + `}[` + lately + `]))`, "{{place}}, failures/s"},
		query{`sum by (place, why) (rate(lastcall_consumer_requests_total{` + onInstances + `}[` + lately + `]))`, "{{place}}, {{why}}, readings/s"}).
		OverrideByRegexp("/.*\\/s$/", unit("cps")))

	b.WithRow(dashboard.NewRowBuilder("Overhead"))
	b.WithPanel(series("CPU", "Cores, of the 10 agents that use most.", "short",
		query{`topk(10, rate(process_cpu_seconds_total{` + ofAgents + `}[` + lately + `]))`, "{{instance}}"},
		query{`sum by (job) (rate(process_cpu_seconds_total{` + inCluster + `, job="lastcall-hub"}[` + lately + `]))`, "hub"}))
	b.WithPanel(series("Memory", "Resident, of the 10 agents that use most.", "bytes",
		query{`topk(10, process_resident_memory_bytes{` + ofAgents + `})`, "{{instance}}"},
		query{`max by (job) (process_resident_memory_bytes{` + inCluster + `, job="lastcall-hub"})`, "hub"}))
	b.WithPanel(series("From the API server", "Bytes per second that all agents receive, by resource.", "Bps",
		query{`sum by (resource) (rate(lastcall_agent_watch_received_bytes_total{` + onInstances + `}[` + lately + `]))`, "{{resource}}"}))
	b.WithPanel(series("Looking at the rules", "Passes per second of all agents, and how long 99 in 100 of them take at most.", "short",
		query{`sum by (cluster) (rate(lastcall_agent_verify_duration_seconds_count{` + onInstances + `}[` + lately + `]))`, "passes/s"},
		query{`histogram_quantile(0.99, sum by (cluster, le) (rate(lastcall_agent_verify_duration_seconds_bucket{` + onInstances + `}[` + lately + `])))`, "99 in 100 take"}).
		OverrideByName("99 in 100 take", unit("s")))

	b.WithRow(dashboard.NewRowBuilder("Hub"))
	b.WithPanel(series("Lines", "Event lines per second. Lost: agents no longer had them; malformed: they make no sense; refused: answers that no agent of this cluster gives.", "cps",
		query{`sum by (cluster) (rate(lastcall_hub_lines_total{` + inCluster + `}[` + lately + `]))`, "read"},
		query{`sum by (cluster) (rate(lastcall_hub_lines_lost_total{` + inCluster + `}[` + lately + `]))`, "lost"},
		query{`sum by (cluster) (rate(lastcall_hub_lines_malformed_total{` + inCluster + `}[` + lately + `]))`, "malformed"},
		query{`sum by (cluster) (rate(lastcall_hub_agents_refused_total{` + inCluster + `}[` + lately + `]))`, "refused"}))
	b.WithPanel(series("Lag", "Since the agent that was longest silent was heard, of those that are followed.", "s",
		query{`max by (cluster) (lastcall_hub_ingest_lag_seconds{` + inCluster + `})`, "lag"}))
	b.WithPanel(series("Store", "Size of the rows' file with its log. ok is 0 while rows cannot be kept.", "bytes",
		query{`max by (cluster) (lastcall_hub_store_bytes{` + inCluster + `})`, "size"},
		query{`min by (cluster) (lastcall_hub_store_ok{` + inCluster + `})`, "ok"}).
		OverrideByName("ok", unit("short")))
	b.WithPanel(series("Versions", "What runs where.", "short",
		query{`count by (job, version) (lastcall_build_info{` + inCluster + `})`, "{{job}} {{version}}"}))
	return b
}
