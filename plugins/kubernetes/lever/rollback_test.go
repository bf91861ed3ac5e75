package lever

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

const shop = "deployments/web/shop"

func imageOf(t *testing.T, f *fake) string {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	containers, _, err := unstructured.NestedSlice(clone(f.objects[shop]), "spec", "template", "spec", "containers")
	must(t, err)
	return containers[0].(doc)["image"].(string)
}

// kubectl rollout undo carries the annotations of a ReplicaSet, which the
// controller has copied from the Deployment, back to the Deployment.
func TestALeaseThatSomebodyElseWroteIsNotOurs(t *testing.T) {
	f := fakeFor(t, "rollback")
	l, a := testLever(t, f), action("i.a", sre.Rollback, sre.Params{"revision": 1.0})
	must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
	f.edit(shop, func(o doc) {
		wrote := doc{"f:metadata": doc{"f:annotations": doc{"f:" + Prefix + "rollback": doc{}}}}
		o["metadata"].(doc)["managedFields"] = []any{doc{"manager": "kubectl-rollout", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": wrote}}
	})
	if st := probe(t, l, a); st.InEffect || st.Owner != "" || st.Epoch != 5 {
		t.Errorf("a lease that is a copy: %+v", st)
	}
	must(t, l.Sweep(t.Context(), testTime().Add(time.Hour)))
	if image := imageOf(t, f); image != "shop:1" {
		t.Errorf("the sweep undid what a person did: the image is %s", image)
	}
}

// A new ReplicaSet is born with the annotations of its Deployment, which may
// have been those of an older one.
func TestAMarkOfAnotherRevisionProvesNothing(t *testing.T) {
	f := fakeFor(t, "rollback")
	f.edit("replicasets/web/shop-1", func(o doc) { o["metadata"].(doc)["labels"].(doc)[hashLabel] = "never-was-whole" })
	err := testLever(t, f).Apply(t.Context(), directive(action("i.a", sre.Rollback, nil), 5, 1, time.Minute))
	wantCode(t, err, sre.CodeRefused)
}

// A restart makes a new revision of the same thing, which is nothing to go back to.
func TestARestartIsNoRevisionToGoBackFrom(t *testing.T) {
	for _, note := range []string{restartNote, "kubectl.kubernetes.io/restartedAt"} {
		f := fakeFor(t, "rollback")
		f.edit("replicasets/web/shop-2", func(o doc) {
			o["metadata"].(doc)["annotations"].(doc)[Prefix+"was-available-2"] = "2026-01-02T00:00:00Z"
		})
		f.edit(shop, func(o doc) {
			o["spec"].(doc)["template"].(doc)["metadata"].(doc)["annotations"] = doc{note: "x"}
			o["metadata"].(doc)["annotations"].(doc)[revisionNote] = "3"
		})
		must(t, testLever(t, f).Apply(t.Context(), directive(action("i.a", sre.Rollback, nil), 5, 1, time.Minute)))
		if image := imageOf(t, f); image != "shop:1" {
			t.Errorf("after %s and a rollback the image is %s", note, image)
		}
	}
}

func TestARestartLeavesTheRollbackInForce(t *testing.T) {
	f := fakeFor(t, "rollback")
	start := f.effects()
	l, back, restart := testLever(t, f), action("i.a", sre.Rollback, nil), action("i.b", sre.Restart, nil)
	must(t, l.Apply(t.Context(), directive(back, 5, 1, time.Minute)))
	must(t, l.Apply(t.Context(), directive(restart, 5, 2, time.Minute)))
	must(t, l.Apply(t.Context(), directive(back, 5, 3, time.Minute)))
	for _, a := range []sre.Action{back, restart} {
		if st := probe(t, l, a); !st.InEffect || st.Foreign {
			t.Errorf("%s: %+v", a.Kind, st)
		}
	}
	must(t, l.Revert(t.Context(), directive(back, 5, 4, time.Minute)))
	if diff := cmp.Diff(start, f.effects()); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

func TestAPausedDeploymentIsNotRolled(t *testing.T) {
	pause := func(on bool) func(doc) { return func(o doc) { o["spec"].(doc)["paused"] = on } }
	for _, kind := range []sre.ActionKind{sre.Rollback, sre.Restart} {
		t.Run(string(kind), func(t *testing.T) {
			f := fakeFor(t, "rollback")
			l, a := testLever(t, f), action("i.a", kind, nil)
			f.edit(shop, pause(true))
			err := l.Apply(t.Context(), directive(a, 5, 1, time.Minute))
			wantCode(t, err, sre.CodeRefused)
			if f.wrote() != 0 || !strings.Contains(err.Error(), "kubectl rollout resume") {
				t.Errorf("%d writes, %v", f.wrote(), err)
			}
			f.edit(shop, pause(false))
			must(t, l.Apply(t.Context(), directive(a, 5, 2, time.Minute)))
			f.edit(shop, pause(true))
			must(t, l.Apply(t.Context(), directive(a, 5, 3, time.Minute))) // what holds is renewed
			if st := probe(t, l, a); !st.InEffect || !strings.Contains(st.Detail, "paused") {
				t.Errorf("paused since: %+v", st)
			}
			must(t, l.Revert(t.Context(), directive(a, 5, 4, time.Minute)))
			if image := imageOf(t, f); image != "shop:2" {
				t.Errorf("after the revert the image is %s", image)
			}
		})
	}
}
