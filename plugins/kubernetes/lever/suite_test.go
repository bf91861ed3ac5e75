package lever

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Timeout = model.Duration(time.Hour)
	cfg.Actions = Kinds()
	cfg.Nodes = []string{"node-1"}
	cfg.Services = []Service{{
		Service: "shop", Namespace: "web", Workload: "deployment/shop", MinReplicas: 1, MaxReplicas: 20,
		DestinationRule: "shop", VirtualService: "shop",
	}}
	return cfg
}

func testLever(t *testing.T, f *fake) *Lever {
	t.Helper()
	return leverWith(t, f, func(*Config) {})
}

func leverWith(t *testing.T, f *fake, change func(*Config)) *Lever {
	t.Helper()
	cfg := testConfig()
	change(&cfg)
	l, err := New(cfg, f.config(), Options{Now: f.time})
	must(t, err)
	return l
}

func action(id string, kind sre.ActionKind, p sre.Params) sre.Action {
	a := sre.Action{ID: id, Kind: kind, TTL: time.Minute, Target: sre.Target{Lever: "kubernetes", Service: "shop"}, Params: p}
	if kind == sre.Drain {
		a.Target.Name = "node-1"
	}
	return a
}

func directive(a sre.Action, epoch, seq uint64, ttl time.Duration) sre.Directive {
	return sre.Directive{Action: a, Epoch: epoch, Seq: seq, Expires: testTime().Add(ttl)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, want sre.Code) {
	t.Helper()
	if got := sre.CodeOf(err); got != want {
		t.Fatalf("code is %q, want %q: %v", got, want, err)
	}
}

func probe(t *testing.T, l *Lever, a sre.Action) sre.TargetState {
	t.Helper()
	st, err := l.Probe(t.Context(), a)
	must(t, err)
	return st
}

// subjects are the actions that the suite runs on: one, and another with its
// own ID and, where there is something to set, other values.
func subjects() map[string][2]sre.Action {
	pair := func(kind sre.ActionKind, a, b sre.Params) [2]sre.Action {
		return [2]sre.Action{action("inc-1.a", kind, a), action("inc-1.b", kind, b)}
	}
	return map[string][2]sre.Action{
		"rollback":       pair(sre.Rollback, sre.Params{"revision": 1.0}, sre.Params{"revision": 2.0}),
		"scale":          pair(sre.Scale, sre.Params{"replicas": 5.0}, sre.Params{"replicas": 7}),
		"drain":          pair(sre.Drain, nil, nil),
		"breaker":        pair(sre.Breaker, sre.Params{"consecutive": 3.0, "open_seconds": 30.0, "max_connections": 50.0}, sre.Params{"consecutive": 4.0}),
		"timeout":        pair(sre.Timeout, sre.Params{"seconds": .5}, sre.Params{"seconds": 2.0}),
		"retry_budget":   pair(sre.RetryBudget, sre.Params{"ratio": 1.0}, sre.Params{"ratio": 0.0}),
		"scale_with_hpa": pair(sre.Scale, sre.Params{"replicas": 5.0}, sre.Params{"replicas": 7}),
	}
}

func fakeFor(t *testing.T, name string) *fake {
	t.Helper()
	f := newFake(t)
	f.fill()
	if name == "scale_with_hpa" {
		f.autoscaler()
	}
	return f
}

// TestSuite is what the kit cannot know: other writers of the object, and the
// sweep, of this instance or another.
func TestSuite(t *testing.T) {
	cases := map[string]func(*testing.T, *fake, *Lever, sre.Action, sre.Action){
		"a conflict is decided anew": func(t *testing.T, f *fake, l *Lever, a, _ sre.Action) {
			once := true
			f.set(func() {
				f.before = func(_, key string) {
					if o := f.objects[key]; once {
						once = false
						f.store(key, clone(o))
					}
				}
			})
			must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
			if once || !probe(t, l, a).InEffect {
				t.Error("not in effect after a conflict")
			}
		},
		"a takeover goes back to the first state": func(t *testing.T, f *fake, l *Lever, a, b sre.Action) {
			start := f.effects()
			must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
			must(t, l.Apply(t.Context(), directive(b, 5, 2, time.Minute)))
			must(t, l.Revert(t.Context(), directive(b, 5, 3, time.Minute)))
			if diff := cmp.Diff(start, f.effects()); diff != "" {
				t.Errorf("not what it was:\n%s", diff)
			}
		},
		"a stale writer is refused after the revert, too": func(t *testing.T, _ *fake, l *Lever, a, _ sre.Action) {
			must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
			must(t, l.Revert(t.Context(), directive(a, 5, 2, time.Minute)))
			wantCode(t, l.Apply(t.Context(), directive(a, 4, 9, time.Minute)), sre.CodeRefused)
		},
		"what has lapsed is swept by another lever, and not before": func(t *testing.T, f *fake, l *Lever, a, _ sre.Action) {
			start := f.effects()
			must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
			l = testLever(t, f)
			must(t, l.Sweep(t.Context(), testTime().Add(time.Minute-1)))
			if !probe(t, l, a).InEffect {
				t.Error("swept before its time")
			}
			must(t, l.Sweep(t.Context(), testTime().Add(time.Minute)))
			if diff := cmp.Diff(start, f.effects()); diff != "" {
				t.Errorf("not what it was:\n%s", diff)
			}
		},
	}
	for name, pair := range subjects() {
		for label, run := range cases {
			t.Run(name+"/"+label, func(t *testing.T) {
				f := fakeFor(t, name)
				run(t, f, testLever(t, f), pair[0], pair[1])
			})
		}
	}
}
