package learner

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// told are labels of two kinds of situation, of which one is always cured.
func told(n int) []label {
	out := make([]label, n)
	for i := range out {
		good := i%2 == 0
		out[i] = label{Mechanism: sre.Overload, Raw: .8, Prior: .8, Right: good, Signature: "entries:down root:latency"}
		if !good {
			out[i].Signature = "entries:down root:pool"
		}
	}
	return out
}

func TestMarksSpeakForWhatTheyWereSeenWith(t *testing.T) {
	e := weigh(told(200))
	good, bad := e.of(.8, "entries:down root:latency"), e.of(.8, "entries:down root:pool")
	if good < .9 || bad > .25 {
		t.Errorf("after 200 outcomes .8 becomes %v with the good mark and %v with the bad one", good, bad)
	}
	if got := e.of(.8, "never:seen"); got != .8 {
		t.Errorf("an unknown mark moves .8 to %v", got)
	}
	if got := e.of(.8, ""); got != .8 {
		t.Errorf("no marks move .8 to %v", got)
	}
	if e := weigh(told(4)); e.of(.8, "root:latency") > .9 {
		t.Errorf("four outcomes make %v of .8", e.of(.8, "root:latency"))
	}
}

// The ridge regression must be where no small step in any direction is better.
func TestWeighedMarksAreTheBestOnes(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var labels []label
	for range 300 {
		l := label{Prior: .05 + .9*dice.Float64()}
		for _, mark := range []string{"a:1", "b:1", "c:1"} {
			if dice.IntN(2) == 0 {
				l.Signature += " " + mark
			}
		}
		l.Signature = strings.TrimSpace(l.Signature)
		l.Right = dice.Float64() < l.Prior
		labels = append(labels, l)
	}
	best := weigh(labels)
	loss := func(e evidence) float64 {
		sum := 0.0
		for _, w := range e {
			sum += weightless / 2 * w * w
		}
		for i, l := range labels {
			p := e.of(l.Prior, l.Signature)
			if !l.Right {
				p = 1 - p
			}
			sum -= math.Exp2(-float64(len(labels)-1-i)/labelHalf) * math.Log(p)
		}
		return sum
	}
	at := loss(best)
	for mark := range best {
		for _, by := range []float64{-.02, .02} {
			other := maps.Clone(best)
			other[mark] += by
			if loss(other) <= at {
				t.Errorf("%s by %v is better: %v, %v", mark, by, loss(other), at)
			}
		}
	}
}

func TestDistanceIsJaccards(t *testing.T) {
	words := []string{"a", "b", "c", "d", "e"}
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfDistinct(rapid.SampledFrom(words), func(s string) string { return s })
		x, y := some.Draw(t, "x"), some.Draw(t, "y")
		both := 0
		for _, mark := range x {
			if slices.Contains(y, mark) {
				both++
			}
		}
		want := 0.0
		if either := len(x) + len(y) - both; either > 0 {
			want = 1 - float64(both)/float64(either)
		}
		m := marks{}
		m.of("e d")
		if got := m.of(spelled(x)).distance(m.of(spelled(y))); math.Abs(got-want) > slack {
			t.Fatalf("distance %v, want %v", got, want)
		}
	})
}

func TestMoreMarksThanBitsDoNoHarm(t *testing.T) {
	m := marks{}
	for i := range 500 {
		if s := m.of(fmt.Sprintf("mark:%d", i)); s.empty() {
			t.Fatalf("mark %d has no bit", i)
		}
	}
}

func TestOutcomesOfLikeSituationsWeighMore(t *testing.T) {
	storm, leak := []string{"entries:down", "root:latency", "root:retries"}, []string{"affected:few", "root:pool"}
	l := New(bare())
	for i := range 20 {
		o := outcome(sre.Improved)
		o.Signature, o.Service = storm, fmt.Sprint("s", i)
		if i%2 == 0 {
			o.Outcome, o.Signature = sre.Unchanged, leak
		}
		l.Learn(o)
	}
	ask := func(signature ...string) float64 {
		q := question()
		q.Signature = signature
		return l.Confidence(q).P
	}
	if good, none, bad := ask(storm...), ask(), ask(leak...); !(good > none+.1 && bad < none-.1) {
		t.Errorf("like those that were cured %v, unlike any %v, like those that were not %v", good, none, bad)
	}
}

func TestASituationUnlikeAllIsNews(t *testing.T) {
	l := New(bare())
	q := question()
	q.Signature = []string{"affected:most", "root:cache", "sign:cache_loss"}
	for i := range enoughMet {
		if i == enoughMet-1 {
			if c := l.Confidence(q); c.Abstain != "" {
				t.Errorf("with %d situations remembered: %s", i, c.Abstain)
			}
		}
		o := outcome(sre.Improved)
		o.Signature, o.Service = []string{"entries:down", "root:latency"}, fmt.Sprint("s", i)
		l.Learn(o)
	}
	usual := question()
	usual.Signature = []string{"entries:down", "root:latency"}
	far, near := l.Confidence(q), l.Confidence(usual)
	if far.Abstain == "" || near.Abstain != "" {
		t.Errorf("unlike: %q, like: %q", far.Abstain, near.Abstain)
	}
	q.Signature = nil
	if blind := l.Confidence(q); blind.Abstain != "" || far.P >= blind.P {
		t.Errorf("the new situation has %v, one that nobody described %v (%s)", far.P, blind.P, blind.Abstain)
	}
}

func TestAnUntestedMechanismNeedsAPersonFiveTimes(t *testing.T) {
	cfg := bare()
	cfg.Untested = []sre.Mechanism{sre.RetryStorm}
	l, plain := New(cfg), New(bare())
	last := 0.0
	for n := range tried {
		c, p := l.Confidence(question()), plain.Confidence(question())
		if c.Abstain == "" || c.P >= p.P || c.P <= last {
			t.Errorf("after %d runs: %v, %v for a tested one, %v before; %q", n, c.P, p.P, last, c.Abstain)
		}
		last = c.P
		l.Learn(outcome(sre.Improved))
		plain.Learn(outcome(sre.Improved))
	}
	if c, p := l.Confidence(question()), plain.Confidence(question()); c.Abstain != "" || c.P != p.P {
		t.Errorf("after %d runs: %+v, %+v", tried, c, p)
	}
	cfg.Untested = []sre.Mechanism{"gremlins"}
	if len(cfg.Validate()) != 1 {
		t.Errorf("an unknown mechanism: %v", cfg.Validate())
	}
}

func TestAgeingIsTheSameAsLearningEarlier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history, days := drawHistory(t), rapid.Int64Range(0, 500).Draw(t, "days")
		aged := learned(DefaultConfig(), history...)
		aged.Age(days)
		for i := range history {
			history[i].At = history[i].At.AddDate(0, 0, -int(days))
		}
		earlier := learned(DefaultConfig(), history...)
		if diff := cmp.Diff(string(earlier.Snapshot()), string(aged.Snapshot())); diff != "" {
			t.Fatalf("(-earlier +aged):\n%s", diff)
		}
	})
}
