package watcher

import (
	"slices"

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
		p := ledger.PreStop{Kind: ledger.PreStopExec}
		if s, ok := ledger.SleepOf(h.Exec.Command); ok {
			p.Seconds, p.Rest = &s.Seconds, s.Rest
		}
		return p
	case h.HTTPGet != nil:
		return ledger.PreStop{Kind: ledger.PreStopHTTP}
	}
	return ledger.PreStop{Kind: ledger.PreStopOther}
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
