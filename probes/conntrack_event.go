package probes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Attributes and values of include/uapi/linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h and nf_conntrack_tcp.h,
// which x/sys does not have.
const (
	ctMsgNew, ctMsgDelete = 0, 2 // IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_DELETE

	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaProtoinfo = 1, 2, 3, 4
	ctaTupleIP, ctaTupleProto                            = 1, 2
	ctaIPv4Src, ctaIPv4Dst, ctaIPv6Src, ctaIPv6Dst       = 1, 2, 3, 4
	ctaProtoNum, ctaProtoSrcPort, ctaProtoDstPort        = 1, 2, 3
	ctaProtoinfoTCP, ctaProtoinfoTCPState                = 1, 1

	ctSeenReply = 1 << 1
	ctAssured   = 1 << 2

	tcpSynSent, tcpSynRecv, tcpFinWait, tcpTimeWait, tcpClose = 1, 2, 4, 7, 8
)

// flowKind is what happened to a conntrack entry.
type flowKind uint8

const (
	flowNew flowKind = iota + 1
	flowUpdate
	flowDestroy
)

// flowTuple is one direction of a connection.
type flowTuple struct {
	src, dst netip.AddrPort
	proto    uint8
}

// flowEvent is one notification of connection tracking.
type flowEvent struct {
	kind  flowKind
	orig  flowTuple
	reply flowTuple // its source is the endpoint, whatever the connection was sent to
	// status are the bits of enum ip_conntrack_status.
	status uint32
	// tcpState is of enum tcp_conntrack, 0 if it is not told: kernels before 5.12 leave it out of flowDestroy.
	tcpState uint8
}

// parseFlowEvents calls each for every event in a datagram; messages of another kind are passed over.
func parseFlowEvents(b []byte, each func(flowEvent)) error {
	ne := binary.NativeEndian
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(ne.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return fmt.Errorf("conntrack message of %d bytes in a datagram of %d", size, len(b))
		}
		typ, flags := ne.Uint16(b[4:]), ne.Uint16(b[6:])
		body := b[unix.NLMSG_HDRLEN:size]
		b = b[min(len(b), (size+3)&^3):]
		e := flowEvent{}
		switch {
		case typ>>8 != unix.NFNL_SUBSYS_CTNETLINK:
			continue
		case typ&0xff == ctMsgDelete:
			e.kind = flowDestroy
		case typ&0xff == ctMsgNew && flags&unix.NLM_F_CREATE != 0:
			e.kind = flowNew
		case typ&0xff == ctMsgNew:
			e.kind = flowUpdate
		default:
			continue
		}
		if len(body) < nfHeaderLen {
			return errors.New("conntrack message is too short")
		}
		if err := e.parse(body[nfHeaderLen:]); err != nil {
			return err
		}
		if e.orig.src.IsValid() && e.orig.dst.IsValid() && e.reply.src.IsValid() {
			each(e)
		}
	}
	return nil
}

func (e *flowEvent) parse(b []byte) error {
	return eachAttr(b, func(typ uint16, v []byte) error {
		switch {
		case typ == ctaTupleOrig:
			return e.orig.parse(v)
		case typ == ctaTupleReply:
			return e.reply.parse(v)
		case typ == ctaStatus && len(v) == 4:
			e.status = binary.BigEndian.Uint32(v)
		case typ == ctaProtoinfo:
			return nestedAttr(v, ctaProtoinfoTCP, func(v []byte) error {
				return nestedAttr(v, ctaProtoinfoTCPState, func(v []byte) error {
					if len(v) == 1 {
						e.tcpState = v[0]
					}
					return nil
				})
			})
		}
		return nil
	})
}

func (t *flowTuple) parse(b []byte) error {
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	err := eachAttr(b, func(typ uint16, v []byte) error {
		if typ != ctaTupleIP && typ != ctaTupleProto {
			return nil // such as the zone
		}
		return eachAttr(v, func(inner uint16, v []byte) error {
			switch {
			case typ == ctaTupleIP && (inner == ctaIPv4Src || inner == ctaIPv6Src):
				src, _ = netip.AddrFromSlice(v)
			case typ == ctaTupleIP && (inner == ctaIPv4Dst || inner == ctaIPv6Dst):
				dst, _ = netip.AddrFromSlice(v)
			case typ == ctaTupleProto && inner == ctaProtoNum && len(v) == 1:
				t.proto = v[0]
			case typ == ctaTupleProto && inner == ctaProtoSrcPort && len(v) == 2:
				srcPort = binary.BigEndian.Uint16(v)
			case typ == ctaTupleProto && inner == ctaProtoDstPort && len(v) == 2:
				dstPort = binary.BigEndian.Uint16(v)
			}
			return nil
		})
	})
	t.src, t.dst = netip.AddrPortFrom(src, srcPort), netip.AddrPortFrom(dst, dstPort)
	return err
}

// nestedAttr calls f for the attributes of one type inside another's value.
func nestedAttr(b []byte, want uint16, f func([]byte) error) error {
	return eachAttr(b, func(typ uint16, v []byte) error {
		if typ != want {
			return nil
		}
		return f(v)
	})
}
