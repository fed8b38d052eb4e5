package sizing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Target is the live object that a patch is made for.
type Target struct {
	Workload   string // "deployment/shop"
	Containers []TargetContainer
	// Grace is terminationGracePeriodSeconds of its pod template; nil: not set, which is 30.
	Grace *int64
	// Oldest is the minor version of the oldest of API server and kubelets; 0: unknown.
	Oldest int
}

// TargetContainer is a container of the pod template, with the command of its preStop if that is an exec.
type TargetContainer struct {
	report.Container
	Command []string
}

const (
	defaultGrace = 30
	// sleepSince: preStop.sleep is on by default from 1.30 on (k8s v1.36.3 pkg/features/kube_features.go:1785,
	// PodLifecycleSleepAction). An older kubelet would have a hook that it does not know.
	sleepSince = 30
)

// Edit is what changes in one container.
type Edit struct {
	Container string   `json:"container"`
	Sidecar   bool     `json:"sidecar,omitempty"`
	From      *int64   `json:"from_seconds,omitempty"` // nil: no hook
	To        int64    `json:"to_seconds"`
	Command   []string `json:"command,omitempty"` // of an exec; else the hook is sleep.seconds
}

// Patch is a change to a workload, or in words why there is none.
type Patch struct {
	Edits []Edit `json:"edits,omitempty"`
	// Grace is the new terminationGracePeriodSeconds; nil: it stays.
	Grace *int64 `json:"grace_seconds,omitempty"`
	// Merge is a strategic merge patch of the object, nil if there is nothing to patch.
	Merge json.RawMessage `json:"merge,omitempty"`
	// Why says in words why nothing, or what by hand instead.
	Why []string `json:"why,omitempty"`
}

// Patch makes every container that serves sleep as long as is recommended, and gives the pod the grace for it. All of them
// or none: the first that stops breaks the pod. A sleep is made shorter only where the recommendation is firm and much
// shorter.
func (r Recommendation) Patch(t Target) Patch {
	if r.Seconds == nil {
		return Patch{Why: []string{"there is no recommendation: " + r.basis()}}
	}
	switch kind, _, _ := strings.Cut(t.Workload, "/"); kind {
	case "deployment", "statefulset", "daemonset":
	default:
		return Patch{Why: []string{fmt.Sprintf("a %s is not patched: its pods come from elsewhere, or have no template; let the container that serves sleep %s in preStop where they are defined", name(kind), secs(*r.Seconds))}}
	}
	var p Patch
	to, serves := max(*r.Seconds, 1), 0 // a sleep of 0 is refused before 1.33 (PodLifecycleSleepActionAllowZero)
	for _, c := range t.Containers {
		if !c.Serves {
			continue
		}
		serves++
		e, why := r.edit(c, to, t)
		if why != "" {
			p.Why = append(p.Why, why)
		} else if e != nil {
			p.Edits = append(p.Edits, *e)
		}
	}
	switch {
	case serves == 0:
		return Patch{Why: []string{"which container serves is not known: declare its containerPort"}}
	case len(p.Why) > 0:
		return Patch{Why: p.Why}
	}
	p.grace(r, t, to)
	if len(p.Edits) == 0 && p.Grace == nil {
		return Patch{Why: []string{"nothing has to change"}}
	}
	p.merge()
	return p
}

// edit is nil if a container may stay as it is.
func (r Recommendation) edit(c TargetContainer, to int64, t Target) (e *Edit, why string) {
	e = &Edit{Container: c.Name, Sidecar: c.Sidecar, To: to}
	hook := c.PreStop
	if n := hook.Seconds; n != nil {
		v := *n
		e.From = &v
		if v == to || v > to && (r.AtLeast || !muchSmaller(*r.Seconds, v)) {
			return nil, ""
		}
	}
	switch {
	case hook.Kind == ledger.NoPreStop || hook.Kind == "":
		switch {
		case *r.Seconds == 0:
			return nil, ""
		case t.Oldest == 0:
			return nil, fmt.Sprintf("the versions of API server and kubelets are unknown, and %s needs preStop.sleep (Kubernetes 1.%d): sleep %s", name(c.Name), sleepSince, secs(to))
		case t.Oldest < sleepSince:
			return nil, fmt.Sprintf("Kubernetes 1.%d has no preStop.sleep, which is on from 1.%d: let %s run `sleep %d` as an exec hook, if its image has it", t.Oldest, sleepSince, name(c.Name), to)
		}
		return e, ""
	case hook.Kind == ledger.PreStopSleep && hook.Seconds != nil:
		return e, ""
	case hook.Kind == ledger.PreStopExec && hook.Seconds != nil:
		command, ok := sleepFor(c.Command, *hook.Seconds, to)
		if !ok {
			return nil, fmt.Sprintf("the command of the preStop hook of %s is not the sleep of %s that was seen: make it sleep %s by hand", name(c.Name), secs(*hook.Seconds), secs(to))
		}
		e.Command = command
		return e, ""
	}
	// A hook has one handler: a sleep beside it would be refused, a sleep instead of it would break what it does.
	return nil, fmt.Sprintf("%s %s, and a hook has one handler: let what it runs take %s or more", name(c.Name), report.PreStopWords(hook), secs(to))
}

// grace is made as in the recommendation, from what the template has now, and is longer than every sleep in it.
func (p *Patch) grace(r Recommendation, t Target, to int64) {
	now := int64(defaultGrace)
	if t.Grace != nil {
		now = *t.Grace
	}
	g := graceOf(&to, presentOf(Workload{Containers: containers(t), Grace: &now}), r.Drain)
	n := max(*g.Seconds, to+1)
	if n > now && (len(p.Edits) > 0 || g.DrainObserved) {
		p.Grace = &n
	}
}

func containers(t Target) (cs []report.Container) {
	for _, c := range t.Containers {
		cs = append(cs, c.Container)
	}
	return cs
}

// The part of a workload that is patched. Containers merge by name (patchMergeKey, k8s.io/api core/v1 PodSpec); a command is
// replaced whole.
type (
	patchObject struct {
		Spec struct {
			Template struct {
				Spec patchPod `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	patchPod struct {
		Grace          *int64           `json:"terminationGracePeriodSeconds,omitempty"`
		Containers     []patchContainer `json:"containers,omitempty"`
		InitContainers []patchContainer `json:"initContainers,omitempty"`
	}
	patchContainer struct {
		Name      string `json:"name"`
		Lifecycle struct {
			PreStop patchHook `json:"preStop"`
		} `json:"lifecycle"`
	}
	patchHook struct {
		Sleep *patchSleep `json:"sleep,omitempty"`
		Exec  *patchExec  `json:"exec,omitempty"`
	}
	patchSleep struct {
		Seconds int64 `json:"seconds"`
	}
	patchExec struct {
		Command []string `json:"command"`
	}
)

func (p *Patch) merge() {
	var o patchObject
	pod := &o.Spec.Template.Spec
	pod.Grace = p.Grace
	for _, e := range p.Edits {
		c := patchContainer{Name: e.Container}
		if e.Command != nil {
			c.Lifecycle.PreStop.Exec = &patchExec{e.Command}
		} else {
			c.Lifecycle.PreStop.Sleep = &patchSleep{e.To}
		}
		if e.Sidecar {
			pod.InitContainers = append(pod.InitContainers, c)
		} else {
			pod.Containers = append(pod.Containers, c)
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)  // people read "sleep 12 && ..."
	if e.Encode(o) == nil { // strings and numbers: it cannot fail
		p.Merge = bytes.TrimSpace(b.Bytes())
	}
}
