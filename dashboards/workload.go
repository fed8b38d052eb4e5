package main

//lint:file-ignore SA1019 schema v1 is read by every Grafana, v2 by the newest only

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// ofWorkload are the labels of one workload.
const ofWorkload = `cluster="$cluster", namespace="$namespace", workload_type="$workload_type", workload="$workload"`

// workload is what the owner of one workload wants to know.
func workload() *dashboard.DashboardBuilder {
	b := board("lastcall-workload", "Workload", "How long one workload's pods are reached after they were told to go, how long they sleep, and how long they should.", "now-7d",
		of("namespace", "Namespace", `label_values(lastcall_workload_recommendation_info{cluster="$cluster"}, namespace)`),
		of("workload_type", "Type", `label_values(lastcall_workload_recommendation_info{cluster="$cluster", namespace="$namespace"}, workload_type)`),
		of("workload", "Workload", `label_values(lastcall_workload_recommendation_info{cluster="$cluster", namespace="$namespace", workload_type="$workload_type"}, workload)`))

	b.WithPanel(words("Ask", "Who was last, and when: [`kubectl lastcall -n ${namespace} explain ${workload_type}/${workload}`](${hub}/workloads/${namespace}/${workload_type}/${workload})\n\n"+
		"How long preStop must sleep, how sure that is, and the patch: `kubectl lastcall -n ${namespace} recommend ${workload_type}/${workload} -o patch`"))

	b.WithRow(dashboard.NewRowBuilder("Configured and recommended"))
	b.WithPanel(number("preStop sleeps", "How long the container that serves sleeps, as of when pods of it last left. None: its hook is of a kind that nobody can read.", "s", nil,
		query{`lastcall_workload_prestop_seconds{` + ofWorkload + `}`, "{{container}}"}))
	b.WithPanel(number("Recommended", "None while fewer than 19 episodes are known and no pool of others fits.", "s", nil,
		query{`lastcall_workload_prestop_recommended_seconds{` + ofWorkload + `}`, "{{container}}"}))
	b.WithPanel(number("Grace period", "terminationGracePeriodSeconds, as of when pods of it last left. preStop counts against it.", "s", nil,
		query{`lastcall_workload_grace_period_seconds{` + ofWorkload + `}`, ""}))
	b.WithPanel(number("Left to drain", "Grace period less preStop: what is still served after that is cut.", "s", nil,
		query{`max by (cluster, namespace) (lastcall_workload_grace_period_seconds{` + ofWorkload + `}) - min by (cluster, namespace) (lastcall_workload_prestop_seconds{` + ofWorkload + `})`, ""}))
	b.WithPanel(number("Rests on", "own: its own episodes; pool: those of others like it; none: no number yet. lower bound: a place that routes to it is not measured.", "short", nil,
		query{`lastcall_workload_recommendation_info{` + ofWorkload + `}`, "{{basis}}, lower bound: {{lower_bound}}"}))
	b.WithPanel(number("Exceeded", "Episodes that took longer than had been recommended before them, of those that were tested, since the hub started.", "short", nil,
		query{`lastcall_recommendation_exceeded_total{` + ofWorkload + `}`, "exceeded"},
		query{`lastcall_recommendation_tested_total{` + ofWorkload + `}`, "tested"}))
	b.WithPanel(series("preStop and last call", "preStop should be above the last calls. Last calls need native histograms; without them their mean is shown.", "s",
		query{`lastcall_workload_prestop_seconds{` + ofWorkload + `}`, "configured, {{container}}"},
		query{`lastcall_workload_prestop_recommended_seconds{` + ofWorkload + `}`, "recommended, {{container}}"},
		query{`histogram_quantile(0.95, sum by (cluster) (rate(lastcall_workload_departure_duration_seconds{` + ofWorkload + `}[` + lately + `])))`, "last call, 19 in 20"},
		query{mean("cluster", "lastcall_workload_departure_duration_seconds", ofWorkload, lately), "last call, mean"}))
	b.WithPanel(heat("Distribution of last calls", "How many departures had their last call so long after T0. It needs native histograms; without them this is how many there were.", "s",
		`sum by (cluster) (increase(lastcall_workload_departure_duration_seconds{`+ofWorkload+`}[`+lately+`]))
or
sum by (cluster, le) (increase(lastcall_workload_departure_duration_seconds_bucket{`+ofWorkload+`}[`+lately+`]))`))

	b.WithRow(dashboard.NewRowBuilder("What it costs"))
	b.WithPanel(stacked(series("Departures by verdict", "By the worst that is known of each: refused connections, late, kept on purpose, unknown, safe.", "short",
		query{`sum by (result) (lastcall_workload_departures_total{` + ofWorkload + `})`, "{{result}}"})))
	b.WithPanel(series("New connections to pods that were leaving", "sleeping: preStop did its work; stopped: they met a server that had been told to stop. Lower bounds.", "short",
		query{`sum by (phase) (lastcall_workload_late_connections_total{` + ofWorkload + `})`, "{{phase}}"}))
	b.WithPanel(series("Exposure", "Seconds, added up, in which new connections could reach a server that had been told to stop. Lower bounds.", "s",
		query{`sum by (workload) (lastcall_workload_exposure_seconds_total{` + ofWorkload + `})`, "{{workload}}"}))
	b.WithPanel(series("Grace period and preStop", "needed is there only where it is more than there is.", "s",
		query{`lastcall_workload_grace_period_seconds{` + ofWorkload + `}`, "grace period"},
		query{`lastcall_workload_grace_period_recommended_seconds{` + ofWorkload + `}`, "needed"},
		query{`lastcall_workload_prestop_seconds{` + ofWorkload + `}`, "preStop, {{container}}"}))

	b.WithRow(dashboard.NewRowBuilder("What is missing"))
	b.WithPanel(number("Unknown", "Departures of which nobody can tell whether they were late, since the hub started.", "short", nil,
		query{`sum by (workload) (lastcall_workload_departures_total{` + ofWorkload + `, result="unknown"}) or 0 * sum by (workload) (lastcall_workload_departures_total{` + ofWorkload + `})`, ""}))
	b.WithPanel(number("Coverage", "Share of the nodes that lastcall hears of.", "percentunit", nil,
		query{`cluster:lastcall_coverage:ratio{` + inCluster + `}`, ""}))
	b.WithPanel(number("Stuck places", "Of the whole cluster. They are not in the recommendation: no sleep is long enough for them.", "short", []float64{1, 1},
		query{`sum by (cluster) (cluster_place:lastcall_places_stuck:count{` + inCluster + `})`, ""}))
	b.WithPanel(number("Places not measured", "Nodes and families whose dataplane no agent can time. With any of them a recommendation is a lower bound.", "short", nil,
		query{`count by (cluster) (lastcall_agent_dataplane_info{` + inCluster + `, measured="false"}) or 0 * count by (cluster) (lastcall_agent_dataplane_info{` + inCluster + `})`, ""}))
	b.WithPanel(number("Workloads dropped", "Workloads of the cluster that have no series because there are too many: those that no pod has left for longest.", "short", nil,
		query{`max by (cluster) (lastcall_hub_workloads_dropped{` + inCluster + `})`, ""}))
	return b
}
