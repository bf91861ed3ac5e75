package scaling

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/sre"
)

const (
	most   = 20
	target = 0.6
)

func setting(load Load, lasts time.Duration) Setting {
	return Setting{
		Load: load, For: lasts, Every: 10 * time.Second, StartDelay: 40 * time.Second, Replicas: 4, Usual: 200,
		Tune: sre.Params{"max_replicas": most, "target": target},
	}
}

func square(period time.Duration) Load {
	return func(since time.Duration) float64 {
		if since%period < period/2 {
			return 1
		}
		return 2
	}
}

// noisy is a load of one, up to 30 % off, by a fixed sequence.
func noisy(since time.Duration) float64 {
	x := uint64(since/(10*time.Second)) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	return 1 + 0.6*(float64(x>>40)/float64(1<<24)-0.5)
}

// daily has its peak, three times the valley, at noon, with a steep morning.
func daily(since time.Duration) float64 {
	hour := math.Mod(since.Hours(), 24)
	switch {
	case hour < 8 || hour >= 22:
		return 1
	case hour < 9: // within an hour to the peak
		return 1 + 2*(hour-8)
	case hour < 18:
		return 3
	}
	return 3 - 2*(hour-18)/4
}

func run(t *testing.T, s Setting, law control.Law) Result {
	t.Helper()
	r, err := Run(s, law)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTable prints docs/scaling.md's table.
func TestTable(t *testing.T) {
	if testing.Short() {
		t.Skip("days of simulated time")
	}
	var out strings.Builder
	fmt.Fprintf(&out, "| load | law | answered | worst tick | moves | turns | replica-hours |\n|---|---|---|---|---|---|---|\n")
	for _, c := range []struct {
		name  string
		load  Load
		lasts time.Duration
		turns int // at most, of the law
	}{
		{"square, 2 min", square(2 * time.Minute), 2 * time.Hour, 1},
		{"square, 4 min", square(4 * time.Minute), 2 * time.Hour, 1},
		{"square, 8 min", square(8 * time.Minute), 2 * time.Hour, 1},
		{"noise of 30 %", noisy, 2 * time.Hour, 1},
		{"one peak a day, 3 days", daily, 72 * time.Hour, 6},
	} {
		s := setting(c.load, c.lasts)
		formula, law := run(t, s, Formula{Target: target, Most: most}), run(t, s, control.Scale{})
		for _, x := range []struct {
			name string
			r    Result
		}{{"formula alone", formula}, {"scale", law}} {
			fmt.Fprintf(&out, "| %s | %s | %.4f | %.3f | %d | %d | %.0f |\n", c.name, x.name, x.r.Goodput, x.r.Worst, x.r.Moves, x.r.Turns, x.r.Hours)
		}
		if law.Turns > c.turns {
			t.Errorf("%s: %d changes of direction, want at most %d", c.name, law.Turns, c.turns)
		}
		if law.Goodput < formula.Goodput-1e-6 {
			t.Errorf("%s: %.4f answered, the formula alone %.4f", c.name, law.Goodput, formula.Goodput)
		}
		if law.Most > most {
			t.Errorf("%s: %g replicas, the bound is %d", c.name, law.Most, most)
		}
	}
	t.Log("\n" + out.String())
}

// On the second and the third day the morning's rise is met before it comes: at
// every moment of it as many replicas are there as the load needs.
func TestTheDailyPeakIsLed(t *testing.T) {
	if testing.Short() {
		t.Skip("days of simulated time")
	}
	s := setting(daily, 72*time.Hour)
	r := run(t, s, control.Scale{})
	first, later := leads(r, s, 0), append(leads(r, s, 1), leads(r, s, 2)...)
	t.Logf("lead of the first day %v, later %v", first, later)
	if len(later) < 12 {
		t.Fatalf("only %d rises seen", len(later))
	}
	for _, lead := range later {
		if lead < s.StartDelay {
			t.Errorf("a rise is led by %s, a replica takes %s to start", lead, s.StartDelay)
		}
	}
}

// leads are, for each number of replicas that the morning of a day comes to need
// to be on target, how long before that moment it had been asked for.
func leads(r Result, s Setting, day int) []time.Duration {
	var out []time.Duration
	begin := time.Duration(day)*24*time.Hour + 7*time.Hour
	for n := 5.0; n <= 10; n++ {
		var asked, needed time.Duration
		for _, p := range r.Trace {
			if p.Since < begin || p.Since > begin+3*time.Hour {
				continue
			}
			if asked == 0 && p.Replicas >= n {
				asked = p.Since
			}
			if needed == 0 && p.Load*s.Usual/(perReplica*target) > n-1 {
				needed = p.Since
			}
		}
		if needed > 0 && asked > 0 {
			out = append(out, needed-asked)
		}
	}
	return out
}

func TestNeverLessInTrouble(t *testing.T) {
	fall := func(since time.Duration) float64 {
		if since < 20*time.Minute {
			return 2
		}
		return 0.3 // the service fails, and its load with it
	}
	s := setting(fall, 3*time.Hour)
	s.Replicas = 8
	s.Trouble = func(since time.Duration) bool { return since > 19*time.Minute && since < 60*time.Minute }
	r := run(t, s, control.Scale{})
	if r.Shrunk > 0 {
		t.Errorf("%d moves down in trouble", r.Shrunk)
	}
	then, least := 0.0, 100.0
	for _, p := range r.Trace {
		if p.Since == 19*time.Minute {
			then = p.Replicas
		}
		if p.Since > 19*time.Minute && p.Since < 89*time.Minute {
			least = min(least, p.Replicas)
		}
	}
	if least < then {
		t.Errorf("%g replicas within half an hour of trouble, %g when it began", least, then)
	}
	if r.EndAmount > 3 {
		t.Errorf("%g replicas at the end: the test cannot fail", r.EndAmount)
	}
	if plain := run(t, s, Formula{Target: target, Most: most}); plain.Shrunk == 0 {
		t.Error("the formula alone does not shrink in trouble: the test cannot fail")
	}
}

func TestTheSameRunTwice(t *testing.T) {
	s := setting(noisy, 30*time.Minute)
	if diff := cmp.Diff(run(t, s, control.Scale{}), run(t, s, control.Scale{})); diff != "" {
		t.Error(diff)
	}
}
