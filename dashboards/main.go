// Command dashboards writes the Grafana dashboards, and what the chart takes of them and of the rules:
//
//	go run ./dashboards
//
// The rules and alerts are written by hand, in rules.yaml and alerts.yaml.
package main

//lint:file-ignore SA1019 schema v1 is read by every Grafana, v2 by the newest only

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	files, err := generated("dashboards")
	if err != nil {
		fmt.Fprintln(os.Stderr, "run this where go.mod is:", err)
		os.Exit(1)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(name, files[name], 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// boards are all dashboards, by the names of their files.
var boards = map[string]func() *dashboard.DashboardBuilder{
	"last-call": lastCall,
	"workload":  workload,
	"agents":    agents,
}

// chartFiles is where the chart has its copies: Helm reads no file outside of a chart, and go:embed follows no link.
const chartFiles = "../manifests/chart/files"

// generated are the contents of all files that are not written by hand. here is this directory.
func generated(here string) (map[string][]byte, error) {
	files := map[string][]byte{}
	chart := filepath.Join(here, chartFiles)
	for _, name := range []string{"rules.yaml", "alerts.yaml"} {
		text, err := os.ReadFile(filepath.Join(here, name))
		if err != nil {
			return nil, err
		}
		files[filepath.Join(chart, name)] = text
	}
	for name, build := range boards {
		board, err := build().Build()
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", name, err)
		}
		identify(board.Panels)
		var text, small bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(board); err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", name, err)
		}
		// A ConfigMap is to be read by a program, and may not be larger than 1 MiB.
		if err := json.Compact(&small, text.Bytes()); err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", name, err)
		}
		files[filepath.Join(here, name+".json")] = text.Bytes()
		files[filepath.Join(chart, "dashboards", name+".json")] = append(bytes.TrimSpace(small.Bytes()), '\n')
	}
	return files, nil
}

// identify gives panels ids: Grafana would make its own, and links to a panel would end.
func identify(panels []dashboard.PanelOrRowPanel) {
	for i := range panels {
		id := uint32(i + 1)
		switch p := panels[i]; {
		case p.Panel != nil:
			p.Panel.Id = &id
		case p.RowPanel != nil:
			p.RowPanel.Id = id
		}
	}
}
