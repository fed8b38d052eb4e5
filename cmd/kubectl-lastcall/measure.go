package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// measure is the command's configuration.
type measure struct {
	*cli
	output       format
	lasts        time.Duration // --for
	trials       int
	burstSize    int
	pods         int
	image        string
	ingressClass string
	headless     bool
	dryRun       bool
	cleanup      bool
}

func measureCommand(c *cli) *cobra.Command {
	x := &measure{cli: c}
	cmd := &cobra.Command{
		Use:   "measure [flags]",
		Short: "Make a canary and delete its pods for 90 s: an answer before any rollout",
		Long: `Make a canary and delete its pods for 90 s: an answer before any rollout.

Some pods of lastcall's own image are made in the namespace, with a Service, and
deleted again: one by one, and in bursts, just after their replacements begin to
serve, as a rollout does. Each of these trials begins 2 s after the last place
had let go of the pods before, or later, and is timed as every other departure:
by the agents and the hub. It says how long preStop must sleep once there are 19
trials of a kind; bursts come first if both kinds do not fit.

It takes these rights in the namespace, which the ClusterRole edit grants:

  create, list, delete         jobs.batch
  create, list, patch, delete  pods
  create, list                 services (and ingresses with --ingress-class)
  list                         endpointslices

and those of every command in lastcall's. They are asked for, and everything is
tried (dry run), before anything is made. The canary asks for no right itself,
fits the Pod Security Standard "restricted", and gets no traffic but yours.

Nothing else is touched, and everything is removed at the end, also at Ctrl-C.
All of it belongs to a Job that runs nothing and ends by itself: should this
program be killed or lose its connection, the cluster removes the rest some
minutes later. Or say --cleanup.`,
		Example: `  # How long must preStop sleep, in a cluster where nothing has left yet?
  kubectl lastcall measure -n sandbox

  # May I? Would it run? Nothing is made
  kubectl lastcall measure -n sandbox --dry-run

  # Behind an ingress controller, and in DNS, where agents read those (--consumers)
  kubectl lastcall measure -n sandbox --ingress-class nginx --headless

  # Time for 19 trials of both kinds
  kubectl lastcall measure -n sandbox --for 2m

  # After it was killed
  kubectl lastcall measure -n sandbox --cleanup`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP((*string)(&x.output), "output", "o", "", "json or yaml: every trial with its departures, and the recommendation")
	fl.DurationVar(&x.lasts, "for", 90*time.Second, "how long trials are made, from 10s to 30m; preparing and removing comes to that")
	fl.IntVar(&x.trials, "trials", 19, "how many trials of each kind are enough; 19 are needed for a number")
	fl.IntVar(&x.burstSize, "burst-size", 3, "how many pods leave at once in a burst, from 2 to 30")
	fl.IntVar(&x.pods, "pods", 0, "how many canary pods serve at a time (default twice a burst, at least 6); some more wait or end")
	fl.StringVar(&x.image, "image", "", "image of the canary (default that of the agents, which every node has)")
	fl.StringVar(&x.ingressClass, "ingress-class", "", "also make an Ingress of this class, for a host that does not exist")
	fl.BoolVar(&x.headless, "headless", false, "also make a headless Service, so that DNS servers are places")
	fl.BoolVar(&x.dryRun, "dry-run", false, "ask for the rights, have the API server try everything, and make nothing")
	fl.BoolVar(&x.cleanup, "cleanup", false, "remove what such runs have left in the namespace, also one that goes on")
	return cmd
}

// validate checks all flags at once, and fills what depends on others.
func (x *measure) validate() error {
	errs := []error{x.output.check("json", "yaml")}
	if x.lasts < 10*time.Second || x.lasts > 30*time.Minute {
		errs = append(errs, fmt.Errorf("--for %v: must be from 10s to 30m", x.lasts))
	}
	if x.trials < 1 || x.trials > 200 {
		errs = append(errs, fmt.Errorf("--trials %d: must be from 1 to 200", x.trials))
	}
	if x.burstSize < 2 || x.burstSize > 30 {
		errs = append(errs, fmt.Errorf("--burst-size %d: must be from 2 to 30", x.burstSize))
	}
	if x.dryRun && x.cleanup {
		errs = append(errs, errors.New("--dry-run and --cleanup contradict each other"))
	}
	if x.pods == 0 {
		x.pods = max(2*x.burstSize, 6)
		if x.others() {
			x.pods *= 2 // each serves for longer, see looked
		}
	}
	if x.pods < x.burstSize+3 || x.pods > 100 {
		errs = append(errs, fmt.Errorf("--pods %d: must be from %d, three more than a burst, to 100", x.pods, x.burstSize+3))
	}
	return errors.Join(errs...)
}

// others: places that are read only when something is open there have to see a pod serve before it leaves.
func (x *measure) others() bool { return x.ingressClass != "" || x.headless }

func (x *measure) run(ctx context.Context) error {
	if err := x.validate(); err != nil {
		return err
	}
	ns, err := x.namespace()
	if err != nil {
		return err
	}
	k, err := x.kubernetes()
	if err != nil {
		return err
	}
	// A terminal that closes and a reader that has left must not leave the canary behind.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if x.cleanup {
		return x.cleanUp(ctx, k, ns)
	}
	if err := x.may(ctx, k, ns); err != nil {
		return err
	}
	hub, err := x.connect(ctx)
	if err != nil {
		return err
	}
	a := &asker{cli: x.cli, hub: hub, say: x.note, wait: hubAgain}
	defer func() { a.hub.close() }()
	if err := a.ready(ctx); err != nil {
		return err
	}
	c := &canary{k: k, name: canaryName(), namespace: ns, ingressClass: x.ingressClass, headless: x.headless, life: x.lasts + spareLife}
	if err := x.pull(ctx, c); err != nil {
		return err
	}
	if err := x.alone(ctx, k, ns); err != nil {
		return err
	}
	if err := c.try(ctx); err != nil {
		return err
	}
	if x.dryRun {
		x.note("You may, and the API server would take it: image %s in namespace %s. Nothing was made.", c.image, ns)
		return nil
	}
	return x.answer(ctx, c, a)
}

