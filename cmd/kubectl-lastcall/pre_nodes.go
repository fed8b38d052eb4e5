package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// minors of Kubernetes 1.x.
const (
	sleepMinor     = 30 // preStop.sleep is on by default from here on (KEP-3960)
	leastTested    = 34
	greatestTested = 36
)

func (g ground) serverFinding() finding {
	f := finding{Check: "API server", Result: ok, What: g.server.GitVersion}
	minor, err := strconv.Atoi(strings.TrimRight(g.server.Minor, "+"))
	tested := fmt.Sprintf("tested with 1.%d to 1.%d", leastTested, greatestTested)
	switch {
	case err != nil || g.server.Major != "1":
		f.Result, f.What = unknown, fmt.Sprintf("version %q (%s)", g.server.GitVersion, tested)
	case minor < sleepMinor:
		f.Result, f.What = warn, fmt.Sprintf("%s, but %s", g.server.GitVersion, tested)
		f.Do = fmt.Sprintf("preStop.sleep is not on by default before 1.%d: an exec of sleep does the same where the image has one.", sleepMinor)
	case minor < leastTested || minor > greatestTested:
		f.Result, f.What = warn, fmt.Sprintf("%s, but %s", g.server.GitVersion, tested)
	default:
		f.What += " (" + tested + ")"
	}
	return f
}

// leastKernel is older than any kernel that this was tried on; nf_tables itself is older still.
var leastKernel = [2]int{5, 4}

func (g ground) nodeFindings() (fs []finding) {
	if g.nodesErr != nil {
		return []finding{{Check: "nodes", Result: unknown, What: "list nodes: " + g.nodesErr.Error()}}
	}
	if len(g.nodes) == 0 {
		return []finding{{Check: "nodes", Result: warn, What: "there are none yet"}}
	}
	platforms := map[string]int{}
	var foreign, arch, old []string
	for _, n := range g.nodes {
		i := n.Status.NodeInfo
		platforms[i.OperatingSystem+"/"+i.Architecture]++
		switch kernel, known := kernelVersion(i.KernelVersion); {
		case i.OperatingSystem != "linux":
			foreign = append(foreign, n.Name)
		case i.Architecture != "amd64" && i.Architecture != "arm64":
			arch = append(arch, n.Name)
		case known && (kernel[0] < leastKernel[0] || kernel[0] == leastKernel[0] && kernel[1] < leastKernel[1]):
			old = append(old, n.Name+" ("+i.KernelVersion+")")
		}
	}
	var parts []string
	for _, p := range slices.Sorted(maps.Keys(platforms)) {
		parts = append(parts, fmt.Sprintf("%d %s", platforms[p], p))
	}
	fs = append(fs, finding{Check: "nodes", Result: ok, What: fmt.Sprintf("%s: %s, kernel %s", report.Plural(len(g.nodes), "node"), strings.Join(parts, ", "), g.kernels())})
	if len(arch) > 0 {
		fs = append(fs, finding{Check: "nodes", Result: fail, What: "no image for the architecture of " + some(arch, 5), Do: "Images are built for linux/amd64 and linux/arm64."})
	}
	if len(foreign) > 0 {
		fs = append(fs, finding{Check: "nodes", Result: warn, What: "not linux, not measured: " + some(foreign, 5)})
	}
	if len(old) > 0 {
		fs = append(fs, finding{Check: "nodes", Result: warn, What: fmt.Sprintf("kernels older than %d.%d, on which nobody has tried this: %s", leastKernel[0], leastKernel[1], some(old, 5))})
	}
	return fs
}

func (g ground) kernels() string {
	var all []string
	for _, n := range g.nodes {
		if v := n.Status.NodeInfo.KernelVersion; n.Status.NodeInfo.OperatingSystem == "linux" && v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return "unknown"
	}
	return some(slices.Sorted(slices.Values(all)), 4)
}

// kernelVersion takes the first two numbers of something like "6.18.44-generic".
func kernelVersion(s string) (v [2]int, known bool) {
	a, rest, _ := strings.Cut(s, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(rest[:end])
	return [2]int{major, minor}, err1 == nil && err2 == nil
}
