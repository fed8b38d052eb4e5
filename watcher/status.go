package watcher

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status is how a resource's watch is doing.
type status struct {
	replaced bool  // it was listed
	filling  bool  // a streaming list is under way
	err      error // the last answer, nil once a watch is open
}

func (s status) synced() bool { return s.replaced && !s.filling && s.err == nil }

// Ready returns nil once all resources are up to date and the baseline was handed over; else it says
// which are missing and why.
func (w *Watcher) Ready() error {
	w.status.Lock()
	defer w.status.Unlock()
	var errs []error
	for _, r := range w.resources {
		switch s := r.status; {
		case s.synced():
		case s.err != nil && s.replaced:
			errs = append(errs, fmt.Errorf("watch of %s was interrupted: %w", r.name, s.err))
		case s.err != nil:
			errs = append(errs, fmt.Errorf("list %s: %w", r.name, s.err))
		default:
			errs = append(errs, fmt.Errorf("%s are not listed yet", r.name))
		}
	}
	return errors.Join(errs...)
}

// answered notes the API server's answer to a list or watch request.
func (w *Watcher) answered(ctx context.Context, r *resource, o metav1.ListOptions, err error) {
	streaming := o.SendInitialEvents != nil && *o.SendInitialEvents
	switch {
	case ctx.Err() != nil:
		return
	case streaming && apierrors.IsInvalid(err):
		return // a server without WatchList: the reflector lists instead
	case err != nil && (apierrors.IsResourceExpired(err) || apierrors.IsGone(err)):
		return // the reflector lists again, and Replace tells of the hole
	}
	w.note(r, func(s *status) {
		switch {
		case err != nil:
			s.err = err
		case o.Watch:
			s.err, s.filling = nil, streaming
		}
		// A list that succeeds proves little: the watch after it may be forbidden.
	})
}

// replaced notes that a complete list was applied.
func (w *Watcher) replaced(r *resource) {
	w.note(r, func(s *status) { s.replaced, s.filling = true, false })
}

// note changes a resource's status and tells of it if that is another state, not of each retry.
func (w *Watcher) note(r *resource, change func(*status)) {
	w.status.Lock()
	defer w.status.Unlock()
	was := r.status
	change(&r.status)
	is := r.status
	switch {
	case is.synced() && !was.synced():
		w.cfg.Synced(r.name, true)
		w.cfg.Log.Info("watching", "resource", r.name)
	case was.synced() && !is.synced():
		w.cfg.Synced(r.name, false)
	}
	if is.err != nil && was.err == nil {
		w.cfg.Log.Warn("cannot watch, retrying", "resource", r.name, "err", is.err)
	}
}