// answer makes the canary, lets its pods leave, removes it whatever happens, and then says what was seen: whoever reads that may
// read slowly.
func (x *measure) answer(ctx context.Context, c *canary, a *asker) error {
	r := &trialRun{measure: x, canary: c, asker: a, live: newLive(x.cli), serves: map[string]time.Time{}}
	a.say = r.live.say
	var removed error
	err := func() error {
		defer func() {
			r.live.say("Removing the canary.")
			removed = c.removed(context.WithoutCancel(ctx))
			r.live.end()
		}()
		if err := r.prepare(ctx); err != nil {
			return err
		}
		return r.trial(ctx)
	}()
	result, interrupted := resultOf(r), ctx.Err() != nil
	if result.Trials != nil {
		if x.output.machine() {
			err = errors.Join(err, x.output.print(x.out, result))
		} else {
			x.view.measurement(x.out, result)
		}
	}
	if interrupted {
		err = context.Cause(ctx) // by which signal
		x.note("Interrupted after %s.", report.Plural(len(result.Trials), "trial"))
	}
	if removed != nil {
		return fmt.Errorf("the canary could not be removed: %w\nThe cluster does it by itself at %s. Or: kubectl lastcall measure -n %s --cleanup",
			removed, x.view.clock(c.ends(), toSeconds), shell(c.namespace))
	}
	x.note("The canary (%s in namespace %s) is removed.", c.name, c.namespace)
	return err
}

// pull chooses the image: the agents' own is on every node, whatever registry it came from.
func (x *measure) pull(ctx context.Context, c *canary) error {
	if x.image != "" {
		c.image, c.policy = x.image, corev1.PullIfNotPresent
		return nil
	}
	agent, err := x.agent(ctx, c.k)
	if err != nil {
		return fmt.Errorf("the agents' image, for the canary: %w\nOr give --image", err)
	}
	c.image, c.policy = agent.Image, agent.ImagePullPolicy
	if c.policy == corev1.PullAlways {
		c.policy = corev1.PullIfNotPresent // it has been pulled; the secret for that may not be in this namespace
	}
	return nil
}

// agent is the container of a running agent.
func (x *measure) agent(ctx context.Context, k kubernetes.Interface) (corev1.Container, error) {
	ns := x.hub.namespace
	if x.hub.url == "" {
		hub, err := findHub(ctx, k, ns)
		if err != nil {
			return corev1.Container{}, err
		}
		ns = hub.namespace()
	}
	ns = either(ns, defaultNamespace)
	list, err := k.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: partOf + ",app.kubernetes.io/component=agent"})
	if err != nil {
		return corev1.Container{}, explainAPI(ctx, k, err, need{"list", "pods", ns, "lastcall"})
	}
	for _, p := range list.Items {
		if p.Status.Phase == corev1.PodRunning && len(p.Spec.Containers) > 0 {
			return p.Spec.Containers[0], nil
		}
	}
	return corev1.Container{}, fmt.Errorf("no agent runs in namespace %s", ns)
}

// alone refuses to run beside another in the namespace, and removes what is over.
func (x *measure) alone(ctx context.Context, k kubernetes.Interface, ns string) error {
	left, err := leftovers(ctx, k, ns)
	if err != nil {
		return err
	}
	for _, l := range left {
		if ends := l.ends(); x.view.now().Before(ends) {
			return fmt.Errorf("%s has been in namespace %s since %s: a measure that goes on, or one that was killed\n"+
				"Two disturb each other. What was killed ends by itself at %s; to remove either: kubectl lastcall measure -n %s --cleanup",
				l.name, ns, x.view.clock(l.made, toSeconds), x.view.clock(ends, toSeconds), shell(ns))
		}
		x.note("Removing %s, which a measure has left here.", l.name)
		if err := l.removed(ctx); err != nil {
			return fmt.Errorf("%s, which a measure has left here: %w", l.name, err)
		}
	}
	return nil
}

// cleanUp removes all canaries of the namespace.
func (x *measure) cleanUp(ctx context.Context, k kubernetes.Interface, ns string) error {
	left, err := leftovers(ctx, k, ns)
	if err != nil {
		return err
	}
	for _, l := range left {
		if err := l.removed(ctx); err != nil {
			return fmt.Errorf("remove %s in namespace %s: %w", l.name, ns, err)
		}
		x.note("%s in namespace %s is removed.", l.name, ns)
	}
	if len(left) == 0 {
		x.note("Nothing of a measure is in namespace %s.", ns)
	}
	return nil
}

func canaryName() string { return canaryPrefix + rand.String(5) }
