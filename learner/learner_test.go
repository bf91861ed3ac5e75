package learner

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"gonum.org/v1/gonum/mathext"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// slack covers the rounding of different orders of float arithmetic.
const slack = 1e-9

func outcome(o sre.Outcome) sre.OutcomeRecord {
	return sre.OutcomeRecord{Runbook: "retry-storm", Mechanism: sre.RetryStorm, Service: "stock", Outcome: o, At: noon}
}

func question() Question {
	return Question{Runbook: "retry-storm", Mechanism: sre.RetryStorm, Service: "stock", Probability: 1, DataQuality: 1, At: noon}
}

// bare has no prior and forgets nothing within a test.
func bare() Config {
	c := DefaultConfig()
	c.Priors = nil
	return c
}

func learned(cfg Config, outcomes ...sre.OutcomeRecord) *Learner {
	l := New(cfg)
	for _, o := range outcomes {
		l.Learn(o)
	}
	return l
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > slack {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestConfidenceByHand(t *testing.T) {
	// Nothing known: half a run each way at the root, so the mean is one half
	// and Beta(4, 4) stands at the leaf.
	near(t, "P of nothing known", New(bare()).Confidence(question()).P, 0.5)

	// One success counts at all three levels: 1.5/2, then (8*0.75+1)/9 = 7/9,
	// then at the service, where kappa is 8/(1+1/9) = 7.2, (7.2*7/9+1)/8.2 = 33/41.
	near(t, "P after one success", learned(bare(), outcome(sre.Improved)).Confidence(question()).P, 33.0/41)

	// The diagnosis must hold too.
	q := question()
	q.Probability = 0.5
	near(t, "P of half a diagnosis", learned(bare(), outcome(sre.Improved)).Confidence(q).P, 33.0/82)

	// The prior of the shipped runbook: 5.5 of 7.
	near(t, "P of the prior", New(DefaultConfig()).Confidence(question()).P, 5.5/7)

	// Without data there is only the base rate.
	q = question()
	q.DataQuality = 0
	near(t, "P without data", New(DefaultConfig()).Confidence(q).P, 0.3)
}

func TestOutcomesThatCount(t *testing.T) {
	p := func(o sre.Outcome) float64 { return learned(bare(), outcome(o)).Confidence(question()).P }
	none := New(bare()).Confidence(question()).P
	if p(sre.Improved) <= none {
		t.Error("improved does not speak for the runbook")
	}
	if p(sre.Unchanged) >= none || p(sre.Unchanged) != p(sre.Worsened) {
		t.Error("unchanged and worsened must speak against it alike")
	}
	for _, o := range []sre.Outcome{sre.InconclusiveOutcome, sre.NoDataOutcome} {
		if got := p(o); got >= none || got <= p(sre.Worsened) {
			t.Errorf("%s gives %v, want less than %v and more than %v", o, got, none, p(sre.Worsened))
		}
	}
	if got := p(""); got != none {
		t.Errorf("an outcome that is not known moved P to %v", got)
	}
	l := New(bare())
	l.Learn(sre.OutcomeRecord{Outcome: sre.Improved, At: noon})
	if len(l.counts) != 0 {
		t.Error("an outcome without a runbook was counted")
	}
}

func TestDecayHalvesAtTheHalfLife(t *testing.T) {
	old := outcome(sre.Improved)
	old.At = noon.Add(-time.Duration(bare().HalfLife))
	var two []sre.OutcomeRecord
	for range 8 {
		two = append(two, old)
	}
	var now []sre.OutcomeRecord
	for range 4 {
		now = append(now, outcome(sre.Improved))
	}
	near(t, "P of eight outcomes one half-life old", learned(bare(), two...).Confidence(question()).P, learned(bare(), now...).Confidence(question()).P)

	// Far later everything is forgotten.
	q := question()
	q.At = noon.Add(100 * 365 * 24 * time.Hour)
	near(t, "P after a century", learned(bare(), now...).Confidence(q).P, 0.5)

	// An outcome from the future weighs as one of today.
	q.At = noon.Add(-365 * 24 * time.Hour)
	near(t, "P before it happened", learned(bare(), now...).Confidence(q).P, learned(bare(), now...).Confidence(question()).P)
}

func TestNarrowerExperienceWeighsMore(t *testing.T) {
	cases := []func(*sre.OutcomeRecord){
		func(o *sre.OutcomeRecord) { o.Runbook = "another" },
		func(o *sre.OutcomeRecord) { o.Mechanism = sre.Overload },
		func(o *sre.OutcomeRecord) { o.Service = "cart" },
		func(*sre.OutcomeRecord) {},
	}
	last := -1.0
	for i, change := range cases {
		o := outcome(sre.Improved)
		change(&o)
		p := learned(bare(), o, o, o).Confidence(question()).P
		if p <= last {
			t.Errorf("case %d: P is %v, not above %v", i, p, last)
		}
		last = p
	}
}

func TestBasis(t *testing.T) {
	elsewhere, other := outcome(sre.Improved), outcome(sre.Improved)
	elsewhere.Service, other.Mechanism = "cart", sre.Overload
	q := question()
	q.Probability, q.DataQuality = 0.82, 0.92
	cases := []struct {
		name string
		cfg  Config
		seen []sre.OutcomeRecord
		want string
	}{
		{"nothing", bare(), nil, "no run yet, diagnosis 82 % likely, data 92 % fresh"},
		{"prior", DefaultConfig(), nil, "no run yet, prior worth 6 simulated runs, diagnosis 82 % likely, data 92 % fresh"},
		{"other mechanism", bare(), []sre.OutcomeRecord{other}, "no similar run yet, 1 of 1 against other mechanisms, diagnosis 82 % likely, data 92 % fresh"},
		{"here", bare(), []sre.OutcomeRecord{outcome(sre.Improved), outcome(sre.NoDataOutcome)}, "1 of 2 similar, diagnosis 82 % likely, data 92 % fresh"},
		{"here and elsewhere", bare(), []sre.OutcomeRecord{elsewhere, outcome(sre.Worsened), other}, "1 of 2 similar (0 of 1 at stock), diagnosis 82 % likely, data 92 % fresh"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, learned(c.cfg, c.seen...).Confidence(q).Basis); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

var situations = [][]string{nil, {"a"}, {"a", "b", "c"}, {"a", "b", "c", "d", "e", "f", "g"}, {"b", "c"}}

// drawHistory makes outcomes over two years and a few runbooks, mechanisms and
// services.
func drawHistory(t *rapid.T) []sre.OutcomeRecord {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sre.OutcomeRecord {
		return sre.OutcomeRecord{
			Runbook:   rapid.SampledFrom([]string{"retry-storm", "retry-storm", "overload"}).Draw(t, "runbook"),
			Mechanism: rapid.SampledFrom([]sre.Mechanism{sre.RetryStorm, sre.RetryStorm, sre.Overload}).Draw(t, "mechanism"),
			Service:   rapid.SampledFrom([]string{"stock", "stock", "cart"}).Draw(t, "service"),
			Outcome:   rapid.SampledFrom([]sre.Outcome{sre.Improved, sre.Unchanged, sre.Worsened, sre.InconclusiveOutcome, sre.NoDataOutcome, ""}).Draw(t, "outcome"),
			Signature: rapid.SampledFrom(situations).Draw(t, "signature"),
			At:        noon.Add(-time.Duration(rapid.Int64Range(0, 2*365*24*3600).Draw(t, "age")) * time.Second),
		}
	}), 0, 60).Draw(t, "history")
}

func drawQuestion(t *rapid.T) Question {
	q := question()
	q.Probability = rapid.Float64Range(0, 1).Draw(t, "probability")
	q.DataQuality = rapid.Float64Range(0, 1).Draw(t, "data")
	q.Signature = rapid.SampledFrom(situations).Draw(t, "situation")
	return q
}

// like is the weight of an outcome of one situation for another.
func like(x, y []string) float64 {
	if x == nil || y == nil {
		return 0
	}
	both := 0.0
	for _, mark := range x {
		if slices.Contains(y, mark) {
			both++
		}
	}
	away := 1 - both/(float64(len(x)+len(y))-both)
	if away == 1 {
		return 0
	}
	return math.Exp(-away * away / 0.15 / 0.15)
}

// twin is the arithmetic as one would write it on paper: outcome by outcome,
// and the quantile by bisection.
func twin(cfg Config, history []sre.OutcomeRecord, q Question) (p, lower float64) {
	sums := func(fits func(sre.OutcomeRecord) float64) (s, f float64) {
		for _, o := range history {
			if o.Runbook != q.Runbook {
				continue
			}
			age := q.At.Truncate(24*time.Hour).Sub(o.At.Truncate(24*time.Hour)).Hours() / 24
			w := math.Pow(0.5, age/(time.Duration(cfg.HalfLife).Hours()/24)) * fits(o)
			switch o.Outcome {
			case sre.Improved:
				s += w
			case sre.Unchanged, sre.Worsened:
				f += w
			case sre.InconclusiveOutcome, sre.NoDataOutcome:
				f += 0.5 * w
			}
		}
		return s, f
	}
	when := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	s0, f0 := sums(func(sre.OutcomeRecord) float64 { return 1 })
	s1, f1 := sums(func(o sre.OutcomeRecord) float64 { return when(o.Mechanism == q.Mechanism) })
	s2, f2 := sums(func(o sre.OutcomeRecord) float64 { return like(o.Signature, q.Signature) })
	s3, f3 := sums(func(o sre.OutcomeRecord) float64 { return when(o.Mechanism == q.Mechanism && o.Service == q.Service) })
	prior := cfg.Priors[q.Runbook]
	m0 := (0.5 + prior.Successes + s0) / (1 + prior.Runs + s0 + f0)
	m1 := (cfg.Kappa*m0 + s1) / (cfg.Kappa + s1 + f1)
	m2 := m1
	if q.Signature != nil {
		m2 = (cfg.Kappa/2*m1 + s2) / (cfg.Kappa/2 + s2 + f2)
	}
	own := cfg.Kappa / (1 + (s3+f3)/(s3+f3+cfg.Kappa))
	a, b := own*m2+s3, own*(1-m2)+f3
	lo, hi := 0.0, 1.0
	for range 200 {
		if mid := (lo + hi) / 2; mathext.RegIncBeta(a, b, mid) < 0.1 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return q.Probability * a / (a + b), q.Probability * min(lo, a/(a+b))
}

func TestConfidenceIsTheTwins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history, q := drawHistory(t), drawQuestion(t)
		q.DataQuality = 1
		got := learned(DefaultConfig(), history...).Confidence(q)
		p, lower := twin(DefaultConfig(), history, q)
		if math.Abs(got.P-p) > slack || math.Abs(got.Lower-lower) > 1e-6 {
			t.Fatalf("got %v and %v, the twin says %v and %v", got.P, got.Lower, p, lower)
		}
	})
}

func TestMoreSuccessNeverLowersConfidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history, q := drawHistory(t), drawQuestion(t)
		before := learned(DefaultConfig(), history...).Confidence(q)
		extra := drawHistory(t)
		for i := range extra {
			extra[i].Outcome = sre.Improved
		}
		after := learned(DefaultConfig(), append(history, extra...)...).Confidence(q)
		if after.P < before.P-slack {
			t.Fatalf("P fell from %v to %v", before.P, after.P)
		}
	})
}

func TestPoorerDataNeverRaisesLower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, q := learned(DefaultConfig(), drawHistory(t)...), drawQuestion(t)
		good := l.Confidence(q).Lower
		q.DataQuality *= rapid.Float64Range(0, 1).Draw(t, "share left")
		if poor := l.Confidence(q).Lower; poor > good+slack {
			t.Fatalf("Lower rose from %v to %v", good, poor)
		}
	})
}

func TestConfidenceStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := DefaultConfig()
		cfg.Kappa = rapid.SampledFrom([]float64{1, 8, 1000}).Draw(t, "kappa")
		cfg.BaseRate = rapid.SampledFrom([]float64{1e-12, 0.3, 1 - 1e-12}).Draw(t, "base rate")
		cfg.Priors = map[string]Prior{"retry-storm": {Runs: 10, Successes: rapid.SampledFrom([]float64{0, 5, 10}).Draw(t, "prior")}}
		l := learned(cfg, drawHistory(t)...)
		if rapid.Bool().Draw(t, "crowd") {
			l.add(place{"retry-storm", sre.RetryStorm, "stock", "", ""}, day(noon.Unix()), tally{success: 1e9, failure: rapid.Uint64Range(0, 10).Draw(t, "failures")})
		}
		q := question()
		q.Probability, q.DataQuality = rapid.Float64().Draw(t, "probability"), rapid.Float64().Draw(t, "data")
		if rapid.Bool().Draw(t, "not a number") {
			q.Probability, q.DataQuality = math.NaN(), math.NaN()
		}
		c := l.Confidence(q)
		if !(c.Lower >= 0 && c.Lower <= c.P && c.P <= 1) {
			t.Fatalf("confidence %+v of %+v", c, q)
		}
		if strings.Contains(c.Basis, "NaN") {
			t.Fatalf("basis %q", c.Basis)
		}
	})
}

func TestOrderOfLearningDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawHistory(t)
		a, b := learned(DefaultConfig(), history...), learned(DefaultConfig(), rapid.Permutation(slices.Clone(history)).Draw(t, "shuffled")...)
		q := drawQuestion(t)
		if !cmp.Equal(a.Confidence(q), b.Confidence(q)) || a.Digest() != b.Digest() {
			t.Fatalf("%v (%s) and %v (%s)", a.Confidence(q), a.Digest(), b.Confidence(q), b.Digest())
		}
	})
}

func TestSnapshotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, q := learned(DefaultConfig(), drawHistory(t)...), drawQuestion(t)
		b := learned(DefaultConfig(), outcome(sre.Worsened))
		if err := b.Restore(a.Snapshot()); err != nil {
			t.Fatal(err)
		}
		if string(a.Snapshot()) != string(b.Snapshot()) || !cmp.Equal(a.Confidence(q), b.Confidence(q)) {
			t.Fatalf("restored learner differs:\n%s\n%s", a.Snapshot(), b.Snapshot())
		}
		more := outcome(sre.Improved)
		a.Learn(more)
		b.Learn(more)
		if a.Digest() != b.Digest() {
			t.Fatal("they learn differently after the restore")
		}
	})
}

func TestSnapshotForm(t *testing.T) {
	early := outcome(sre.NoDataOutcome)
	early.At = time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC)
	got := string(learned(bare(), outcome(sre.Improved), early, outcome(sre.Worsened)).Snapshot())
	want := `{"version":1,"counts":[` +
		`{"runbook":"retry-storm","mechanism":"retry_storm","service":"stock","day":-1,"unclear":1},` +
		`{"runbook":"retry-storm","mechanism":"retry_storm","service":"stock","day":20513,"success":1,"failure":1}]}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRestoreRefuses(t *testing.T) {
	line := `{"runbook":"r","mechanism":"overload","service":"s","day":1,"success":1}`
	cases := []struct{ name, in, want string }{
		{"nothing", ``, "restore learner: EOF"},
		{"other version", `{"version":2,"counts":[]}`, "version is 2, want 1"},
		{"unknown field", `{"version":1,"counts":[],"more":1}`, `unknown field "more"`},
		{"twice", `{"version":1,"counts":[` + line + `,` + line + `]}`, "count 1 is empty or given twice"},
		{"empty count", `{"version":1,"counts":[{"runbook":"r","day":1}]}`, "count 0 is empty or given twice"},
		{"no runbook", `{"version":1,"counts":[{"day":1,"success":1}]}`, "count 0 is empty or given twice"},
		{"negative", `{"version":1,"counts":[{"runbook":"r","day":1,"success":-1}]}`, "cannot unmarshal"},
		{"huge", `{"version":1,"counts":[{"runbook":"r","day":1,"failure":9999999999999}]}`, "larger than any fleet"},
		{"trailing", `{"version":1,"counts":[]} {}`, "more follows"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := learned(bare(), outcome(sre.Improved))
			before := l.Digest()
			err := l.Restore([]byte(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if l.Digest() != before {
				t.Error("a refused snapshot changed the learner")
			}
		})
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(learned(bare(), outcome(sre.Improved), outcome(sre.NoDataOutcome)).Snapshot())
	f.Add([]byte(`{"version":1,"counts":[{"runbook":"r","day":-9223372036854775808,"success":1}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		l := New(DefaultConfig())
		if l.Restore(in) != nil {
			return
		}
		again := New(DefaultConfig())
		if err := again.Restore(l.Snapshot()); err != nil || again.Digest() != l.Digest() {
			t.Fatalf("own snapshot is refused or differs: %v", err)
		}
		for _, p := range l.places() {
			q := question()
			q.Runbook, q.Mechanism, q.Service = p.runbook, p.mechanism, p.service
			if c := l.Confidence(q); !(c.Lower >= 0 && c.Lower <= c.P && c.P <= 1) {
				t.Fatalf("confidence %+v", c)
			}
		}
	})
}

