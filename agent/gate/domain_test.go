package gate

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// outsiders are values that no sound source hands to the gate, by the guard
// that has to name them.
var outsiders = []struct {
	guard string
	name  string
	most  sre.Stance
	spoil func(*Policy, *Question, float64)
}{
	{"risk", "a risk that nobody knows", sre.Ask, func(_ *Policy, q *Question, _ float64) { q.Plan.Risk = "none at all" }},
	{"confidence", "a lower bound", sre.Watch, func(_ *Policy, q *Question, v float64) { q.Incident.Confidence.Lower = v }},
	{"confidence", "an estimate", sre.Watch, func(_ *Policy, q *Question, v float64) { q.Incident.Confidence.P = v }},
	{"data_quality", "a data quality", sre.Watch, func(_ *Policy, q *Question, v float64) { q.Incident.Diagnosis.DataQuality = v }},
	{"warm_up", "a warm-up", sre.Ask, func(_ *Policy, q *Question, v float64) { q.WarmUp = v }},
	{"blast_radius", "a share of traffic", sre.Ask, func(_ *Policy, q *Question, v float64) { q.Incident.Diagnosis.Blast.EntryShare = v }},
	{"in_force", "a fleet below nothing", sre.Ask, func(_ *Policy, q *Question, _ float64) { q.Services = -1 }},
	{"rate", "fewer actions than none", sre.Ask, func(_ *Policy, q *Question, _ float64) { q.LastHour = -3 }},
	{"recurrence", "fewer returns than none", sre.Ask, func(_ *Policy, q *Question, _ float64) { q.Incident.Recurrences = -1 }},
	{"plan", "a kind that nobody knows", sre.Watch, func(_ *Policy, q *Question, _ float64) { q.Plan.Steps[0].Actions[0].Kind = "explode" }},
	{"arbitration", "a no without a word", sre.Watch, func(_ *Policy, q *Question, _ float64) { q.Arbitration.Allows = sre.Watch }},
	{"mode", "a threshold", sre.Watch, func(p *Policy, _ *Question, v float64) { p.Thresholds.ActLow = v }},
	{"mode", "a required quality", sre.Watch, func(p *Policy, _ *Question, v float64) { p.MinDataQuality = v }},
	{"mode", "a limit in percent", sre.Watch, func(p *Policy, _ *Question, v float64) { p.BlastRadius.Percent = 101 + math.Abs(v) }},
	{"mode", "a limit in number", sre.Watch, func(p *Policy, _ *Question, _ float64) { p.InForce.Number = -1 }},
}

// beyond are numbers outside the shares from 0 to 1.
var beyond = []float64{math.Inf(1), math.Inf(-1), math.NaN(), 1.01, -0.01, 100, -100, math.MaxFloat64}

func TestValuesOutsideTheirDomainAreNeverActedOn(t *testing.T) {
	for _, o := range outsiders {
		for _, v := range beyond {
			p, q := openPolicy(), easyQuestion()
			o.spoil(&p, &q, v)
			d := New(p).Decide(q)
			named := false
			for _, r := range d.Reasons {
				named = named || r.Guard == o.guard && r.Allows.Rank() <= o.most.Rank() && r.Text != "" && r.Change != ""
			}
			if d.Stance.Rank() > o.most.Rank() || !named {
				t.Errorf("%s of %v: %s, named by %s: %t", o.name, v, d.Stance, o.guard, named)
			}
		}
	}
}

func TestSeveralWildValuesNeverMakeOneAct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := openPolicy(), easyQuestion()
		for range rapid.IntRange(1, 4).Draw(t, "values") {
			o := outsiders[rapid.IntRange(0, len(outsiders)-1).Draw(t, "which")]
			o.spoil(&p, &q, rapid.SampledFrom(beyond).Draw(t, "value"))
		}
		g := New(p)
		d := g.Decide(q)
		if c, _, err := g.Clear(q, &d, nil); d.Stance == sre.Act || err == nil || c.Valid("i", now) {
			t.Fatalf("%s, cleared: %v", d.Stance, err)
		}
	})
}

// A share that rounding has pushed a hair over 1 is a share.
func TestRoundingIsNoWildValue(t *testing.T) {
	q := easyQuestion()
	hair := math.Nextafter(1, 2)
	q.WarmUp, q.Incident.Diagnosis.DataQuality, q.Incident.Diagnosis.Blast.EntryShare = hair, hair, hair
	q.Incident.Confidence.P, q.Incident.Confidence.Lower = hair, hair
	q.Incident.Diagnosis.At = now.Add(-time.Second)
	p := openPolicy()
	p.BlastRadius.Percent = 100
	if d := New(p).Decide(q); d.Stance != sre.Act {
		t.Errorf("%s: %+v", d.Stance, d.Reasons)
	}
}
