package watcher

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// trimContainers keeps of each container that runs while the pod serves what decides when it is told to stop.
// The kubelet runs the preStop handlers of all of them at once, in parallel (k8s v1.36.3
// pkg/kubelet/kuberuntime/kuberuntime_container.go, killContainersWithSyncResult); sidecars it stops after the
// others (termination order, KEP-753).
func trimContainers(spec *corev1.PodSpec) []ledger.Container {
	var cs []ledger.Container
	for i := range spec.Containers {
		cs = append(cs, trimContainer(&spec.Containers[i], false))
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			cs = append(cs, trimContainer(c, true))
		}
	}
	return cs
}

func trimContainer(c *corev1.Container, sidecar bool) ledger.Container {
	t := ledger.Container{Name: c.Name, Sidecar: sidecar, PreStop: ledger.PreStop{Kind: ledger.NoPreStop}}
	for _, p := range c.Ports {
		if isPort(p.ContainerPort) {
			t.Ports = append(t.Ports, uint16(p.ContainerPort))
		}
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		t.PreStop = preStop(c.Lifecycle.PreStop)
	}
	return t
}

func preStop(h *corev1.LifecycleHandler) ledger.PreStop {
	switch {
	case h.Sleep != nil:
		n := h.Sleep.Seconds
		return ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &n}
	case h.Exec != nil:
		n, rest := sleepOf(h.Exec.Command)
		return ledger.PreStop{Kind: ledger.PreStopExec, Seconds: n, Rest: rest}
	case h.HTTPGet != nil:
		return ledger.PreStop{Kind: ledger.PreStopHTTP}
	}
	return ledger.PreStop{Kind: ledger.PreStopOther}
}

// sleepLine is `sleep N`, with N in whole seconds, minutes or hours as coreutils and busybox take it, alone or
// before something that runs after it. Anything cleverer is not recognised: a wrong number is worse than none. A
// shell separates words by blanks only: of a script with \r\n, sleep refuses the "5\r" and does not wait.
var (
	sleepLine = regexp.MustCompile(`^[ \t\n]*(?:(?:/usr)?/bin/)?sleep[ \t]+` + sleepTime + `[ \t]*(?:$|(&&|;|\n)[ \t\n]*([^ \t\n]?))`)
	sleepArg  = regexp.MustCompile(`^` + sleepTime + `$`)
)

const sleepTime = `(\d{1,6})([smh]?)`

// sleepOf recognises a command that first sleeps for N: `sleep N`, and a shell that is given `sleep N [&& rest]`.
func sleepOf(command []string) (seconds *int64, rest bool) {
	var m []string
	switch {
	case len(command) == 2 && path.Base(command[0]) == "sleep":
		m = sleepArg.FindStringSubmatch(command[1])
	case len(command) == 3 && (command[1] == "-c" || command[1] == "-ec") && isShell(command[0]):
		m = sleepLine.FindStringSubmatch(command[2])
	}
	if m == nil {
		return nil, false
	}
	if len(m) > 3 {
		if m[4] != "" && strings.Contains(";&|)", m[4]) || m[4] == "" && m[3] == "&&" {
			return nil, false // the shell finds no command there and runs nothing at all
		}
		rest = m[4] != ""
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return nil, false
	}
	n *= map[string]int64{"": 1, "s": 1, "m": 60, "h": 3600}[m[2]]
	return &n, rest
}

func isShell(program string) bool {
	switch path.Base(program) {
	case "sh", "bash", "ash", "dash":
		return true
	}
	return false
}

// trimExits keeps how containers ended; of init containers only sidecars, the others end before the pod serves.
// Told is filled at receipt.
func trimExits(s *corev1.PodStatus, of []ledger.Container) []ledger.Exit {
	var es []ledger.Exit
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses} {
		for i := range list {
			c := &list[i]
			t := c.State.Terminated
			if t == nil || !slices.ContainsFunc(of, func(x ledger.Container) bool { return x.Name == c.Name }) {
				continue
			}
			es = append(es, ledger.Exit{Name: c.Name, Code: t.ExitCode, Finished: t.FinishedAt.Time})
		}
	}
	return es
}
