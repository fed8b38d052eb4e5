package sizing

// The words of package ledger that sizing asks for. It knows rows, and not the agent's side of them; a test holds the two
// together.
const (
	reasonDelete       = "delete"
	reasonEvict        = "evict"
	reasonPreempt      = "preempt"
	reasonNodeShutdown = "node-shutdown"
	reasonKubeletEvict = "kubelet-evict"

	t0Timestamp = "timestamp"
	t0Unknown   = "unknown"

	outcomeLanded  = "landed"
	outcomeExpired = "expired"
	outcomeGap     = "gap"

	hookNone  = "none"
	hookSleep = "sleep"
	hookExec  = "exec"
	hookHTTP  = "http"
)
