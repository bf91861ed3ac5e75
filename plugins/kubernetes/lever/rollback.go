package lever

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

// template is the parameter under which a pod template is kept as JSON, to go
// back to: the ReplicaSet that has it may be gone by then.
const template = "template"

const (
	revisionNote = "deployment.kubernetes.io/revision"
	hashLabel    = "pod-template-hash"
	// goodNote marks a ReplicaSet that was once the whole of its Deployment, with
	// every replica available. Once it is scaled down its status says nothing.
	// The name ends in the hash of its template, as the controller copies what it
	// finds on a Deployment to each new ReplicaSet, and kubectl copies it back.
	goodNote = Prefix + "was-available"
)

func goodNoteOf(rs *unstructured.Unstructured) string {
	return goodNote + "-" + rs.GetLabels()[hashLabel]
}

// rollbackKnob moves the pod template of a Deployment.
type rollbackKnob struct{ Service }

func (s Service) workload() object {
	kind, name, _ := strings.Cut(s.Workload, "/")
	return object{resource: workloads[kind], namespace: s.Namespace, name: name}
}

func (k rollbackKnob) places(context.Context, *Lever) ([]object, error) {
	at := k.workload()
	if at.resource != deployments {
		return nil, sre.Refusedf("%s has no revisions that can be told apart; rollback takes Deployments", at)
	}
	return []object{at}, nil
}

func (k rollbackKnob) path(*unstructured.Unstructured) []string { return []string{"spec", "template"} }

func (k rollbackKnob) read(_ context.Context, _ *Lever, u *unstructured.Unstructured) (sre.Params, error) {
	text, err := templateOf(u)
	return sre.Params{template: text}, err
}

func (k rollbackKnob) want(ctx context.Context, l *Lever, u *unstructured.Unstructured, have sre.Params, a sre.Action) (sre.Params, error) {
	if held, err := readLease(u, a.Kind); err == nil && held.Action == a.ID && a.Params["revision"] == nil {
		return held.Set, nil // a renewal does not choose again
	}
	sets, err := l.history(ctx, u)
	if err != nil {
		return nil, err
	}
	wanted, named := a.Params.Float("revision")
	for _, rs := range sets {
		text, err := templateOf(&rs)
		if err != nil {
			return nil, err
		}
		switch {
		case named && revision(&rs) != int(wanted) && !slices.Contains(formerly(&rs), int(wanted)):
		case !named && (alike(text, have[template]) || !good(&rs)):
		default:
			return sre.Params{template: text}, rolls(u, text)
		}
	}
	if named {
		return nil, sre.Refusedf("%s has no revision %d any more", describe(u), int(wanted))
	}
	if len(sets) < 2 {
		return nil, sre.Refusedf("%s has nothing to go back to: this is its only revision", describe(u))
	}
	return nil, sre.Refusedf("%s has nothing to go back to: no other revision was seen fully available; name one with revision", describe(u))
}

func (k rollbackKnob) write(u *unstructured.Unstructured, set sre.Params) (*unstructured.Unstructured, error) {
	text, _ := set.Text(template)
	var value map[string]any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return nil, sre.Invalidf("the recorded pod template cannot be read: %v", err)
	}
	return u, unstructured.SetNestedMap(u.Object, value, "spec", "template")
}

// history returns the ReplicaSets of a Deployment, newest revision first.
func (l *Lever) history(ctx context.Context, u *unstructured.Unstructured) ([]unstructured.Unstructured, error) {
	raw, _, _ := unstructured.NestedMap(u.Object, "spec", "selector")
	text, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	var want metav1.LabelSelector
	if err := json.Unmarshal(text, &want); err != nil {
		return nil, sre.Refusedf("%s has no selector: %v", describe(u), err)
	}
	all, err := l.list(ctx, replicaSets, u.GetNamespace(), metav1.FormatLabelSelector(&want))
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(rs unstructured.Unstructured) bool {
		c := metav1.GetControllerOf(&rs)
		return c == nil || c.UID != u.GetUID()
	})
	slices.SortFunc(all, func(a, b unstructured.Unstructured) int { return cmp.Compare(revision(&b), revision(&a)) })
	return all, nil
}

func revision(rs *unstructured.Unstructured) int {
	n, _ := strconv.Atoi(rs.GetAnnotations()[revisionNote])
	return n
}

// formerly lists the numbers that the revision had before it was rolled back to.
func formerly(rs *unstructured.Unstructured) []int {
	var out []int
	for s := range strings.SplitSeq(rs.GetAnnotations()["deployment.kubernetes.io/revision-history"], ",") {
		if n, err := strconv.Atoi(s); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// good reports whether a revision is known to have worked: it was seen whole,
// or all pods that a stuck roll-out has left it are available now.
func good(rs *unstructured.Unstructured) bool {
	if rs.GetAnnotations()[goodNoteOf(rs)] != "" {
		return true
	}
	replicas, _, _ := unstructured.NestedInt64(rs.Object, "status", "replicas")
	available, _, _ := unstructured.NestedInt64(rs.Object, "status", "availableReplicas")
	return available > 0 && available == replicas
}

// note marks the current revision of a Deployment as good once it is whole, for
// a later rollback to know. The mark is on the ReplicaSet and goes with it.
func (l *Lever) note(ctx context.Context, s Service) error {
	at := s.workload()
	u, err := l.get(ctx, at)
	if err != nil || at.resource != deployments || !whole(u) {
		return err
	}
	sets, err := l.history(ctx, u)
	if err != nil {
		return err
	}
	for _, rs := range sets {
		if rs.GetAnnotations()[revisionNote] != u.GetAnnotations()[revisionNote] || rs.GetAnnotations()[goodNoteOf(&rs)] != "" {
			continue
		}
		notes := rs.GetAnnotations()
		notes[goodNoteOf(&rs)] = l.now().UTC().Format("2006-01-02T15:04:05Z")
		rs.SetAnnotations(notes)
		return l.put(ctx, object{resource: replicaSets, namespace: s.Namespace, name: rs.GetName()}, &rs, false)
	}
	return nil
}

// whole reports whether every replica of a Deployment is of its current
// template and available.
func whole(u *unstructured.Unstructured) bool {
	field := func(path ...string) int64 { n, _, _ := unstructured.NestedInt64(u.Object, path...); return n }
	want := field("spec", "replicas")
	return want > 0 && field("status", "observedGeneration") == u.GetGeneration() &&
		field("status", "updatedReplicas") == want && field("status", "availableReplicas") == want && field("status", "replicas") == want
}
