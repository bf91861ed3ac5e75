package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// oracle is a model that knows which service is to blame.
type oracle struct {
	guilty  string
	asked   []string // in order
	at      []time.Time
	err     error
	partial bool // says nothing of the entry
	value   float64
}

func (o *oracle) answer(what string, s *sre.Snapshot, v float64) (map[string]float64, error) {
	o.asked, o.at = append(o.asked, what), append(o.at, s.At)
	if o.err != nil {
		return nil, o.err
	}
	if o.partial {
		return map[string]float64{"api": v}, nil
	}
	return map[string]float64{"web": v + o.value}, nil
}

func (o *oracle) Forecast(_ context.Context, s *sre.Snapshot, _ []sre.Action, _ time.Duration) (map[string]float64, error) {
	return o.answer("as it is", s, 0.3)
}

func (o *oracle) Healed(_ context.Context, s *sre.Snapshot, service string, _ time.Duration) (map[string]float64, error) {
	if service == o.guilty {
		return o.answer("heal "+service, s, 0.9)
	}
	return o.answer("heal "+service, s, 0.3)
}

func (o *oracle) Spread(_ context.Context, _ *sre.Snapshot, _ time.Duration) ([]sre.Impact, error) {
	o.asked = append(o.asked, "spread")
	if o.err != nil {
		return nil, o.err
	}
	return []sre.Impact{{Service: "web", Entry: true, Lost: math.NaN(), After: time.Minute}}, nil
}

// weigh is the twin of what diagnosis does with the checks: the healed cause
// goes first.
func weigh(d *sre.Diagnosis, checks map[string]sre.WhatIf) {
	for i := range d.Hypotheses {
		c, checked := checks[d.Hypotheses[i].Service]
		if !checked {
			continue
		}
		d.Hypotheses[i].WhatIf = &c
		if c.Healed-c.AsIs > 0.3 {
			d.Hypotheses[i].Probability = 0.95
		} else {
			d.Hypotheses[i].Probability = 0.05
		}
	}
	slices.SortStableFunc(d.Hypotheses, func(x, y sre.Hypothesis) int {
		if x.Probability > y.Probability {
			return -1
		}
		return 1
	})
}

// withModel gives a rig a model, and two causes to choose from.
func withModel(o *oracle) func(*rig) {
	return func(r *rig) {
		r.model = o
		r.mind.others = []sre.Hypothesis{{Service: "api", Mechanism: sre.Overload, Probability: 0.1}, {Mechanism: sre.Unknown}}
		r.mind.reweigh = weigh
		r.mind.spread = func(_ *sre.Snapshot, root int) []sre.Impact {
			return []sre.Impact{{Service: testGraph.Services[root].Name, Lost: 0.5}}
		}
		lowConfidence(r)
	}
}

func TestTheModelIsAskedOnceAboutTheFirstCausesAndBelieved(t *testing.T) {
	o := &oracle{guilty: "api"}
	r := newRig(t, withModel(o))
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	want := []string{"heal api", "heal db", "as it is", "spread"}
	if diff := cmp.Diff(want, o.asked); diff != "" {
		t.Fatalf("asked (-want +got):\n%s", diff)
	}
	d := inc.Diagnosis
	if d.Top().Service != "api" || d.Top().WhatIf == nil || *d.Top().WhatIf != (sre.WhatIf{AsIs: 0.3, Healed: 0.9}) {
		t.Errorf("first cause %+v, want api, whose healing brings the entry back", d.Top())
	}
	if d.Blast.Services[0] != "api" || inc.Plan.Cause != "api" {
		t.Errorf("planned for %s with what stands behind %v", inc.Plan.Cause, d.Blast.Services)
	}
	if d.Blast.Basis != sre.ByModel || len(d.Blast.Impacts) != 1 || d.Blast.Impacts[0].Lost != 0 {
		t.Errorf("impacts %+v by %s: what is no number cannot be recorded", d.Blast.Impacts, d.Blast.Basis)
	}
	if len(inc.Rekeys) != 1 || inc.Rekeys[0].To != "api overload" {
		t.Errorf("re-keyed %+v", inc.Rekeys)
	}
	r.run(100)
	if len(o.asked) != len(want) {
		t.Errorf("asked again though the causes are the same: %v", o.asked)
	}
	if d := r.desk.view.Incidents[0].Diagnosis; d.Top().Service != "api" {
		t.Errorf("the checks were forgotten: %+v", d.Top())
	}
	r.run(foreseeAgeTicks)
	if d := r.desk.view.Incidents[0].Diagnosis; d.Blast.Basis != sre.ByGraph {
		t.Errorf("a forecast past its own end is still shown: %+v", d.Blast)
	}
}

