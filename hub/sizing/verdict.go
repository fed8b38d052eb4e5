package sizing

// Code is a verdict in one word.
type Code string

const (
	// The answer to "does preStop sleep long enough?": every recommendation has exactly one of these.
	TooShort         Code = "too-short"
	Fits             Code = "fits"
	LongerThanNeeded Code = "longer-than-needed"
	TooFew           Code = "too-few"         // episodes
	Unreadable       Code = "unreadable-hook" // nobody can tell how long it sleeps now
	NotAllMeasured   Code = "not-all-measured"
	NothingLeft      Code = "nothing-left" // no pod left in a way that can be sized
	TooLate          Code = "too-late"     // the API learns of it when the containers are dead
	Kept             Code = "kept"         // there was no other endpoint

	// What sleeping cannot mend; beside it.
	StuckPlace     Code = "stuck-place"
	HookFails      Code = "hook-fails"
	LeavesFirst    Code = "leaves-first"
	NoTimeToStop   Code = "no-time-to-stop"
	CutsAtStop     Code = "cuts-at-stop"
	DrainsTooLong  Code = "drains-too-long"
	IgnoresSIGTERM Code = "ignores-sigterm"
	Killed         Code = "killed" // one of the two before; which is not known
)

// Owner is who can change it.
type Owner string

const (
	App      Owner = "app"
	Platform Owner = "platform"
	Nobody   Owner = "" // there is nothing to change, or nobody knows yet
)

// Verdict is one thing that is true of the workload, with its evidence. sentences.go has it in words.
type Verdict struct {
	Code  Code  `json:"code"`
	Owner Owner `json:"owner,omitempty"`
	// K of N: episodes (stuck-place), samples there are and need be (too-few), departures (all others).
	K int `json:"k,omitempty"`
	N int `json:"n,omitempty"`
	// Has and Needs are seconds of preStop, or of the grace period (no-time-to-stop, drains-too-long, killed).
	Has     *int64 `json:"has_seconds,omitempty"`
	Needs   *int64 `json:"needs_seconds,omitempty"`
	AtLeast bool   `json:"at_least,omitempty"` // Needs is a lower bound
	// Longest is the largest last call or drain seen, in seconds; 0 if none was.
	Longest   float64 `json:"longest_seconds,omitempty"`
	Container string  `json:"container,omitempty"`
	Place     *Place  `json:"place,omitempty"`
	Without   int64   `json:"without_seconds,omitempty"` // what would do without the place
}

// enough of n departures show a behaviour, and not an accident.
func enough(k, n int) bool { return k >= repeated || k > 0 && k == n }

// judge lists the verdicts: what makes every sleep useless, the answer if it is bad, how pods stop, the
// answer if it is not, and what may matter.
func (r *Recommendation) judge() {
	answer := r.answer()
	var vs []Verdict
	stuck := r.stuckVerdict()
	// With more episodes stuck than the quantile leaves out, the number is not what matters.
	often := stuck != nil && float64(stuck.K) > (1-r.Quantile)*float64(stuck.N)
	if often {
		vs = append(vs, *stuck)
	}
	vs = append(vs, r.useless()...)
	left := r.leavesFirst()
	// Whether connections pass through a container that leaves first, nobody knows until some are lost.
	lost := r.Departures.Refused != nil && *r.Departures.Refused > 0
	if left != nil && lost {
		vs = append(vs, *left)
	}
	bad := answer.Code == TooShort || answer.Code == TooLate || answer.Code == Kept
	if bad {
		vs = append(vs, answer)
	}
	vs = append(vs, r.stops()...)
	if !bad {
		vs = append(vs, answer)
	}
	if stuck != nil && !often {
		vs = append(vs, *stuck)
	}
	if left != nil && !lost {
		vs = append(vs, *left)
	}
	r.Verdicts = vs
}

