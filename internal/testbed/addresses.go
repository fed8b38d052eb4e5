//go:build linux

package testbed

import (
	"fmt"
	"net/netip"
)

// The address plan. All of it lives in namespaces of the testbed, so two
// clusters, and whatever the machine itself uses, may overlap.
const (
	nodeNetwork    = "172.31.0.0/16"
	controlPlaneIP = "172.31.0.1"
	apiServerPort  = 6443
	serviceCIDR    = "10.96.0.0/12" // a million Services
	kubernetesIP   = "10.96.0.1"
	clusterCIDR    = "10.244.0.0/16"
	maxNodes       = 250

	controlPlaneIP6 = "fd00:172:31::1"
	serviceCIDR6    = "fd00:96::/108"
	clusterCIDR6    = "fd00:244::/48"
)

// loadNetwork is where made-up endpoints of Load live. Nothing routes it: a
// connection there fails at the control plane with "network unreachable".
var loadNetwork = netip.MustParsePrefix("10.248.0.0/13")

// nodeAddress is the address of the i-th node, counted from 1. Thin nodes
// have a range of their own.
func nodeAddress(i int, thin bool) string {
	if thin {
		return fmt.Sprintf("172.31.2.%d", i)
	}
	return fmt.Sprintf("172.31.1.%d", i)
}

// nodeAddress6 and podCIDR6 are those of a dual-stack cluster.
func nodeAddress6(i int, thin bool) string {
	if thin {
		return fmt.Sprintf("fd00:172:31::2:%d", i)
	}
	return fmt.Sprintf("fd00:172:31::1:%d", i)
}

func podCIDR6(i int, thin bool) string {
	if thin {
		return fmt.Sprintf("fd00:248:0:%d::/64", i)
	}
	return fmt.Sprintf("fd00:244:0:%d::/64", i)
}

// podCIDR is where the i-th node's pods get their addresses. Pods of thin nodes
// are objects only and get made-up addresses.
func podCIDR(i int, thin bool) string {
	if thin {
		return fmt.Sprintf("10.248.%d.0/24", i)
	}
	return fmt.Sprintf("10.244.%d.0/24", i)
}

// loadAddress is the n-th made-up endpoint address, wrapping around. The first
// /16 is left to the pods of thin nodes.
func loadAddress(n int) netip.Addr {
	const skip = 1 << 16
	size := 1<<(32-loadNetwork.Bits()) - skip
	a := loadNetwork.Addr().As4()
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	v += uint32(skip + n%size)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}
