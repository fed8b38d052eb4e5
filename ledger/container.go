package ledger

import "time"

// PreStopKind is the kind of a container's preStop handler.
type PreStopKind string

const (
	NoPreStop    PreStopKind = "none"
	PreStopSleep PreStopKind = "sleep" // sleep.seconds
	PreStopExec  PreStopKind = "exec"
	PreStopHTTP  PreStopKind = "http"
	PreStopOther PreStopKind = "other" // tcpSocket, which kubelets ignore, or one that does not exist yet
)

// PreStop is a container's preStop handler. Commands and URLs are not kept: they may carry secrets.
type PreStop struct {
	Kind PreStopKind `json:"kind"`
	// Seconds is how long it sleeps: of a sleep handler, and of an exec that is recognised as `sleep N`; nil if
	// nobody can tell.
	Seconds *int64 `json:"seconds,omitempty"`
	// Rest: more runs after the sleep (`sleep N && rest`), so Seconds is a lower bound of the handler's time.
	Rest bool `json:"rest,omitempty"`
}

// Container is what of a container's specification decides when it is told to stop.
type Container struct {
	Name    string   `json:"name"`
	Sidecar bool     `json:"sidecar,omitempty"` // an init container with restartPolicy Always
	Ports   []uint16 `json:"ports,omitempty"`   // declared containerPorts
	PreStop PreStop  `json:"prestop"`
}

// Exit is how a container of a departing pod ended, as the kubelet tells.
type Exit struct {
	Name string `json:"name"`
	Code int32  `json:"code"`
	// Finished is finishedAt: the kubelet's wall clock on this node, in whole seconds, truncated.
	Finished time.Time `json:"finished,omitzero"`
	// Told is receipt of the pod update that showed it: an upper bound by the agent's own clock.
	Told time.Time `json:"told"`
	// By is when it had ended at the latest, by both. The kubelet writes no status while it stops a pod (k8s v1.36.3
	// pkg/kubelet/kubelet.go:2326, SyncTerminatingPod), so Told is the same for all containers of a pod: when the last had ended.
	By time.Time `json:"by,omitzero"`
}
