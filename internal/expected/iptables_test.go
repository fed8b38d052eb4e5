//go:build linux

package expected

import (
	"fmt"
	"net/netip"
	"strings"
)

// xtables is table nat as iptables-save writes it: rules by chain, in words.
type xtables map[string][][]string

func parseXtables(text string) (xtables, error) {
	chains := xtables{}
	table := ""
	for l := range strings.Lines(text) {
		words, err := split(strings.TrimSpace(l))
		switch {
		case err != nil:
			return nil, err
		case len(words) == 0:
		case words[0][0] == '*':
			table = words[0][1:]
		case words[0] == "-A" && table == "nat":
			chains[words[1]] = append(chains[words[1]], words[2:])
		}
	}
	if len(chains) == 0 {
		return nil, fmt.Errorf("no rule of table nat in %d bytes", len(text))
	}
	return chains, nil
}

// split parts a line into words; a comment in quotes is one.
func split(l string) (words []string, err error) {
	for l != "" {
		if l[0] == '"' {
			end := strings.IndexByte(l[1:], '"')
			if end < 0 {
				return nil, fmt.Errorf("a quote without end: %s", l)
			}
			words, l = append(words, l[1:end+1]), strings.TrimSpace(l[end+2:])
			continue
		}
		w, rest, _ := strings.Cut(l, " ")
		words, l = append(words, w), strings.TrimSpace(rest)
	}
	return words, nil
}

func (x xtables) route(p packet) (routes, error) {
	to := routes{}
	hook := "PREROUTING"
	if p.client == "node" {
		hook = "OUTPUT"
	}
	_, err := x.walk(hook, p, to)
	return to, err
}

// walk reports whether the packet surely got a verdict in the chain.
func (x xtables) walk(chain string, p packet, to routes) (done bool, err error) {
	for _, words := range x[chain] {
		a, target, err := match(words, p)
		if err != nil {
			return false, fmt.Errorf("%w: -A %s %s", err, chain, strings.Join(words, " "))
		}
		if a == no || len(target) == 0 {
			continue
		}
		switch target[0] {
		case "MARK", "MASQUERADE":
			continue
		case "RETURN":
			if a == yes {
				return false, nil
			}
			continue
		case "DNAT":
			ap, err := netip.ParseAddrPort(target[2])
			if err != nil {
				return false, err
			}
			to[ap] = true
			done = true
		default:
			if done, err = x.walk(target[0], p, to); err != nil {
				return false, err
			}
		}
		if done && a == yes {
			return true, nil
		}
	}
	return false, nil
}

// match evaluates a rule's conditions and returns its target.
func match(words []string, p packet) (a answer, target []string, err error) {
	a = yes
	for i := 0; i < len(words); i++ {
		negated := words[i] == "!"
		if negated {
			i++
		}
		var b answer
		arg := ""
		if i+1 < len(words) {
			arg = words[i+1]
		}
		i++
		switch words[i-1] {
		case "-j", "-g":
			return a, words[i:], nil
		case "-s":
			b, err = within(p.src, arg)
		case "-d":
			b, err = within(p.dst, arg)
		case "-p":
			b = is(arg == p.proto)
		case "--dport":
			b = is(arg == fmt.Sprint(p.port))
		case "--dst-type":
			b = is(arg == "LOCAL" && p.dstLocal)
		case "--src-type":
			b = is(arg == "LOCAL" && p.srcLocal)
		case "-m", "--comment", "--name", "--mode", "--seconds", "--mask", "--nfacct-name":
			b = yes
		case "--rsource", "--reap", "--set":
			b = yes
			i-- // these have no argument
		case "--rcheck":
			b = may
			i--
		case "--probability", "--mark":
			b = may
		default:
			return no, nil, fmt.Errorf("condition %s is not known here", words[i-1])
		}
		if err != nil {
			return no, nil, err
		}
		if negated {
			b = b.not()
		}
		a = a.and(b)
	}
	return a, nil, nil
}
