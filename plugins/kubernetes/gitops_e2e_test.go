//go:build e2e

package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/sreagent/sreagent/plugins/kubernetes/lever"
	"github.com/sreagent/sreagent/sre"
)

// broken is a connection on which the writes that match do not arrive, or are
// not answered.
type broken struct {
	http.RoundTripper
	match  func(*http.Request) bool
	arrive bool
}

func (b broken) RoundTrip(r *http.Request) (*http.Response, error) {
	if !b.match(r) {
		return b.RoundTripper.RoundTrip(r)
	}
	if b.arrive {
		answer, err := b.RoundTripper.RoundTrip(r)
		if err == nil {
			answer.Body.Close()
		}
	}
	return nil, errors.New("connection lost")
}

func (w *world) broken(t *testing.T, arrive bool) *lever.Lever {
	as := rest.CopyConfig(w.admin)
	as.WrapTransport = func(inner http.RoundTripper) http.RoundTripper {
		return broken{inner, func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/deployments/shop") && r.URL.Query().Get("dryRun") == ""
		}, arrive}
	}
	return w.open(t, as)
}

func (c *cluster) crashBetween(t *testing.T) {
	w := c.world(t)
	w.argoApp(t, map[string]any{"automated": map[string]any{"selfHeal": true}})
	d := at(w.action("i.a", sre.Scale, sre.Params{"replicas": 5.0}), 1, 1)
	if code := sre.CodeOf(w.broken(t, false).Apply(t.Context(), d)); code != sre.CodeUnknown {
		t.Fatalf("code is %s", code)
	}
	if st := w.probe(t, d.Action); st.InEffect || w.automated(t) {
		t.Fatalf("want the pause alone: %+v, automated %v", st, w.automated(t))
	}
	_ = w.lever.Sweep(t.Context(), d.Expires)
	if !w.automated(t) || *w.shop(t).Spec.Replicas != 3 {
		t.Error("the pause was left behind")
	}
}

func (c *cluster) answerLost(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	a := w.action("i.a", sre.Scale, sre.Params{"replicas": 5.0})
	if code := sre.CodeOf(w.broken(t, true).Apply(t.Context(), at(a, 1, 1))); code != sre.CodeUnknown {
		t.Fatalf("code is %s", code)
	}
	if st := w.probe(t, a); !st.InEffect {
		t.Errorf("after a lost answer: %+v", st)
	}
	must(t, w.lever.Revert(t.Context(), at(a, 1, 2)))
	if n := *w.shop(t).Spec.Replicas; n != 3 {
		t.Errorf("%d replicas", n)
	}
}

// argoApp deploys a shop that Argo CD keeps.
func (w *world) argoApp(t *testing.T, policy map[string]any) {
	t.Helper()
	app := object("Application", "argoproj.io/v1alpha1", "store", map[string]any{"project": "default", "syncPolicy": policy})
	_, err := w.at("argoproj.io", "v1alpha1", "applications").Create(t.Context(), app, metav1.CreateOptions{})
	must(t, err)
	w.deploy(t, "shop:1", func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "store:apps/Deployment:" + w.ns + "/shop"}
	})
}

func (w *world) automated(t *testing.T) bool {
	t.Helper()
	app, err := w.at("argoproj.io", "v1alpha1", "applications").Get(t.Context(), "store", metav1.GetOptions{})
	must(t, err)
	heal, _, _ := unstructured.NestedBool(app.Object, "spec", "syncPolicy", "automated", "selfHeal")
	return heal
}

func (c *cluster) argo(t *testing.T) {
	w := c.world(t)
	w.argoApp(t, map[string]any{"automated": map[string]any{"selfHeal": true}, "retry": map[string]any{"limit": int64(2)}})
	w.image(t, "shop:bad")
	w.stuck(t)
	rollback, scale := w.action("i.a", sre.Rollback, nil), w.action("i.b", sre.Scale, sre.Params{"replicas": 4.0})
	// Without the right to pause, nothing is touched.
	poor := w.open(t, w.account(t, sre.Rollback))
	wait(t, "the role", func() (bool, error) {
		_, err := poor.Probe(t.Context(), w.action("i.c", sre.Rollback, nil))
		return err == nil, err
	})
	refused(t, poor.Apply(t.Context(), at(rollback, 1, 1)), sre.CodeRefused, "not allowed to get applications.argoproj.io")
	if w.shop(t).Spec.Template.Spec.Containers[0].Image != "shop:bad" {
		t.Fatal("the workload was moved though its owner could not be paused")
	}
	must(t, w.lever.Apply(t.Context(), at(rollback, 1, 1)))
	must(t, w.lever.Apply(t.Context(), at(scale, 1, 2)))
	if st := w.probe(t, rollback); !st.InEffect || !strings.Contains(st.Detail, "Application "+w.ns+"/store is paused by sreagent until") {
		t.Errorf("in effect: %+v", st)
	}
	must(t, w.lever.Revert(t.Context(), at(scale, 1, 3)))
	if w.automated(t) {
		t.Error("resumed while a rollback is in force")
	}
	must(t, w.lever.Revert(t.Context(), at(rollback, 1, 4)))
	if !w.automated(t) {
		t.Error("not resumed")
	}
	app, err := w.at("argoproj.io", "v1alpha1", "applications").Get(t.Context(), "store", metav1.GetOptions{})
	must(t, err)
	if limit, _, _ := unstructured.NestedInt64(app.Object, "spec", "syncPolicy", "retry", "limit"); limit != 2 || app.GetAnnotations()["sreagent.io/pause"] != "" {
		t.Errorf("not as it was: %v", app.Object)
	}
}

func (c *cluster) flux(t *testing.T) {
	w := c.world(t)
	at1 := w.at("kustomize.toolkit.fluxcd.io", "v1", "kustomizations")
	_, err := at1.Create(t.Context(), object("Kustomization", "kustomize.toolkit.fluxcd.io/v1", "store", map[string]any{"path": "./"}), metav1.CreateOptions{})
	must(t, err)
	w.deploy(t, "shop:1", func(d *appsv1.Deployment) {
		d.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "store", "kustomize.toolkit.fluxcd.io/namespace": w.ns}
	})
	suspended := func() bool {
		k, err := at1.Get(t.Context(), "store", metav1.GetOptions{})
		must(t, err)
		on, _, _ := unstructured.NestedBool(k.Object, "spec", "suspend")
		return on
	}
	a := w.action("i.a", sre.Scale, sre.Params{"replicas": 5.0})
	must(t, w.lever.Apply(t.Context(), at(a, 1, 1)))
	if !suspended() || *w.shop(t).Spec.Replicas != 5 {
		t.Error("not suspended, or not scaled")
	}
	must(t, w.lever.Revert(t.Context(), at(a, 1, 2)))
	if suspended() || *w.shop(t).Spec.Replicas != 3 {
		t.Error("not resumed, or not scaled back")
	}
}

func (c *cluster) unknownOwner(t *testing.T) {
	w := c.world(t)
	yes := true
	w.deploy(t, "shop:1", func(d *appsv1.Deployment) {
		d.OwnerReferences = []metav1.OwnerReference{{APIVersion: "shops.example.com/v1", Kind: "Shop", Name: "big", UID: "1", Controller: &yes}}
	})
	refused(t, w.lever.Apply(t.Context(), at(w.action("i.a", sre.Scale, sre.Params{"replicas": 5.0}), 1, 1)), sre.CodeRefused, "controlled by Shop big")
}
