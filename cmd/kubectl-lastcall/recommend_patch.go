package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// patch prints a patch that the API server has tried on the workload as it is now.
func (x *recommend) patch(ctx context.Context, w *workload, a sizing.Advice) error {
	if !a.Live {
		return fmt.Errorf("the hub made its recommendation without the workload as it is now: is it of this version (%s)?", buildVersion())
	}
	oldest, err := w.oldest(ctx)
	if err != nil {
		return err
	}
	p := a.Patch(w.patched(a.Containers, oldest))
	if p.Merge == nil {
		return fmt.Errorf("no patch for %s in namespace %s: %s", w.target, w.namespace, strings.Join(p.Why, "\n"))
	}
	after, err := w.try(ctx, p.Merge)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the patch is not printed, since it could not be tried: you may not patch %s in namespace %s: %w\nSee: kubectl auth can-i patch %s -n %s",
			w.target, w.namespace, err, w.kind, shell(w.namespace))
	case err != nil:
		return fmt.Errorf("the patch is not printed, since the API server does not take it (dry run): %w\nWhat was tried: %s", err, p.Merge)
	}
	if err := took(p, after); err != nil {
		return fmt.Errorf("the patch is not printed, since it would not do what it says (dry run): %w\nDoes an admission webhook, or the controller of %s, change it back?", err, w.target)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, p.Merge, "", "  "); err != nil {
		return err
	}
	if _, err := x.out.Write(append(escaped(b.Bytes()), '\n')); err != nil {
		return err
	}
	if a.AtLeast {
		x.note("%s is a lower bound: see what is missing with `kubectl lastcall recommend %s -n %s`.", a.Number(), shell(w.target.String()), shell(w.namespace))
	}
	if by := appliers(w.meta.ManagedFields); len(by) > 0 {
		x.note("%s is kept by %s: make the same change there, or it may be undone.", w.target, strings.Join(by, ", "))
	}
	return nil
}

// took compares what came of a patch with what it was to do.
func took(p sizing.Patch, after corev1.PodSpec) error {
	for _, e := range p.Edits {
		h := hook(after, e.Container)
		switch {
		case h == nil:
			return fmt.Errorf("%s has no preStop after it", e.Container)
		case e.Command != nil && (h.Exec == nil || !slices.Equal(h.Exec.Command, e.Command)):
			return fmt.Errorf("the preStop command of %s is another after it", e.Container)
		case e.Command == nil && (h.Sleep == nil || h.Sleep.Seconds != e.To):
			return fmt.Errorf("%s does not sleep %d s in preStop after it", e.Container, e.To)
		}
	}
	if p.Grace != nil && (after.TerminationGracePeriodSeconds == nil || *after.TerminationGracePeriodSeconds != *p.Grace) {
		return errors.New("terminationGracePeriodSeconds is another after it")
	}
	return nil
}

// appliers are who applies the workload from somewhere else: server-side, or as Helm.
func appliers(fields []metav1.ManagedFieldsEntry) (by []string) {
	for _, f := range fields {
		if f.Subresource == "" && (f.Operation == metav1.ManagedFieldsOperationApply || f.Manager == "helm") && !slices.Contains(by, f.Manager) {
			by = append(by, f.Manager)
		}
	}
	return by
}