const foreseeAgeTicks = 30

func TestOtherFirstCausesAreCheckedAtMostEveryHalfMinute(t *testing.T) {
	o := &oracle{guilty: "db"}
	r := newRig(t, withModel(o))
	r.w.sick = true
	r.until(sre.AwaitingApproval)
	for i := range 100 {
		r.mind.others[0].Service = []string{"api", "web"}[i%2]
		r.run(1)
	}
	last, questions := time.Time{}, 0
	for _, at := range o.at {
		if at.Equal(last) {
			continue
		}
		if !last.IsZero() && at.Sub(last) < foreseeEvery {
			t.Errorf("asked at %s and %s", last, at)
		}
		last = at
		questions++
	}
	if questions < 3 {
		t.Errorf("%d questions in 100 s of changing causes", questions)
	}
}

func TestWhatWasCheckedHoldsUntilTheNextQuestion(t *testing.T) {
	o := &oracle{guilty: "api"}
	r := newRig(t, withModel(o))
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	r.mind.others = append(r.mind.others, sre.Hypothesis{Service: "web", Mechanism: sre.Overload})
	r.run(1)
	if again := r.desk.view.Incidents[0]; again.Diagnosis.Top().Service != "api" || again.Decision.ID != inc.Decision.ID {
		t.Errorf("first cause %s, question %s: a third cause has wiped out the checks", again.Diagnosis.Top().Service, again.Decision.ID)
	}
	o.err = errors.ErrUnsupported
	r.run(40)
	if top := r.desk.view.Incidents[0].Diagnosis.Top(); top.Service != "db" || top.WhatIf != nil {
		t.Errorf("first cause %+v, though the model no longer answers", top)
	}
}

func TestTheModelIsNotAskedWhereItCannotHelp(t *testing.T) {
	for name, change := range map[string]func(*rig){
		"nothing wrong":     func(r *rig) { r.w.cures = 0; r.mind.cause = "" },
		"no service named":  func(r *rig) { r.mind.cause, r.mind.others = "", nil },
		"only just noticed": func(r *rig) { r.cfg.Timing.SuspectFor = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			o := &oracle{}
			r := newRig(t, withModel(o), change)
			r.w.sick = name != "nothing wrong"
			r.run(10)
			if len(o.asked) != 0 {
				t.Errorf("asked %v", o.asked)
			}
		})
	}
}

func TestAFleetTooLargeForTheModelIsNotRun(t *testing.T) {
	o := &oracle{}
	r := newRig(t, withModel(o))
	r.run(1)
	f := newFleet(foreseeMost + 1)
	s, _ := f.Observe(t.Context(), r.at)
	inc := &sre.Incident{ID: "i", State: sre.Diagnosed}
	if r.a.mayAsk(&turn{now: r.at, snap: s}, inc, []string{"db"}) {
		t.Error("asked about a fleet that is too large")
	}
	s, _ = r.w.Observe(t.Context(), r.at)
	if !r.a.mayAsk(&turn{now: r.at, snap: s}, inc, []string{"db"}) {
		t.Error("not asked about a small one")
	}
}

func TestAModelThatCannotAnswerIsNoModel(t *testing.T) {
	for name, o := range map[string]*oracle{
		"unsupported": {err: fmt.Errorf("healed: %w", errors.ErrUnsupported)},
		"half of it":  {partial: true},
		"no number":   {value: math.NaN()},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, withModel(o))
			r.w.sick = true
			inc := r.until(sre.AwaitingApproval)
			d := inc.Diagnosis
			if d.Top().Service != "db" || d.Top().WhatIf != nil || d.Blast.Basis != sre.ByGraph || d.Blast.Impacts[0].Service != "db" {
				t.Errorf("diagnosis %+v", d)
			}
			asked := len(o.asked)
			r.run(20)
			if len(o.asked) != asked {
				t.Errorf("asked again at once: %v", o.asked)
			}
		})
	}
}

func TestWithoutAModelTheGraphSaysWhoIsHit(t *testing.T) {
	r := newRig(t, withModel(&oracle{}), func(r *rig) { r.model = nil })
	r.w.sick = true
	r.run(1)
	if b := r.desk.view.Incidents[0].Diagnosis.Blast; b.Basis != sre.ByGraph || b.Impacts[0].Service != "db" {
		t.Errorf("blast radius %+v", b)
	}
	r.mind.cause = "api"
	r.run(1)
	if b := r.desk.view.Incidents[0].Diagnosis.Blast; b.Impacts[0].Service != "api" {
		t.Errorf("of another cause, blast radius %+v", b)
	}
}

