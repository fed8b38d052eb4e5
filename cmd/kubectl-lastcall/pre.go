package main

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// ground is what could be learnt of a cluster before anything is installed.
type ground struct {
	namespace  string // to install in
	server     version.Info
	nodes      []corev1.Node
	nodesErr   error
	configs    map[string]corev1.ConfigMap // of kube-system, by name: those that exist and may be read
	configErr  error                       // one of them may not be read
	daemonSets []appsv1.DaemonSet
	setsErr    error
	denied     []string // of what installing takes
	deniedErr  error
	ns         *corev1.Namespace // nil: does not exist
	nsErr      error
	hub        string // one that is there already
}

// checkBefore gathers and judges. Without an API server there is nothing to judge.
func (c *cli) checkBefore(ctx context.Context) ([]finding, error) {
	k, err := c.kubernetes()
	if err != nil {
		return nil, err
	}
	g, err := surveyGround(ctx, k, either(c.hub.namespace, defaultNamespace))
	if err != nil {
		return nil, err
	}
	return g.findings(), nil
}

// proxyConfigs are the ConfigMaps that say what programs Services: kubeadm's, EKS's, Cilium's, Antrea's.
var proxyConfigs = []string{"kube-proxy", "kube-proxy-config", "cilium-config", "antrea-config"}

func surveyGround(ctx context.Context, k kubernetes.Interface, namespace string) (g ground, err error) {
	g.namespace = namespace
	v, err := k.Discovery().ServerVersion()
	if err != nil {
		if ctx.Err() != nil {
			return g, ctx.Err()
		}
		return g, answered(err, "version")
	}
	g.server = *v
	if l, err := k.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err != nil {
		g.nodesErr = err
	} else {
		g.nodes = l.Items
	}
	g.configs = map[string]corev1.ConfigMap{}
	for _, name := range proxyConfigs {
		m, err := k.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			g.configs[name] = *m
		case !apierrors.IsNotFound(err):
			g.configErr = err
		}
	}
	l, err := k.AppsV1().DaemonSets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		l, err = k.AppsV1().DaemonSets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	}
	if err != nil {
		g.setsErr = err
	} else {
		g.daemonSets = l.Items
	}
	g.ns, err = k.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		g.ns = nil
		if !apierrors.IsNotFound(err) {
			g.nsErr = err
		}
	}
	g.denied, g.deniedErr = mayInstall(ctx, k, namespace, g.ns == nil && g.nsErr == nil)
	if hub, err := findHub(ctx, k, ""); err == nil {
		g.hub = hub.String()
	}
	return g, ctx.Err()
}

// installing takes these: what is in the chart, and the Secret in which helm keeps the release.
var installing = []struct {
	group, resource string
	clusterWide     bool
}{
	{"apps", "daemonsets", false}, {"apps", "deployments", false}, {"", "serviceaccounts", false}, {"", "services", false}, {"", "secrets", false},
	{"rbac.authorization.k8s.io", "roles", false}, {"rbac.authorization.k8s.io", "rolebindings", false},
	{"rbac.authorization.k8s.io", "clusterroles", true}, {"rbac.authorization.k8s.io", "clusterrolebindings", true},
}

// mayInstall lists what the user may not create.
func mayInstall(ctx context.Context, k kubernetes.Interface, namespace string, newNamespace bool) (denied []string, err error) {
	ask := func(group, resource, ns string) error {
		r, err := k.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: "create", Group: group, Resource: resource, Namespace: ns}}}, metav1.CreateOptions{})
		if err == nil && !r.Status.Allowed {
			denied = append(denied, resource)
		}
		return err
	}
	if newNamespace {
		if err := ask("", "namespaces", ""); err != nil {
			return nil, err
		}
	}
	for _, i := range installing {
		ns := namespace
		if i.clusterWide {
			ns = ""
		}
		if err := ask(i.group, i.resource, ns); err != nil {
			return nil, err
		}
	}
	return denied, nil
}

// findings judges; it asks nobody.
func (g ground) findings() []finding {
	fs := []finding{g.serverFinding()}
	fs = append(fs, g.nodeFindings()...)
	fs = append(fs, g.dataplaneFindings()...)
	fs = append(fs, g.installFinding(), g.podSecurityFinding())
	if f, has := g.costFinding(); has {
		fs = append(fs, f)
	}
	if g.hub != "" {
		fs = append(fs, finding{Check: "installed", Result: warn, What: "there is a hub already: " + g.hub, Do: "`kubectl lastcall check`, without --pre, looks at it."})
	}
	return fs
}

func (g ground) installFinding() finding {
	f := finding{Check: "permissions", Result: ok, What: "you may create what it takes to install lastcall in namespace " + g.namespace}
	switch {
	case g.deniedErr != nil:
		f.Result, f.What = unknown, "what you may do: "+g.deniedErr.Error()
	case len(g.denied) > 0:
		f.Result = fail
		f.What = fmt.Sprintf("you may not create %s (namespace %s)", strings.Join(g.denied, ", "), g.namespace)
		f.Do = "An administrator of the cluster has to install it. Using it takes less: the Role that comes with it."
	}
	return f
}

const enforceLabel = "pod-security.kubernetes.io/enforce"

// podSecurityFinding: agents use the host's network and NET_ADMIN, which only the privileged level admits.
func (g ground) podSecurityFinding() finding {
	f := finding{Check: "pod security"}
	label := fmt.Sprintf("kubectl label namespace %s %s=privileged", shell(g.namespace), enforceLabel)
	switch {
	case g.nsErr != nil:
		f.Result, f.What = unknown, fmt.Sprintf("namespace %s: %v", g.namespace, g.nsErr)
	case g.ns == nil:
		f.Result, f.What = ok, fmt.Sprintf("namespace %s does not exist yet; when you create it, label it, since agents use the host's network", g.namespace)
		f.Do = fmt.Sprintf("kubectl create namespace %s\n%s", shell(g.namespace), label)
	case g.ns.Labels[enforceLabel] == "privileged":
		f.Result, f.What = ok, fmt.Sprintf("namespace %s admits privileged pods", g.namespace)
	case g.ns.Labels[enforceLabel] == "":
		f.Result, f.What = unknown, fmt.Sprintf("namespace %s has no label %s: whether agents, which use the host's network, are admitted is the API server's default", g.namespace, enforceLabel)
		f.Do = "To be sure:\n" + label
	default:
		f.Result, f.What = fail, fmt.Sprintf("namespace %s enforces the level %q, which does not admit agents: they use the host's network and NET_ADMIN", g.namespace, g.ns.Labels[enforceLabel])
		f.Do = label + " --overwrite\nOr choose another namespace with --lastcall-namespace"
	}
	return f
}

// costFinding states what it will cost, from what was measured (bench/RESULTS.md).
func (g ground) costFinding() (finding, bool) {
	n := 0
	for _, node := range g.nodes {
		if node.Status.NodeInfo.OperatingSystem == "linux" {
			n++
		}
	}
	if n == 0 {
		return finding{}, false
	}
	f := finding{Check: "cost", Result: ok, What: fmt.Sprintf("an agent on %s: about 36 MiB each, and 5 to 7 %% of a core (iptables-legacy: 17 %%) while 10 pods a second leave 1,000 Services of 10 endpoints, "+
		"nearly nothing while none does; and %s at the API server: what kube-proxies watch is sent twice", report.Plural(n, "node"), report.Count(4*n)+" more watches")}
	if n > 1000 {
		f.Result = warn
		f.Do = "Watches of more than 1,000 nodes have not been measured. Begin with some of the nodes (the chart's agent.nodeSelector)."
	}
	return f, true
}
