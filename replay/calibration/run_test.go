package calibration

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/replay/suite"
	"github.com/sreagent/sreagent/sre"
)

func TestEveryKindOfTroubleParses(t *testing.T) {
	for i, kind := range append(append([]suite.Trouble{}, known...), withheld...) {
		for seed := range uint64(5) {
			text, _ := suite.DrawIn(uint64(i), 100+seed, kind)
			if _, err := scenario.Parse("x.scenario", []byte(text)); err != nil {
				t.Errorf("%s: %v\n%s", kind, err, text)
			}
		}
	}
}

func TestTheSameReportWithAnyNumberOfJobs(t *testing.T) {
	incidents := 8
	if testing.Short() {
		incidents = 4
	}
	var texts [2]bytes.Buffer
	var reports [2]*Report
	for i, jobs := range []int{1, 3} {
		done := 0
		r, err := Run(context.Background(), Options{Incidents: incidents, Seed: 5, Drift: HalfDrift, Jobs: jobs, Done: func() { done++ }})
		if err != nil {
			t.Fatal(err)
		}
		if done != incidents {
			t.Errorf("told of %d incidents, want %d", done, incidents)
		}
		if err := r.WriteText(&texts[i]); err != nil {
			t.Fatal(err)
		}
		reports[i] = r
	}
	if diff := cmp.Diff(reports[0], reports[1]); diff != "" {
		t.Errorf("(-one job +three):\n%s", diff)
	}
	if !bytes.Equal(texts[0].Bytes(), texts[1].Bytes()) {
		t.Error("the texts differ")
	}
	r := reports[0]
	if r.Overall.N == 0 || r.Overall.N != r.Before.N+r.After.N || r.Overall.N+r.Unseen.N+r.NewKinds.N != len(r.Plans) {
		t.Errorf("%d plans: %d seen, %d and %d of them in the halves, %d never met, %d new", len(r.Plans), r.Overall.N, r.Before.N, r.After.N, r.Unseen.N, r.NewKinds.N)
	}
	sum := 0
	for _, m := range r.Mechanisms {
		sum += m.N
	}
	if sum != r.Overall.N {
		t.Errorf("mechanisms sum to %d of %d plans", sum, r.Overall.N)
	}
}

func TestExperienceIsCarriedOverTheDays(t *testing.T) {
	if testing.Short() {
		t.Skip("two days of incidents")
	}
	r, err := Run(context.Background(), Options{Incidents: 8, Seed: 3, Drift: NoDrift, Jobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	first, last := r.Plans[0], r.Plans[len(r.Plans)-1]
	for _, p := range r.Plans {
		if p.Runbook == first.Runbook && p.Mechanism == first.Mechanism {
			last = p
		}
	}
	if last.Lower == first.Lower {
		t.Errorf("the agent knows on the last day what it knew on the first: %+v, %+v", first, last)
	}
}

func TestAStopIsNoReport(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if r, err := Run(ctx, Options{Incidents: 8, Seed: 1}); !errors.Is(err, context.Canceled) || r != nil {
		t.Errorf("got %v, %v", r, err)
	}
}

// lived is a world whose users fare as told, one number a minute.
func lived(goodput ...float64) *scenario.Result {
	r := &scenario.Result{GoodputBefore: 1}
	for i, g := range goodput {
		r.Story = append(r.Story, scenario.Moment{At: scenario.Origin().Add(time.Duration(i) * time.Minute), Goodput: g, Offered: 10})
	}
	return r
}

func TestRightIsWellInTimeAndBetterThanTheTwin(t *testing.T) {
	ill := lived(1, 1, .2, .2, .2, .2, .2, .2, .2, .2, .2, .2, .2)
	cured := lived(1, 1, .2, .2, 1, 1, 1, 1, 1, 1, 1, 1, 1)
	slow := lived(1, 1, .2, .2, .2, .2, .2, .2, .2, .2, .2, 1, 1)
	back := lived(1, 1, .2, .2, 1, 1, 1, 1, 1, 1, .2, .2, .2)
	worse := lived(1, 1, .2, .0, .0, 1, 1, 1, 1, 1, 1, 1, 1)
	from := scenario.Origin().Add(2 * time.Minute)
	for name, c := range map[string]struct {
		with, without *scenario.Result
		want          float64
	}{
		"cured":               {cured, ill, 1},
		"well by itself too":  {cured, cured, .5},
		"too slow":            {slow, ill, 0},
		"comes back":          {back, ill, 0},
		"well, but worse off": {worse, cured, 0},
	} {
		if got, gain, _ := right(from, c.with, c.without); got != c.want {
			t.Errorf("%s: %v (gain %v), want %v", name, got, gain, c.want)
		}
	}
}

func TestMeasuresOfAFewPlans(t *testing.T) {
	list := []Observation{
		{Incident: 0, P: .9, Lower: .8, Right: 1, Cleared: true, Alone: true, Mechanism: sre.Overload},
		{Incident: 1, P: .9, Lower: .7, Right: 0, Cleared: true, Mechanism: sre.Overload},
		{Incident: 2, P: .1, Lower: .1, Right: .5, Mechanism: sre.RetryStorm},
		{Incident: 3, P: .1, Lower: .1, Unseen: true, Factors: []sre.Factor{{Name: "data", After: .4}, {Name: "novelty", After: .1}}},
	}
	r := newReport(Options{Incidents: 4}, list)
	m := r.Overall
	if m.N != 3 || m.Coverage.Value != 2./3 || m.Precision.Value != .5 || m.Needed.Value != .5 || m.Alone.Value != 1./3 || m.AloneRight.Value != 1 {
		t.Errorf("%+v", m)
	}
	if last := m.Risk[len(m.Risk)-1]; last.Coverage != 1 || last.Risk != 1./3 {
		t.Errorf("all of them are wrong in %+v", last)
	}
	if r.Unseen.N != 1 || r.Unseen.Lowered.Value != 1 || r.Unseen.Human.Value != 1 {
		t.Errorf("%+v", r.Unseen)
	}
	if r.Before.N != 2 || r.After.N != 1 || len(r.Mechanisms) != 2 {
		t.Errorf("halves %d and %d, %d mechanisms", r.Before.N, r.After.N, len(r.Mechanisms))
	}
}

func TestAWornLeverPretends(t *testing.T) {
	ctx := context.Background()
	l := worn(3)("platform", deaf{})
	a := sre.Action{ID: "x", Kind: sre.Shed, Params: sre.Params{"normal": 3}}
	if err := l.Apply(ctx, sre.Directive{Action: a}); err != nil {
		t.Errorf("a worn action is not accepted: %v", err)
	}
	if st, err := l.Probe(ctx, a); err != nil || !st.InEffect || st.Owner != "x" || st.Current["normal"] != 3 {
		t.Errorf("it does not show: %+v, %v", st, err)
	}
	if err := l.Revert(ctx, sre.Directive{Action: a}); err != nil {
		t.Error(err)
	}
	if st, _ := l.Probe(ctx, a); st.InEffect {
		t.Error("it shows after its end")
	}
	if err := l.Apply(ctx, sre.Directive{Action: sre.Action{ID: "y", Kind: sre.Drain}}); err == nil {
		t.Error("what is not worn does not reach the lever")
	}
}

// deaf is a lever that carries nothing out.
type deaf struct{ sre.Remediator }

func (deaf) Apply(context.Context, sre.Directive) error { return errors.New("deaf") }

func (deaf) Revert(context.Context, sre.Directive) error { return nil }

func (deaf) Probe(context.Context, sre.Action) (sre.TargetState, error) {
	return sre.TargetState{}, nil
}
