package lever

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/kubectl/pkg/drain"

	"github.com/sreagent/sreagent/sre"
)

// drainKnob closes a node to new pods; what is on it is evicted afterwards, by
// the API that keeps disruption budgets.
type drainKnob struct{ node string }

func (k drainKnob) places(context.Context, *Lever) ([]object, error) {
	return []object{{resource: nodes, name: k.node}}, nil
}

func (k drainKnob) path(*unstructured.Unstructured) []string {
	return []string{"spec", "unschedulable"}
}

func (k drainKnob) read(_ context.Context, _ *Lever, u *unstructured.Unstructured) (sre.Params, error) {
	closed, _, err := unstructured.NestedBool(u.Object, "spec", "unschedulable")
	return sre.Params{"unschedulable": closed}, err
}

func (k drainKnob) want(ctx context.Context, l *Lever, u *unstructured.Unstructured, _ sre.Params, a sre.Action) (sre.Params, error) {
	_, stay, err := l.onNode(ctx, k.node)
	if held, _ := readLease(u, a.Kind); stay != nil && held.Action != a.ID {
		return nil, sre.Refusedf("node %s cannot be drained: %v", k.node, stay)
	}
	return sre.Params{"unschedulable": true}, err
}

func (k drainKnob) write(u *unstructured.Unstructured, set sre.Params) (*unstructured.Unstructured, error) {
	if closed, _ := set["unschedulable"].(bool); !closed {
		unstructured.RemoveNestedField(u.Object, "spec", "unschedulable")
		return u, nil
	}
	return u, unstructured.SetNestedField(u.Object, true, "spec", "unschedulable")
}

func (l *Lever) drainer(ctx context.Context) *drain.Helper {
	return &drain.Helper{
		Ctx: ctx, Client: l.client, GracePeriodSeconds: -1, IgnoreAllDaemonSets: true, DeleteEmptyDirData: l.cfg.EmptyDir,
		ChunkSize: 500, Out: io.Discard, ErrOut: io.Discard,
	}
}

// onNode returns the pods that a drain moves away, by kubectl's own rules, and
// why others cannot go: nothing would start them again, or, if that is not
// allowed, they have data of their own.
func (l *Lever) onNode(ctx context.Context, node string) (pods []corev1.Pod, stay, err error) {
	found, errs := l.drainer(ctx).GetPodsForDeletion(node)
	if found == nil {
		return nil, nil, readFailed(errors.Join(errs...), "list", object{resource: resource{"", "v1", "pods"}})
	}
	return found.Pods(), errors.Join(errs...), nil
}

// leaving says whether the node is empty, and if not, what keeps it.
func (l *Lever) leaving(ctx context.Context, node string) (empty bool, detail string, err error) {
	pods, stay, err := l.onNode(ctx, node)
	detail = fmt.Sprintf("%d pods are still to leave", len(pods))
	if stay != nil {
		detail += "; " + stay.Error()
	}
	return len(pods) == 0 && stay == nil, detail, err
}

// evict asks once for each pod that is still there. A pod that a disruption
// budget holds stays until a later sweep asks again: the drain goes on, and
// Probe says that it is not done. No pod holds another.
func (l *Lever) evict(ctx context.Context, node string) error {
	pods, stay, err := l.onNode(ctx, node)
	if err != nil {
		return notEmptied(err, node)
	}
	errs := []error{stay}
	var held []string
	unknown := false
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		name := pod.Namespace + "/" + pod.Name
		err := l.evictPod(ctx, pod)
		switch {
		case err == nil, apierrors.IsNotFound(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		case apierrors.IsTooManyRequests(err), apierrors.IsConflict(err):
			held = append(held, name)
		default:
			if no := refusal(err, "create", object{resource: resource{"", "v1", "pods/eviction"}, namespace: pod.Namespace, name: pod.Name}); no != nil {
				err = no
			} else {
				unknown = true
			}
			errs = append(errs, fmt.Errorf("evict %s: %w", name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if len(held) > 0 {
		l.log.Info("disruption budget holds pods", "node", node, "pods", strings.Join(held, " "))
	}
	switch err := errors.Join(errs...); {
	case unknown:
		return sre.Unknownf(err, "empty node %s", node)
	case err != nil:
		return notEmptied(err, node)
	}
	return nil
}

// notEmptied is no refusal, whatever the API server said: the node is closed.
func notEmptied(err error, node string) error {
	return &sre.ActionError{Code: sre.CodeFailed, Err: err, Reason: "node " + node + " is closed and not emptied"}
}

// evictPod asks once. The client's own way waits ten seconds and asks again for
// as long as a budget holds the pod, which is for the next sweep to do.
func (l *Lever) evictPod(ctx context.Context, pod corev1.Pod) error {
	return l.client.PolicyV1().RESTClient().Post().
		AbsPath("/api/v1").Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
		Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}}).
		MaxRetries(0).Do(ctx).Error()
}
