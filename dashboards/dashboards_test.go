package main

//lint:file-ignore SA1019 schema v1 is read by every Grafana, v2 by the newest only

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"sigs.k8s.io/yaml"

	markdown "github.com/grafana/grafana-foundation-sdk/go/text"
)

// TestCurrent: what is committed is what `go run ./dashboards` writes, and nothing else is there.
func TestCurrent(t *testing.T) {
	files, err := generated(".")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := os.ReadFile(name); err != nil || string(got) != string(want) {
			t.Errorf("%s is old, or not there (%v): make dashboards", name, err)
		}
	}
	for _, pattern := range []string{"*.json", chartFiles + "/*", chartFiles + "/dashboards/*"} {
		there, err := filepath.Glob(pattern)
		if err != nil || len(there) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range there {
			if info, err := os.Stat(name); err == nil && !info.IsDir() && files[name] == nil {
				t.Errorf("nobody writes %s", name)
			}
		}
	}
	total := 0
	for name := range boards {
		total += len(files[filepath.Join(chartFiles, "dashboards", name+".json")])
	}
	if total > 512<<10 {
		t.Errorf("%d bytes of dashboards: a Helm release has room for 1 MiB, compressed, of everything", total)
	}
}

// read are the dashboards as committed, decoded by the types that are generated from Grafana's schema. A field that it does
// not have fails, and so does a value that it does not allow.
func read(t *testing.T) map[string]dashboard.Dashboard {
	t.Helper()
	r := cog.NewRuntime()
	r.RegisterPanelcfgVariant(timeseries.VariantConfig())
	r.RegisterPanelcfgVariant(stat.VariantConfig())
	r.RegisterPanelcfgVariant(table.VariantConfig())
	r.RegisterPanelcfgVariant(heatmap.VariantConfig())
	r.RegisterPanelcfgVariant(markdown.VariantConfig())
	r.RegisterDataqueryVariant(prometheus.VariantConfig())
	all := map[string]dashboard.Dashboard{}
	for name := range boards {
		text, err := os.ReadFile(name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		b, err := strict(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := b.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		all[name] = b
	}
	return all
}

func strict(text []byte) (b dashboard.Dashboard, err error) {
	// Without an error it returns one that has none in it, and leaves out the panels (v0.0.22): it only checks.
	if err := new(dashboard.Dashboard).UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		return b, err
	}
	return b, json.Unmarshal(text, &b)
}

// TestStrict: the check above can fail.
func TestStrict(t *testing.T) {
	read(t)
	for _, wrong := range []string{
		`{"title":"x","schemaVersion":42,"templating":{},"annotations":{},"panles":[]}`,
		`{"title":"x","schemaVersion":"42","templating":{},"annotations":{}}`,
		`{"title":"x","schemaVersion":42,"templating":{},"annotations":{},"panels":[{"type":"timeseries","options":{"legends":{}}}]}`,
	} {
		if _, err := strict([]byte(wrong)); err == nil {
			t.Errorf("accepted: %s", wrong)
		}
	}
}

// TestConventions are those of kubernetes-mixin, as far as they can be read off the JSON.
func TestConventions(t *testing.T) {
	variables := map[string][]string{
		"last-call": {"datasource", "cluster", "namespace", "step", "hub"},
		"workload":  {"datasource", "cluster", "namespace", "workload_type", "workload", "step", "hub"},
		"agents":    {"datasource", "cluster", "instance", "step", "hub"},
	}
	// They are in links and bookmarks, and stay.
	uids := map[string]string{"last-call": "lastcall-cluster", "workload": "lastcall-workload", "agents": "lastcall-agents"}
	all := read(t)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(uids)), slices.Sorted(maps.Keys(all))); diff != "" {
		t.Fatal(diff)
	}
	for name, b := range all {
		if *b.Uid != uids[name] || b.Description == nil || !slices.Contains(b.Tags, "lastcall") || len(b.Links) != 2 {
			t.Errorf("%s: uid %s, tags %v, %d links", name, *b.Uid, b.Tags, len(b.Links))
		}
		var has []string
		for _, v := range b.Templating.List {
			has = append(has, v.Name)
		}
		if diff := cmp.Diff(variables[name], has); diff != "" {
			t.Errorf("%s: variables (-want +got):\n%s", name, diff)
		}
		titles, taken := map[string]bool{}, map[[2]uint32]string{}
		rows, text := 0, 0
		for _, p := range b.Panels {
			if p.RowPanel != nil {
				rows++
				continue
			}
			problems(t, name, p.Panel, titles, taken)
			if p.Panel.Type == "text" {
				text++
			}
		}
		if rows < 3 {
			t.Errorf("%s: %d rows", name, rows)
		}
	}
	// Each leads to the command and to the page that tell the same.
	for name, want := range map[string][]string{
		"last-call": {"kubectl lastcall -n ${__data.fields.namespace} explain", "${hub}/workloads/${__data.fields.namespace}", "kubectl lastcall explain node/", "${hub}/places"},
		"workload":  {"kubectl lastcall -n ${namespace} explain ${workload_type}/${workload}", "${hub}/workloads/${namespace}/${workload_type}/${workload}", "recommend"},
	} {
		file, err := os.ReadFile(name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(file), w) {
				t.Errorf("%s has no %q", name, w)
			}
		}
	}
}

