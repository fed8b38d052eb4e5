//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/manifests"
)

const namespace = "lastcall-demo"

//go:embed objects.yaml
var objectsYAML string

// cluster is where the demo runs.
type cluster struct {
	config  *rest.Config
	client  kubernetes.Interface
	images  *strings.Replacer
	testbed *testbed.Cluster // nil: a cluster of yours
	nodes   int
	contour string // address of its Envoys, "" if there is none

	kubeconfig string
	image      string   // repository of the chart's image, its tag is "lastcall"
	pull       string   // imagePullPolicy
	plugin     string   // kubectl-lastcall, built
	values     []string // of the chart, beside the image
}

// programs are the demo's images, by their placeholder in objects.yaml.
var programs = []struct{ placeholder, tag, pkg string }{
	{"AGENT_IMAGE", "lastcall", "./cmd/lastcall"},
	{"KNOCK_IMAGE", "knock", "./bench/demo/knock"},
	{"SERVER_IMAGE", "server", "./internal/testbed/server"},
}

// buildImages makes an image of each program and hands it to deliver.
func buildImages(ctx context.Context, repository string, deliver func(testbed.Image) error) (replace []string, err error) {
	dir, err := os.MkdirTemp("", "lastcall-demo-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	progress("building the images of lastcall, of the shop and of its clients (the first time: 1 to 2 minutes)")
	for _, p := range programs {
		begun := time.Now()
		binary := filepath.Join(dir, "lastcall-"+p.tag)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, p.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", p.pkg, err, out)
		}
		ref := repository + ":" + p.tag
		replace = append(replace, p.placeholder, ref)
		image, err := testbed.ImageFromBinary(ref, binary)
		if err != nil {
			return nil, err
		}
		if err := deliver(image); err != nil {
			return nil, err
		}
		progress("%s built and on the nodes (%.1f s)", ref, time.Since(begun).Seconds())
	}
	return replace, nil
}

func onTestbed(ctx context.Context) (*cluster, error) {
	spec := testbed.Spec{With: []string{testbed.Contour}}
	if err := testbed.Build(ctx, spec, os.Stderr); err != nil && ctx.Err() == nil {
		progress("there is no ingress controller here (%v): the shop is reached by its cluster IP alone", err)
		spec.With = nil
	}
	c, err := testbed.Up(ctx, spec, os.Stderr)
	if err != nil {
		return nil, err
	}
	var values []string
	if len(spec.With) > 0 { // Contour's Envoys tell of their hosts on the localhost of their pods alone
		values = []string{"agent.consumers.enabled=true", "agent.consumers.enterPods=true"}
	}
	replace, err := buildImages(ctx, "testbed.local/lastcall-demo", func(i testbed.Image) error { return c.LoadImage(ctx, i) })
	if err != nil {
		return nil, err
	}
	return &cluster{config: c.RESTConfig(), client: c.Client(), testbed: c, nodes: len(c.Nodes),
		kubeconfig: c.Kubeconfig, image: "testbed.local/lastcall-demo", pull: "Never",
		images: strings.NewReplacer(append(replace, "PULL_POLICY", "Never")...), values: values}, nil
}

func onYours(ctx context.Context, o options) (*cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", o.kubeconfig, err)
	}
	config.QPS, config.Burst = 50, 100
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("reach the cluster of %s: %w", o.kubeconfig, err)
	}
	var replace []string
	policy := "IfNotPresent"
	if o.present {
		for _, p := range programs {
			replace = append(replace, p.placeholder, o.image+":"+p.tag)
		}
	} else {
		policy = "Always" // the tags are the same in every run
		replace, err = buildImages(ctx, o.image, func(i testbed.Image) error { return i.Push(ctx) })
		if err != nil {
			return nil, err
		}
	}
	return &cluster{config: config, client: client, nodes: len(nodes.Items), kubeconfig: o.kubeconfig, image: o.image, pull: policy,
		images: strings.NewReplacer(append(replace, "PULL_POLICY", policy)...)}, nil
}

