package report

import (
	"net/url"
	"strings"
)

// WorkloadPath is where the hub's pages have a workload, relative to their root; "" for a name that leads nowhere.
func WorkloadPath(namespace, workload string) string {
	kind, name, _ := strings.Cut(workload, "/")
	path := "workloads"
	for _, part := range []string{namespace, kind, name} {
		if part == "" || part == "." || part == ".." {
			return ""
		}
		path += "/" + url.PathEscape(part)
	}
	return path
}
