package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// list is a table of episodes.
func (x *explain) list(ctx context.Context, hub *client, t target, ns string) error {
	es, err := x.episodes(ctx, hub, t, ns)
	if err != nil {
		return err
	}
	if x.output.machine() {
		return x.output.print(x.out, items(es))
	}
	if len(es) == 0 {
		if x.all {
			x.note("No pods have left in any namespace, as far as the hub knows.")
		} else {
			x.note("No pods have left in namespace %s, as far as the hub knows. -A looks in all.", ns)
		}
		return nil
	}
	rows := x.view.episodeTable(es, x.noHeaders)
	if len(es) == mostEpisodes {
		x.note("These are the newest %d; there may be more.", mostEpisodes)
	}
	if !x.all {
		rows = rows.without("NAMESPACE")
	}
	if !slices.ContainsFunc(es, func(e report.Episode) bool { return e.Refused != nil }) {
		rows = rows.without("LOST")
	}
	rows.write(x.out, x.view.screen)
	return nil
}

// episodes are those that the command asks for, newest first.
func (x *explain) episodes(ctx context.Context, hub *client, t target, ns string) ([]report.Episode, error) {
	q := url.Values{"limit": {strconv.Itoa(mostEpisodes)}}
	if !x.all {
		q.Set("namespace", ns)
	}
	if x.since > 0 {
		q.Set("since", x.since.String())
	}
	chosen, err := x.selected(ctx, t, ns)
	if err != nil {
		return nil, err
	}
	es, err := get[[]report.Episode](ctx, hub, "/v1/episodes", q)
	if err != nil {
		return nil, err
	}
	es = slices.DeleteFunc(es, func(e report.Episode) bool {
		return t.kind != "" && !ofKind(e.Workload, t.kind) || chosen != nil && !chosen[e.Namespace+"/"+e.Workload]
	})
	return es, nil
}

// selected are the workloads that -l chooses, as "namespace/type/name"; nil without -l.
func (x *explain) selected(ctx context.Context, t target, ns string) (map[string]bool, error) {
	if x.selector == "" {
		return nil, nil
	}
	if x.all {
		ns = metav1.NamespaceAll
	}
	config, err := x.restConfig()
	if err != nil {
		return nil, err
	}
	m, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	l, err := m.Resource(t.resource).Namespace(ns).List(ctx, metav1.ListOptions{LabelSelector: x.selector})
	if err != nil {
		return nil, fmt.Errorf("-l: list %s: %w", t.resource.Resource, err)
	}
	chosen := map[string]bool{}
	for _, o := range l.Items {
		chosen[o.Namespace+"/"+t.kind+"/"+o.Name] = true
	}
	return chosen, nil
}
