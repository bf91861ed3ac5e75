package lever

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

// lasting refuses to pause an owner that is in Git itself and is kept by another
// one that would undo the pause. Pausing that one too would reach far beyond the
// workload, so it is left to a person.
func (l *Lever) lasting(ctx context.Context, o *owner, u *unstructured.Unstructured) error {
	parent := l.tracked(u)
	if parent == nil || parent.at == o.at {
		return nil
	}
	p, err := l.at(parent.at.resource, parent.at.namespace).Get(ctx, parent.at.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return readFailed(err, "get", parent.at)
	}
	undoes := slices.ContainsFunc(managers(u, o.path), func(m string) bool { return strings.HasSuffix(m, "-controller") })
	if parent.at.resource == applications {
		undoes = heals(p) && !ignores(p)
	}
	if parent.isPaused(p) || !undoes {
		return nil
	}
	return sre.Refusedf("%s is kept by %s, which would undo the pause: pause that one first", describe(u), parent.at)
}

// heals reports whether an Application undoes what others change, and not only
// follows Git.
func heals(app *unstructured.Unstructured) bool {
	automated, _, _ := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "automated")
	enabled, said := automated["enabled"].(bool)
	heal, _ := automated["selfHeal"].(bool)
	return heal && (enabled || !said)
}

// ignores reports whether an Application lets the policy of those that it keeps
// alone, as its own documentation advises for this.
func ignores(app *unstructured.Unstructured) bool {
	all, _, _ := unstructured.NestedSlice(app.Object, "spec", "ignoreDifferences")
	for _, each := range all {
		rule, _ := each.(map[string]any)
		kind, _, _ := unstructured.NestedString(rule, "kind")
		paths, _, _ := unstructured.NestedStringSlice(rule, "jsonPointers")
		policy := func(p string) bool { return p == "/spec/syncPolicy" || p == "/spec/syncPolicy/automated" }
		if (kind == "Application" || kind == "*") && slices.ContainsFunc(paths, policy) {
			return true
		}
	}
	return false
}
