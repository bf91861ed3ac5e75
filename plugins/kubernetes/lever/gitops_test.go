package lever

import (
	"errors"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

const store = "applications/argocd/store"

// argo puts an Application in front of the shop that heals itself.
func (f *fake) argo() {
	f.put(store, doc{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": doc{"name": "store", "namespace": "argocd", "labels": doc{}},
		"spec": doc{"syncPolicy": doc{"automated": doc{"selfHeal": true}}},
	})
	f.edit(shop, func(o doc) {
		o["metadata"].(doc)["annotations"].(doc)["argocd.argoproj.io/tracking-id"] = "store:apps/Deployment:web/shop"
	})
}

func (f *fake) automated(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects[key]["spec"].(doc)["syncPolicy"].(doc)["automated"] != nil
}

func scaleTo(n float64) sre.Action { return action("i.a", sre.Scale, sre.Params{"replicas": n}) }

func TestAPauseEndsWithTheActionThatFailed(t *testing.T) {
	f := fakeFor(t, "")
	f.argo()
	f.set(func() {
		f.before = func(_, key string) {
			if key == shop {
				f.store(key, clone(f.objects[key]))
			}
		}
	})
	wantCode(t, testLever(t, f).Apply(t.Context(), directive(scaleTo(5), 5, 1, time.Minute)), sre.CodeFailed)
	if !f.automated(store) {
		t.Error("the Application stays paused though nothing was moved")
	}
}

// The workload is deleted, perhaps for its owner to make it anew, which a paused
// owner does not.
func TestAPauseEndsThoughTheWorkloadIsGone(t *testing.T) {
	for name, end := range map[string]func(*Lever, sre.Directive) error{
		"reverted": func(l *Lever, d sre.Directive) error { d.Seq++; return l.Revert(t.Context(), d) },
		"lapsed":   func(l *Lever, d sre.Directive) error { return l.Sweep(t.Context(), d.Expires) },
	} {
		t.Run(name, func(t *testing.T) {
			f := fakeFor(t, "")
			f.argo()
			l, d := testLever(t, f), directive(scaleTo(5), 5, 1, time.Minute)
			must(t, l.Apply(t.Context(), d))
			if f.automated(store) {
				t.Fatal("not paused: the test cannot fail")
			}
			f.set(func() { delete(f.objects, shop) })
			must(t, end(l, d))
			if !f.automated(store) {
				t.Error("the Application stays paused for ever")
			}
		})
	}
}

func TestWhatIsGoneIsReverted(t *testing.T) {
	for name, pair := range subjects() {
		t.Run(name, func(t *testing.T) {
			f := fakeFor(t, name)
			l := testLever(t, f)
			must(t, l.Apply(t.Context(), directive(pair[0], 5, 1, time.Minute)))
			f.set(func() { clear(f.objects) })
			must(t, l.Revert(t.Context(), directive(pair[0], 5, 2, time.Minute)))
			must(t, l.Sweep(t.Context(), testTime().Add(time.Hour)))
		})
	}
}

func TestAnOwnerThatIsGoneHoldsNothingUp(t *testing.T) {
	f := fakeFor(t, "")
	f.argo()
	start := f.effects()
	l := testLever(t, f)
	must(t, l.Apply(t.Context(), directive(scaleTo(5), 5, 1, time.Minute)))
	f.set(func() { delete(f.objects, store) })
	must(t, l.Revert(t.Context(), directive(scaleTo(5), 5, 2, time.Minute)))
	must(t, l.Sweep(t.Context(), testTime()))
	f.argo()
	if diff := cmp.Diff(start, f.effects()); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

// Argo CD takes no notice of a tracking annotation that names another object,
// as one that was copied does.
func TestATrackingAnnotationOfAnotherObjectIsNoOwner(t *testing.T) {
	for _, id := range []string{"store:apps/Deployment:web/bank", "store:apps/Deployment:bank/shop", "store:apps/StatefulSet:web/shop", "store:x/Deployment:web/shop"} {
		f := fakeFor(t, "")
		f.argo()
		f.edit(shop, func(o doc) { o["metadata"].(doc)["annotations"].(doc)["argocd.argoproj.io/tracking-id"] = id })
		must(t, testLever(t, f).Apply(t.Context(), directive(scaleTo(5), 5, 1, time.Minute)))
		if !f.automated(store) {
			t.Errorf("%s: the Application is paused, which does not keep the shop", id)
		}
	}
}

// An Application is often in Git itself, kept by another that would give it its
// automated policy back.
func TestAPauseThatWouldBeUndoneIsRefused(t *testing.T) {
	const root = "applications/argocd/root"
	policy := func(p doc) func(*fake) {
		return func(f *fake) { f.edit(root, func(o doc) { o["spec"].(doc)["syncPolicy"] = p }) }
	}
	flux := func(owns bool) func(*fake) {
		return func(f *fake) {
			f.put("kustomizations/flux/apps", doc{
				"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": doc{"name": "apps", "namespace": "flux"}, "spec": doc{},
			})
			f.edit(store, func(o doc) {
				m := o["metadata"].(doc)
				m["annotations"], m["labels"] = doc{}, doc{"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux"}
				if owns {
					m["managedFields"] = []any{doc{
						"manager": "kustomize-controller", "operation": "Apply", "fieldsType": "FieldsV1",
						"fieldsV1": doc{"f:spec": doc{"f:syncPolicy": doc{"f:automated": doc{"f:selfHeal": doc{}}}}},
					}}
				}
			})
		}
	}
	for name, c := range map[string]struct {
		set     func(*fake)
		refused string
	}{
		"heals itself":           {policy(doc{"automated": doc{"selfHeal": true}}), "kept by applications.argoproj.io argocd/root"},
		"is paused":              {policy(doc{}), ""},
		"is switched off":        {policy(doc{"automated": doc{"selfHeal": true, "enabled": false}}), ""},
		"syncs new commits only": {policy(doc{"automated": doc{}}), ""},
		"is not there":           {func(f *fake) { f.set(func() { delete(f.objects, root) }) }, ""},
		"ignores the policy": {func(f *fake) {
			f.edit(root, func(o doc) {
				o["spec"].(doc)["ignoreDifferences"] = []any{doc{"group": "argoproj.io", "kind": "Application", "jsonPointers": []any{"/spec/syncPolicy/automated"}}}
			})
		}, ""},
		"Flux keeps the field":        {flux(true), "kept by kustomizations.kustomize.toolkit.fluxcd.io flux/apps"},
		"Flux leaves the field alone": {flux(false), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := fakeFor(t, "")
			f.argo()
			f.put(root, doc{
				"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": doc{"name": "root", "namespace": "argocd"},
				"spec": doc{"syncPolicy": doc{"automated": doc{"selfHeal": true}}},
			})
			f.edit(store, func(o doc) {
				o["metadata"].(doc)["annotations"] = doc{"argocd.argoproj.io/tracking-id": "root:argoproj.io/Application:argocd/store"}
			})
			c.set(f)
			err := testLever(t, f).Apply(t.Context(), directive(scaleTo(5), 5, 1, time.Minute))
			if c.refused == "" {
				must(t, err)
				return
			}
			wantCode(t, err, sre.CodeRefused)
			if !strings.Contains(err.Error(), c.refused) || f.wrote() != 0 {
				t.Errorf("%d writes, %v", f.wrote(), err)
			}
		})
	}
}

func TestCheckNamesTheRightsToPause(t *testing.T) {
	f := newFake(t)
	f.set(func() { f.deny["update applications"] = true })
	missing, err := testLever(t, f).Check(t.Context())
	must(t, err)
	if want := "gitops: not allowed to update applications.argoproj.io in the whole cluster"; len(missing) != 1 || missing[0] != want {
		t.Errorf("missing is %q, want %q", missing, want)
	}
	missing, err = leverWith(t, f, func(c *Config) { c.PauseGitOps = false }).Check(t.Context())
	must(t, err)
	if len(missing) != 0 {
		t.Errorf("without pauses %q is missing", missing)
	}
}

// Nothing of ours is left on an owner that goes on.
func TestAnOwnerThatGoesOnIsAsItWas(t *testing.T) {
	f := fakeFor(t, "")
	f.argo()
	notes := func() doc {
		f.mu.Lock()
		defer f.mu.Unlock()
		m := clone(f.objects[store])["metadata"].(doc)
		labels, _ := m["labels"].(doc)
		annotations, _ := m["annotations"].(doc)
		out := maps.Clone(labels)
		maps.Copy(out, annotations)
		return out
	}
	before := notes()
	l := testLever(t, f)
	must(t, l.Apply(t.Context(), directive(scaleTo(5), 5, 1, time.Minute)))
	if len(notes()) == 0 {
		t.Fatal("no mark of the pause: the test cannot fail")
	}
	must(t, l.Revert(t.Context(), directive(scaleTo(5), 5, 2, time.Minute)))
	if diff := cmp.Diff(before, notes()); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
}

// leaving is an API server that is gone once the pause is written.
type leaving struct {
	http.RoundTripper
	gone *atomic.Bool
}

func (l leaving) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/deployments/shop") && r.URL.Query().Get("dryRun") == "" {
		l.gone.Store(true)
	}
	if l.gone.Load() {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	return l.RoundTripper.RoundTrip(r)
}

func TestAServerThatGoesInTheMiddleLeavesAPauseThatLapses(t *testing.T) {
	f := fakeFor(t, "")
	f.argo()
	start := f.effects()
	var gone atomic.Bool
	as := f.config()
	as.WrapTransport = func(inner http.RoundTripper) http.RoundTripper { return leaving{inner, &gone} }
	l, err := New(testConfig(), as, Options{Now: f.time})
	must(t, err)
	d := directive(scaleTo(5), 5, 1, time.Minute)
	err = l.Apply(t.Context(), d)
	wantCode(t, err, sre.CodeUnknown)
	if !strings.Contains(err.Error(), "stays paused until 2026-11-22T12:01:00Z") {
		t.Errorf("the pause that is left is not told: %v", err)
	}
	gone.Store(false)
	if st := probe(t, l, d.Action); st.InEffect || st.Owner != "" || f.automated(store) {
		t.Errorf("after the server is back: %+v", st)
	}
	must(t, l.Sweep(t.Context(), d.Expires))
	if diff := cmp.Diff(start, f.effects()); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}
