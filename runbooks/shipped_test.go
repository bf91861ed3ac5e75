package runbooks

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// platformLever is a capability with what a platform can do.
func platformLever() sre.Capability {
	return sre.Capability{Name: "platform", Version: "1", Kinds: []sre.KindSpec{
		{Kind: sre.Rollback, Reversible: true},
		{Kind: sre.Scale, Reversible: true, Params: []sre.ParamSpec{{Name: "replicas", Type: "number", Required: true, Min: 0, Max: 1e5}}},
	}}
}

// troubled is the shop with all of its services failing, late and full.
func troubled(mechanism sre.Mechanism) *shop {
	s := newShop(mechanism)
	for _, service := range []string{"web", "cart", "stock"} {
		s.set(service, "queue", 900).set(service, "errors", 0.95).set(service, "latency", 4).set(service, "pool", 1)
	}
	return s
}

func (s *shop) calm() *shop {
	for _, service := range []string{"web", "cart", "stock"} {
		s.set(service, "queue", 4).set(service, "errors", 0.001).set(service, "latency", 0.02).set(service, "pool", 0.3)
	}
	return s
}

// changed makes the first hypothesis suspect a change at the root.
func (s *shop) changed(kind sre.ChangeKind) *shop {
	s.diag.Hypotheses[0].Change = &sre.Change{ID: "v2", Service: "stock", Kind: kind, At: at.Add(-2 * time.Minute)}
	return s
}

// Every shipped runbook is chosen where it should be, its checks fail while the
// trouble lasts and hold when it is over, and its relapse does the reverse.
func TestEachShippedRunbookFollowsItsTrouble(t *testing.T) {
	at := func(root string, s *shop) *shop { s.diag.Hypotheses[0].Service = root; return s }
	cases := map[string]*shop{
		"retry-storm": troubled(sre.RetryStorm), "entry-storm": at("web", troubled(sre.RetryStorm)),
		"overload": troubled(sre.Overload), "flash-crowd": at("web", troubled(sre.Overload)),
		"slow-dependency": troubled(sre.SlowDependency), "oscillation": troubled(sre.Oscillation),
		"pool-exhaustion": troubled(sre.PoolExhaustion), "leaking-deploy": troubled(sre.PoolExhaustion).changed(sre.Deploy),
		"capacity-decay": troubled(sre.CapacityDecay), "cache-loss": troubled(sre.CacheLoss),
		"survivor-overload": troubled(sre.SurvivorOverload), "timeout-inversion": troubled(sre.TimeoutInversion),
		"bad-deploy": troubled(sre.BadChange).changed(sre.Deploy), "bad-config": troubled(sre.BadChange).changed(sre.ConfigEdit),
		"bad-flag": troubled(sre.BadChange).changed(sre.Flag),
	}
	l := shipped(t)
	for name, s := range cases {
		facts := func() Facts {
			f := s.facts()
			f.Levers = []sre.Capability{guardLever(), platformLever()}
			return f
		}
		plan, rejected := without(l, "fleet-storm").Match(facts())
		if plan == nil || plan.Runbook != name {
			t.Errorf("%s: got plan %v, rejected %v", name, plan, rejected)
			continue
		}
		judge := func(when string, c sre.Check, want sre.Verdict) {
			t.Helper()
			f := facts()
			f.Cause = plan.Cause
			if got, text := l.Evaluate(c, f); got != want {
				t.Errorf("%s, %s: %s: got %q (%s), want %q", name, when, c.Expr, got, text, want)
			}
		}
		for _, st := range plan.Steps {
			judge("in trouble", st.Verify, sre.Fail)
		}
		judge("in trouble", plan.Relapse, sre.Pass)
		s.calm()
		for _, st := range plan.Steps {
			judge("when over", st.Verify, sre.Pass)
		}
		judge("when over", plan.Relapse, sre.Fail)
	}
}

// Every mechanism has a runbook, and every runbook says when it is wrong and has
// its page.
func TestShippedRunbooksCoverAllAndSayWhenTheyAreWrong(t *testing.T) {
	l := shipped(t)
	met := map[sre.Mechanism]bool{}
	for _, rb := range l.ordered {
		for _, m := range rb.Mechanisms {
			met[m] = true
		}
		page, err := os.ReadFile("../docs/runbooks/" + rb.Name + ".md")
		if err != nil {
			t.Error(err)
			continue
		}
		for _, heading := range []string{"* Wrong to use: ", "## Taking it back", "## What it showed"} {
			if !strings.Contains(string(page), heading) {
				t.Errorf("the page of %s lacks %q", rb.Name, heading)
			}
		}
		source, err := shippedFiles.ReadFile("shipped/" + rb.Name + ".yaml")
		if err != nil || !strings.Contains(string(source), "not_for:") {
			t.Errorf("%s does not say when it is wrong to use (%v)", rb.Name, err)
		}
	}
	for _, m := range sre.Mechanisms() {
		if !met[m] {
			t.Errorf("no runbook for %s", m)
		}
	}
	if len(l.ordered) < 15 {
		t.Errorf("%d runbooks, want 15", len(l.ordered))
	}
}
