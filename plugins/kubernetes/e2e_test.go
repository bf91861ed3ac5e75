//go:build e2e

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sreagent/sreagent/plugins/kubernetes/lever"
	"github.com/sreagent/sreagent/sre"
)

// TestE2EKubernetes runs on one real control plane, each case in a namespace of
// its own.
func TestE2EKubernetes(t *testing.T) {
	c := startCluster(t)
	t.Run("mesh is refused where there is none", c.meshAbsent)
	c.define(t, "networking.istio.io", "v1", "DestinationRule", trafficPolicySchema())
	c.define(t, "networking.istio.io", "v1", "VirtualService", routesSchema())
	c.define(t, "argoproj.io", "v1alpha1", "Application")
	c.define(t, "kustomize.toolkit.fluxcd.io", "v1", "Kustomization")
	c.define(t, "helm.toolkit.fluxcd.io", "v2", "HelmRelease")
	t.Run("bad image rolls back", c.badImage)
	t.Run("good image does not", c.goodImage)
	t.Run("stuck twice skips what never worked", c.stuckTwice)
	t.Run("rolled back by hand", c.undoneByHand)
	t.Run("paused deployment", c.pausedDeployment)
	t.Run("permission denied", c.denied)
	t.Run("concurrent writers", c.concurrent)
	t.Run("stale epoch", c.stale)
	t.Run("foreign change is released", c.foreign)
	t.Run("expiry is swept", c.expiry)
	t.Run("crash between pause and rollback", c.crashBetween)
	t.Run("answer lost", c.answerLost)
	t.Run("argo is paused and resumed", c.argo)
	t.Run("flux is paused and resumed", c.flux)
	t.Run("unknown controller", c.unknownOwner)
	t.Run("scale of a stateful set", c.stateful)
	t.Run("scale with an autoscaler", c.autoscaled)
	t.Run("restart", c.restart)
	t.Run("drain held by a budget", c.drain)
	t.Run("mesh", c.mesh)
	t.Run("invalid is invalid before anything happens", c.invalid)
	t.Run("roles", c.roles)
	t.Run("least privilege", c.leastPrivilege)
	t.Run("as a plugin", c.asPlugin)
}

func (c *cluster) badImage(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	w.image(t, "shop:bad")
	w.stuck(t)
	a := w.action("i.rollback", sre.Rollback, nil)
	if st := w.probe(t, a); st.InEffect || st.Owner != "" {
		t.Fatalf("before: %+v", st)
	}
	must(t, w.lever.Apply(t.Context(), at(a, 1, 1)))
	w.whole(t, "shop:1")
	must(t, w.lever.Apply(t.Context(), at(a, 1, 2))) // a renewal does not roll on
	w.whole(t, "shop:1")
	if st := w.probe(t, a); !st.InEffect || st.Owner != a.ID || st.Epoch != 1 {
		t.Errorf("in effect: %+v", st)
	}
	must(t, w.lever.Revert(t.Context(), at(a, 1, 3)))
	if image := w.shop(t).Spec.Template.Spec.Containers[0].Image; image != "shop:bad" {
		t.Errorf("after revert the image is %s", image)
	}
}

func (c *cluster) goodImage(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	a := w.action("i.rollback", sre.Rollback, nil)
	refused(t, w.lever.Apply(t.Context(), at(a, 1, 1)), sre.CodeRefused, "only revision")
	w.image(t, "shop:2")
	w.whole(t, "shop:2")
	// Nobody has seen revision 1 whole: nothing says that it worked.
	wait(t, "old pods are gone", func() (bool, error) {
		err := w.lever.Apply(t.Context(), at(a, 1, 1))
		return sre.CodeOf(err) == sre.CodeRefused && strings.Contains(err.Error(), "seen fully available"), err
	})
	if image := w.shop(t).Spec.Template.Spec.Containers[0].Image; image != "shop:2" {
		t.Fatalf("a good image was rolled back to %s", image)
	}
	// It is seen now, so that a third one that answers with errors can go back.
	must(t, w.lever.Sweep(t.Context(), time.Now()))
	w.image(t, "shop:3")
	w.whole(t, "shop:3")
	must(t, w.lever.Apply(t.Context(), at(a, 1, 2)))
	w.whole(t, "shop:2")
}

func (c *cluster) stuckTwice(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	w.image(t, "shop:bad-1")
	w.stuck(t)
	w.image(t, "shop:bad-2")
	wait(t, "the second roll-out", func() (bool, error) { return w.shop(t).Status.UpdatedReplicas > 0, nil })
	must(t, w.lever.Apply(t.Context(), at(w.action("i.rollback", sre.Rollback, nil), 1, 1)))
	w.whole(t, "shop:1")
}

