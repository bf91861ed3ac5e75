//go:build e2e

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/plugins/kubernetes/lever"
	"github.com/sreagent/sreagent/sre"
)

// access is one verb on one resource.
type access struct{ resource, verb string }

// accesses lists what a manifest gives.
func accesses(t *testing.T, kind sre.ActionKind) []access {
	t.Helper()
	var out []access
	for _, o := range manifests(t, kind, "x") {
		rules, _, err := unstructured.NestedSlice(o.Object, "rules")
		must(t, err)
		for _, r := range rules {
			rule := r.(map[string]any)
			for _, verb := range rule["verbs"].([]any) {
				out = append(out, access{rule["resources"].([]any)[0].(string), verb.(string)})
			}
		}
	}
	return out
}

// without takes one access out of a role.
func (a access) without(o *unstructured.Unstructured) {
	rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
	for _, r := range rules {
		if rule := r.(map[string]any); rule["resources"].([]any)[0] == a.resource {
			rule["verbs"] = slices.DeleteFunc(rule["verbs"].([]any), func(v any) bool { return v == a.verb })
		}
	}
	rules = slices.DeleteFunc(rules, func(r any) bool { return len(r.(map[string]any)["verbs"].([]any)) == 0 })
	if len(rules) > 0 {
		_ = unstructured.SetNestedSlice(o.Object, rules, "rules")
	}
}

// leastPrivilege takes each single right of each action away: the check names it,
// the action says so, and nothing else of the table would do.
func (c *cluster) leastPrivilege(t *testing.T) {
	epoch := uint64(1000) // nodes are not of one case alone, and remember
	for _, kind := range append(lever.Kinds(), lever.GitOps) {
		for _, a := range accesses(t, kind) {
			epoch += 2
			t.Run(fmt.Sprintf("%s without %s %s", kind, a.verb, strings.ReplaceAll(a.resource, "/", " ")), func(t *testing.T) { c.lacking(t, kind, a, epoch) })
		}
	}
}

func (c *cluster) lacking(t *testing.T, kind sre.ActionKind, a access, epoch uint64) {
	w := c.world(t, func(cfg *lever.Config) {
		cfg.Actions, cfg.PauseGitOps = []sre.ActionKind{kind}, kind == lever.GitOps
		if kind == lever.GitOps {
			cfg.Actions = []sre.ActionKind{sre.Scale}
		}
		if a.resource == "statefulsets" {
			cfg.Services[0].Workload = "statefulset/shop"
		}
	})
	act := w.prepare(t, kind, a)
	as := w.accountWith(t, a.without, slices.Compact([]sre.ActionKind{w.cfg.Actions[0], kind})...)
	poor := w.open(t, as)
	wait(t, "the role", func() (bool, error) {
		missing, err := poor.Check(t.Context())
		return err == nil && len(missing) == 1 && strings.Contains(missing[0], fmt.Sprintf("%s: not allowed to %s %s", kind, a.verb, a.resource)), fmt.Errorf("%q %w", missing, err)
	})
	d := at(act, epoch, 1)
	swept := poor.Sweep(t.Context(), time.Now())
	applied := poor.Apply(t.Context(), d)
	_, probed := poor.Probe(t.Context(), act)
	err := errors.Join(applied, probed, swept, poor.Revert(t.Context(), d))
	if kind == lever.GitOps && a.verb == "list" {
		must(t, err) // it is for what is gone, and for nothing here
		return
	}
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("cannot %s resource %q", a.verb, a.resource)) {
		t.Errorf("all went well, or failed for something else: %v", err)
	}
	if applied != nil && sre.CodeOf(applied) != sre.CodeRefused && a.resource != "pods/eviction" {
		t.Errorf("apply: %v, want refused", applied)
	}
	must(t, w.lever.Revert(t.Context(), at(act, epoch+1, 1)))
}

// prepare makes a world in which the action needs the right.
func (w *world) prepare(t *testing.T, kind sre.ActionKind, a access) sre.Action {
	t.Helper()
	params := map[sre.ActionKind]sre.Params{
		sre.Scale: {"replicas": 4.0}, sre.Breaker: {"consecutive": 3.0}, sre.Timeout: {"seconds": 2.0}, sre.RetryBudget: {"ratio": 1.0},
	}
	act := w.action("r."+string(kind), w.cfg.Actions[0], params[w.cfg.Actions[0]])
	switch {
	case kind == sre.Breaker, kind == sre.Timeout, kind == sre.RetryBudget:
		w.meshObjects(t)
	case a.resource == "statefulsets":
		w.statefulSet(t)
	case kind == lever.GitOps:
		w.gitOps(t, a.resource)
	default:
		w.deploy(t, "shop:1")
	}
	switch {
	case kind == sre.Rollback:
		admin := w.open(t, w.admin)
		must(t, admin.Sweep(t.Context(), time.Now()))
		w.image(t, "shop:2")
		w.whole(t, "shop:2") // which the sweep is still to note
	case a.resource == "horizontalpodautoscalers":
		w.autoscaler(t)
	case kind == sre.Drain:
		act.Target.Name = "node-2"
		w.daemonPod(t, act.Target.Name)
	}
	return act
}

// gitOps deploys the shop with an owner of that resource.
func (w *world) gitOps(t *testing.T, resource string) {
	t.Helper()
	if resource == "applications" {
		w.argoApp(t, map[string]any{"automated": map[string]any{"selfHeal": true}})
		return
	}
	group, version, kind := "kustomize.toolkit.fluxcd.io", "v1", "Kustomization"
	if resource == "helmreleases" {
		group, version, kind = "helm.toolkit.fluxcd.io", "v2", "HelmRelease"
	}
	_, err := w.at(group, version, resource).Create(t.Context(), object(kind, group+"/"+version, "store", map[string]any{}), metav1.CreateOptions{})
	must(t, err)
	w.deploy(t, "shop:1", func(d *appsv1.Deployment) {
		d.Labels = map[string]string{group + "/name": "store", group + "/namespace": w.ns}
	})
}

func (w *world) autoscaler(t *testing.T) {
	t.Helper()
	two := int32(2)
	_, err := w.client.AutoscalingV2().HorizontalPodAutoscalers(w.ns).Create(t.Context(), &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shop"}, MinReplicas: &two, MaxReplicas: 8,
		},
	}, metav1.CreateOptions{})
	must(t, err)
}

// daemonPod is what a DaemonSet has on a node: nobody runs the controller here.
func (w *world) daemonPod(t *testing.T, node string) {
	t.Helper()
	labels, yes := map[string]string{"app": "agent"}, true
	spec := corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "agent", Image: "agent:1"}}}
	set, err := w.client.AppsV1().DaemonSets(w.ns).Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}},
	}, metav1.CreateOptions{})
	must(t, err)
	_, err = w.client.CoreV1().Pods(w.ns).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "agent", Labels: labels, OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: "DaemonSet", Name: set.Name, UID: set.UID, Controller: &yes,
		}}}, Spec: spec,
	}, metav1.CreateOptions{})
	must(t, err)
}
