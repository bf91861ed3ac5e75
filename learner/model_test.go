package learner

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// situation is one incident of a dumb fleet whose truth is known: diagnoses say
// more than they know, cures differ by mechanism and service, and half-way one
// cure stops helping.
type situation struct {
	q     Question
	right bool
	unmet bool
	usual sre.Mechanism // what the runbook is for
}

// fleet draws incidents. The diagnosis is over-sure: what it calls p comes true
// as p to the power of 1.3.
func fleet(n int, seed uint64) []situation {
	dice := rand.New(rand.NewPCG(seed, 1))
	cures := []struct {
		runbook   string
		mechanism sre.Mechanism
		helps     [2]float64 // before and after the drift
	}{
		{"retry-storm", sre.RetryStorm, [2]float64{0.99, 0.99}},
		{"overload", sre.Overload, [2]float64{0.98, 0.98}},
		{"slow-dependency", sre.SlowDependency, [2]float64{0.97, 0.1}},
		{"pool", sre.PoolExhaustion, [2]float64{0.96, 0.96}},
		{"decay", sre.CapacityDecay, [2]float64{0.25, 0.25}},
	}
	services := []string{"cart", "stock", "pay", "search"}
	out := make([]situation, n)
	for i := range out {
		half := 2 * i / n
		c := cures[dice.IntN(len(cures))]
		p := 0.93 + 0.07*dice.Float64()
		if dice.IntN(4) == 0 {
			p = 0.1 + 0.5*dice.Float64()
		}
		s := situation{usual: c.mechanism, q: Question{
			Runbook: c.runbook, Mechanism: c.mechanism, Service: services[dice.IntN(4)], Class: "middle",
			Probability: p, DataQuality: 1, At: noon.Add(time.Duration(i) * 4 * time.Hour),
		}}
		s.right = dice.Float64() < math.Pow(p, 1.3)*c.helps[half]
		if half == 1 && dice.IntN(20) == 0 {
			s.q.Mechanism, s.unmet, s.right = "never_met", true, dice.IntN(5) == 0
		}
		out[i] = s
	}
	return out
}

// marked gives situations signatures.
func marked(list []situation) []situation {
	dice := rand.New(rand.NewPCG(9, 1))
	for i := range list {
		for _, mark := range []string{"a", "b", "c"} {
			if dice.IntN(2) == 0 {
				list[i].q.Signature = append(list[i].q.Signature, mark)
			}
		}
		list[i].q.Signature = append(list[i].q.Signature, "cause:"+string(list[i].usual))
	}
	return list
}

// tell is the record of a situation as the agent would write it.
func tell(s situation, c sre.Confidence) sre.OutcomeRecord {
	o := sre.OutcomeRecord{Runbook: s.q.Runbook, Mechanism: s.q.Mechanism, Service: s.q.Service, Class: s.q.Class, At: s.q.At, Predicted: c.P, Raw: c.Raw, Prior: c.Prior, Signature: c.Signature, Outcome: sre.Unchanged}
	if s.right {
		o.Outcome = sre.Improved
	}
	return o
}

func TestCalibrationOverTwoThousandIncidentsWithDrift(t *testing.T) {
	const floor = 0.8
	seeds, sum := []uint64{1, 2, 3, 4, 5}, 0.0
	for _, seed := range seeds {
		l := New(DefaultConfig())
		var all []Scored
		var could, acted, correct, unmet, lowered, asked int
		for _, s := range fleet(2000, seed) {
			c := l.Confidence(s.q)
			if s.unmet {
				unmet++
				known := s.q
				known.Mechanism = s.usual
				if c.P < l.Confidence(known).P {
					lowered++
				}
				if c.Abstain != "" {
					asked++
				}
				continue // a person took it: nothing is learned, so it stays unmet
			}
			all = append(all, Scored{c.P, s.right})
			if s.right {
				could++
			}
			if c.Lower >= floor && c.Abstain == "" {
				acted++
				if s.right {
					correct++
				}
			}
			l.Learn(tell(s, c))
		}
		t.Logf("seed %d: ECE %.3f, Brier skill %.2f, acted on %d of %d (%d could be cured), right in %.3f, unmet lowered %d of %d",
			seed, ECE(all), BrierSkill(all), acted, len(all), could, float64(correct)/float64(acted), lowered, unmet)
		sum += ECE(all)
		if precision := float64(correct) / float64(acted); precision < 0.92 {
			t.Errorf("seed %d: what was acted on was right in %.3f", seed, precision)
		}
		if skill := BrierSkill(all); skill <= 0.2 {
			t.Errorf("seed %d: Brier skill is %.2f", seed, skill)
		}
		if unmet == 0 || float64(lowered) < 0.95*float64(unmet) || asked != unmet {
			t.Errorf("seed %d: of %d unmet, %d were lowered and %d asked", seed, unmet, lowered, asked)
		}
	}
	if mean := sum / float64(len(seeds)); mean > 0.05 {
		t.Errorf("ECE is %.3f in the mean of the seeds", mean)
	}
}

