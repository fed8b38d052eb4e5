// Package report holds what the hub says of a cluster: one row per departure, episodes, places and agents.
//
// It is the contract between the hub, its pages and kubectl lastcall, and the JSON of /v1. Moments are in the
// hub's time; what belongs to a departure is counted in seconds after its T0. A value that is not known is absent
// (nil, zero or "unknown"), never a number that stands for it.
package report

import (
	"cmp"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Span is an interval (Lo, Hi] in seconds after T0. The value used where one number is wanted is Hi.
// Errors of clocks are inside it already.
type Span struct {
	Lo float64 `json:"lo"`
	Hi float64 `json:"hi"`
}

// Departure is one pod that left or leaves, joined over all places.
type Departure struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Node      string `json:"node,omitempty"`
	// Workload is "type/name" with the type in lower case, like "deployment/shop"; "" if nothing owns the pod
	// or nobody said so.
	Workload string `json:"workload,omitempty"`
	// Revision is the hash of the pod template (pod-template-hash or controller-revision-hash), "" if unknown.
	Revision string        `json:"revision,omitempty"`
	Reason   ledger.Reason `json:"reason"`
	Episode  int64         `json:"episode,omitempty"`

	// T0 is the earliest sign that the pod leaves, a lower bound of preStop's start. The zero time with source
	// "unknown" if there is none; then there are no spans either.
	T0       time.Time       `json:"t0,omitzero"`
	T0Source ledger.T0Source `json:"t0_source"`
	// T0Error bounds the error of T0's moment in the hub's time, in seconds.
	T0Error float64 `json:"t0_error_seconds"`
	// Seen is when the first place learnt from the API that it should give the pod up.
	Seen *float64 `json:"seen_seconds,omitempty"`

	// Kinds sums up the places, one entry per place kind.
	Kinds []Kind `json:"kinds"`
	// LastCall is [max lo, max hi] of landed over all places; nil if nothing landed.
	LastCall *Span `json:"last_call,omitempty"`
	// Pending is how many removals have not ended. While there are any, the last call is longer than Age.
	Pending int `json:"pending"`
	// Age is how long ago T0 was when this was said, if Pending or not Complete.
	Age float64 `json:"age_seconds,omitempty"`
	// Complete: every expected agent has passed the resource version of this departure with nothing pending, or
	// was given up (see Missing). A row that is not complete may still change.
	Complete bool `json:"complete"`
	// Kept: a place kept the pod on purpose for a while, since no other endpoint was usable
	// (KEP-1669) or the Service wants it. It got traffic until it stopped serving; not a question of preStop.
	Kept bool `json:"kept,omitempty"`
	// Local: some of its paths were of a Service's traffic policy Local.
	Local bool `json:"local,omitempty"`
	// Proxies are what the kube-proxies of the measured nodes were; nil if none said anything.
	Proxies *Proxies `json:"kube_proxies,omitempty"`
	// Within99 is by when 99 % of the places had landed (upper ends).
	Within99 *float64 `json:"within_99_seconds,omitempty"`

	// Straggler is the place that was last, if its lower end is beyond every other upper end; else nil, and
	// OneOf is how many places may have been last.
	Straggler *Landing `json:"straggler,omitempty"`
	OneOf     int      `json:"one_of,omitempty"`
	// Slowest are the latest places, latest first: all if there are at most 64, else the 32 latest.
	Slowest []Landing `json:"slowest,omitempty"`
	// Strip is the distribution of all places over time when Slowest does not have them all.
	Strip *Strip `json:"strip,omitempty"`

	// Expected is how many places (nodes) should have answered and Answered how many did: coverage. Missing
	// names those that did not, and kinds of places that are not measured at all, at most 20;
	// MissingMore is how many more there are.
	Expected    int       `json:"expected"`
	Answered    int       `json:"answered"`
	Missing     []Missing `json:"missing,omitempty"`
	MissingMore int       `json:"missing_more,omitempty"`

	// Grace is the grace period the deletion asked for, in seconds.
	Grace      *int64      `json:"grace_seconds,omitempty"`
	Containers []Container `json:"containers,omitempty"`
	// Told is when the container that serves was told to stop: when its preStop was over. nil if unknown.
	Told *Span `json:"told_to_stop,omitempty"`
	// ToldWhy says in words how Told was worked out, or why it is unknown.
	ToldWhy string `json:"told_why,omitempty"`
	// Late: was the last call after the pod was told to stop?
	Late Late `json:"late"`
	// Exposure is max(0, last call - told to stop) in seconds, as bounds; nil if unknown.
	Exposure *Span `json:"exposure_seconds,omitempty"`
	// Refused is how many connections were proved lost, a lower bound; nil while nobody witnesses them.
	Refused *int `json:"refused,omitempty"`
	// Connections is what the nodes' connection tracking showed; nil while nobody told.
	Connections *Connections `json:"connections,omitempty"`
}

