//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"time"
)

// shape is the cluster that is simulated: both processes work out the same names from it.
type shape struct {
	Agents int `json:"agents"`
	// Rate is how many pods leave a second; every agent has each of them.
	Rate int `json:"departures_per_second"`
	// Gone is how many seconds after it began to leave a pod is gone.
	Gone int `json:"gone_after_seconds"`
	Port int `json:"port"`
}

// removals is what one pod's departure takes away at each place.
const removals = 2

func (s shape) uid(second, i int) string {
	return fmt.Sprintf("%08x-0000-4000-b000-%012x", second, i)
}

// owner is the agent of the node that the pod ran on.
func (s shape) owner(second, i int) int { return (second*s.Rate + i) * 7919 % s.Agents }

func nodeName(agent int) string {
	return fmt.Sprintf("ip-10-%d-%d-%d.eu-central-1.compute.internal", agent>>16, agent>>8&255, agent&255)
}

func nodeUID(agent int) string { return fmt.Sprintf("%08x-0000-4000-c000-000000000000", agent) }

// address is a loopback address of the agent's own: the hub reaches every agent at the same port.
func address(agent int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(1 + agent>>16), byte(agent >> 8), byte(agent)})
}

func agentAt(a netip.Addr) int {
	b := a.Unmap().As4()
	return int(b[1]-1)<<16 | int(b[2])<<8 | int(b[3])
}

// offset is how far an agent's clock is from the machine's: nodes' clocks differ.
func offset(agent int) time.Duration { return time.Duration(agent%clocks) * 37 * time.Millisecond }

const clocks = 8