func TestDriftIsFoundAndHalvesWhatWasLearned(t *testing.T) {
	l := New(bare())
	q := question()
	feed := func(n int, o sre.Outcome) (fed int) {
		for range n {
			c := l.Confidence(q)
			r := outcome(o)
			r.Predicted, r.Raw = c.P, c.Raw
			l.Learn(r)
			fed++
			if l.Drifted(q.Runbook, q.Mechanism) {
				break
			}
		}
		return fed
	}
	if feed(45, sre.Improved) != 45 {
		t.Fatal("a cure that helps is called drifted")
	}
	before := l.Confidence(q)
	if n := feed(15, sre.Worsened); !l.Drifted(q.Runbook, q.Mechanism) {
		t.Fatalf("%d failures in a row are no drift", n)
	}
	if got := l.drifts[pair{q.Runbook, q.Mechanism}].aged(day(noon.Unix())); got != 0.5 {
		t.Errorf("after a drift an outcome keeps %v of its weight, want half", got)
	}
	after := l.Confidence(q)
	if after.Abstain == "" || after.Lower >= before.Lower {
		t.Errorf("after a drift: %+v, before: %+v", after, before)
	}
	if l.Drifted(q.Runbook, sre.Overload) {
		t.Error("a drift against one mechanism counts against another")
	}
	for range probation {
		r := outcome(sre.Improved)
		r.Predicted = 0.5
		l.Learn(r)
	}
	if l.Drifted(q.Runbook, q.Mechanism) {
		t.Error("the probation does not end")
	}
}

func TestSnapshotKeepsCalibrationAndDrift(t *testing.T) {
	for _, n := range []int{49, 51, 60, 1010, 2040} {
		a, b := New(DefaultConfig()), New(DefaultConfig())
		story := marked(fleet(n+40, 7))
		for _, s := range story[:n] {
			a.Learn(tell(s, a.Confidence(s.q)))
		}
		if err := b.Restore(a.Snapshot()); err != nil {
			t.Fatal(err)
		}
		for _, s := range story[n:] {
			x, y := a.Confidence(s.q), b.Confidence(s.q)
			if diff := cmp.Diff(x, y); diff != "" {
				t.Fatalf("after %d: (-kept +restored):\n%s", n, diff)
			}
			a.Learn(tell(s, x))
			b.Learn(tell(s, y))
		}
		if a.Digest() != b.Digest() {
			t.Errorf("after %d: the restored learner learns differently", n)
		}
	}
}

func TestRestoreRefusesImpossibleScores(t *testing.T) {
	for _, in := range []string{
		`{"version":1,"counts":[],"fit":3}`,
		`{"version":1,"counts":[],"learned":1,"labels":[{"mechanism":"overload","raw":2}]}`,
		`{"version":1,"counts":[],"learned":60,"fit":50,"labels":[]}`,
		`{"version":1,"counts":[],"drifts":[{"runbook":"","mechanism":"overload","n":1,"sum":0,"best":0}]}`,
	} {
		if New(bare()).Restore([]byte(in)) == nil {
			t.Errorf("taken: %s", in)
		}
	}
}

func TestCalibrationKeepsTheOrderOfEstimates(t *testing.T) {
	for _, n := range []int{100, 1200} {
		l := New(DefaultConfig())
		for _, s := range fleet(n, 3) {
			l.Learn(tell(s, l.Confidence(s.q)))
		}
		last := 0.0
		for i := 1; i < 1000; i++ {
			p := l.scores.of(float64(i)/1000, sre.Overload)
			if !(p >= last && p > 0 && p < 1) {
				t.Fatalf("%d labels, %s: %v becomes %v after %v", n, l.scores.method(), float64(i)/1000, p, last)
			}
			last = p
		}
	}
}

func TestMeasuresByHand(t *testing.T) {
	sure := []Scored{{1, true}, {0, false}}
	near(t, "Brier of the perfect", Brier(sure), 0)
	near(t, "skill of the perfect", BrierSkill(sure), 1)
	near(t, "ECE of the perfect", ECE(sure), 0)
	near(t, "Brier of always one half", Brier([]Scored{{.5, true}, {.5, false}}), 0.25)
	near(t, "skill of always one half", BrierSkill([]Scored{{.5, true}, {.5, false}}), 0)
	near(t, "ECE of the over-sure", ECE([]Scored{{.9, false}, {.9, true}}), 0.5) // two bins, .9 and .1 off
	near(t, "ECE of nothing", ECE(nil), 0)
}

func TestFactorsEndAtTheEstimate(t *testing.T) {
	q := question()
	q.DataQuality, q.Mechanism = 0.7, "never_met"
	c := New(DefaultConfig()).Confidence(q)
	last := c.Factors[len(c.Factors)-1]
	near(t, "the last factor", last.After, c.P)
	if c.Abstain == "" {
		t.Error("a mechanism never met does not end with a person")
	}
	if _, err := json.Marshal(c); err != nil {
		t.Error(err)
	}
}
