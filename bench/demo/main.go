//go:build linux

// Command demo does lastcall's main job once, end to end, with what users install: the chart, the hub and
// kubectl lastcall. It restarts a Deployment without a preStop under client load, lets `explain` say who let go last and
// `measure` how long preStop must sleep, and restarts it with that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	kubeconfig string
	image      string
	present    bool
	keep       bool
	sleep      string // how many seconds preStop shall sleep; "" measures that
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
  1. brings up a Kubernetes cluster in network namespaces of its own (first run: builds Kubernetes and Contour, and fetches
     Envoy, 5 to 12 minutes)
  2. installs lastcall with its Helm chart: an agent on every node, which may read Contour's Envoys too, and the hub (first run: builds
     helm, 1 to 2 minutes)
  3. puts a shop behind Contour, an ingress controller: a Deployment of three replicas without preStop. Clients on every node request
     a page 100 times a second, half through Contour's Envoy and half through the cluster IP
  4. restarts the shop, and asks kubectl lastcall which node let go last and what that cost (explain)
  5. deletes pods of a canary for 90 seconds to see how long preStop must sleep (measure), has the shop sleep for so long,
     and restarts it again
Everything stays inside those namespaces, and on loopback. The cluster goes on running for you to look at;
"go run ./bench/testbed down" ends all of it.

`

const introCluster = `This demo, in the cluster of %s:
  1. installs lastcall with its Helm chart into namespace lastcall-demo-system (agents on the host's network, as root
     with NET_ADMIN alone, reading only)
  2. creates namespace lastcall-demo: a client on every node, and a Deployment of three replicas without preStop
  3. restarts that Deployment while the clients request a page 100 times a second from every node: of its ClusterIP and, where Contour is, of
     its Envoys
  4. asks kubectl lastcall which node let go last, and what that cost (explain)
  5. deletes pods of a canary for 90 seconds to see how long preStop must sleep (measure), has the Deployment sleep for so long, and
     restarts it again
  6. uninstalls and deletes all of it
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
	if err := cl.install(ctx); err != nil {
		return err
	}
	if err := cl.create(ctx); err != nil {
		return err
	}
	if err := cl.story(ctx, out, o.sleep); err != nil {
		return err
	}
	if cl.testbed != nil {
		fmt.Fprint(out, further(cl))
	}
	return nil
}

// further says how to look further and how to stop. Without kubectl, the plugin is a program as any other.
func further(c *cluster) string {
	program, pages := "kubectl lastcall", fmt.Sprintf("kubectl -n %s port-forward deploy/lastcall-hub 9752      # then http://localhost:9752", system)
	if _, err := exec.LookPath("kubectl"); err != nil {
		program, pages = "kubectl-lastcall", "# the pages want kubectl: "+pages
	}
	return fmt.Sprintf(`
Look further:
  export KUBECONFIG=%[1]s PATH=$PATH:%[2]s
  %[3]s places
  %[3]s explain node/%[4]s
  %[3]s check
  %[5]s
Stop, and leave nothing behind:
  go run ./bench/testbed down
`, c.kubeconfig, filepath.Dir(c.plugin), program, c.testbed.Nodes[0].Name, pages)
}
