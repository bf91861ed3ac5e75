package lever

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func TestForeignIsReleased(t *testing.T) {
	for name, pair := range subjects() {
		moves := map[string]func(f *fake){
			"rollback": func(f *fake) {
				f.edit("deployments/web/shop", func(o doc) { o["spec"].(doc)["template"] = podTemplate("shop:9") })
			},
			"scale": func(f *fake) { f.edit("deployments/web/shop", func(o doc) { o["spec"].(doc)["replicas"] = 4 }) },
			"scale_with_hpa": func(f *fake) {
				f.edit("horizontalpodautoscalers/web/shop", func(o doc) { o["spec"].(doc)["minReplicas"] = 4 })
			},
			"drain": func(f *fake) { f.edit("nodes//node-1", func(o doc) { delete(o["spec"].(doc), "unschedulable") }) },
			"breaker": func(f *fake) {
				f.edit("destinationrules/web/shop", func(o doc) {
					o["spec"].(doc)["trafficPolicy"].(doc)["outlierDetection"].(doc)["consecutive5xxErrors"] = 9
				})
			},
			"timeout": func(f *fake) { f.edit("virtualservices/web/shop", func(o doc) { route(o, 0)["timeout"] = "9s" }) },
			"retry_budget": func(f *fake) {
				f.edit("virtualservices/web/shop", func(o doc) { route(o, 1)["retries"] = doc{"attempts": 9} })
			},
		}
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.fill()
			if name == "scale_with_hpa" {
				f.autoscaler()
			}
			l := testLever(t, f)
			must(t, l.Apply(t.Context(), directive(pair[0], 5, 1, time.Minute)))
			moves[name](f)
			held := f.effects()
			if st := probe(t, l, pair[0]); !st.Foreign || st.InEffect || st.Detail == "" {
				t.Errorf("after a foreign write: %+v", st)
			}
			wantCode(t, l.Apply(t.Context(), directive(pair[0], 5, 2, time.Minute)), sre.CodeRefused)
			must(t, l.Revert(t.Context(), directive(pair[0], 5, 3, time.Minute)))
			if diff := cmp.Diff(held, f.effects()); diff != "" {
				t.Errorf("a foreign value was moved:\n%s", diff)
			}
			if st := probe(t, l, pair[0]); st.Owner != "" || st.Foreign {
				t.Errorf("after the release: %+v", st)
			}
		})
	}
}

func route(o doc, i int) doc { return o["spec"].(doc)["http"].([]any)[i].(doc) }