var window = regexp.MustCompile(`\[[^\]]+\]`)

// problems of one panel.
func problems(t *testing.T, board string, p *dashboard.Panel, titles map[string]bool, taken map[[2]uint32]string) {
	t.Helper()
	title := *p.Title
	bad := func(format string, args ...any) { t.Helper(); t.Errorf(board+": "+title+": "+format, args...) }
	if titles[title] {
		bad("this title is there twice")
	}
	titles[title] = true
	if p.Id == nil || *p.Id == 0 {
		bad("no id")
	}
	g := p.GridPos
	if g.X+g.W > 24 {
		bad("reaches to column %d", g.X+g.W)
	}
	for x := g.X; x < g.X+g.W; x++ {
		for y := g.Y; y < g.Y+g.H; y++ {
			if other := taken[[2]uint32{x, y}]; other != "" {
				bad("lies on %s", other)
				return
			}
			taken[[2]uint32{x, y}] = title
		}
	}
	if p.Type == "text" {
		return
	}
	if p.Description == nil || len(*p.Description) < 4 || !strings.HasSuffix(*p.Description, ".") {
		bad("no description")
	}
	if p.Datasource == nil || *p.Datasource.Uid != "${datasource}" {
		bad("datasource is not the variable")
	}
	if len(p.Targets) == 0 {
		bad("asks nothing")
	}
	for _, target := range p.Targets {
		q, ok := target.(*prometheus.Dataquery)
		if !ok {
			bad("a query is %T", target)
			continue
		}
		if !strings.Contains(q.Expr, `cluster="$cluster"`) {
			bad("is of all clusters: %s", q.Expr)
		}
		for _, w := range window.FindAllString(q.Expr, -1) {
			if !slices.Contains([]string{"[$__rate_interval]", "[$__range]", "[$__range:$step]"}, w) {
				bad("window %s does not follow the zoom", w)
			}
		}
	}
	if p.Type == "timeseries" || p.Type == "stat" {
		if p.FieldConfig == nil || p.FieldConfig.Defaults.Unit == nil {
			bad("no unit")
		}
	}
}

// TestKnown: every metric that a panel, a rule or an alert asks for exists, as does every rule that they use, with every label.
func TestKnown(t *testing.T) {
	reference, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"up": true, "lastcall_build_info": true} // of Go's collectors
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)`").FindAllStringSubmatch(string(reference), -1) {
		known[m[1]] = true
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			known[m[1]+suffix] = true
		}
	}
	recorded := map[string]bool{}
	used := map[string]bool{}
	var all []string
	for _, name := range []string{"rules.yaml", "alerts.yaml"} {
		for _, g := range groups(t, name) {
			for _, r := range g.Rules {
				if r.Record != "" {
					recorded[r.Record] = true
				}
				all = append(all, r.Expr, r.Annotations["description"], r.Annotations["summary"])
			}
		}
	}
	for _, b := range read(t) {
		for _, p := range b.Panels {
			if p.Panel != nil {
				for _, q := range p.Panel.Targets {
					all = append(all, q.(*prometheus.Dataquery).Expr)
				}
			}
		}
		for _, v := range b.Templating.List {
			if v.Query != nil && v.Query.String != nil {
				all = append(all, *v.Query.String)
			}
		}
	}
	n := 0
	for _, expr := range all {
		for _, name := range regexp.MustCompile(`[a-z_]+:lastcall_[a-z_0-9]+:[a-z0-9_]+`).FindAllString(expr, -1) {
			used[name] = true
			if !recorded[name] {
				t.Errorf("no rule records %s", name)
			}
		}
		plain := regexp.MustCompile(`[a-z_]+:lastcall_[a-z_0-9]+:[a-z0-9_]+`).ReplaceAllString(expr, "")
		for _, name := range regexp.MustCompile(`\b(lastcall|process)_[a-z_]+\b`).FindAllString(plain, -1) {
			n++
			if !known[name] && !strings.HasPrefix(name, "process_") {
				t.Errorf("no metric %s in docs/metrics.md", name)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d uses of metrics were found", n)
	}
	for name := range recorded {
		if !used[name] {
			t.Errorf("nobody uses %s", name)
		}
	}
}

type (
	group struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}
	rule struct {
		Record        string            `json:"record"`
		Alert         string            `json:"alert"`
		Expr          string            `json:"expr"`
		For           string            `json:"for"`
		KeepFiringFor string            `json:"keep_firing_for"`
		Labels        map[string]string `json:"labels"`
		Annotations   map[string]string `json:"annotations"`
	}
)

func groups(t *testing.T, name string) []group {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []group }
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return file.Groups
}