func (c *cluster) denied(t *testing.T) {
	w := c.world(t, func(cfg *lever.Config) { cfg.PauseGitOps = false })
	w.deploy(t, "shop:1")
	l := w.open(t, w.account(t))
	refused(t, l.Apply(t.Context(), at(w.action("i.s", sre.Restart, nil), 1, 1)), sre.CodeRefused, "not allowed to get deployments.apps in namespace "+w.ns)
	missing, err := l.Check(t.Context())
	must(t, err)
	if want := "restart: not allowed to update deployments.apps in namespace " + w.ns; !slices.Contains(missing, want) {
		t.Errorf("missing rights are\n%s\nwithout %q", strings.Join(missing, "\n"), want)
	}
}

func (c *cluster) concurrent(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	scale, restart := w.action("i.scale", sre.Scale, sre.Params{"replicas": 5.0}), w.action("i.restart", sre.Restart, nil)
	var all sync.WaitGroup
	errs := make([]error, 2)
	all.Go(func() { errs[0] = w.lever.Apply(t.Context(), at(scale, 1, 1)) })
	all.Go(func() { errs[1] = w.open(t, c.admin).Apply(t.Context(), at(restart, 1, 1)) })
	for i := range 3 {
		w.edit(t, func(d *appsv1.Deployment) { metav1.SetMetaDataAnnotation(&d.ObjectMeta, fmt.Sprint("note-", i), "x") })
	}
	all.Wait()
	must(t, errors.Join(errs...))
	d := w.shop(t)
	if *d.Spec.Replicas != 5 || d.Spec.Template.Annotations["sreagent.io/restarted-by"] != restart.ID || d.Annotations["note-2"] != "x" {
		t.Errorf("a write was lost: %+v", d)
	}
	w.whole(t, "shop:1")
}

func (c *cluster) stale(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	must(t, w.lever.Apply(t.Context(), at(w.action("i.a", sre.Scale, sre.Params{"replicas": 5.0}), 7, 1)))
	refused(t, w.open(t, c.admin).Apply(t.Context(), at(w.action("i.b", sre.Scale, sre.Params{"replicas": 9.0}), 6, 9)), sre.CodeRefused, "fencing token 6 is stale")
	// Of another kind, too: the token is the object's.
	refused(t, w.lever.Apply(t.Context(), at(w.action("i.c", sre.Restart, nil), 6, 9)), sre.CodeRefused, "fencing token 6 is stale")
	if n := *w.shop(t).Spec.Replicas; n != 5 {
		t.Errorf("%d replicas", n)
	}
}

func (c *cluster) foreign(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	a := w.action("i.a", sre.Scale, sre.Params{"replicas": 5.0})
	must(t, w.lever.Apply(t.Context(), at(a, 1, 1)))
	four := int32(4)
	w.edit(t, func(d *appsv1.Deployment) { d.Spec.Replicas = &four })
	if st := w.probe(t, a); !st.Foreign || st.InEffect || !strings.Contains(st.Detail, "somebody") {
		t.Errorf("after a foreign write: %+v", st)
	}
	refused(t, w.lever.Apply(t.Context(), at(a, 1, 2)), sre.CodeRefused, "changed by somebody")
	five := int32(5)
	w.edit(t, func(d *appsv1.Deployment) { d.Spec.Replicas = &five })
	refused(t, w.lever.Apply(t.Context(), at(a, 1, 3)), sre.CodeRefused, "released") // for good, though the value is ours again
	must(t, w.lever.Revert(t.Context(), at(a, 1, 4)))
	if n := *w.shop(t).Spec.Replicas; n != 5 {
		t.Errorf("a foreign value was overwritten: %d replicas", n)
	}
}

func (c *cluster) expiry(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	d := at(w.action("i.a", sre.Scale, sre.Params{"replicas": 5.0}), 1, 1)
	must(t, w.lever.Apply(t.Context(), d))
	must(t, w.open(t, c.admin).Sweep(t.Context(), d.Expires.Add(-time.Second)))
	if n := *w.shop(t).Spec.Replicas; n != 5 {
		t.Fatalf("swept before its time: %d replicas", n)
	}
	// Other cases' nodes and the mesh that is not there are no concern here.
	_ = w.open(t, c.admin).Sweep(t.Context(), d.Expires)
	if n := *w.shop(t).Spec.Replicas; n != 3 {
		t.Errorf("after the expiry: %d replicas", n)
	}
}

