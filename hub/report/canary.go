package report

import "strings"

// CanaryPrefix begins the names of everything that `kubectl lastcall measure` makes.
const CanaryPrefix = "lastcall-measure-"

// IsCanary reports whether a workload is one of `kubectl lastcall measure`: its pods were made to be deleted, so they say how
// places do and nothing of a workload. The controller of such pods is the Service in front of them.
func IsCanary(workload string) bool { return strings.HasPrefix(workload, "service/"+CanaryPrefix) }
