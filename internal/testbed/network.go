//go:build linux

package testbed

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// links configures one machine's network namespace from outside.
type links struct {
	*netlink.Handle
	ns *os.File
}

func openLinks(m *machine) (*links, error) {
	ns, err := os.Open(m.netnsPath())
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace of %s: %w", m.Name, err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("opening netlink on %s: %w", m.Name, err)
	}
	return &links{Handle: h, ns: ns}, nil
}

func (l *links) Close() {
	l.Handle.Close()
	l.ns.Close()
}

// wire gives the control plane a bridge and every node a cable to it. A cable
// is born with its two ends in the two namespaces; none is ever in ours.
func (c *Cluster) wire() error {
	hub, err := openLinks(c.control)
	if err != nil {
		return err
	}
	defer hub.Close()
	if err := hub.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
		return fmt.Errorf("adding the bridge: %w", err)
	}
	bridge, err := hub.up("lo", "br0")
	if err != nil {
		return err
	}
	if err := hub.address(bridge, controlPlaneIP+"/16"); err != nil {
		return err
	}
	if c.Spec.DualStack {
		if err := hub.address(bridge, controlPlaneIP6+"/64"); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := c.wireNode(hub, bridge, n); err != nil {
			return fmt.Errorf("wiring %s: %w", n.Name, err)
		}
	}
	return nil
}

func (c *Cluster) wireNode(hub *links, bridge netlink.Link, n Node) error {
	node, err := openLinks(c.machines[n.Name])
	if err != nil {
		return err
	}
	defer node.Close()
	cable := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: n.Name, MasterIndex: bridge.Attrs().Index},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(node.ns.Fd()),
	}
	if err := hub.LinkAdd(cable); err != nil {
		return fmt.Errorf("adding the cable: %w", err)
	}
	if _, err := hub.up(n.Name); err != nil {
		return err
	}
	eth0, err := node.up("lo", "eth0")
	if err != nil {
		return err
	}
	if err := node.address(eth0, n.IP+"/16"); err != nil {
		return err
	}
	// A default route must exist or a connection to a ClusterIP fails before
	// it reaches the OUTPUT hook that would rewrite it.
	if err := node.route("0.0.0.0/0", controlPlaneIP); err != nil {
		return err
	}
	if c.Spec.DualStack {
		if err := node.address(eth0, n.IP6+"/64"); err != nil {
			return err
		}
		if err := node.route("::/0", controlPlaneIP6); err != nil {
			return err
		}
	}
	for _, other := range c.Nodes {
		if other.Thin || other.Name == n.Name {
			continue
		}
		if err := node.route(other.PodCIDR, other.IP); err != nil {
			return err
		}
		if c.Spec.DualStack {
			if err := node.route(other.PodCIDR6, other.IP6); err != nil {
				return err
			}
		}
	}
	if n.Thin {
		return nil
	}
	if c.Spec.DualStack {
		if err := hub.route(n.PodCIDR6, n.IP6); err != nil {
			return err
		}
	}
	return hub.route(n.PodCIDR, n.IP) // webhooks, kubectl proxy
}

// up sets links up and returns the last.
func (l *links) up(names ...string) (link netlink.Link, err error) {
	for _, name := range names {
		if link, err = l.LinkByName(name); err != nil {
			return nil, fmt.Errorf("finding link %s: %w", name, err)
		}
		if err = l.LinkSetUp(link); err != nil {
			return nil, fmt.Errorf("setting link %s up: %w", name, err)
		}
	}
	return link, nil
}

func (l *links) address(link netlink.Link, cidr string) error {
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if addr.IP.To4() == nil {
		addr.Flags = unix.IFA_F_NODAD // nobody else is on this wire, and a tentative address is none yet
	}
	if err := l.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("adding address %s: %w", cidr, err)
	}
	return nil
}

func (l *links) route(cidr, via string) error {
	_, dst, err := net.ParseCIDR(cidr)
	if err != nil {
		return err
	}
	if err := l.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
		return fmt.Errorf("adding route %s via %s: %w", cidr, via, err)
	}
	return nil
}
