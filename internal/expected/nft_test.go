//go:build linux

package expected

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// nftTable is a table as "nft -j list table" writes it.
type nftTable struct {
	chains map[string]*nftChain
	elems  map[string][]any // of sets and maps
}

type nftChain struct {
	kind, hook string
	prio       float64
	rules      [][]any
}

func parseNFT(text string) (*nftTable, error) {
	var doc struct {
		Nftables []map[string]struct {
			Name, Chain, Type, Hook string
			Prio                    float64
			Expr, Elem              []any
		}
	}
	// The type of a map with a compound key is a list.
	text = strings.NewReplacer(`"type": [`, `"types": [`).Replace(text)
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	t := &nftTable{map[string]*nftChain{}, map[string][]any{}}
	for _, o := range doc.Nftables {
		for kind, v := range o {
			switch kind {
			case "chain":
				t.chains[v.Name] = &nftChain{kind: v.Type, hook: v.Hook, prio: v.Prio}
			case "rule":
				t.chains[v.Chain].rules = append(t.chains[v.Chain].rules, v.Expr)
			case "map", "set":
				t.elems[v.Name] = v.Elem
			}
		}
	}
	if len(t.chains) == 0 {
		return nil, fmt.Errorf("no chain in %d bytes", len(text))
	}
	return t, nil
}

// route goes through the hooks before the routing decision in the order of their priority: first source ranges
// are looked at, then addresses are rewritten.
func (t *nftTable) route(p packet) (routes, error) {
	hook := "prerouting"
	if p.client == "node" {
		hook = "output"
	}
	var base []*nftChain
	for _, c := range t.chains {
		if c.hook == hook && c.prio <= -100 {
			base = append(base, c)
		}
	}
	slices.SortFunc(base, func(a, b *nftChain) int { return int(a.prio - b.prio) })
	to := routes{}
	for _, c := range base {
		v, err := t.walk(c, p, to)
		if v == dropped || err != nil {
			return routes{}, err
		}
	}
	return to, nil
}

type verdict int

const (
	none verdict = iota
	sent
	dropped
)

func (t *nftTable) walk(c *nftChain, p packet, to routes) (verdict, error) {
	if c == nil {
		return none, fmt.Errorf("a chain that does not exist")
	}
	for _, rule := range c.rules {
		a := yes
		for _, e := range rule {
			v, ended, err := t.statement(e.(map[string]any), p, to, &a)
			if err != nil {
				text, _ := json.Marshal(rule)
				return none, fmt.Errorf("%w in %s", err, text)
			}
			if a == no {
				break
			}
			if a == yes && (ended || v != none) {
				return v, nil
			}
		}
	}
	return none, nil
}

// statement evaluates one of a rule; ended: the rest of the chain is not looked at (goto).
func (t *nftTable) statement(e map[string]any, p packet, to routes, a *answer) (v verdict, ended bool, err error) {
	for kind, body := range e {
		switch kind {
		case "match":
			m := body.(map[string]any)
			b, err := t.matches(m["left"], m["right"], p)
			if m["op"] == "!=" {
				b = b.not()
			}
			*a = a.and(b)
			return none, false, err
		case "vmap":
			return t.vmap(body.(map[string]any), p, to, a)
		case "jump", "goto":
			v, err = t.walk(t.chains[body.(map[string]any)["target"].(string)], p, to)
			return v, kind == "goto", err
		case "drop", "reject":
			return dropped, true, nil
		case "dnat":
			err := dnat(body.(map[string]any), to)
			return sent, true, err
		case "mangle", "set", "counter":
		default:
			return none, false, fmt.Errorf("statement %s is not known here", kind)
		}
	}
	return none, false, nil
}

// vmap looks the packet up, or takes every verdict if chance decides.
func (t *nftTable) vmap(m map[string]any, p packet, to routes, a *answer) (v verdict, ended bool, err error) {
	elems := t.elements(m["data"])
	key, _ := m["key"].(map[string]any)
	_, random := key["numgen"]
	want := ""
	if !random {
		if want, err = value(m["key"], p); err != nil {
			return none, false, err
		}
	}
	for _, e := range elems {
		pair := e.([]any)
		if !random && literal(pair[0]) != want {
			continue
		}
		action, isMap := pair[1].(map[string]any)
		if !isMap {
			return none, false, fmt.Errorf("verdict %v", pair[1])
		}
		if v, ended, err = t.statement(action, p, to, a); err != nil || !random {
			return v, ended, err
		}
	}
	return v, random, nil
}

