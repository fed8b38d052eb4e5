//go:build linux

// Command demo does lastcall's main job once, end to end: it restarts a Deployment without a preStop under
// client load and says, per departing pod, when each node's kernel let go of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

type options struct {
	kubeconfig string
	image      string
	present    bool
	keep       bool
}

func main() {
	o := options{kubeconfig: os.Getenv("KUBECONFIG"), image: os.Getenv("IMAGE")}
	flag.StringVar(&o.kubeconfig, "kubeconfig", o.kubeconfig, "a cluster of yours; without it a testbed is brought up on this machine (default $KUBECONFIG)")
	flag.StringVar(&o.image, "image", o.image, "for a cluster of yours: a repository you may push to and its nodes pull from, like registry.example/me/lastcall-demo (default $IMAGE)")
	flag.BoolVar(&o.present, "image-present", false, "the images are on the nodes already: do not push")
	flag.BoolVar(&o.keep, "keep", false, "leave what was created in a cluster of yours in place")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

const introTestbed = `This demo, as root:
  1. brings up a Kubernetes cluster in network namespaces of its own (first run: builds Kubernetes, 5 to 10 minutes)
  2. runs the lastcall agent on every node, and a Deployment of three replicas without preStop
  3. connects to its ClusterIP from every node, 100 times a second, while the Deployment is restarted
  4. says when each node's kernel let go of each pod, and how many connections failed
Everything stays inside those namespaces, and on loopback. The cluster, the agents and the shop go on running
for you to look at; "go run ./bench/testbed down" ends all of it.

`

const introCluster = `This demo, in the cluster of %s:
  1. creates namespace lastcall-demo: the agent and a client on every node (host network; the agent as root with
     NET_ADMIN, reading only), and a Deployment of three replicas without preStop
  2. restarts that Deployment while the clients connect to its ClusterIP, 100 times a second from every node
  3. says when each node's kernel let go of each pod, and how many connections failed
  4. deletes the namespace, and the ClusterRole and ClusterRoleBinding lastcall-demo-agent
`

func run(ctx context.Context, o options, out io.Writer) (err error) {
	var cl *cluster
	if o.kubeconfig == "" {
		fmt.Fprint(os.Stderr, introTestbed)
		cl, err = onTestbed(ctx)
	} else {
		if o.image == "" {
			return errors.New("a cluster of yours needs a place for the images: IMAGE=registry.example/me/lastcall-demo make demo " +
				"(or unset KUBECONFIG for a cluster on this machine)")
		}
		fmt.Fprintf(os.Stderr, introCluster, o.kubeconfig)
		cl, err = onYours(ctx, o)
	}
	if err != nil {
		return err
	}
	if cl.testbed != nil {
		// What an earlier demo left running would be measured with its old binaries.
		if err := cl.remove(ctx); err != nil {
			return err
		}
	} else if !o.keep {
		defer func() {
			end, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			err = errors.Join(err, cl.remove(end))
		}()
	}
	if err := cl.create(ctx); err != nil {
		return err
	}
	agents, err := cl.follow(ctx)
	if err != nil {
		return err
	}
	defer agents.stop()
	since := time.Now()
	if err := cl.restart(ctx); err != nil {
		return err
	}
	departures, err := agents.settled(ctx, 3)
	if err != nil {
		return err
	}
	tallies, err := cl.tallies(ctx, since)
	if err != nil {
		return err
	}
	report(out, departures, agents.nodes, tallies, cl.testbed != nil)
	if cl.testbed != nil {
		fmt.Fprint(out, further(cl.testbed))
	}
	return nil
}

// further says how to look further and how to stop.
func further(c *testbed.Cluster) string {
	node := c.Nodes[0].Name
	return fmt.Sprintf(`
Look further:
  export KUBECONFIG=%s
  kubectl -n %s get pods -o wide
  go run ./bench/testbed exec %s -- curl -s 'localhost:9748/v1/events'            # what the agent there said
  go run ./bench/testbed exec %s -- curl -s localhost:9747/metrics | grep ^lastcall
  go run ./bench/testbed status
Stop, and leave nothing behind:
  go run ./bench/testbed down
`, c.Kubeconfig, namespace, node, node)
}
