package probes

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// committer is a foreign program: it adds and deletes a table as fast as the kernel takes it. The probe itself
// cannot write, so this has a socket of its own.
type committer struct{ fd int }

func openCommitter() (*committer, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	return &committer{fd}, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

func (c *committer) close() { unix.Close(c.fd) }

// commit sends batch-begin, one change, batch-end, and waits for the answer.
func (c *committer) commit(n int) error {
	kind := uint16(unix.NFT_MSG_NEWTABLE)
	if n%2 == 1 {
		kind = unix.NFT_MSG_DELTABLE
	}
	var name attrs
	name.string(unix.NFTA_TABLE_NAME, "foreign")
	var b []byte
	message := func(typ, flags uint16, family uint8, res uint16, body []byte) {
		ne := binary.NativeEndian
		b = ne.AppendUint32(b, uint32(unix.NLMSG_HDRLEN+nfHeaderLen+len(body)))
		b = ne.AppendUint16(b, typ)
		b = ne.AppendUint16(b, unix.NLM_F_REQUEST|flags)
		b = ne.AppendUint32(b, uint32(n))
		b = ne.AppendUint32(b, 0)
		b = append(b, family, unix.NFNETLINK_V0)
		b = binary.BigEndian.AppendUint16(b, res)
		b = append(b, body...)
	}
	message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	message(unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NLM_F_ACK, unix.NFPROTO_IPV4, 0, name.b)
	message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send batch: %w", err)
	}
	buf := make([]byte, 4096)
	m, _, err := unix.Recvfrom(c.fd, buf, 0)
	if err != nil {
		return fmt.Errorf("receive acknowledgement: %w", err)
	}
	return netlinkError(buf[unix.NLMSG_HDRLEN:m])
}
