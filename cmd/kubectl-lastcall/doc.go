// Command kubectl-lastcall is `kubectl lastcall`: it asks lastcall's hub when everyone had let go of the pods that
// left, who was last, and whether that was too late.
//
//	kubectl lastcall explain deploy/shop    what happened when its pods left the last time
//	kubectl lastcall explain node/node-1    how often everybody waited for this node, and why
//	kubectl lastcall explain                the newest episodes of a namespace (-A: of all)
//	kubectl lastcall recommend -A           how long preStop should sleep, of all workloads
//	kubectl lastcall recommend deploy/shop  why, and what to type
//	kubectl lastcall measure -n sandbox     how long, before any rollout: deletes pods of its own for 90 s
//	kubectl lastcall places                 what routes to pods, and what is stuck or not measured
//	kubectl lastcall check                  does it work here? (--pre: would it?)
//
// Put it into the PATH under the name kubectl-lastcall. It takes kubectl's flags (-n, --context, --kubeconfig, ...) and
// its ways to name things (deploy/shop, deployment shop, sts/db, pod/x, node/y).
//
// # What it prints
//
// The answer goes to standard output, everything else to standard error. -o json and -o yaml print the hub's own
// types (package hub/report); several of them as {"items": [...]}, and with -w one document after the other. On a
// terminal drawings take its width (80 columns otherwise; an exported COLUMNS wins) and colours mark what was late,
// unless NO_COLOR is set. In a pipe they are plain, with block characters if the locale is UTF-8. Whatever comes from
// the cluster and is not printable, or would turn the text around it, is shown as an escape.
//
// It exits with 0; with 1 if something failed, `check` also if a check did and `recommend` if a verdict is one of --fail-on; with 130 if it was interrupted. Ctrl-C
// is how -w ends, so that is 0.
//
// # How it finds the hub
//
// By the labels app.kubernetes.io/name=lastcall and component=hub, in all namespaces if you may list their pods, else
// in lastcall-system, or where --lastcall-namespace says. It asks the API server for a token of ten minutes for the
// ServiceAccount PREFIX-viewer, for the audience "lastcall" and so of no use elsewhere, and talks HTTPS to the hub's
// port 9750 through a port-forward of its own, which nobody else on this machine can use. That takes, in the hub's
// namespace,
//
//	list    pods
//	create  serviceaccounts/token   of PREFIX-viewer
//	create  pods/portforward        (get too, to use a websocket)
//
// which the Role PREFIX-user grants. An error that is about one of them says how to bind it.
//
// `recommend` also reads the workload it is asked about, and with -o patch the nodes' kubelet versions, and tries the patch there
// (dry run): get, list nodes, patch, with your own rights. Without them it says what it could not do.
//
// `measure` is the only command that changes anything: it makes a canary in the namespace that it is given, and removes it. Its help
// lists the rights that takes.
//
// --hub https://HOST goes to a hub directly, checked against --hub-ca-file or the machine's own certificates, with the
// token of --hub-token-file or that of the kubeconfig. The kubeconfig's token is never sent to a server whose
// certificate is not checked.
package main
