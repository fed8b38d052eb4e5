package probes

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNetlinkOnlyReads: the program never changes a rule. Everything sent over netlink goes through
// netfilterSocket.query, whose allow-list holds reads only.
func TestNetlinkOnlyReads(t *testing.T) {
	senders := map[string]bool{"Send": true, "Sendto": true, "Sendmsg": true, "SendmsgN": true, "SendmsgBuffers": true,
		"RawSyscall": true, "Syscall": true, "Syscall6": true, "RawSyscall6": true}
	fset := token.NewFileSet()
	files, err := filepath.Glob("*.go")
	must(t, err)
	sent := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		must(t, err)
		for _, d := range file.Decls {
			fn, _ := d.(*ast.FuncDecl)
			ast.Inspect(d, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && len(call.Args) > 0 {
					fun, _ := call.Fun.(*ast.SelectorExpr)
					number, _ := call.Args[0].(*ast.SelectorExpr)
					if fun != nil && number != nil && fun.Sel.Name == "RawSyscall6" && number.Sel.Name == "SYS_PPOLL" {
						return false // it waits
					}
				}
				sel, ok := n.(*ast.SelectorExpr)
				if !ok || !senders[sel.Sel.Name] {
					return true
				}
				if fn != nil && fn.Name.Name == "get" && sel.Sel.Name == "Syscall6" {
					return true // TestLegacyOnlyReads
				}
				if fn == nil || fn.Name.Name != "query" {
					t.Errorf("%s: sends outside netfilterSocket.query", fset.Position(n.Pos()))
				}
				sent++
				return true
			})
		}
	}
	if sent != 1 {
		t.Errorf("%d places that send, want the one in query", sent)
	}
	reads := map[uint16]string{unix.NFT_MSG_GETGEN: "GETGEN", unix.NFT_MSG_GETCHAIN: "GETCHAIN", unix.NFT_MSG_GETRULE: "GETRULE",
		unix.NFT_MSG_GETSET: "GETSET", unix.NFT_MSG_GETSETELEM: "GETSETELEM"}
	for msg := range netfilterReads {
		if reads[msg] == "" {
			t.Errorf("request %d is allowed and is no read", msg)
		}
	}
	s := &netfilterSocket{fd: -1}
	for msg := range uint16(256) {
		err := s.query(msg, 0, false, nil, nil)
		if refused := err != nil && strings.Contains(err.Error(), "refused"); refused == netfilterReads[msg] {
			t.Errorf("request %d: %v", msg, err)
		}
	}
}

// TestLegacyOnlyReads: an option number that reads a table of iptables-legacy replaces it when it is set. So nothing
// here sets any option but of the socket itself, the one raw system call is getsockopt, and it refuses what is no read.
func TestLegacyOnlyReads(t *testing.T) {
	fset := token.NewFileSet()
	files, err := filepath.Glob("*.go")
	must(t, err)
	calls := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			named := func(arg int) string {
				if s, ok := call.Args[arg].(*ast.SelectorExpr); ok {
					return s.Sel.Name
				}
				return "something else"
			}
			switch {
			case strings.HasPrefix(sel.Sel.Name, "Setsockopt") && named(1) != "SOL_SOCKET":
				t.Errorf("%s: sets an option of level %s", fset.Position(n.Pos()), named(1))
			case sel.Sel.Name == "Syscall6":
				if calls++; named(0) != "SYS_GETSOCKOPT" {
					t.Errorf("%s: system call %s", fset.Position(n.Pos()), named(0))
				}
			case sel.Sel.Name == "Flock" || sel.Sel.Name == "FcntlFlock":
				t.Errorf("%s: takes a lock", fset.Position(n.Pos()))
			}
			return true
		})
	}
	if calls != 1 {
		t.Errorf("%d raw system calls, want the one in xtablesSocket.get", calls)
	}
	s := &xtablesSocket{fd: -1}
	for option := range uintptr(256) {
		_, err := s.get(option, make([]byte, tableInfoLen))
		if refused := err != nil && strings.Contains(err.Error(), "refused"); refused == (option == 64 || option == 65) {
			t.Errorf("option %d: %v", option, err)
		}
	}
}