func TestAfterARestartTheModelIsAskedAgainAndSaysTheSame(t *testing.T) {
	o := &oracle{guilty: "api"}
	r := newRig(t, withModel(o))
	r.w.sick = true
	before := *r.until(sre.AwaitingApproval)
	asked := len(o.asked)
	r.start()
	r.run(2)
	after := r.desk.view.Incidents[0]
	if len(o.asked) != 2*asked || after.Diagnosis.Top().Service != "api" || after.Decision.ID != before.Decision.ID {
		t.Errorf("asked %v, first cause %+v, question %s (was %s)\n%s", o.asked, after.Diagnosis.Top(), after.Decision.ID, before.Decision.ID, r.story())
	}
}

func TestAChangedFirstCauseIsCheckedAlsoWhenActing(t *testing.T) {
	o := &oracle{guilty: "db"}
	r := newRig(t, withModel(o), func(r *rig) { r.w.cures = 99; r.mind.confidence.Lower = 0.9 })
	r.w.sick = true
	r.until(sre.Verifying)
	o.guilty, r.at = "web", r.at.Add(30*time.Second)
	r.mind.cause = "web"
	r.run(1)
	if !slices.Contains(o.asked, "heal web") {
		t.Errorf("asked %v", o.asked)
	}
}

func TestCalmIsShownToAModelThatLearns(t *testing.T) {
	l := &learning{}
	r := newRig(t, func(r *rig) { r.model, r.cfg.WarmUp = l, 5*time.Second })
	r.run(3)
	if n := len(l.calm); n != 5+3 {
		t.Errorf("shown %d snapshots, want 5 of the past and 3 ticks", n)
	}
	r.w.blind = true
	r.run(2)
	r.w.blind, r.w.sick = false, true
	r.run(3)
	if n := len(l.calm); n != 8 || !slices.IsSortedFunc(l.calm, time.Time.Compare) {
		t.Errorf("shown %v, want no trouble among them", l.calm)
	}
}

func TestDiagnosisIsShownThePastAndTheModelOnlyItsCalm(t *testing.T) {
	l, m := &learning{}, &pupil{}
	r := newRig(t, func(r *rig) { r.model, r.cfg.WarmUp, r.w.sick, r.w.cures = l, 5*time.Second, true, 99 })
	m.fakeMind = r.mind
	r.a.mind.reasoning = m
	r.run(1)
	if len(m.calm) != 5 || len(l.calm) != 0 {
		t.Errorf("diagnosis was shown %d snapshots of the past, want 5; the model %d of trouble", len(m.calm), len(l.calm))
	}
}

type learning struct {
	oracle
	calm []time.Time
}

func (l *learning) Remember(s *sre.Snapshot) { l.calm = append(l.calm, s.At) }

// pupil is a reasoning that learns.
type pupil struct {
	*fakeMind
	calm []time.Time
}

func (p *pupil) Remember(s *sre.Snapshot) { p.calm = append(p.calm, s.At) }

func TestGoodputIsWeighedByTraffic(t *testing.T) {
	g := sre.NewGraph([]sre.Service{{Name: "a", Entry: true}, {Name: "b", Entry: true}, {Name: "c"}}, nil)
	s := &sre.Snapshot{Graph: g, Signals: testSignals, Service: sre.NewMatrix(2, 3)}
	s.Service.Set(0, 0, sre.Reading{Value: 300, State: sre.Present})
	s.Service.Set(0, 1, sre.Reading{Value: 100, State: sre.Present})
	cases := []struct {
		name   string
		answer map[string]float64
		want   float64
		err    string
	}{
		{"both", map[string]float64{"a": 0.5, "b": 1}, 0.625, ""},
		{"beyond all measure", map[string]float64{"a": 7, "b": -1}, 0.75, ""},
		{"one missing", map[string]float64{"a": 0.5}, 0, "entry b"},
		{"not a number", map[string]float64{"a": math.NaN(), "b": 1}, 0, "entry a"},
		{"nothing", nil, 0, "entry a"},
	}
	for _, c := range cases {
		got, err := goodput(s, c.answer)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v; want %v, %q", c.name, got, err, c.want, c.err)
		}
	}
	s.Service.Set(0, 0, sre.Reading{})
	s.Service.Set(0, 1, sre.Reading{Value: 3, State: sre.Present})
	if got, err := goodput(s, map[string]float64{"a": 1, "b": 0}); err != nil || got != 0.25 {
		t.Errorf("unknown traffic counts as 1: %v, %v", got, err)
	}
}