func TestNonsenseIsInvalid(t *testing.T) {
	f := newFake(t)
	f.fill()
	l := testLever(t, f)
	with := func(a sre.Action, change func(*sre.Action)) sre.Action { change(&a); return a }
	scale := action("bad", sre.Scale, sre.Params{"replicas": 5.0})
	for name, a := range map[string]sre.Action{
		"no ID":          with(scale, func(a *sre.Action) { a.ID = "" }),
		"no parameter":   action("bad", sre.Scale, nil),
		"negative":       action("bad", sre.Scale, sre.Params{"replicas": -1.0}),
		"half":           action("bad", sre.Scale, sre.Params{"replicas": 1.5}),
		"text":           action("bad", sre.Scale, sre.Params{"replicas": "5"}),
		"unknown":        action("bad", sre.Scale, sre.Params{"replicas": 5.0, "speed": 1.0}),
		"service":        with(scale, func(a *sre.Action) { a.Target.Service = "bank" }),
		"callee":         with(scale, func(a *sre.Action) { a.Target.Callee = "bank" }),
		"name":           with(scale, func(a *sre.Action) { a.Target.Name = "x" }),
		"node":           with(action("bad", sre.Drain, nil), func(a *sre.Action) { a.Target.Name = "node-9" }),
		"kind":           action("bad", sre.Shed, sre.Params{"rps": 5.0}),
		"empty breaker":  action("bad", sre.Breaker, nil),
		"broken breaker": action("bad", sre.Breaker, sre.Params{"max_connections": 1.5}),
		"server says so": action("bad", sre.Scale, sre.Params{"replicas": 13.0}),
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, l.Apply(t.Context(), directive(a, 9, 1, time.Minute)), sre.CodeInvalid)
			if f.wrote() != 0 {
				t.Error("something was written")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	scale := action("i.a", sre.Scale, sre.Params{"replicas": 5.0})
	for name, c := range map[string]struct {
		action sre.Action
		set    func(*fake)
		words  string
	}{
		"not allowed to read":  {scale, func(f *fake) { f.deny["get deployments"] = true }, "not allowed to get deployments.apps in namespace web"},
		"not allowed to write": {scale, func(f *fake) { f.deny["update deployments"] = true }, "not allowed to update deployments.apps in namespace web"},
		"gone":                 {scale, func(f *fake) { delete(f.objects, "deployments/web/shop") }, "is not there"},
		"out of bounds":        {action("i.a", sre.Scale, sre.Params{"replicas": 21.0}), nil, "may have 1 to 20"},
		"no other revision":    {action("i.a", sre.Rollback, nil), func(f *fake) { delete(f.objects, "replicasets/web/shop-1") }, "only revision"},
		"revision is gone":     {action("i.a", sre.Rollback, sre.Params{"revision": 7.0}), nil, "no revision 7 any more"},
		"note of another hand": {scale, func(f *fake) {
			f.objects["deployments/web/shop"]["metadata"].(doc)["annotations"].(doc)["sreagent.io/scale"] = "{"
		}, "is not ours to read"},
		"controller": {scale, func(f *fake) {
			f.objects["deployments/web/shop"]["metadata"].(doc)["ownerReferences"] = []any{doc{"kind": "Shop", "name": "big", "controller": true, "apiVersion": "x/v1", "uid": "1"}}
		}, "controlled by Shop big"},
		"argo is not there": {scale, func(f *fake) {
			f.objects["deployments/web/shop"]["metadata"].(doc)["labels"].(doc)["argocd.argoproj.io/instance"] = "store"
		}, "applications.argoproj.io argocd/store is not there"},
		"bare pod": {action("i.a", sre.Drain, nil), func(f *fake) {
			delete(f.objects["pods/web/a"]["metadata"].(doc), "ownerReferences")
		}, "cannot be drained"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.fill()
			if c.set != nil {
				f.set(func() { c.set(f) })
			}
			err := testLever(t, f).Apply(t.Context(), directive(c.action, 5, 1, time.Minute))
			wantCode(t, err, sre.CodeRefused)
			if !strings.Contains(err.Error(), c.words) || f.wrote() != 0 {
				t.Errorf("%d writes, error %v; want %q", f.wrote(), err, c.words)
			}
		})
	}
}

// A label that others use too is no owner where Argo CD does not know it.
func TestLabelOfAChartIsNoOwner(t *testing.T) {
	f := newFake(t)
	f.fill()
	f.edit("deployments/web/shop", func(o doc) { o["metadata"].(doc)["labels"].(doc)["app.kubernetes.io/instance"] = "store" })
	a := action("i.a", sre.Scale, sre.Params{"replicas": 5.0})
	l := testLever(t, f)
	must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
	must(t, l.Revert(t.Context(), directive(a, 5, 2, time.Minute)))
}

