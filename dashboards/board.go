package main

//lint:file-ignore SA1019 schema v1 is read by every Grafana, v2 by the newest only

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// board is what all dashboards have: a uid that stays, the variables datasource and cluster and those of its own, where
// the hub's pages are, and the way to the others.
func board(uid, title, about, from string, own ...cog.Builder[dashboard.VariableModel]) *dashboard.DashboardBuilder {
	all := []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus"),
		// Without more than one cluster there is no label cluster, no value, and cluster="" selects all.
		of("cluster", "Cluster", `label_values(lastcall_agent_dataplane_info, cluster)`),
	}
	all = append(all, own...)
	all = append(all,
		// That of the recording rules which say increase5m: they are added up in steps of it.
		dashboard.NewConstantVariableBuilder("step").Value(text("5m")),
		dashboard.NewTextBoxVariableBuilder("hub").Label("Hub's pages").DefaultValue(text("http://127.0.0.1:9752")).
			Description("Where the hub's pages are: kubectl -n lastcall-system port-forward deployment/lastcall-hub 9752, or what you put before them."))
	return dashboard.NewDashboardBuilder("lastcall / "+title).Uid(uid).Description(about).
		Tags([]string{"lastcall"}).Time(from, "now").Refresh("1m").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Variables(all).
		Link(dashboard.NewDashboardLinkBuilder("lastcall").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"lastcall"}).
			IncludeVars(true).KeepTime(true)).
		Link(dashboard.NewDashboardLinkBuilder("Hub").Type(dashboard.DashboardLinkTypeLink).Url("${hub}/").TargetBlank(true))
}

// of is a variable with the values that Prometheus has.
func of(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source).Query(text(query)).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
}

// anyOf may have several values, and has all at first.
func anyOf(name, label, query string) *dashboard.QueryVariableBuilder {
	return of(name, label, query).Multi(true).IncludeAll(true).AllValue(".*").
		Current(dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value: dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}}})
}

var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}

func text(s string) dashboard.StringOrMap { return dashboard.StringOrMap{String: &s} }
