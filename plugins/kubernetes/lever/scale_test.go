package lever

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

const hpa = "horizontalpodautoscalers/web/shop"

// An autoscaler that no longer scales the workload still holds what we raised.
func TestAnAutoscalerThatTurnsAwayIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(*Lever, sre.Directive) error{
		"reverted": func(l *Lever, d sre.Directive) error { d.Seq++; return l.Revert(t.Context(), d) },
		"lapsed":   func(l *Lever, d sre.Directive) error { return l.Sweep(t.Context(), d.Expires) },
	} {
		t.Run(name, func(t *testing.T) {
			f := fakeFor(t, "scale_with_hpa")
			l, d := testLever(t, f), directive(scaleTo(5), 5, 1, time.Minute)
			turn := func() {
				f.edit(hpa, func(o doc) { o["spec"].(doc)["scaleTargetRef"].(doc)["name"] = "bank" })
			}
			turn()
			start := f.effects()
			f.edit(hpa, func(o doc) { o["spec"].(doc)["scaleTargetRef"].(doc)["name"] = "shop" })
			must(t, l.Apply(t.Context(), d))
			turn()
			must(t, end(l, d))
			if diff := cmp.Diff(start, f.effects()); diff != "" {
				t.Errorf("not what it was:\n%s", diff)
			}
		})
	}
}

// Between the list and the look at it, an autoscaler may go. What is held on the
// workload is not gone with it.
func TestAnAutoscalerThatGoesHidesNothing(t *testing.T) {
	f := fakeFor(t, "")
	start := f.effects()
	l, a := testLever(t, f), scaleTo(5)
	must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
	f.autoscaler()
	f.set(func() { f.gone = "horizontalpodautoscalers" })
	must(t, l.Revert(t.Context(), directive(a, 5, 2, time.Minute)))
	f.set(func() { delete(f.objects, hpa) })
	if diff := cmp.Diff(start, f.effects()); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

// Rollback takes Deployments, and its being allowed breaks no sweep of others.
func TestASweepPassesWhatARollbackCannotTake(t *testing.T) {
	f := newFake(t)
	f.fill()
	f.put("statefulsets/web/shop", doc{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": doc{"name": "shop", "namespace": "web"}, "spec": doc{"replicas": 3}})
	l := leverWith(t, f, func(c *Config) { c.Services[0].Workload = "statefulset/shop" })
	must(t, l.Sweep(t.Context(), testTime()))
}

// An autoscaler leaves a workload that was scaled to zero alone: to raise its
// least would start nothing.
func TestAnAutoscalerThatIsOffIsNotRaised(t *testing.T) {
	f := fakeFor(t, "scale_with_hpa")
	f.edit(shop, func(o doc) { o["spec"].(doc)["replicas"] = 0 })
	err := testLever(t, f).Apply(t.Context(), directive(scaleTo(5), 5, 1, time.Minute))
	wantCode(t, err, sre.CodeRefused)
	if f.wrote() != 0 {
		t.Error("something was written")
	}
}