// create applies objects.yaml and waits until everything in it runs.
func (c *cluster) create(ctx context.Context) error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	err := c.findContour(ctx)
	if err != nil {
		return err
	}
	var later []unstructured.Unstructured
	err = c.each(func(u unstructured.Unstructured, r dynamic.ResourceInterface) error {
		switch {
		case u.GetKind() == "Ingress" && c.contour == "":
			return nil
		case u.GetName() == "clients":
			later = append(later, u) // needs the Service's address
			return nil
		}
		return apply(ctx, r, u)
	})
	if err != nil {
		return err
	}
	shop, err := c.client.CoreV1().Services(namespace).Get(ctx, "shop", metav1.GetOptions{})
	if err != nil {
		return err
	}
	targets := strconv.Quote(address(shop))
	if c.contour != "" {
		targets += "," + strconv.Quote(c.contour)
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	c.images = strings.NewReplacer(`"SHOP"`, targets)
	for _, u := range later {
		text, err := u.MarshalJSON()
		if err != nil {
			return err
		}
		if err := u.UnmarshalJSON([]byte(c.images.Replace(string(text)))); err != nil {
			return err
		}
		if err := c.with(u, func(r dynamic.ResourceInterface) error { return apply(ctx, r, u) }); err != nil {
			return err
		}
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	if err := c.served(ctx); err != nil {
		return err
	}
	progress("clients and the shop run on %d nodes (%.1f s)", c.nodes, time.Since(begun).Seconds())
	return nil
}

// findContour: where Contour is, the shop is behind it too.
func (c *cluster) findContour(ctx context.Context) error {
	s, err := c.client.CoreV1().Services("projectcontour").Get(ctx, "envoy", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		c.contour = address(s)
	}
	return err
}

// address is that of a Service's first port.
func address(s *corev1.Service) string {
	return net.JoinHostPort(s.Spec.ClusterIP, strconv.Itoa(int(s.Spec.Ports[0].Port)))
}

// served waits until the clients of every node get all that they ask for: a proxy learns of a route when it likes.
func (c *cluster) served(ctx context.Context) error {
	for {
		since := time.Now()
		select {
		case <-ctx.Done():
			return fmt.Errorf("requests fail though nothing leaves: %w", ctx.Err())
		case <-time.After(2500 * time.Millisecond): // two whole seconds of theirs
		}
		all, err := c.tallies(ctx, since)
		if err != nil {
			return err
		}
		good := len(all) > 0
		for _, t := range all {
			good = good && t.started > 0 && len(t.failed) == 0
		}
		if good {
			return nil
		}
	}
}

func apply(ctx context.Context, r dynamic.ResourceInterface, u unstructured.Unstructured) error {
	_, err := r.Apply(ctx, u.GetName(), &u, metav1.ApplyOptions{FieldManager: "lastcall-demo", Force: true})
	if err != nil {
		return fmt.Errorf("create %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// each calls f for every object of objects.yaml.
func (c *cluster) each(f func(unstructured.Unstructured, dynamic.ResourceInterface) error) error {
	docs := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(c.images.Replace(objectsYAML))))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var u unstructured.Unstructured
		text, err := yaml.ToJSON(doc)
		if err != nil {
			return err
		}
		if err := u.UnmarshalJSON(text); err != nil {
			return fmt.Errorf("objects.yaml: %w", err)
		}
		if err := c.with(u, func(r dynamic.ResourceInterface) error { return f(u, r) }); err != nil {
			return err
		}
	}
}

func (c *cluster) with(u unstructured.Unstructured, f func(dynamic.ResourceInterface) error) error {
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return err
	}
	gvk := u.GroupVersionKind()
	mapping, err := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.client.Discovery())).RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return f(client.Resource(mapping.Resource))
	}
	return f(client.Resource(mapping.Resource).Namespace(u.GetNamespace()))
}

