//go:build linux

package manifests

import (
	_ "embed"
	"regexp"
	"strings"
)

//go:embed install.yaml
var installYAML string

var isClusterRole = regexp.MustCompile(`(?m)^kind: ClusterRole$`)

// ClusterRoles are those of install.yaml, bound to nobody: what a sidecar's service account, or a reader of /v1, is to be bound to.
func ClusterRoles() string {
	var all []string
	for _, document := range strings.Split(installYAML, "\n---\n") {
		if isClusterRole.MatchString(document) {
			all = append(all, document)
		}
	}
	return strings.Join(all, "\n---\n")
}