// answer is the verdict on preStop. Only what is firm is called fitting or too long.
func (r *Recommendation) answer() Verdict {
	v := Verdict{Has: r.Present.PreStop, Needs: r.Seconds, AtLeast: r.AtLeast, Container: r.Present.Container}
	if r.Largest != nil {
		v.Longest = r.Largest.Seconds
	}
	judged := r.Departures.Late + r.Departures.InTime + r.Departures.Unknown
	hopeless, kept := r.Departures.Out[OutHopeless], r.Departures.Out[OutKept]
	switch {
	case r.Episodes.Used == 0 && hopeless > 0 && hopeless >= kept:
		v.Code, v.Owner, v.K, v.N = TooLate, Platform, hopeless, hopeless+kept+judged
	case r.Episodes.Used == 0 && kept > 0:
		v.Code, v.Owner, v.K, v.N = Kept, App, kept, hopeless+kept+judged
	case r.Episodes.Used == 0:
		v.Code = NothingLeft
	case r.Seconds == nil && enough(r.Departures.Longer, r.Departures.Of):
		v.Code, v.Owner, v.K, v.N = TooShort, App, r.Departures.Longer, r.Departures.Of
	case r.Seconds == nil:
		v.Code, v.K, v.N = TooFew, r.Class.N, r.Needed
	case r.Present.PreStop == nil:
		v.Code, v.Owner = Unreadable, App
	case *r.Present.PreStop < *r.Seconds:
		v.Code, v.Owner, v.K, v.N = TooShort, App, r.Departures.Longer, r.Departures.Of
		if d := r.Driver; d != nil && d.Episodes >= repeated {
			v.Owner, v.Place, v.Without = Platform, &d.Place, d.Seconds
		}
	case r.AtLeast:
		v.Code = NotAllMeasured
	case muchSmaller(*r.Seconds, *r.Present.PreStop):
		v.Code, v.Owner = LongerThanNeeded, App
	default:
		v.Code = Fits
	}
	return v
}

func (r *Recommendation) stuckVerdict() *Verdict {
	if r.Episodes.Stuck == 0 {
		return nil
	}
	v := Verdict{Code: StuckPlace, Owner: Platform, K: r.Episodes.Stuck, N: r.Episodes.Used}
	if len(r.Stuck) > 0 {
		v.Place = &r.Stuck[0].Place
	}
	return &v
}

// useless are ways to stop that no length of preStop changes.
func (r *Recommendation) useless() (vs []Verdict) {
	s := r.Stopping
	if enough(s.HookFailed, s.Hooks) {
		vs = append(vs, Verdict{Code: HookFails, Owner: App, K: s.HookFailed, N: s.Hooks, Container: s.HookContainer})
	}
	if enough(s.NoTime, s.Ended) {
		vs = append(vs, Verdict{Code: NoTimeToStop, Owner: App, K: s.NoTime, N: s.Ended, Has: r.Present.Grace, Needs: r.Grace.Seconds})
	}
	return vs
}

func (r *Recommendation) leavesFirst() *Verdict {
	s := r.Stopping
	if !enough(s.LeftFirst, s.Beside) {
		return nil
	}
	return &Verdict{Code: LeavesFirst, Owner: App, K: s.LeftFirst, N: s.Beside, Container: s.LeftContainer, Needs: r.Seconds}
}

// stops are ways to stop that lose connections after the last call.
func (r *Recommendation) stops() (vs []Verdict) {
	s := r.Stopping
	if enough(s.Cut, s.Witnessed) {
		vs = append(vs, Verdict{Code: CutsAtStop, Owner: App, K: s.Cut, N: s.Witnessed})
	}
	unclear := s.Killed - s.NoTime - s.Ignored - s.Draining
	for _, k := range []struct {
		code Code
		k    int
	}{{DrainsTooLong, s.Draining}, {IgnoresSIGTERM, s.Ignored}, {Killed, unclear}} {
		if enough(k.k, s.Ended) {
			vs = append(vs, Verdict{Code: k.code, Owner: App, K: k.k, N: s.Ended, Has: r.Present.Grace, Longest: r.Drain.Longest})
		}
	}
	return vs
}