// Proxies are what different kube-proxies there were: sorted, with a comma between them, "unknown" if one does not say.
type Proxies struct {
	Versions string `json:"versions,omitempty"`
	MinSync  string `json:"min_sync,omitempty"` // minSyncPeriod, as "1s"
}

// Late answers a question that may have no answer.
type Late string

const (
	Yes     Late = "yes"
	No      Late = "no"
	Unknown Late = "unknown"
)

// Kind sums up the places of one kind.
type Kind struct {
	Kind     string                 `json:"kind"` // "kube-proxy", "traefik"
	Places   int                    `json:"places"`
	Outcomes map[ledger.Outcome]int `json:"outcomes"` // of removals
	Pending  int                    `json:"pending,omitempty"`
	Retained int                    `json:"retained,omitempty"`
	// LastCall is [max lo, max hi] of landed over the places of this kind; nil if none landed.
	LastCall *Span `json:"last_call,omitempty"`
	// Fidelity is what the answers of a consumer's replicas show, "dataplane" or "config", and LagBound how much later than
	// that they may still have sent, in seconds: it is in every interval. Absent for kube-proxy, which is read in the kernel.
	Fidelity string  `json:"fidelity,omitempty"`
	LagBound float64 `json:"lag_bound_seconds,omitempty"`
}

// Consumer reports whether the places are not the nodes' kube-proxies, which rows of before there were others do not name.
func (k Kind) Consumer() bool { return k.Kind != "" && k.Kind != "kube-proxy" }

// Landing is one place's part in a departure.
type Landing struct {
	Node    string        `json:"node"`
	Kind    string        `json:"kind"`
	Replica string        `json:"replica,omitempty"` // "namespace/pod" of a consumer's; "" of kube-proxy
	Backend string        `json:"backend,omitempty"`
	Family  ledger.Family `json:"family,omitempty"`
	// Landed is nil while it is pending or if it ended otherwise: see Outcomes.
	Landed *Span `json:"landed,omitempty"`
	// Seen is when this place's node learnt from the API that it should give the pod up, the latest of its paths;
	// nil if unknown, as after a restart of the agent.
	Seen     *float64               `json:"seen_seconds,omitempty"`
	Outcomes map[ledger.Outcome]int `json:"outcomes,omitempty"`
	Pending  int                    `json:"pending,omitempty"`
	// Stages add up to Landed.Hi where all are known.
	Stages *Stages `json:"stages,omitempty"`
	// ClockError bounds what the node's clock adds to the uncertainty, in seconds; Unusable clocks (over 100 ms)
	// are never named as stragglers.
	ClockError float64 `json:"clock_error_seconds"`
	Unusable   bool    `json:"clock_unusable,omitempty"`
}

// Stages of one landing, in seconds. API: first seen anywhere - T0. Watch: seen here - first seen anywhere.
// Program: landed - seen here; 0 when the place was faster than our watch.
type Stages struct {
	API     float64 `json:"api"`
	Watch   float64 `json:"watch"`
	Program float64 `json:"program"`
}

// Strip counts places by the time they landed: Counts[i] places landed in (i*Width, (i+1)*Width] seconds after
// T0. Pending places are in none.
type Strip struct {
	Width  float64 `json:"width_seconds"`
	Counts []int   `json:"counts"`
}

// Missing is a place, or a kind of places, that did not answer.
type Missing struct {
	Place string `json:"place"` // a node's name, or a place kind
	// Kind is set, to the same, for a place kind.
	Kind string `json:"kind,omitempty"`
	Why  string `json:"why"` // "no agent", "agent does not answer", "clock unusable", "not measured: ipvs" …
}