func (c *cluster) stateful(t *testing.T) {
	w := c.world(t, func(cfg *lever.Config) { cfg.Services[0].Workload = "statefulset/shop" })
	w.statefulSet(t)
	sets := w.client.AppsV1().StatefulSets(w.ns)
	ready := func(n int32) {
		t.Helper()
		wait(t, fmt.Sprint(n, " ready"), func() (bool, error) {
			s, err := sets.Get(t.Context(), "shop", metav1.GetOptions{})
			return err == nil && s.Status.ReadyReplicas == n && s.Status.Replicas == n, err
		})
	}
	a := w.action("i.a", sre.Scale, sre.Params{"replicas": 3.0})
	must(t, w.lever.Apply(t.Context(), at(a, 1, 1)))
	ready(3)
	refused(t, w.lever.Apply(t.Context(), at(w.action("i.r", sre.Rollback, nil), 1, 2)), sre.CodeRefused, "takes Deployments")
	must(t, w.lever.Revert(t.Context(), at(a, 1, 3)))
	ready(1)
}

func (w *world) statefulSet(t *testing.T) {
	t.Helper()
	one, labels := int32(1), map[string]string{"app": "shop"}
	_, err := w.client.AppsV1().StatefulSets(w.ns).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "shop", Image: "shop:1"}}}},
		},
	}, metav1.CreateOptions{})
	must(t, err)
}

func (c *cluster) autoscaled(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	two := int32(2)
	load := int32(50)
	hpas := w.client.AutoscalingV2().HorizontalPodAutoscalers(w.ns)
	_, err := hpas.Create(t.Context(), &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "shop-scaler"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shop"},
			MinReplicas:    &two, MaxReplicas: 8,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &load},
			}}},
		},
	}, metav1.CreateOptions{})
	must(t, err)
	a := w.action("i.a", sre.Scale, sre.Params{"replicas": 6.0})
	must(t, w.lever.Apply(t.Context(), at(a, 1, 1)))
	// The autoscaler itself brings the workload there: nobody fights.
	wait(t, "six replicas", func() (bool, error) { return w.shop(t).Status.AvailableReplicas == 6, nil })
	if st := w.probe(t, a); !st.InEffect {
		t.Errorf("in effect: %+v", st)
	}
	a.Params = sre.Params{"replicas": 9.0}
	refused(t, w.lever.Apply(t.Context(), at(a, 1, 2)), sre.CodeRefused, "allows at most 8")
	must(t, w.lever.Revert(t.Context(), at(a, 1, 3)))
	hpa, err := hpas.Get(t.Context(), "shop-scaler", metav1.GetOptions{})
	must(t, err)
	if *hpa.Spec.MinReplicas != 2 {
		t.Errorf("the autoscaler's least is %d", *hpa.Spec.MinReplicas)
	}
}

func (c *cluster) restart(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	pods := func() string {
		list, err := w.client.CoreV1().Pods(w.ns).List(t.Context(), metav1.ListOptions{})
		must(t, err)
		var names []string
		for _, p := range list.Items {
			names = append(names, p.Name)
		}
		return strings.Join(names, " ")
	}
	before := pods()
	a := w.action("i.a", sre.Restart, nil)
	must(t, w.lever.Apply(t.Context(), at(a, 1, 1)))
	w.whole(t, "shop:1")
	wait(t, "old pods are gone", func() (bool, error) { return len(strings.Fields(pods())) == 3, nil })
	const revision = "deployment.kubernetes.io/revision"
	after, was := pods(), w.shop(t).Annotations[revision]
	for _, name := range strings.Fields(before) {
		if strings.Contains(after, name) {
			t.Errorf("%s was not restarted", name)
		}
	}
	must(t, w.lever.Apply(t.Context(), at(a, 1, 2)))
	must(t, w.lever.Revert(t.Context(), at(a, 1, 3)))
	wait(t, "the controller has seen it", func() (bool, error) {
		d := w.shop(t)
		return d.Status.ObservedGeneration == d.Generation, nil
	})
	if now := w.shop(t).Annotations[revision]; now != was {
		t.Errorf("restarted again: revision %s, was %s", now, was)
	}
}

