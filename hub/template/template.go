// Package template reads of a pod template what decides when its containers are told to stop. No command and no URL gets out of it.
package template

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Containers are those that run while the pod serves: sidecars too, other init containers not.
func Containers(pod *corev1.PodSpec) (cs []report.Container) {
	for i := range pod.Containers {
		cs = append(cs, container(&pod.Containers[i], false))
	}
	for i := range pod.InitContainers {
		if c := &pod.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			cs = append(cs, container(c, true))
		}
	}
	return cs
}

func container(c *corev1.Container, sidecar bool) report.Container {
	r := report.Container{Name: c.Name, Sidecar: sidecar, PreStop: ledger.PreStop{Kind: ledger.NoPreStop}}
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return r
	}
	switch h := c.Lifecycle.PreStop; {
	case h.Sleep != nil:
		r.PreStop = ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &h.Sleep.Seconds}
	case h.Exec != nil:
		r.PreStop = ledger.PreStop{Kind: ledger.PreStopExec}
		if s, ok := ledger.SleepOf(h.Exec.Command); ok {
			r.PreStop.Seconds, r.PreStop.Rest = &s.Seconds, s.Rest
		}
	case h.HTTPGet != nil:
		r.PreStop = ledger.PreStop{Kind: ledger.PreStopHTTP}
	default:
		r.PreStop = ledger.PreStop{Kind: ledger.PreStopOther}
	}
	return r
}