// Container is one container of the pod, as it was configured and as it ended.
type Container struct {
	Name string `json:"name"`
	// Sidecar: an init container with restartPolicy Always.
	Sidecar bool `json:"sidecar,omitempty"`
	// Serves: this container has the Service's target port.
	Serves  bool           `json:"serves,omitempty"`
	PreStop ledger.PreStop `json:"prestop"`
	// ExitCode and Finished (seconds after T0, at the latest) are nil until the container has ended, or if nobody saw it.
	ExitCode *int32   `json:"exit_code,omitempty"`
	Finished *float64 `json:"finished_seconds,omitempty"`
}

// Tag says what an episode was.
type Tag string

const (
	Rollout    Tag = "rollout"    // another revision of the workload took over
	Drain      Tag = "drain"      // pods were evicted
	ScaleDown  Tag = "scale-down" // the workload wants fewer
	Deleted    Tag = "deleted"    // pods were deleted and replaced, the workload did not change
	UnknownTag Tag = "unknown"
)

// Episode is a chain of departures of one workload with less than a minute between one's last call and the
// next T0.
type Episode struct {
	ID        int64     `json:"id"`
	Namespace string    `json:"namespace"`
	Workload  string    `json:"workload"`
	Tag       Tag       `json:"tag"`
	Begun     time.Time `json:"begun"`
	Ended     time.Time `json:"ended"` // the last departure's last call, or its T0 while there is none
	Open      bool      `json:"open"`  // another departure may still join
	Left      int       `json:"left"`  // departures
	Late      int       `json:"late"`
	Unknown   int       `json:"unknown"` // departures of which nobody knows whether they were late
	Kept      int       `json:"kept,omitempty"`
	Pending   int       `json:"pending"`             // departures with something pending
	Refused   *int      `json:"refused,omitempty"`   // nil: nobody witnesses it
	Most      int       `json:"most_terminating"`    // pods between T0 and the end of their grace at once
	LastCall  *Span     `json:"last_call,omitempty"` // of the worst departure
	Worst     string    `json:"worst,omitempty"`     // its UID
	// Template is the workload's own while its pods left, in a rollout that of the pods that came; nil if nobody read it.
	Template *Template `json:"template,omitempty"`
}

// Template is what a workload's pods are configured to do when they leave, as it was read at a moment.
type Template struct {
	At         time.Time   `json:"at"`
	Containers []Container `json:"containers"`
	Grace      *int64      `json:"grace_seconds,omitempty"`
	Replicas   *int        `json:"replicas,omitempty"`
	Recreate   bool        `json:"recreate,omitempty"` // a Deployment with this strategy
}

// Explanation is the answer to `explain` for a workload or a pod: an episode with its departures, worst first.
type Explanation struct {
	Episode    Episode     `json:"episode"`
	Departures []Departure `json:"departures"`
}

// PlaceState says whether a place works.
type PlaceState string

const (
	PlaceOK          PlaceState = "ok"
	PlaceStuck       PlaceState = "STUCK"        // a removal is pending for over 5 minutes
	PlaceNotMeasured PlaceState = "NOT MEASURED" // its dataplane is not one we can time, or nobody is there
)

// Place is one place of the cluster and how it does.
type Place struct {
	Node    string        `json:"node"`
	Kind    string        `json:"kind"`
	Replica string        `json:"replica,omitempty"` // "namespace/pod" of a consumer's; "" of kube-proxy
	Backend string        `json:"backend,omitempty"` // also of one that is not measured, as far as it is known
	Family  ledger.Family `json:"family,omitempty"`
	State   PlaceState    `json:"state"`
	Why     string        `json:"why,omitempty"` // not ok: what it is and what to do
	Pending int           `json:"pending"`
	// Oldest is how long the oldest pending removal has been pending, in seconds.
	Oldest *float64 `json:"oldest_seconds,omitempty"`
	// P50 and P99 of landed - T0 over Samples departures that the hub has; nil without.
	P50     *float64 `json:"p50_seconds,omitempty"`
	P99     *float64 `json:"p99_seconds,omitempty"`
	Samples int      `json:"samples"`
	// Last is how often it was the straggler of a departure, and LastBy by which stage most of the time went.
	Last       int            `json:"last"`
	LastBy     map[string]int `json:"last_by,omitempty"` // "api", "watch", "program" -> how often
	ClockError *float64       `json:"clock_error_seconds,omitempty"`
}