func (c *cluster) drain(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	three := intstr.FromInt32(3)
	budgets := w.client.PolicyV1().PodDisruptionBudgets(w.ns)
	_, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &three, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}},
	}, metav1.CreateOptions{})
	must(t, err)
	wait(t, "the budget is counted", func() (bool, error) {
		b, err := budgets.Get(t.Context(), "shop", metav1.GetOptions{})
		return err == nil && b.Status.ObservedGeneration == b.Generation && b.Status.CurrentHealthy == 3, err
	})
	on := func(node string) int {
		list, err := w.client.CoreV1().Pods(w.ns).List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
		must(t, err)
		return len(list.Items)
	}
	if on("node-1") == 0 {
		t.Fatal("no pod on node-1: the test cannot fail")
	}
	held := on("node-1")
	a := w.action("i.a", sre.Drain, nil)
	a.Target.Name = "node-1"
	must(t, w.lever.Apply(t.Context(), at(a, 1, 1)))
	st := w.probe(t, a)
	if st.InEffect || on("node-1") != held || !strings.Contains(st.Detail, "pods are still to leave") {
		t.Fatalf("held by a budget: %+v, %d pods left", st, on("node-1"))
	}
	must(t, budgets.Delete(t.Context(), "shop", metav1.DeleteOptions{}))
	wait(t, "the node is empty", func() (bool, error) {
		err := w.lever.Sweep(t.Context(), time.Now())
		return w.probe(t, a).InEffect && on("node-1") == 0, err
	})
	w.whole(t, "shop:1")
	must(t, w.lever.Revert(t.Context(), at(a, 1, 3)))
	node, err := w.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	must(t, err)
	if node.Spec.Unschedulable {
		t.Error("the node is still closed")
	}
}

func (c *cluster) invalid(t *testing.T) {
	w := c.world(t, func(cfg *lever.Config) { cfg.Services[0].MinReplicas = 0 })
	w.deploy(t, "shop:1")
	w.autoscaler(t)
	// Only the server knows that an autoscaler without an external metric has no zero.
	refused(t, w.lever.Apply(t.Context(), at(w.action("i.a", sre.Scale, sre.Params{"replicas": 0.0}), 1, 1)), sre.CodeInvalid, "scaling to zero")
	if st := w.probe(t, w.action("i.a", sre.Scale, sre.Params{"replicas": 2.0})); st.Epoch != 0 {
		t.Errorf("something was written: %+v", st)
	}
}

func (c *cluster) roles(t *testing.T) {
	w := c.world(t, func(cfg *lever.Config) { cfg.PauseGitOps = false })
	w.deploy(t, "shop:1")
	w.image(t, "shop:bad")
	w.stuck(t)
	w.meshObjects(t)
	one := map[sre.ActionKind]sre.Params{
		sre.Rollback: nil, sre.Scale: {"replicas": 4.0}, sre.Restart: nil, sre.Drain: nil,
		sre.Breaker: {"consecutive": 3.0}, sre.Timeout: {"seconds": 2.0}, sre.RetryBudget: {"ratio": 1.0},
	}
	// outside is an action of which this role gives no right.
	outside := map[sre.ActionKind]sre.ActionKind{
		sre.Rollback: sre.Scale, sre.Scale: sre.Rollback, sre.Restart: sre.Scale, sre.Drain: sre.Restart,
		sre.Breaker: sre.Timeout, sre.Timeout: sre.Breaker, sre.RetryBudget: sre.Drain,
	}
	action := func(kind sre.ActionKind, id string) sre.Action {
		a := w.action(id, kind, one[kind])
		if kind == sre.Drain {
			a.Target.Name = "node-2"
		}
		return a
	}
	for i, kind := range lever.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			as := w.account(t, kind)
			cfg := w.cfg
			cfg.Actions = []sre.ActionKind{kind}
			only, err := lever.New(cfg, as, lever.Options{})
			must(t, err)
			wait(t, "the role", func() (bool, error) {
				missing, err := only.Check(t.Context())
				return err == nil && len(missing) == 0, fmt.Errorf("%v %w", missing, err)
			})
			d := at(action(kind, fmt.Sprint("r.", kind)), uint64(i+1), 1)
			must(t, only.Apply(t.Context(), d))
			if _, err := only.Probe(t.Context(), d.Action); err != nil {
				t.Errorf("probe: %v", err)
			}
			must(t, only.Revert(t.Context(), d))
			refused(t, w.open(t, as).Apply(t.Context(), at(action(outside[kind], "r.other"), uint64(i+1), 2)), sre.CodeRefused, "not allowed to")
			must(t, only.Sweep(context.WithoutCancel(t.Context()), time.Now()))
		})
	}
}