// ready waits until every Deployment and DaemonSet of the demo is up to date and ready.
func (c *cluster) ready(ctx context.Context) error {
	for {
		why, err := c.notReady(ctx)
		if err == nil && why == "" {
			return nil
		}
		if err != nil {
			why = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s; look at: kubectl -n %s get pods,events: %w", why, namespace, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *cluster) notReady(ctx context.Context) (string, error) {
	sets, err := c.client.AppsV1().DaemonSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, d := range sets.Items {
		s := d.Status
		if s.ObservedGeneration < d.Generation || s.DesiredNumberScheduled == 0 || s.NumberReady < s.DesiredNumberScheduled || s.UpdatedNumberScheduled < s.DesiredNumberScheduled {
			return fmt.Sprintf("%s: %d of %d ready", d.Name, s.NumberReady, s.DesiredNumberScheduled), nil
		}
	}
	deployments, err := c.client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, d := range deployments.Items {
		s := d.Status
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas < *d.Spec.Replicas || s.AvailableReplicas < *d.Spec.Replicas || s.Replicas > s.UpdatedReplicas {
			return fmt.Sprintf("%s: %d of %d available", d.Name, s.AvailableReplicas, *d.Spec.Replicas), nil
		}
	}
	return "", nil
}

// restart does what `kubectl rollout restart` does, and waits until the old pods are gone.
func (c *cluster) restart(ctx context.Context) error {
	progress("restarting the shop while clients on %d nodes connect", c.nodes)
	return c.rollout(ctx, fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339)))
}

// rollout patches the shop, and waits until the old pods are gone.
func (c *cluster) rollout(ctx context.Context, patch string) error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	old, err := c.shopPods(ctx)
	if err != nil {
		return err
	}
	if _, err := c.client.AppsV1().Deployments(namespace).Patch(ctx, "shop", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patch the shop: %w", err)
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	for {
		now, err := c.shopPods(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(now, func(uid types.UID) bool { return slices.Contains(old, uid) }) {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("old pods are still there: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	progress("the old pods are gone (%.1f s)", time.Since(begun).Seconds())
	return nil
}

func (c *cluster) shopPods(ctx context.Context) (uids []types.UID, err error) {
	pods, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=shop"})
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		uids = append(uids, p.UID)
	}
	return uids, nil
}

// tally sums what the clients of one node saw.
type tally struct {
	started int
	failed  map[string]int
}

// tallies reads the clients' own account, by node.
func (c *cluster) tallies(ctx context.Context, since time.Time) (map[string]tally, error) {
	pods, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=clients"})
	if err != nil {
		return nil, err
	}
	out := map[string]tally{}
	for _, p := range pods.Items {
		log, err := c.client.CoreV1().Pods(namespace).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			return nil, fmt.Errorf("read what the client on %s saw: %w", p.Spec.NodeName, err)
		}
		t := tally{failed: map[string]int{}}
		for line := range bytes.Lines(log) {
			var l struct {
				At      time.Time
				Started int
				Failed  map[string]int
			}
			if json.Unmarshal(line, &l) != nil || l.At.Before(since.Add(-time.Second)) {
				continue
			}
			t.started += l.Started
			for kind, n := range l.Failed {
				t.failed[kind] += n
			}
		}
		out[p.Spec.NodeName] = t
	}
	return out, nil
}

// remove deletes everything that create and install made.
func (c *cluster) remove(ctx context.Context) error {
	var errs []error
	for _, ns := range []string{namespace, system} {
		_, err := c.client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err == nil && ns == system {
			err = manifests.Uninstall(ctx, c.kubeconfig, "lastcall", system)
		}
		if err == nil {
			err = c.client.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{})
		}
		for err == nil {
			_, gone := c.client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
			if apierrors.IsNotFound(gone) {
				progress("removed namespace %s with what the demo had created in it", ns)
				break
			}
			select {
			case <-ctx.Done():
				err = fmt.Errorf("namespace %s is still there: %w", ns, ctx.Err())
			case <-time.After(200 * time.Millisecond):
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove what is in namespace %s: %w", ns, err))
		}
	}
	return errors.Join(errs...)
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