// AgentState says how the hub gets on with an agent.
type AgentState string

const (
	AgentFollowing   AgentState = "following"   // its events arrive
	AgentCatchingUp  AgentState = "catching-up" // old events arrive
	AgentUnreachable AgentState = "unreachable" // does not answer, see Why
	AgentRefused     AgentState = "refused"     // answers nonsense or is another cluster's, see Why
	AgentMissing     AgentState = "missing"     // a node without a running agent
)

// Agent is one node's agent as the hub knows it.
type Agent struct {
	Node    string     `json:"node"`
	State   AgentState `json:"state"`
	Why     string     `json:"why,omitempty"`
	Pod     string     `json:"pod,omitempty"`
	Version string     `json:"version,omitempty"`
	Boot    string     `json:"boot,omitempty"`
	// Measured backends: kind -> "nftables"; NotMeasured likewise, with what was found.
	Backend  string `json:"backend,omitempty"`
	Measured bool   `json:"measured"`
	// NotReady is what the agent's own readiness says, "" if it is ready.
	NotReady   string    `json:"not_ready,omitempty"`
	ClockError *float64  `json:"clock_error_seconds,omitempty"`
	Lost       uint64    `json:"lost_lines"` // event lines the hub will never see
	Heard      time.Time `json:"heard,omitzero"`
	// Taints that the agent's DaemonSet does not tolerate, as "key=value:Effect", for a missing one.
	Taints []string `json:"taints,omitempty"`
	// NodeReady is the Node's Ready condition; a place on a NotReady node is excluded.
	NodeReady bool `json:"node_ready"`
}

// Status is the hub's account of itself: /v1/status.
type Status struct {
	Version string  `json:"version"`
	Agents  []Agent `json:"agents"`
	// StoreError is "" while rows are kept; else what is wrong with the store and what to do. Measuring goes on.
	StoreError string    `json:"store_error,omitempty"`
	StoreBytes int64     `json:"store_bytes"`
	Departures int       `json:"departures"` // rows in the store
	Oldest     time.Time `json:"oldest,omitzero"`
	// Lag is how far behind the hub is, in seconds: the age of the newest line of the agent furthest behind.
	Lag float64 `json:"ingest_lag_seconds"`
	// Consumers are the kinds of places besides kube-proxy of which agents know a replica.
	Consumers []ConsumerKind `json:"consumers,omitempty"`
	// Unserved are those that lead to some Service, and of which no agent knows a replica.
	Unserved []Missing `json:"unserved,omitempty"`
	// Routes is why it is not known what serves workloads, or may be old.
	Routes string `json:"routes_error,omitempty"`
	// Unlisted are namespaces of sidecars whose pods the hub could not list yet.
	Unlisted []string `json:"unlisted_namespaces,omitempty"`
}

// ConsumerKind is how the replicas of one kind of consumers are read.
type ConsumerKind struct {
	Kind     string  `json:"kind"`
	Replicas int     `json:"replicas"`
	Read     int     `json:"read"`
	Fidelity string  `json:"fidelity,omitempty"`
	LagBound float64 `json:"lag_bound_seconds,omitempty"`
	// Unread are the reasons why the others are not, most often first, at most 10; UnreadMore counts the replicas of all others.
	Unread     []Unread `json:"unread,omitempty"`
	UnreadMore int      `json:"unread_more,omitempty"`
}

// Unread is one reason why replicas are not read.
type Unread struct {
	Why      string `json:"why"`
	Replicas int    `json:"replicas"`
	// Replica is one of them, on Node.
	Replica string `json:"replica"`
	Node    string `json:"node"`
}

// NodeHistory is the answer to `explain node/x`.
type NodeHistory struct {
	Node   string  `json:"node"`
	Places []Place `json:"places"`
	// Departures in which it was last, newest first, and Of how many departures it took part in.
	Departures []Departure `json:"departures"`
	Of         int         `json:"of"`
}

// Worse sorts the worst departure first: those with something pending, then by last call.
func Worse(a, b Departure) int {
	last := func(d Departure) float64 {
		if d.LastCall == nil {
			return -1
		}
		return d.LastCall.Hi
	}
	pending := func(d Departure) int { return min(d.Pending, 1) }
	return cmp.Or(pending(b)-pending(a), cmp.Compare(last(b), last(a)), strings.Compare(a.UID, b.UID))
}