func TestConflictWithoutEndFails(t *testing.T) {
	f := newFake(t)
	f.fill()
	f.set(func() { f.before = func(_, key string) { f.store(key, clone(f.objects[key])) } })
	err := testLever(t, f).Apply(t.Context(), directive(action("i.a", sre.Scale, sre.Params{"replicas": 5.0}), 5, 1, time.Minute))
	wantCode(t, err, sre.CodeFailed)
	if f.wrote() != 0 {
		t.Error("something was written over somebody else's write")
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	f := newFake(t)
	l := testLever(t, f)
	missing, err := l.Check(t.Context())
	must(t, err)
	if len(missing) != 0 {
		t.Errorf("missing: %v", missing)
	}
	f.set(func() { f.deny["list replicasets"], f.deny["create pods"] = true, true })
	missing, err = l.Check(t.Context())
	must(t, err)
	want := []string{"rollback: not allowed to list replicasets.apps in namespace web", "drain: not allowed to create pods/eviction in the whole cluster"}
	if !slices.Equal(missing, want) {
		t.Errorf("missing is %q, want %q", missing, want)
	}
}

func TestManualNamesTheTarget(t *testing.T) {
	l := testLever(t, newFake(t))
	for _, pair := range subjects() {
		if text := l.Manual(pair[0], sre.Params{"replicas": 3.0}); !strings.HasPrefix(text, "kubectl ") {
			t.Errorf("%s: %q", pair[0].Kind, text)
		}
	}
	if text := l.Manual(sre.Action{ID: "x", Kind: sre.Shed}, nil); text != "" {
		t.Errorf("a command for nothing: %s", text)
	}
}

// The manifests in deploy are those of the table; UPDATE=1 writes them.
func TestManifestsAreOfTheTable(t *testing.T) {
	for _, kind := range append(Kinds(), GitOps) {
		name := filepath.Join("..", "..", "..", "deploy", "kubernetes", strings.ReplaceAll(string(kind), "_", "-")+".yaml")
		want := Manifest(kind, "default")
		if os.Getenv("UPDATE") != "" {
			must(t, os.WriteFile(name, []byte(want), 0o644))
		}
		have, err := os.ReadFile(name)
		must(t, err)
		if diff := cmp.Diff(want, string(have)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestParse(t *testing.T) {
	cfg, err := Parse([]byte("actions: [scale]\nservices:\n  - service: shop\n"))
	must(t, err)
	want := Service{Service: "shop", Namespace: "default", Workload: "deployment/shop", MinReplicas: 1, MaxReplicas: 10}
	if diff := cmp.Diff([]Service{want}, cfg.Services); diff != "" {
		t.Errorf("defaults:\n%s", diff)
	}
	for text, words := range map[string]string{
		"speed: 1":                  "speed",
		"name: ''":                  "name: is empty",
		"timeout: 0s":               "timeout: is 0s",
		"sweep_interval: 0s":        "sweep_interval",
		"actions: [shed]":           "actions[0]: unknown action \"shed\"; allowed: rollback",
		"actions: [drain]":          "nodes: is empty though drain is allowed",
		"services: [{service: ''}]": "services[0].service: is empty",
		"services: [{service: a, workload: pod/a}]":                  "services[0].workload: is \"pod/a\"; allowed: deployment/NAME",
		"services: [{service: a, min_replicas: 5, max_replicas: 2}]": "services[0].max_replicas: 5 to 2",
		"services: [{service: a}, {service: a}]":                     "services[1].service: \"a\" is there twice",
		"{actions: [breaker], services: [{service: a}]}":             "services[0].destination_rule",
		"{actions: [timeout], services: [{service: a}]}":             "services[0].virtual_service",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", text, err, words)
		}
	}
}

func TestDocsShowTheDefaults(t *testing.T) {
	text, err := os.ReadFile("../../../docs/kubernetes.md")
	must(t, err)
	cfg := DefaultConfig()
	for _, want := range []string{
		"name: " + cfg.Name, fmt.Sprint("timeout: ", cfg.Timeout), fmt.Sprint("sweep_interval: ", cfg.SweepInterval),
		fmt.Sprint("pause_gitops: ", cfg.PauseGitOps), "argo_namespace: " + cfg.ArgoNamespace,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/kubernetes.md does not show %q", want)
		}
	}
	for _, spec := range kindSpecs() {
		for _, p := range spec.Params {
			if !strings.Contains(string(text), "`"+p.Name+"`") {
				t.Errorf("docs/kubernetes.md does not name the parameter %s of %s", p.Name, spec.Kind)
			}
		}
	}
}
