package lever

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

const (
	rule   = "destinationrules/web/shop"
	routes = "virtualservices/web/shop"
)

// One minute has many spellings. Going back to another one than was there is a
// change to whoever compares with Git.
func TestADurationGoesBackToItsSpelling(t *testing.T) {
	for name, a := range map[string]sre.Action{
		"breaker":      action("i.a", sre.Breaker, sre.Params{"open_seconds": 30.0, "consecutive": 3.0}),
		"breaker, too": action("i.a", sre.Breaker, sre.Params{"open_seconds": 180.0, "interval_seconds": 5.0}),
		"timeout":      action("i.a", sre.Timeout, sre.Params{"seconds": 2.0}),
		"same timeout": action("i.a", sre.Timeout, sre.Params{"seconds": 60.0}),
	} {
		t.Run(name, func(t *testing.T) {
			f := fakeFor(t, "")
			f.edit(rule, func(o doc) {
				o["spec"].(doc)["trafficPolicy"] = doc{"outlierDetection": doc{"baseEjectionTime": "3m", "interval": "1m"}}
			})
			f.edit(routes, func(o doc) { route(o, 0)["timeout"] = "1m" })
			start := f.effects()
			l := testLever(t, f)
			must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
			must(t, l.Apply(t.Context(), directive(a, 5, 2, time.Minute)))
			if st := probe(t, l, a); !st.InEffect || st.Foreign {
				t.Errorf("in effect: %+v", st)
			}
			must(t, l.Revert(t.Context(), directive(a, 5, 3, time.Minute)))
			if diff := cmp.Diff(start, f.effects()); diff != "" {
				t.Errorf("not what it was:\n%s", diff)
			}
		})
	}
}

// Each route goes back to its own value, so a list in another order is not the
// one that was read.
func TestRoutesInAnotherOrderAreReleased(t *testing.T) {
	f := fakeFor(t, "")
	l, a := testLever(t, f), action("i.a", sre.Timeout, sre.Params{"seconds": 2.0})
	must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
	f.edit(routes, func(o doc) {
		list := o["spec"].(doc)["http"].([]any)
		list[0], list[1] = list[1], list[0]
	})
	held := f.effects()
	if st := probe(t, l, a); !st.Foreign {
		t.Errorf("with other routes: %+v", st)
	}
	must(t, l.Revert(t.Context(), directive(a, 5, 2, time.Minute)))
	if diff := cmp.Diff(held, f.effects()); diff != "" {
		t.Errorf("a route was given the value of another:\n%s", diff)
	}
}

// A canary moves its weights while a timeout is in force: that is no concern of
// ours, and is not taken back.
func TestWeightsMayMove(t *testing.T) {
	f := fakeFor(t, "")
	l, a := testLever(t, f), action("i.a", sre.Timeout, sre.Params{"seconds": 2.0})
	must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
	weigh := func(n float64) {
		f.edit(routes, func(o doc) { route(o, 0)["route"].([]any)[0].(doc)["weight"] = n })
	}
	weigh(10)
	if st := probe(t, l, a); !st.InEffect || st.Foreign {
		t.Errorf("after a canary's step: %+v", st)
	}
	must(t, l.Revert(t.Context(), directive(a, 5, 2, time.Minute)))
	f.mu.Lock()
	defer f.mu.Unlock()
	first := route(f.objects[routes], 0)
	if first["timeout"] != "3s" || first["route"].([]any)[0].(doc)["weight"] != 10.0 {
		t.Errorf("after the revert: %v", first)
	}
}
