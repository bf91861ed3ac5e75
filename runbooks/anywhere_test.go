package runbooks

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

const everywhere = `apiVersion: sreagent/v1
kind: Runbook
metadata: {name: everywhere, owner: o, description: d}
spec:
  match:
    mechanisms: [unknown, retry_storm]
    when: size(affected) >= 2 && fleet == 3 && max_errors(entries) > 0.1
  risk: medium
  steps:
    - name: bound
      actions:
        - {kind: retry_budget, lever: guard, target: affected_calls, params: {ratio: 0.1}, ttl: 30s}
        - kind: queue_bound
          lever: guard
          target: affected
          where: queue(target) > 50.0
          params: {length: "${0.5 * traffic(target)}"}
          ttl: 30s
      verify: {expr: max_errors(entries) < 0.05, within: 30s}
      lease: 5m
  relapse: max_errors(entries) > 0.1
`

func targetsOf(actions []sre.Action) (out []string) {
	for _, a := range actions {
		out = append(out, string(a.Kind)+" "+a.Target.String())
	}
	return out
}

func TestAPlanThatNeedsNoCause(t *testing.T) {
	l := fromText(t, everywhere)
	for name, change := range map[string]func(*shop){
		"known":           func(*shop) {},
		"no service seen": func(s *shop) { s.diag.Hypotheses[0] = sre.Hypothesis{Mechanism: sre.Unknown, Probability: 0.9} },
		"no mechanism":    func(s *shop) { s.diag.Hypotheses[0].Mechanism = sre.Unknown },
	} {
		s := newShop(sre.RetryStorm)
		change(s)
		plan, rejected := l.Match(s.facts())
		if plan == nil {
			t.Errorf("%s: no plan: %v", name, rejected)
			continue
		}
		// cart shows no trouble, but stands on the way from outside to stock.
		want := []string{
			"retry_budget guard/cart->stock", "retry_budget guard/web->cart", "retry_budget guard/web->stock",
			"queue_bound guard/cart", "queue_bound guard/stock", "queue_bound guard/web",
		}
		if diff := cmp.Diff(want, targetsOf(plan.Steps[0].Actions)); diff != "" {
			t.Errorf("%s: targets (-want +got):\n%s", name, diff)
		}
		if !plan.Anywhere || plan.Cause != s.diag.Top().Service {
			t.Errorf("%s: anywhere %v, cause %q", name, plan.Anywhere, plan.Cause)
		}
	}
}

func TestChecksOfAPlanWithoutACauseSeeNoRoot(t *testing.T) {
	s := newShop(sre.RetryStorm)
	f := s.facts()
	f.Anywhere = true
	l := fromText(t, everywhere)
	if verdict, why := l.Evaluate(sre.Check{Expr: `root == "" && entries == ["web"] && max_errors(entries) > 0.1`}, f); verdict != sre.Pass {
		t.Errorf("%q: %s", verdict, why)
	}
}

func TestSettle(t *testing.T) {
	l := fromText(t, everywhere)
	s := newShop(sre.RetryStorm)
	plan, rejected := l.Match(s.facts())
	if plan == nil {
		t.Fatal(rejected)
	}
	if got := plan.Steps[0].Actions[4].Params; cmp.Diff(sre.Params{"length": 100.0}, got) != "" {
		t.Fatalf("planned with %v", got)
	}
	// Minutes later stock has a backlog and half of the load; of web nothing is
	// known, and nothing waits at cart.
	s.set("stock", "traffic", 100).set("stock", "queue", 60).put("web", "queue", sre.Reading{State: sre.Stale})
	got := l.Settle(plan, 0, s.facts())
	want := []string{
		"retry_budget guard/cart->stock", "retry_budget guard/web->cart", "retry_budget guard/web->stock", "queue_bound guard/stock",
	}
	if diff := cmp.Diff(want, targetsOf(got)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if last := got[3]; last.ID != plan.Steps[0].Actions[4].ID || cmp.Diff(sre.Params{"length": 50.0}, last.Params) != "" {
		t.Errorf("settled to %+v", last)
	}
	if plan.Steps[0].Actions[4].Params["length"] != 100.0 {
		t.Error("the plan itself was changed")
	}

	// What cannot be computed stays as it was planned.
	s.put("stock", "traffic", sre.Reading{})
	if got := l.Settle(plan, 0, s.facts())[3].Params["length"]; got != 100.0 {
		t.Errorf("without a reading: %v", got)
	}
	// Another version of the runbook says nothing of this plan.
	plan.Version = "other"
	if diff := cmp.Diff(plan.Steps[0].Actions, l.Settle(plan, 0, s.facts())); diff != "" {
		t.Errorf("of another version:\n%s", diff)
	}
}

const spreading = `apiVersion: sreagent/v1
kind: Runbook
metadata: {name: spreading, owner: o, description: d}
spec:
  match: {mechanisms: [unknown, retry_storm]}
  risk: medium
  steps:
    - name: bound
      actions:
        - {kind: queue_bound, lever: guard, target: fleet, where: queue(target) > 50.0, params: {length: "${0.5 * traffic(target)}"}, ttl: 30s}
        - {kind: retry_budget, lever: guard, target: fleet_calls, where: queue(callee) > 50.0, params: {ratio: 0.1}, ttl: 30s}
      verify: {expr: max_errors(entries) < 0.05, within: 30s}
      lease: 5m
  relapse: max_errors(entries) > 0.1
`

func TestWhatATroubleReachesJoinsAStep(t *testing.T) {
	l := fromText(t, spreading)
	s := newShop(sre.RetryStorm).set("stock", "queue", 60)
	plan, rejected := l.Match(s.facts())
	if plan == nil {
		t.Fatal(rejected)
	}
	first := []string{"queue_bound guard/stock", "retry_budget guard/cart->stock", "retry_budget guard/web->stock"}
	if diff := cmp.Diff(first, targetsOf(plan.Steps[0].Actions)); diff != "" {
		t.Fatalf("planned (-want +got):\n%s", diff)
	}
	// It reaches cart, and web of which the load is not known; stock is well.
	s.set("stock", "queue", 0).set("cart", "queue", 70).set("web", "queue", 70).put("web", "traffic", sre.Reading{})
	got := l.Settle(plan, 0, s.facts())
	if diff := cmp.Diff([]string{"queue_bound guard/cart", "retry_budget guard/web->cart"}, targetsOf(got)); diff != "" {
		t.Fatalf("settled (-want +got):\n%s", diff)
	}
	if got[0].ID != "inc-1.0.0.3" || got[1].ID != "inc-1.0.0.4" {
		t.Errorf("IDs %s and %s, want the next ones of the step", got[0].ID, got[1].ID)
	}
}
