package world

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// subject is one action of one lever, and where it shows in the model.
type subject struct {
	lever  func(*World) sre.Remediator
	action sre.Action
	params sre.Params // of another action on the same knob
	read   func(*fluid.Model) any
	moved  any           // what read gives while the action holds
	delay  time.Duration // until it does
}

func guardAction(kind sre.ActionKind, service, callee, name string, p sre.Params) sre.Action {
	return sre.Action{ID: "a1", Kind: kind, Target: sre.Target{Lever: guardName, Service: service, Callee: callee, Name: name}, Params: p, TTL: time.Minute}
}

func platformAction(kind sre.ActionKind, service, callee string, p sre.Params) sre.Action {
	a := guardAction(kind, service, callee, "", p)
	a.Target.Lever = platformName
	return a
}

func subjects() map[string]subject {
	guard, platform := (*World).Lever, (*World).Platform
	return map[string]subject{
		"guard/shed": {
			guard, guardAction(sre.Shed, "cart", "", "", sre.Params{"rps": 50, "low": 5.}), sre.Params{"rps": 60.},
			func(m *fluid.Model) any { return fmt.Sprint(m.Control(cart).Cap, m.Control(cart).ClassCap) }, "50 [+Inf +Inf +Inf 5]", 0,
		},
		"guard/retry_budget": {
			guard, guardAction(sre.RetryBudget, "gateway", "cart", "", sre.Params{"ratio": .1}), sre.Params{"ratio": .2},
			func(m *fluid.Model) any { return m.EdgeControl(0).Budget }, .1, 0,
		},
		"guard/retry_budget to all": {
			guard, guardAction(sre.RetryBudget, "gateway", "", "", sre.Params{"ratio": .1}), sre.Params{"ratio": .2},
			func(m *fluid.Model) any { return fmt.Sprint(m.EdgeControl(0).Budget, m.EdgeControl(2).Budget) }, "0.1 0.1", 0,
		},
		"guard/queue_bound": {
			guard, guardAction(sre.QueueBound, "cart", "", "", sre.Params{"length": 40.}), sre.Params{"length": 60.},
			func(m *fluid.Model) any { return m.Control(cart).QueueBound }, 40., 0,
		},
		"guard/breaker": {
			guard, guardAction(sre.Breaker, "cart", "db", "", sre.Params{"failure_ratio": .5}), sre.Params{"failure_ratio": .6},
			func(m *fluid.Model) any { return fmt.Sprint(m.EdgeControl(1).Breaker) }, "{0.5 20 0 5s}", 0,
		},
		"guard/timeout": {
			guard, guardAction(sre.Timeout, "cart", "db", "", sre.Params{"seconds": .123456789}), sre.Params{"seconds": .2},
			func(m *fluid.Model) any { return m.EdgeControl(1).Timeout }, 123456789 * time.Nanosecond, 0,
		},
		"guard/timeout of the handler": {
			guard, guardAction(sre.Timeout, "gateway", "", "", sre.Params{"seconds": .5}), sre.Params{"seconds": .6},
			func(m *fluid.Model) any { return fmt.Sprint(m.EdgeControl(0).Timeout, m.EdgeControl(2).Timeout) }, "500ms 200ms", 0,
		},
		"guard/kill_switch": {
			guard, guardAction(sre.KillSwitch, "gateway", "", "ads", sre.Params{"percent": 100.}), sre.Params{"percent": 50.},
			func(m *fluid.Model) any { return fmt.Sprint(m.Control(gateway).Killed, m.Control(gateway).KilledPart) }, "[ads] 1", 0,
		},
		"platform/scale": {
			platform, platformAction(sre.Scale, "db", "", sre.Params{"replicas": 3.}), sre.Params{"replicas": 4.},
			func(m *fluid.Model) any { return m.Control(db).Replicas }, 3, 0,
		},
		"platform/rollback": {
			platform, platformAction(sre.Rollback, "db", "", nil), nil,
			func(m *fluid.Model) any { return m.Control(db).RolledBack }, true, 20 * time.Second,
		},
		"platform/drain": {
			platform, platformAction(sre.Drain, "cart", "", nil), sre.Params{"replicas": 2.},
			func(m *fluid.Model) any { return m.Control(cart).Drained }, 1, 0,
		},
		"platform/traffic_shift": {
			platform, platformAction(sre.TrafficShift, "cart", "db", sre.Params{"weight": .25}), sre.Params{"weight": .5},
			func(m *fluid.Model) any { return m.EdgeControl(1).Weight }, .25, 0,
		},
	}
}

