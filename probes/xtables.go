package probes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The iptables-legacy options this program ever asks for (include/uapi/linux/netfilter_ipv4/ip_tables.h; IPv6 has the
// same numbers). They are reads as options of getsockopt, and getsockopt only: the same numbers replace a table when
// they are set. TestLegacyOnlyReads holds that nothing here sets any.
const (
	xtGetInfo    = 64 // IPT_SO_GET_INFO
	xtGetEntries = 65 // IPT_SO_GET_ENTRIES
)

var xtablesReads = map[uintptr]bool{xtGetInfo: true, xtGetEntries: true}

// errNoTable: the table does not exist in this network namespace. Asking the kernel for it would create it.
var errNoTable = errors.New("no such table of iptables-legacy")

// xtablesSocket reads iptables-legacy's nat table of one family, in the network namespace its creating thread was
// in. It takes no lock of user space and sends nothing.
//
// A datagram socket will do: getsockopt reaches netfilter through any IP socket
// (net/ipv4/ip_sockglue.c, ip_getsockopt), and a raw one would need NET_RAW.
type xtablesSocket struct {
	family uint8 // unix.NFPROTO_IPV4 or _IPV6, which are the numbers of AF_INET and not of AF_INET6
	fd     int
	names  *os.File // the tables that exist
}

// nat is the table kube-proxy translates in.
const nat = "nat"

func openXtables(family uint8) (*xtablesSocket, error) {
	domain, names := unix.AF_INET, "/proc/thread-self/net/ip_tables_names"
	if family == unix.NFPROTO_IPV6 {
		domain, names = unix.AF_INET6, "/proc/thread-self/net/ip6_tables_names"
	}
	f, err := os.Open(names)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNoTable // this kernel has no iptables-legacy
	}
	if err != nil {
		return nil, fmt.Errorf("list tables of iptables-legacy: %w", err)
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EAFNOSUPPORT) {
			return nil, errNoTable
		}
		return nil, fmt.Errorf("open socket for iptables-legacy: %w", err)
	}
	return &xtablesSocket{family: family, fd: fd, names: f}, nil
}

func (s *xtablesSocket) close() {
	unix.Close(s.fd)
	s.names.Close()
}

// exists reports whether there is a nat table. It is asked before every read: a read of a table that is not there makes
// the kernel load the module and create it (net/netfilter/x_tables.c, xt_find_table_lock).
func (s *xtablesSocket) exists() (bool, error) {
	var b [512]byte
	n, err := unix.Pread(int(s.names.Fd()), b[:], 0)
	if err != nil {
		return false, fmt.Errorf("list tables of iptables-legacy: %w", err)
	}
	return slices.Contains(strings.Fields(string(b[:n])), nat), nil
}

// tableInfo is what the kernel says of a table without its rules: struct ipt_getinfo. Equal answers do not mean equal
// tables, as when one endpoint took another's place; different ones mean that the table was replaced.
type tableInfo struct {
	hooks     uint32    // valid ones, a bit each
	entry     [5]uint32 // offset of each hook's first rule
	underflow [5]uint32 // and of its policy
	entries   uint32
	size      uint32
}

// tableInfoLen is sizeof(struct ipt_getinfo).
const tableInfoLen = 32 + 4 + 20 + 20 + 4 + 4

// info costs 11 us at 540,000 entries; the kernel holds the family's table mutex for as long.
func (s *xtablesSocket) info() (tableInfo, error) {
	if there, err := s.exists(); err != nil || !there {
		return tableInfo{}, errors.Join(err, errNoTable)
	}
	var b [tableInfoLen]byte
	copy(b[:], nat)
	if _, err := s.get(xtGetInfo, b[:]); err != nil {
		return tableInfo{}, fmt.Errorf("ask for the size of table %s: %w", nat, err)
	}
	return decodeTableInfo(b[:]), nil
}

func decodeTableInfo(b []byte) (i tableInfo) {
	ne := binary.NativeEndian
	i.hooks = ne.Uint32(b[32:])
	for h := range i.entry {
		i.entry[h], i.underflow[h] = ne.Uint32(b[36+4*h:]), ne.Uint32(b[56+4*h:])
	}
	i.entries, i.size = ne.Uint32(b[76:]), ne.Uint32(b[80:])
	return i
}

// entriesHead is the part of struct ipt_get_entries before the entries: name, size, and padding on 64 bits.
const entriesHead = 32 + 4 + 4

// readTable copies the table into buf, which grows if needed. It is one atomic read: the kernel holds the
// family's table mutex, as a replacement does (net/ipv4/netfilter/ip_tables.c, get_entries and __do_replace).
func (s *xtablesSocket) readTable(buf *tableBuffer) (tableCopy, error) {
	for range readTries {
		info, err := s.info()
		if err != nil {
			return tableCopy{}, err
		}
		n := entriesHead + int(info.size)
		b, err := buf.atLeast(n)
		if err != nil {
			return tableCopy{}, err
		}
		clear(b[:entriesHead])
		copy(b, nat)
		binary.NativeEndian.PutUint32(b[32:], info.size)
		before := time.Now()
		_, err = s.get(xtGetEntries, b[:n])
		after := time.Now()
		if errors.Is(err, unix.EAGAIN) {
			continue // replaced in between by one of another size
		}
		if err != nil {
			return tableCopy{}, fmt.Errorf("read table %s: %w", nat, err)
		}
		t, err := indexTable(s.family, info, b[entriesHead:n])
		t.before, t.after = before, after
		return t, err
	}
	return tableCopy{}, fmt.Errorf("read table %s: %w", nat, errInterrupted)
}

// get is the one system call of this file. It blocks on the calling thread.
func (s *xtablesSocket) get(option uintptr, b []byte) (n uint32, err error) {
	if !xtablesReads[option] {
		return 0, fmt.Errorf("option %d of iptables-legacy is not a read: refused", option)
	}
	level := uintptr(unix.IPPROTO_IP)
	if s.family == unix.NFPROTO_IPV6 {
		level = unix.IPPROTO_IPV6
	}
	n = uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), level, option,
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// tableBuffer is the memory tables are copied into: 105 MB at 10,000 services x 10 endpoints. It is mapped and not
// the garbage collector's, so that it is given back at once when nothing is pending.
type tableBuffer struct{ b []byte }

func (t *tableBuffer) atLeast(n int) ([]byte, error) {
	if n <= len(t.b) {
		return t.b, nil
	}
	t.release()
	// Populated here, and not page by page while the kernel holds the table's mutex for us. A bit more, as it grows.
	b, err := unix.Mmap(-1, 0, n+n/8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for a table of iptables-legacy: %w", n, err)
	}
	t.b = b
	return b, nil
}

func (t *tableBuffer) release() {
	if t.b != nil {
		unix.Munmap(t.b) //nolint:errcheck // it is ours
		t.b = nil
	}
}

// cString is the text before the first zero.
func cString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}
