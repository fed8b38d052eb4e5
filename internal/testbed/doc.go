//go:build linux

// Package testbed runs a real Kubernetes cluster on one Linux machine, without
// Docker.
//
// etcd, kube-apiserver, kube-controller-manager and kube-scheduler share one
// set of namespaces, the control plane; every node has its own, with
// containerd, kubelet and kube-proxy, or with kube-proxy alone (a thin node).
// Each set belongs to one process, its process 1 (see holder), and ends with
// it: killing one process per machine ends every process, mount, link and
// address the testbed made. Nothing of it exists in the network namespace of
// the machine underneath except one listener on 127.0.0.1 that leads to the
// API server.
//
//	control plane 172.31.0.1 ── br0 ─┬─ node-1 172.31.1.1, pods 10.244.1.0/24
//	                                 ├─ node-2 172.31.1.2, pods 10.244.2.0/24
//	                                 └─ thin-1 172.31.2.1, kube-proxy only
//
// The components are built from Kubernetes' own Go modules once per version
// and kept in a cache (see Components).
//
//	cluster, err := testbed.Up(ctx, testbed.Spec{}, os.Stderr)
//	...
//	defer cluster.Down(ctx)
//	out, err := cluster.Command("node-1", "nft", "list", "ruleset").Output()
package testbed
