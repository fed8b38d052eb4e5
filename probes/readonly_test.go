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
				sel, ok := n.(*ast.SelectorExpr)
				if !ok || !senders[sel.Sel.Name] {
					return true
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