func (t *nftTable) elements(data any) []any {
	if name, ok := data.(string); ok {
		return t.elems[strings.TrimPrefix(name, "@")]
	}
	return data.(map[string]any)["set"].([]any)
}

func (t *nftTable) matches(left, right any, p packet) (answer, error) {
	l, _ := left.(map[string]any)
	if _, ok := l["ct"]; ok {
		return yes, nil // "state new"
	}
	if name, ok := right.(string); ok && strings.HasPrefix(name, "@affinity-") {
		return may, nil
	}
	got, err := value(left, p)
	if err != nil {
		return no, err
	}
	var options []any
	switch r := right.(type) {
	case string:
		options = []any{r}
		if strings.HasPrefix(r, "@") {
			options = t.elements(r)
		}
	case map[string]any:
		options = []any{r}
		if set, ok := r["set"].([]any); ok {
			options = set
		}
	default:
		options = []any{r}
	}
	for _, o := range options {
		text := literal(o)
		addr, err := netip.ParseAddr(got)
		if err != nil {
			if text == got {
				return yes, nil
			}
			continue
		}
		if in, err := within(addr, text); in == yes || err != nil {
			return in, err
		}
	}
	return no, nil
}

// value is what an expression says of the packet.
func value(e any, p packet) (string, error) {
	m, _ := e.(map[string]any)
	for kind, body := range m {
		switch kind {
		case "concat":
			var parts []string
			for _, x := range body.([]any) {
				v, err := value(x, p)
				if err != nil {
					return "", err
				}
				parts = append(parts, v)
			}
			return strings.Join(parts, " . "), nil
		case "payload":
			switch body.(map[string]any)["field"] {
			case "saddr":
				return p.src.String(), nil
			case "daddr":
				return p.dst.String(), nil
			case "dport":
				return fmt.Sprint(p.port), nil
			}
		case "meta":
			if body.(map[string]any)["key"] == "l4proto" {
				return p.proto, nil
			}
		case "fib":
			local := p.dstLocal
			if slices.Contains(body.(map[string]any)["flags"].([]any), any("saddr")) {
				local = p.srcLocal
			}
			if local {
				return "local", nil
			}
			return "unicast", nil
		}
	}
	return "", fmt.Errorf("expression %v is not known here", e)
}

// literal writes a constant as value does.
func literal(e any) string {
	switch e := e.(type) {
	case map[string]any:
		if x, ok := e["concat"].([]any); ok {
			var parts []string
			for _, y := range x {
				parts = append(parts, literal(y))
			}
			return strings.Join(parts, " . ")
		}
		if x, ok := e["prefix"].(map[string]any); ok {
			return fmt.Sprintf("%v/%v", x["addr"], x["len"])
		}
		if x, ok := e["elem"].(map[string]any); ok {
			return literal(x["val"])
		}
	case float64:
		return fmt.Sprint(int(e))
	}
	return fmt.Sprint(e)
}

func dnat(m map[string]any, to routes) error {
	add := func(text string, port any) error {
		addr, err := netip.ParseAddr(text)
		n, isNumber := port.(float64)
		if err != nil || !isNumber {
			return fmt.Errorf("DNAT to %v port %v", text, port)
		}
		to[netip.AddrPortFrom(addr, uint16(n))] = true
		return nil
	}
	if text, ok := m["addr"].(string); ok {
		return add(text, m["port"])
	}
	through, _ := m["addr"].(map[string]any)["map"].(map[string]any)
	data, _ := through["data"].(map[string]any)
	pairs, _ := data["set"].([]any)
	for _, pair := range pairs {
		c := pair.([]any)[1].(map[string]any)["concat"].([]any)
		if err := add(c[0].(string), c[1]); err != nil {
			return err
		}
	}
	if len(pairs) == 0 {
		return fmt.Errorf("DNAT %v is not known here", m)
	}
	return nil
}
