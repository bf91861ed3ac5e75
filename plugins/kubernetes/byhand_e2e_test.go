//go:build e2e

package main

import (
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sreagent/sreagent/sre"
)

// undoneByHand is kubectl rollout undo: it brings back the annotations of the old
// ReplicaSet, to which the controller had copied a lease that is over since.
func (c *cluster) undoneByHand(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	must(t, w.lever.Sweep(t.Context(), time.Now()))
	w.image(t, "shop:2")
	w.whole(t, "shop:2")
	d := at(w.action("i.rollback", sre.Rollback, nil), 1, 1)
	must(t, w.lever.Apply(t.Context(), d))
	w.whole(t, "shop:1")
	const note = "sreagent.io/rollback"
	wait(t, "the controller copies the lease", func() (bool, error) { return w.replicaSet(t, "shop:1").Annotations[note] != "", nil })
	must(t, w.lever.Revert(t.Context(), at(d.Action, 1, 2)))
	w.whole(t, "shop:2")
	old := w.replicaSet(t, "shop:1")
	keep := func(name string) bool { return strings.HasPrefix(name, "deployment.kubernetes.io/") }
	w.edit(t, func(d *appsv1.Deployment) {
		maps.DeleteFunc(d.Annotations, func(name, _ string) bool { return !keep(name) })
		for name, text := range old.Annotations {
			if !keep(name) {
				metav1.SetMetaDataAnnotation(&d.ObjectMeta, name, text)
			}
		}
		d.Spec.Template = *old.Spec.Template.DeepCopy()
		delete(d.Spec.Template.Labels, "pod-template-hash")
	})
	w.whole(t, "shop:1")
	must(t, w.lever.Sweep(t.Context(), d.Expires))
	if image := w.shop(t).Spec.Template.Spec.Containers[0].Image; image != "shop:1" {
		t.Fatalf("the sweep undid what a person did: the image is %s", image)
	}
	// A revision that is made now is born with the marks of the old one.
	w.image(t, "shop:bad-1")
	w.stuck(t)
	w.image(t, "shop:bad-2")
	wait(t, "the second roll-out", func() (bool, error) { return w.shop(t).Status.UpdatedReplicas > 0, nil })
	must(t, w.lever.Apply(t.Context(), at(d.Action, 2, 1)))
	w.whole(t, "shop:1")
}

// replicaSet returns that of an image.
func (w *world) replicaSet(t *testing.T, image string) *appsv1.ReplicaSet {
	t.Helper()
	all, err := w.client.AppsV1().ReplicaSets(w.ns).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	for i, rs := range all.Items {
		if rs.Spec.Template.Spec.Containers[0].Image == image {
			return &all.Items[i]
		}
	}
	t.Fatalf("there is no ReplicaSet of %s", image)
	return nil
}

func (c *cluster) pausedDeployment(t *testing.T) {
	w := c.world(t)
	w.deploy(t, "shop:1")
	w.edit(t, func(d *appsv1.Deployment) { d.Spec.Paused = true })
	restart := w.action("i.restart", sre.Restart, nil)
	refused(t, w.lever.Apply(t.Context(), at(restart, 1, 1)), sre.CodeRefused, "is paused")
	scale := w.action("i.scale", sre.Scale, sre.Params{"replicas": 4.0})
	must(t, w.lever.Apply(t.Context(), at(scale, 1, 2))) // which a paused one still does
	w.whole(t, "shop:1")
	must(t, w.lever.Revert(t.Context(), at(scale, 1, 3)))
	w.edit(t, func(d *appsv1.Deployment) { d.Spec.Paused = false })
	must(t, w.lever.Apply(t.Context(), at(restart, 1, 4)))
	w.whole(t, "shop:1")
}
