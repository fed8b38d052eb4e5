// Package expected holds what the watcher expects of kube-proxy against what real ones of several versions
// programmed: live on the testbed, and by recordings of their rules in testdata. It has tests only.
//
// A new version of kube-proxy is one command: see the target expected in the Makefile.
package expected
