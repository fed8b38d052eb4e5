package routes

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// labels are those of the pods of workloads, asked for when somebody wants to know. They rarely change.
type labels struct {
	asked chan pod
	known map[pod]*template
}

// pod is a workload.
type pod struct{ namespace, workload string }

// template is what was learnt of a workload.
type template struct {
	labels map[string]string // nil: not known
	at     time.Time         // zero: never asked
	asking bool
}

const (
	// maxWorkloads bounds what is remembered: about as many as the hub sizes.
	maxWorkloads = 4000
	// fresh is how long labels are believed.
	fresh = 30 * time.Minute
	// maxAsking bounds who waits.
	maxAsking = 256
	// maxObject bounds what is read of one workload; etcd stores no more than 1.5 MiB.
	maxObject = 4 << 20
)

func newLabels() *labels {
	return &labels{asked: make(chan pod, maxAsking), known: map[pod]*template{}}
}

// resources of workloads whose template the hub may read. Of others, such as a pod that nothing owns, labels are not known.
var resources = map[string]string{"deployment": "deployments", "replicaset": "replicasets", "statefulset": "statefulsets", "daemonset": "daemonsets"}

// of returns the labels, as far as they are known, and sees to it that they are asked for. soon: nobody has answered yet.
func (l *labels) of(namespace, workload string, now time.Time) (labels map[string]string, soon bool) {
	p := pod{namespace, workload}
	kind, _, _ := strings.Cut(workload, "/")
	if resources[kind] == "" {
		return nil, false
	}
	t := l.known[p]
	if t == nil {
		l.room()
		t = &template{}
		l.known[p] = t
	}
	if !t.asking && now.Sub(t.at) > fresh {
		select {
		case l.asked <- p:
			t.asking = true
		default:
		}
	}
	return t.labels, t.at.IsZero()
}

// room forgets the workload that was asked for longest ago.
func (l *labels) room() {
	if len(l.known) < maxWorkloads {
		return
	}
	var oldest pod
	var at time.Time
	for p, t := range l.known {
		if !t.asking && (at.IsZero() || t.at.Before(at)) {
			oldest, at = p, t.at
		}
	}
	delete(l.known, oldest)
}

// learn asks for workloads, one after the other, until ctx ends.
func (w *Watch) learn(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-w.labels.asked:
			got, err := w.template(ctx, p)
			w.mu.Lock()
			if t := w.labels.known[p]; t != nil {
				t.asking, t.at = false, time.Now()
				switch {
				case err == nil:
					t.labels = got
				case !apierrors.IsNotFound(err): // what is known stays, and is asked for again before long
					t.at = t.at.Add(w.again - fresh)
					w.log.Debug("cannot read the labels of a workload", "namespace", p.namespace, "workload", p.workload, "err", err)
				}
			}
			w.mu.Unlock()
		}
	}
}

// template reads the labels of a workload's pods.
func (w *Watch) template(ctx context.Context, p pod) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	kind, name, _ := strings.Cut(p.workload, "/")
	c, err := w.client("apps", "v1", "")
	if err != nil {
		return nil, err
	}
	body, err := c.Get().Namespace(p.namespace).Resource(resources[kind]).Name(name).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var o struct {
		Spec struct {
			Template struct {
				Metadata struct {
					Labels map[string]string `json:"labels"`
				} `json:"metadata"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxObject)).Decode(&o); err != nil {
		return nil, err
	}
	if o.Spec.Template.Metadata.Labels == nil {
		return map[string]string{}, nil
	}
	return o.Spec.Template.Metadata.Labels, nil
}
