package overload

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// TestShippedRunbookClampsTheSameCalls holds that what is measured here as
// "retries clamped first" is what the shipped runbook does, before it caps.
func TestShippedRunbookClampsTheSameCalls(t *testing.T) {
	ctx := context.Background()
	w, err := world.New(blueprint(AtLeaf), world.Options{Start: begin, Interval: asked})
	if err != nil {
		t.Fatal(err)
	}
	at := begin.Add(calm)
	w.AdvanceTo(at)
	snap, err := w.Source().Observe(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	lever, err := w.Lever().Describe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	library, err := runbooks.Load(runbooks.Shipped(), ".")
	if err != nil {
		t.Fatal(err)
	}
	plan, rejected := library.Match(runbooks.Facts{
		Snapshot: snap, Incident: "one", Levers: []sre.Capability{lever},
		Diagnosis: &sre.Diagnosis{At: at, Hypotheses: []sre.Hypothesis{{Service: shop, Mechanism: sre.Overload, Probability: 1}}},
	})
	if plan == nil {
		t.Fatalf("no plan: %v", rejected)
	}
	var got []string
	for _, step := range plan.Steps {
		for _, a := range step.Actions {
			if ratio, ok := a.Params.Float("ratio"); ok && ratio != clamped {
				t.Errorf("%s has ratio %v, measured is %v", a.Target, ratio, clamped)
			}
			got = append(got, string(a.Kind)+" "+a.Target.String())
		}
	}
	var clamps []string
	for _, pair := range retrying {
		clamps = append(clamps, "retry_budget guard/"+pair[0]+"->"+pair[1])
	}
	slices.Sort(clamps)
	want := slices.Concat([]string{"queue_bound guard/shop"}, clamps, []string{"shed guard/shop"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runbook %s (-measured +shipped):\n%s", plan.Runbook, diff)
	}
}
