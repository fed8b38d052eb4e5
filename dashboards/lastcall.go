package main

//lint:file-ignore SA1019 schema v1 is read by every Grafana, v2 by the newest only

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const (
	inCluster   = `cluster="$cluster"`
	inNamespace = `cluster="$cluster", namespace=~"$namespace"`
	// lately is a window that has two scrapes whatever the zoom.
	lately = "$__rate_interval"
)

// lastCall is how a whole cluster lets go of its pods.
func lastCall() *dashboard.DashboardBuilder {
	b := board("lastcall-cluster", "Last call", "When everybody in this cluster has let go of a pod that leaves, who was late for it, and where it is stuck.", "now-24h",
		anyOf("namespace", "Namespace", `label_values(lastcall_workload_departures_total{cluster="$cluster"}, namespace)`))

	b.WithRow(dashboard.NewRowBuilder("Verdicts"))
	b.WithPanel(number("19 in 20 within", "Of the departures in this time, 95 % had their last call within this many seconds of T0. The upper ends of what was measured.", "s", nil,
		query{quantile(.95, "cluster", "lastcall_departure_duration_seconds", inCluster, "$__range"), ""}))
	b.WithPanel(number("Departures", "Pods that left and whose last call is known.", "short", nil,
		query{count("cluster", "lastcall_departure_duration_seconds", inCluster, "$__range"), ""}))
	b.WithPanel(number("Late or refused", "Share of the departures that were reached by new connections after they had been told to stop. Those of which that is not known count among the others.", "percentunit", []float64{.01, .05},
		query{`sum by (cluster) (sum_over_time(cluster_namespace_result:lastcall_workload_departures:increase5m{` + inNamespace + `, result=~"late|refused"}[$__range:$step]))
/
sum by (cluster) (sum_over_time(cluster_namespace_result:lastcall_workload_departures:increase5m{` + inNamespace + `}[$__range:$step]))`, ""}))
	b.WithPanel(number("Stuck places", "Places with a removal that has been pending for over 5 minutes: they send new connections to deleted pods. Sleeping longer cannot help.", "short", []float64{1, 1},
		query{`sum by (cluster) (cluster_place:lastcall_places_stuck:count{` + inCluster + `})`, ""}))
	b.WithPanel(number("Coverage", "Share of the nodes that lastcall hears of. Below 99 % departures do not enter recommendations.", "percentunit", nil,
		query{`cluster:lastcall_coverage:ratio{` + inCluster + `}`, ""}))
	b.WithPanel(number("Recommendations exceeded", "Share of the episodes of the last 30 days that took longer than had been recommended before them. 5 % are promised.", "percentunit", []float64{.1, .2},
		query{`cluster:lastcall_recommendation_exceeded:increase30d{` + inCluster + `} / (cluster:lastcall_recommendation_tested:increase30d{` + inCluster + `} > 0)
or
cluster:lastcall_recommendation_exceeded:increase30d{` + inCluster + `}`, ""}))
	b.WithPanel(stacked(series("Departures by verdict", "In 5 minutes each, by the worst that is known: refused connections, late, kept on purpose, unknown, safe. What is not known is never safe.", "short",
		query{`sum by (result) (cluster_namespace_result:lastcall_workload_departures:increase5m{` + inNamespace + `})`, "{{result}}"})))
	b.WithPanel(stacked(series("Departures by reason", "All of the cluster, per second.", "cps",
		query{`cluster_reason:lastcall_departures:rate5m{` + inCluster + `}`, "{{reason}}"})))

	b.WithRow(dashboard.NewRowBuilder("Last calls"))
	b.WithPanel(series("Last call", "From T0 until the last place had let go, of each departure: not the pooled latency of places, in which one slow node of a thousand does not show.", "s",
		query{quantile(.5, "cluster", "lastcall_departure_duration_seconds", inCluster, lately), "half"},
		query{quantile(.95, "cluster", "lastcall_departure_duration_seconds", inCluster, lately), "19 in 20"},
		query{quantile(.99, "cluster", "lastcall_departure_duration_seconds", inCluster, lately), "99 in 100"}))
	b.WithPanel(heat("Distribution of last calls", "How many departures had their last call so long after T0.", "s",
		`sum by (cluster) (increase(lastcall_departure_duration_seconds{`+inCluster+`}[`+lately+`]))
or
(
  sum by (cluster, le) (increase(lastcall_departure_duration_seconds_bucket{`+inCluster+`}[`+lately+`]))
  unless on (cluster)
  sum by (cluster) (increase(lastcall_departure_duration_seconds{`+inCluster+`}[`+lately+`]))
)`))
	b.WithPanel(stacked(series("Stages of the last landing", "Means, which add up. api: T0 until the change was first seen anywhere; watch: until the place that was last saw it; program: until that place had applied it.", "s",
		query{mean("stage", "lastcall_departure_stage_duration_seconds", inCluster, lately), "{{stage}}"})))
	b.WithPanel(series("Kinds of places", "From T0 until the last place of the kind had let go, 95 % of departures.", "s",
		query{quantile(.95, "place", "lastcall_place_departure_duration_seconds", inCluster, lately), "{{place}}"}))

	b.WithRow(dashboard.NewRowBuilder("Late and refused"))
	b.WithPanel(leads(rows("Workloads that stopped too early", "Departures that were late or refused connections, in the worst hour. The link is the hub's page of the workload.",
		[]string{"namespace", "workload_type", "workload"},
		column{`topk(20, max_over_time(cluster_workload:lastcall_workload_departures_late:increase1h{` + inNamespace + `}[$__range]))`, "in the worst hour", "short"}),
		"workload", "kubectl lastcall -n ${__data.fields.namespace} explain ${__data.fields.workload_type}/${__data.fields.workload}",
		"/workloads/${__data.fields.namespace}/${__data.fields.workload_type}/${__data.fields.workload}"))
	b.WithPanel(series("Exposure", "Seconds per second in which new connections could reach servers that had been told to stop. Lower bounds.", "s",
		query{`topk(10, sum by (namespace) (rate(lastcall_workload_exposure_seconds_total{` + inNamespace + `}[` + lately + `])))`, "{{namespace}}"}).Span(12))

	b.WithRow(dashboard.NewRowBuilder("Stuck places"))
	b.WithPanel(series("Oldest removal that is pending", "Of the 20 places where it is oldest. From 5 minutes on it is stuck: look at kube-proxy there, not at preStop.", "s",
		query{`topk(20, cluster_instance_place:lastcall_removal_oldest_pending_seconds:max{` + inCluster + `})`, "{{instance}} {{place}}"}))
	b.WithPanel(leads(rows("Places with pending removals", "Now. The link is the hub's page of places.", []string{"instance", "place"},
		column{`topk(20, sum by (instance, place) (lastcall_removals_pending{` + inCluster + `}))`, "pending", "short"},
		column{`cluster_instance_place:lastcall_removal_oldest_pending_seconds:max{` + inCluster + `}`, "oldest", "s"}),
		"instance", "kubectl lastcall explain node/${__data.fields.instance}", "/places"))
	b.WithPanel(stacked(series("Removals by outcome", "Each ends in exactly one. expired: still routed after 30 minutes; gap: nobody watched.", "cps",
		query{`sum by (outcome) (cluster_place_outcome:lastcall_removals:rate5m{` + inCluster + `})`, "{{outcome}}"})))
	b.WithPanel(series("Time to program", "From the receipt of the change on a node until its kernel took no new connection, of all removals: half and 99 in 100.", "s",
		query{`cluster_place_backend:lastcall_removal_program_duration_seconds:p50_rate5m{` + inCluster + `}`, "{{place}} {{backend}}, half"},
		query{`cluster_place_backend:lastcall_removal_program_duration_seconds:p99_rate5m{` + inCluster + `}`, "{{place}} {{backend}}, 99 in 100"}))

	b.WithRow(dashboard.NewRowBuilder("Coverage"))
	b.WithPanel(stacked(series("Agents as the hub sees them", "following is well; catching up passes; of the others nothing is heard.", "short",
		query{`sum by (state) (lastcall_hub_agents{` + inCluster + `})`, "{{state}}"})))
	b.WithPanel(series("Dataplanes", "What agents found on their nodes. measured=false: nobody times it there.", "short",
		query{`count by (backend, family, measured) (lastcall_agent_dataplane_info{` + inCluster + `})`, "{{backend}} {{family}}, measured: {{measured}}"}).
		DrawStyle(common.GraphDrawStyleLine))
	return b
}