func TestConfigIsCopied(t *testing.T) {
	cfg := DefaultConfig()
	l := New(cfg)
	cfg.Priors["retry-storm"] = Prior{Runs: 10}
	near(t, "P", l.Confidence(question()).P, 5.5/7)
}

func TestValidate(t *testing.T) {
	if f := DefaultConfig().Validate(); len(f) != 0 {
		t.Fatalf("the default is at fault:\n%v", f)
	}
	bad := Config{
		HalfLife: model.Duration(time.Hour), Kappa: 0, BaseRate: 1,
		Priors: map[string]Prior{"b": {Runs: 2, Successes: 3}, "a": {Runs: 11, Successes: math.NaN()}},
	}
	want := `half_life: is 1h; allowed: 1d or more
kappa: is 0; allowed: 1 to 1000
base_rate: is 1; allowed: a number above 0 and below 1
priors.a.runs: is 11; allowed: 0 to 10
priors.a.successes: is not a number; allowed: 0 to the number of runs
priors.b.successes: is 3; allowed: 0 to the number of runs`
	if diff := cmp.Diff(want, bad.Validate().Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func BenchmarkConfidence(b *testing.B) {
	l := New(DefaultConfig())
	for i := range 1000 {
		o := outcome(sre.Improved)
		o.At = noon.Add(-time.Duration(i) * 8 * time.Hour)
		l.Learn(o)
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Confidence(question())
	}
}