// bench is a world with a subject's lever.
type bench struct {
	subject
	w        *World
	lever    sre.Remediator
	spec     sre.KindSpec
	untouch  any // what read gives where no lever was moved
	now      time.Duration
	sequence uint64
}

func (b *bench) directive(a sre.Action, epoch uint64) sre.Directive {
	b.sequence++
	return sre.Directive{Action: a, Epoch: epoch, Seq: b.sequence, Expires: after(b.now + time.Minute)}
}

func (b *bench) other() sre.Action {
	o := b.action
	o.ID, o.Params = "a2", b.params
	return o
}

func (b *bench) apply(t *testing.T, a sre.Action) {
	t.Helper()
	if err := b.lever.Apply(context.Background(), b.directive(a, 1)); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) revert(t *testing.T, a sre.Action) {
	t.Helper()
	if err := b.lever.Revert(context.Background(), b.directive(a, 1)); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) probe(t *testing.T, a sre.Action) sre.TargetState {
	t.Helper()
	st, err := b.lever.Probe(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (b *bench) pass(d time.Duration) {
	b.now += d
	b.w.AdvanceTo(after(b.now))
}

func (b *bench) want(t *testing.T, want any) {
	t.Helper()
	if got := b.read(b.w.Model()); got != want {
		t.Errorf("at %s the model has %v, want %v", b.now, got, want)
	}
}

// allSteps is long enough for every return to its default.
const allSteps = DefaultReturnSteps * DefaultReturnEvery

// conformance is what every kind of every lever must do.
var conformance = map[string]func(*testing.T, *bench){
	"moves what it says": func(t *testing.T, b *bench) {
		b.want(t, b.untouch)
		b.apply(t, b.action)
		if b.delay > 0 {
			b.want(t, b.untouch)
		}
		b.pass(b.delay)
		b.want(t, b.moved)
	},
	"apply is idempotent": func(t *testing.T, b *bench) {
		b.apply(t, b.action)
		first := b.probe(t, b.action)
		if err := b.lever.Apply(context.Background(), sre.Directive{Action: b.action, Epoch: 1, Seq: b.sequence, Expires: after(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, b.probe(t, b.action)); diff != "" {
			t.Errorf("applied twice (-once +twice):\n%s", diff)
		}
		b.pass(b.delay)
		b.want(t, b.moved)
	},
	"renewal extends the expiry": func(t *testing.T, b *bench) {
		b.apply(t, b.action)
		b.pass(50 * time.Second)
		b.apply(t, b.action)
		b.pass(50 * time.Second)
		b.want(t, b.moved)
		if st := b.probe(t, b.action); !st.InEffect {
			t.Errorf("not in effect after a renewal: %+v", st)
		}
	},
	"a lease lapses by itself": func(t *testing.T, b *bench) {
		b.apply(t, b.action)
		b.pass(time.Minute)
		st := b.probe(t, b.action)
		if st.InEffect == b.spec.TTL {
			t.Errorf("in effect past the expiry is %t, the kind lapses: %t", st.InEffect, b.spec.TTL)
		}
		b.pass(allSteps)
		if !b.spec.TTL {
			b.want(t, b.moved)
			return
		}
		b.want(t, b.untouch)
	},
	"revert restores": func(t *testing.T, b *bench) {
		before := b.probe(t, b.action)
		b.apply(t, b.action)
		b.pass(b.delay)
		b.revert(t, b.action)
		if st := b.probe(t, b.action); st.InEffect || st.Foreign {
			t.Errorf("after the revert: %+v", st)
		}
		b.pass(allSteps)
		b.want(t, b.untouch)
		st := b.probe(t, b.action)
		st.Epoch = before.Epoch
		if diff := cmp.Diff(before, st); diff != "" {
			t.Errorf("state after the revert (-before +after):\n%s", diff)
		}
	},
	"revert twice is fine": func(t *testing.T, b *bench) {
		b.apply(t, b.action)
		b.revert(t, b.action)
		b.revert(t, b.action)
		b.pass(allSteps)
		b.revert(t, b.action)
		b.want(t, b.untouch)
	},
	"revert of nothing is fine and fences": func(t *testing.T, b *bench) {
		late := b.directive(b.action, 1)
		b.revert(t, b.action)
		if code := sre.CodeOf(b.lever.Apply(context.Background(), late)); code != sre.CodeRefused {
			t.Errorf("a write that was reverted before it came has code %q, want refused", code)
		}
		b.want(t, b.untouch)
	},
	"revert leaves other actions": func(t *testing.T, b *bench) {
		b.apply(t, b.action)
		b.pass(b.delay)
		b.revert(t, b.other())
		b.want(t, b.moved)
		if st := b.probe(t, b.action); !st.InEffect {
			t.Errorf("not in effect: %+v", st)
		}
	},
	"takeover is seen as foreign": func(t *testing.T, b *bench) {
		b.apply(t, b.other())
		b.apply(t, b.action)
		if st := b.probe(t, b.other()); st.InEffect || !st.Foreign || st.Owner != "a1" {
			t.Errorf("probe of the one that was replaced: %+v", st)
		}
		b.revert(t, b.other())
		if st := b.probe(t, b.action); !st.InEffect {
			t.Errorf("the revert of a replaced action took the new one: %+v", st)
		}
	},
	"stale epoch is refused": func(t *testing.T, b *bench) {
		d := b.directive(b.action, 5)
		if err := b.lever.Apply(context.Background(), d); err != nil {
			t.Fatal(err)
		}
		for what, try := range map[string]func(context.Context, sre.Directive) error{"apply": b.lever.Apply, "revert": b.lever.Revert} {
			if code := sre.CodeOf(try(context.Background(), b.directive(b.action, 4))); code != sre.CodeRefused {
				t.Errorf("%s in an old epoch has code %q", what, code)
			}
		}
		if st := b.probe(t, b.action); st.Epoch != 5 || !st.InEffect {
			t.Errorf("after refusals: %+v", st)
		}
	},
	"stale sequence is refused": func(t *testing.T, b *bench) {
		old := b.directive(b.other(), 1)
		b.apply(t, b.action)
		if code := sre.CodeOf(b.lever.Apply(context.Background(), old)); code != sre.CodeRefused {
			t.Errorf("an older write has code %q", code)
		}
		b.pass(b.delay)
		b.want(t, b.moved)
	},
	"a late call touches nothing": func(t *testing.T, b *bench) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if code := sre.CodeOf(b.lever.Apply(ctx, b.directive(b.action, 1))); code != sre.CodeFailed {
			t.Errorf("code %q, want failed", code)
		}
		b.pass(b.delay)
		b.want(t, b.untouch)
	},
	"a probe touches nothing": func(t *testing.T, b *bench) {
		before := b.probe(t, b.action)
		if before.InEffect || before.Foreign || before.Owner != "" {
			t.Errorf("untouched: %+v", before)
		}
		b.want(t, b.untouch)
		b.apply(t, b.action)
		first := b.probe(t, b.action)
		if !first.InEffect || first.Owner != b.action.ID || first.Epoch != 1 || first.Expires.IsZero() == b.spec.TTL {
			t.Errorf("in effect: %+v", first)
		}
		if diff := cmp.Diff(first, b.probe(t, b.action)); diff != "" {
			t.Errorf("second probe differs:\n%s", diff)
		}
	},
	"a change beside the lever is seen": func(t *testing.T, b *bench) {
		b.apply(t, b.action)
		b.pass(b.delay)
		m := b.w.Model()
		for i := range m.Blueprint().Services {
			m.SetControl(i, m.DefaultControl(i))
		}
		for e := range m.Blueprint().Edges {
			m.SetEdgeControl(e, m.DefaultEdgeControl(e))
		}
		if st := b.probe(t, b.action); st.InEffect || !st.Foreign {
			t.Errorf("probe after somebody else moved it: %+v", st)
		}
	},
	"a directive that lapses has an expiry": func(t *testing.T, b *bench) {
		d := b.directive(b.action, 1)
		for what, at := range map[string]time.Time{"none": {}, "past": start, "too far": start.Add(25 * time.Hour)} {
			d.Expires = at
			code := sre.CodeOf(b.lever.Apply(context.Background(), d))
			if b.spec.TTL != (code == sre.CodeInvalid) {
				t.Errorf("expiry %s: code %q, the kind lapses: %t", what, code, b.spec.TTL)
			}
		}
	},
	"nonsense is invalid": func(t *testing.T, b *bench) {
		bad := map[string]func(*sre.Action){
			"kind":      func(a *sre.Action) { a.Kind = "dance" },
			"service":   func(a *sre.Action) { a.Target.Service = "nobody" },
			"callee":    func(a *sre.Action) { a.Target.Callee = "gateway" },
			"id":        func(a *sre.Action) { a.ID = "" },
			"name":      func(a *sre.Action) { a.Target.Name = map[bool]string{true: "", false: "x"}[a.Target.Name != ""] },
			"parameter": func(a *sre.Action) { a.Params = sre.Params{"volume": 11.} },
		}
		for name := range b.action.Params {
			bad["negative "+name] = func(a *sre.Action) { a.Params = sre.Params{name: -1.} }
			bad["text for "+name] = func(a *sre.Action) { a.Params = sre.Params{name: "much"} }
			if slices.Contains(whole, name) {
				bad["broken "+name] = func(a *sre.Action) { a.Params = sre.Params{name: 1.5} }
			}
		}
		for what, spoil := range bad {
			a := b.action
			spoil(&a)
			if code := sre.CodeOf(b.lever.Apply(context.Background(), b.directive(a, 1))); code != sre.CodeInvalid {
				t.Errorf("a wrong %s has code %q, want invalid", what, code)
			}
		}
		b.pass(b.delay)
		b.want(t, b.untouch)
	},
	"describe is stable": func(t *testing.T, b *bench) {
		first, err := b.lever.Describe(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := first.Kind(b.action.Kind); !ok || first.Name != b.action.Target.Lever || !slices.Contains(first.Targets, b.action.Target.Service) {
			t.Errorf("described as %+v", first)
		}
		b.apply(t, b.action)
		second, _ := b.lever.Describe(context.Background())
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("described differently:\n%s", diff)
		}
	},
	"lost answers are unknown, and done": func(t *testing.T, b *bench) {
		b.w.o.LoseAnswers = 1
		if code := sre.CodeOf(b.lever.Apply(context.Background(), b.directive(b.action, 1))); code != sre.CodeUnknown {
			t.Errorf("code %q, want unknown", code)
		}
		if st := b.probe(t, b.action); !st.InEffect {
			t.Errorf("not done: %+v", st)
		}
	},
}

func TestConformance(t *testing.T) {
	for name, s := range subjects() {
		t.Run(name, func(t *testing.T) {
			for label, run := range conformance {
				t.Run(label, func(t *testing.T) {
					w := newWorld(t, shop(), nil)
					lever := s.lever(w)
					c, err := lever.Describe(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					spec, _ := c.Kind(s.action.Kind)
					run(t, &bench{subject: s, w: w, lever: lever, spec: spec, untouch: s.read(w.Model())})
				})
			}
		})
	}
}
