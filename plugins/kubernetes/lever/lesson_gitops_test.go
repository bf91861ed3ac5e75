package lever

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// keeper is a GitOps object that would undo a move of the shop.
type keeper struct {
	name   string
	at     string
	put    func(f *fake)
	paused func(f *fake) bool
}

func flux(kind, group, at string) keeper {
	k := keeper{name: "Flux " + kind, at: at}
	k.put = func(f *fake) {
		f.put(at, doc{"apiVersion": group + "/v1", "kind": kind, "metadata": doc{"name": "apps", "namespace": "flux", "labels": doc{}}, "spec": doc{}})
		f.edit(shop, func(o doc) {
			o["metadata"].(doc)["labels"] = doc{group + "/name": "apps", group + "/namespace": "flux"}
		})
	}
	k.paused = func(f *fake) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.objects[at]["spec"].(doc)["suspend"] == true
	}
	return k
}

func keepers() []keeper {
	return []keeper{
		{"Argo CD", store, (*fake).argo, func(f *fake) bool { return !f.automated(store) }},
		flux("Kustomization", "kustomize.toolkit.fluxcd.io", "kustomizations/flux/apps"),
		flux("HelmRelease", "helm.toolkit.fluxcd.io", "helmreleases/flux/apps"),
	}
}

// Who keeps a workload in Git is known before it is moved, is paused with a
// lease before anything is written and let go with the action, however that
// ends; where that may not or cannot be, the workload is not moved; and all of it
// is said to the audit.
func TestLesson12TheOwnerInGitIsRespected(t *testing.T) {
	for _, k := range keepers() {
		t.Run(k.name, func(t *testing.T) {
			ends := map[string]func(*Lever, sre.Directive) error{
				"reverted": func(l *Lever, d sre.Directive) error { d.Seq++; return l.Revert(t.Context(), d) },
				"lapsed":   func(l *Lever, d sre.Directive) error { return l.Sweep(t.Context(), d.Expires) },
			}
			for name, end := range ends {
				f := fakeFor(t, "")
				k.put(f)
				start, order := f.effects(), []string{}
				f.set(func() { f.before = func(_, key string) { order = append(order, key) } })
				l, d := testLever(t, f), directive(scaleTo(5), 5, 1, time.Minute)
				if st := probe(t, l, d.Action); !strings.Contains(st.Detail, "kept by ") {
					t.Errorf("before it is moved nothing is said of its owner: %q", st.Detail)
				}
				must(t, l.Apply(t.Context(), d))
				if !k.paused(f) || slices.Index(order, k.at) != 0 || !slices.Contains(order, shop) {
					t.Fatalf("paused %t, written in the order %v", k.paused(f), order)
				}
				if st := probe(t, l, d.Action); !strings.Contains(st.Detail, "paused by sreagent until "+d.Expires.UTC().Format(time.RFC3339)) {
					t.Errorf("in force nothing is said of its owner: %q", st.Detail)
				}
				must(t, end(l, d))
				if diff := cmp.Diff(start, f.effects()); diff != "" {
					t.Errorf("%s: not what it was:\n%s", name, diff)
				}
			}
		})
		t.Run(k.name+" may not be paused", func(t *testing.T) {
			f := fakeFor(t, "")
			k.put(f)
			l := leverWith(t, f, func(c *Config) { c.PauseGitOps = false })
			wantCode(t, l.Apply(t.Context(), directive(scaleTo(5), 5, 1, time.Minute)), sre.CodeRefused)
			if f.wrote() != 0 {
				t.Errorf("%d writes beside an owner that would undo them", f.wrote())
			}
		})
	}
	t.Run("an owner that cannot be paused", func(t *testing.T) {
		f := fakeFor(t, "")
		f.edit(shop, func(o doc) {
			o["metadata"].(doc)["ownerReferences"] = []any{doc{"apiVersion": "x/v1", "kind": "Rollout", "name": "shop", "uid": "u", "controller": true}}
		})
		wantCode(t, testLever(t, f).Apply(t.Context(), directive(scaleTo(5), 5, 1, time.Minute)), sre.CodeRefused)
		if f.wrote() != 0 {
			t.Errorf("%d writes", f.wrote())
		}
	})
}
