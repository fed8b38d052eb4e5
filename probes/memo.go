package probes

import "errors"

// memo holds what was read at one generation, so that removals that share chains read them once.
type memo struct {
	legacy     *tableCopy // of iptables-legacy: everything is read from it
	hooks      map[memoKey][]string
	baseChains map[memoKey][]string // found at detection
	hasty      bool                 // rather errPreparing than a long read
	ruleLists  map[memoKey][]rule
	chains     map[memoKey]chain
	sets       map[memoKey]set
	elems      map[memoKey][]element
}

type memoKey struct {
	family      uint8
	table, name string
}

func newMemo(baseChains map[memoKey][]string) *memo {
	return &memo{
		baseChains: baseChains,
		hooks:      map[memoKey][]string{},
		ruleLists:  map[memoKey][]rule{},
		chains:     map[memoKey]chain{},
		sets:       map[memoKey]set{},
		elems:      map[memoKey][]element{},
	}
}

func (m *memo) rules(t ruleset, name string) ([]rule, error) {
	return recall(m.ruleLists, memoKey{t.family, t.table, name}, func() ([]rule, error) {
		if m.legacy != nil {
			return m.legacy.rules(name)
		}
		return t.rules(name)
	})
}

func (m *memo) chain(t ruleset, name string) (chain, error) {
	return recall(m.chains, memoKey{t.family, t.table, name}, func() (chain, error) {
		if m.legacy != nil {
			return chain{name: name}, nil // nobody counts uses there: the dispatching rules are read
		}
		return t.chain(name)
	})
}

// set and elements belong to maps that a rule was just read to use: if they are gone, the rules
// have changed since.
func (m *memo) set(t ruleset, name string) (set, error) {
	return recall(m.sets, memoKey{t.family, t.table, name}, func() (set, error) {
		s, err := t.set(name)
		return s, changedIfAbsent(err)
	})
}

func (m *memo) elements(t ruleset, name string) ([]element, error) {
	return recall(m.elems, memoKey{t.family, t.table, name}, func() ([]element, error) {
		es, err := t.elements(name)
		return es, changedIfAbsent(err)
	})
}

func changedIfAbsent(err error) error {
	if errors.Is(err, errAbsent) {
		return errInterrupted
	}
	return err
}

func recall[V any](known map[memoKey]V, k memoKey, read func() (V, error)) (V, error) {
	if v, ok := known[k]; ok {
		return v, nil
	}
	v, err := read()
	if err == nil {
		known[k] = v
	}
	return v, err
}
