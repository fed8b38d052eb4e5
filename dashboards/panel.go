package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	markdown "github.com/grafana/grafana-foundation-sdk/go/text"
)

// query is PromQL and what a series of its answer is called.
type query struct{ expr, legend string }

// series is a panel of lines over time. Of 24 columns it takes 12.
func series(title, about, unit string, queries ...query) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().Title(title).Description(about).Unit(unit).Datasource(source).Span(12).Height(8).Min(0).
		LineWidth(1).FillOpacity(10).ShowPoints(common.VisibilityModeAuto).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for i, q := range queries {
		p.WithTarget(prometheus.NewDataqueryBuilder().RefId(ref(i)).Expr(q.expr).LegendFormat(q.legend).Range())
	}
	return p
}

// stacked is one of parts that add up.
func stacked(p *timeseries.PanelBuilder) *timeseries.PanelBuilder {
	return p.FillOpacity(60).LineWidth(0).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A"))
}

// number is a panel of one number as of now, or of one for each series. It takes 4 columns. worse are the bounds above which
// it is yellow, and red.
func number(title, about, unit string, worse []float64, queries ...query) *stat.PanelBuilder {
	p := stat.NewPanelBuilder().Title(title).Description(about).Unit(unit).Datasource(source).Span(4).Height(4).NoValue("none").
		GraphMode(common.BigValueGraphModeNone).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
	steps := []dashboard.Threshold{{Color: "text"}}
	if len(worse) > 0 {
		steps[0].Color = "green"
	}
	for i, bound := range worse {
		steps = append(steps, dashboard.Threshold{Value: &bound, Color: []string{"yellow", "red"}[min(i, 1)]})
	}
	p.Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps))
	for i, q := range queries {
		p.WithTarget(prometheus.NewDataqueryBuilder().RefId(ref(i)).Expr(q.expr).LegendFormat(q.legend).Instant())
	}
	return p
}

// column is a query whose value is a column of a table, and how it is called there.
type column struct{ expr, name, unit string }

// rows is a table: a row for each set of labels, a column for each query. It takes 12 columns. Labels that are not named are left out.
func rows(title, about string, labels []string, columns ...column) *table.PanelBuilder {
	p := table.NewPanelBuilder().Title(title).Description(about).Datasource(source).Span(12).Height(8).NoValue("none").
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{"sum"}))
	hide := map[string]any{"Time": true, "cluster": true}
	names, order := map[string]any{}, map[string]any{}
	for i, l := range labels {
		order[l] = i
		delete(hide, l)
	}
	for i, c := range columns {
		p.WithTarget(prometheus.NewDataqueryBuilder().RefId(ref(i)).Expr(c.expr).Instant().Format(prometheus.PromQueryFormatTable))
		value := "Value #" + ref(i)
		if len(columns) == 1 {
			value = "Value"
		}
		names[value], order[value] = c.name, len(labels)+i
		p.OverrideByName(c.name, unit(c.unit))
	}
	return p.
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize",
			Options: map[string]any{"excludeByName": hide, "indexByName": order, "renameByName": names}})
}

// leads makes the field a link: its title is the command that tells the same, and a click opens the hub's page.
func leads(p *table.PanelBuilder, field, command, page string) *table.PanelBuilder {
	return p.OverrideByName(field, []dashboard.DynamicConfigValue{{Id: "links", Value: []map[string]any{
		{"title": command, "url": "${hub}" + page, "targetBlank": true},
	}}})
}

// heat is a distribution over time, 12 columns wide.
func heat(title, about, unit string, expr string) *heatmap.PanelBuilder {
	return heatmap.NewPanelBuilder().Title(title).Description(about).Datasource(source).Span(12).Height(8).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(unit)).
		CellGap(1).
		Color(heatmap.NewHeatmapColorOptionsBuilder().Mode(heatmap.HeatmapColorModeScheme).Scheme("Oranges").Fill("dark-orange").Scale(heatmap.HeatmapColorScaleExponential).Exponent(0.5).Steps(64)).
		WithTarget(prometheus.NewDataqueryBuilder().RefId("A").Expr(expr).Range().Format(prometheus.PromQueryFormatHeatmap).LegendFormat("{{le}}"))
}

// words is text, over the whole width.
func words(title, content string) *markdown.PanelBuilder {
	return markdown.NewPanelBuilder().Title(title).Span(24).Height(4).Mode(markdown.TextModeMarkdown).Content(content)
}

// unit overrides that of the panel.
func unit(u string) []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{{Id: "unit", Value: u}}
}

func ref(i int) string { return string(rune('A' + i)) }

// quantile asks the native histogram, or the classic one where that is not scraped.
func quantile(q float64, by, metric, selector, over string) string {
	return fmt.Sprintf(`histogram_quantile(%[1]v, sum by (%[2]s) (rate(%[3]s{%[4]s}[%[5]s])))
or
histogram_quantile(%[1]v, sum by (%[2]s, le) (rate(%[3]s_bucket{%[4]s}[%[5]s])))`, q, by, metric, selector, over)
}

// count is how many were observed, likewise.
func count(by, metric, selector, over string) string {
	return fmt.Sprintf(`histogram_count(sum by (%[1]s) (increase(%[2]s{%[3]s}[%[4]s])))
or
sum by (%[1]s) (increase(%[2]s_count{%[3]s}[%[4]s]))`, by, metric, selector, over)
}

// mean likewise.
func mean(by, metric, selector, over string) string {
	return fmt.Sprintf(`histogram_avg(sum by (%[1]s) (rate(%[2]s{%[3]s}[%[4]s])))
or
sum by (%[1]s) (rate(%[2]s_sum{%[3]s}[%[4]s])) / sum by (%[1]s) (rate(%[2]s_count{%[3]s}[%[4]s]))`, by, metric, selector, over)
}
