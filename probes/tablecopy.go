package probes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// tableCopy is a copy of iptables-legacy's nat table as the kernel keeps it: entries one after another. An entry is a
// rule or the head of a chain, which bears its name; a jump is the offset of a chain's first rule.
type tableCopy struct {
	entryLayout
	family uint8
	info   tableInfo
	b      []byte
	heads  map[string]int // offset of each user-defined chain's first rule
	// It is what the table was at some moment between these.
	before, after time.Time
}

// entryLayout is where things are in struct ipt_entry or ip6t_entry, on 64 bits.
type entryLayout struct {
	targetOffset int // of the field that says where the target begins
	head         int // size without matches and target
}

var (
	entryV4 = entryLayout{targetOffset: 88, head: 112}
	entryV6 = entryLayout{targetOffset: 140, head: 168}
)

const (
	// targetHead is sizeof(struct xt_entry_target): size, name, revision, and what follows is aligned to 8.
	targetHead = 32
	// errorTarget is sizeof(struct xt_error_target), aligned: the target of a chain's head, which holds its name.
	errorTarget = 64
)

var errTableLayout = errors.New("table of iptables-legacy has a layout this version does not know")

// tableEntry is one entry of a table.
type tableEntry struct {
	next   int    // offset of the one that follows
	target []byte // struct xt_entry_target and its data
}

func (t tableCopy) entry(off int) (tableEntry, error) {
	bad := func(what string) (tableEntry, error) {
		return tableEntry{}, fmt.Errorf("entry at %d of %d: %s: %w", off, len(t.b), what, errTableLayout)
	}
	if off < 0 || off+t.head+targetHead > len(t.b) {
		return bad("cut off")
	}
	e := t.b[off:]
	ne := binary.NativeEndian
	at, size := int(ne.Uint16(e[t.targetOffset:])), int(ne.Uint16(e[t.targetOffset+2:]))
	if at < t.head || size < at+targetHead || size > len(e) {
		return bad("sizes do not fit")
	}
	if n := int(ne.Uint16(e[at:])); n < targetHead || at+n > size {
		return bad("size of the target does not fit")
	}
	return tableEntry{next: off + size, target: e[at:size]}, nil
}

func (e tableEntry) name() string { return string(cString(e.target[2:31])) }

// chainName is the name in a chain's head; ok is false for a rule.
func (e tableEntry) chainName() (name []byte, ok bool) {
	if string(cString(e.target[2:31])) != "ERROR" || len(e.target) < targetHead+30 {
		return nil, false
	}
	return cString(e.target[targetHead : targetHead+30]), true
}

// indexTable walks the table once and notes where the chains are.
func indexTable(family uint8, info tableInfo, b []byte) (tableCopy, error) {
	t := tableCopy{entryLayout: entryV4, family: family, info: info, b: b,
		heads: make(map[string]int, len(b)/900)} // bytes of an endpoint's rules and chain
	if family == unix.NFPROTO_IPV6 {
		t.entryLayout = entryV6
	}
	for off := 0; off < len(b); {
		e, err := t.entry(off)
		if err != nil {
			return tableCopy{}, err
		}
		if name, ok := e.chainName(); ok {
			t.heads[string(name)] = e.next
		}
		off = e.next
	}
	return t, nil
}

// legacyHooks are the built-in chains of the table nat through which new connections are DNATed.
var legacyHooks = map[string]int{"PREROUTING": unix.NF_INET_PRE_ROUTING, "OUTPUT": unix.NF_INET_LOCAL_OUT}

// rules reads a chain's rules in order; none if it does not exist.
func (t tableCopy) rules(name string) ([]rule, error) {
	off, last := 0, len(t.b)
	if h, builtin := legacyHooks[name]; builtin {
		if t.info.hooks&(1<<h) == 0 {
			return nil, nil
		}
		off, last = int(t.info.entry[h]), int(t.info.underflow[h])
	} else if start, ok := t.heads[name]; ok {
		off = start
	} else {
		return nil, nil
	}
	var rs []rule
	for off <= last && off < len(t.b) {
		e, err := t.entry(off)
		if err != nil {
			return nil, err
		}
		if _, ok := e.chainName(); ok {
			break // of the next chain
		}
		r, err := t.rule(off, e)
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
		off = e.next
	}
	return rs, nil
}

// rule decodes what one rule can do with a new connection.
func (t tableCopy) rule(off int, e tableEntry) (r rule, err error) {
	switch e.name() {
	case "": // the standard target: a verdict, or a jump if it is not negative
		if len(e.target) < targetHead+4 {
			return r, fmt.Errorf("verdict at %d: cut off: %w", off, errTableLayout)
		}
		to := int(int32(binary.NativeEndian.Uint32(e.target[targetHead:])))
		if to < 0 || to == e.next { // to the next rule: a rule without a target
			return r, nil
		}
		name, err := t.chainAt(to)
		r.jumps = []string{name}
		return r, err
	case "DNAT":
		if ap, ok := xtDNAT(t.family, uint32(e.target[31]), e.target[targetHead:]); ok {
			r.dnat = append(r.dnat, ap)
		} else {
			r.opaque = true
		}
	}
	return r, nil
}

// chainAt names the chain whose first rule is at an offset: its head is the entry before.
func (t tableCopy) chainAt(off int) (string, error) {
	head, err := t.entry(off - t.head - errorTarget)
	if err != nil {
		return "", fmt.Errorf("jump to %d: %w", off, err)
	}
	name, ok := head.chainName()
	if !ok || head.next != off {
		return "", fmt.Errorf("jump to %d, where no chain begins: %w", off, errTableLayout)
	}
	return string(name), nil
}
