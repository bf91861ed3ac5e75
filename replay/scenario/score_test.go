package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// told makes a result of a story with one goodput per tick of 5 s, of 100 wanted
// requests each.
func told(s *Scenario, goodput func(at time.Duration) float64) *Result {
	r := &Result{Start: Origin()}
	for at := time.Duration(0); at <= s.Length; at += s.Tick {
		g := goodput(at)
		r.Story = append(r.Story, Moment{At: Origin().Add(at), Goodput: g, good: 100 * g, wanted: 100})
	}
	return r
}

const scored = small + "at 2m fault db errors=.5 for 30s\n"

func TestScoreGoodput(t *testing.T) {
	const never = -1
	dip := func(from, to time.Duration, low float64) func(time.Duration) float64 {
		return func(at time.Duration) float64 {
			if at > from && at <= to {
				return low
			}
			return 1
		}
	}
	for _, c := range []struct {
		name       string
		goodput    func(time.Duration) float64
		min, after float64
		recovered  float64
	}{
		{"no dip", dip(0, 0, 0), 1, 1, 0},
		{"a dip before the fault", dip(30*time.Second, 50*time.Second, .2), 1, 1, 0},
		{"a dip of 30 s", dip(2*time.Minute, 150*time.Second, .4), .4, 1, 45}, // and two ticks until the mean of three is clean
		{"a shallow dip", dip(2*time.Minute, 5*time.Minute, .96), .96, .96, 0},
		{"for good", dip(2*time.Minute, 5*time.Minute, .1), .1, .1, never},
		{"back in the last minute", dip(2*time.Minute, 4*time.Minute+30*time.Second, 0), 0, .5, never},
		{"a relapse at the end", dip(4*time.Minute+50*time.Second, 5*time.Minute, .5), 4.0 / 6, 11.0 / 12, never},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := parsed(t, scored)
			r := told(s, c.goodput)
			s.scoreGoodput(r)
			if r.GoodputBefore != 1 {
				t.Errorf("before is %v", r.GoodputBefore)
			}
			if diff := cmp.Diff([]string{fmt.Sprintf("%.4f", c.min), fmt.Sprintf("%.4f", c.after)},
				[]string{fmt.Sprintf("%.4f", r.GoodputMin), fmt.Sprintf("%.4f", r.GoodputAfter)}); diff != "" {
				t.Errorf("min and after (-want +got):\n%s", diff)
			}
			switch {
			case c.recovered == never:
				if r.Recovered || r.RecoveredAfterSeconds != nil {
					t.Errorf("recovered after %v, want never", r.RecoveredAfterSeconds)
				}
			case !r.Recovered || *r.RecoveredAfterSeconds != c.recovered:
				t.Errorf("recovered is %v after %v s, want %v s", r.Recovered, secondsOr(r.RecoveredAfterSeconds), c.recovered)
			}
		})
	}
}

func TestScoreGoodputOfSickWorld(t *testing.T) {
	s := parsed(t, scored)
	r := told(s, func(at time.Duration) float64 {
		if at <= 2*time.Minute {
			return .5
		}
		return .48
	})
	s.scoreGoodput(r)
	if r.GoodputBefore != .5 || !r.Recovered {
		t.Errorf("before %v, recovered %v; 95 %% of half is half enough", r.GoodputBefore, r.Recovered)
	}
}

// chain is four services in a row: a calls b calls c calls d; e stands beside,
// called by a.
const chain = `title chain
run 10m
service a rate=500
service b rate=500
service c rate=500
service d rate=500
service e rate=500
call a -> b hard
call b -> c hard
call c -> d hard
call a -> e
client users -> a rate=10
`

func TestCascade(t *testing.T) {
	long, window := 100, 6
	for _, c := range []struct {
		name   string
		lines  string
		ailing map[string]ailing
		want   bool
	}{
		{"nobody", "at 1m fault d errors=1 for 60s", nil, false},
		{"only the one at fault, for long", "at 1m fault d errors=1 for 60s", map[string]ailing{"d": {ticks: long, longest: long, late: long}}, false},
		{"its caller, as long as the fault", "at 1m fault d errors=1 for 60s", map[string]ailing{"c": {ticks: 12, longest: 12}}, false},
		{"its caller, a minute longer than the fault", "at 1m fault d errors=1 for 60s", map[string]ailing{"c": {ticks: 40, longest: 40, late: 1}}, true},
		{"two calls away, in passing", "at 1m fault d errors=1 for 60s", map[string]ailing{"b": {ticks: window, longest: window}}, false},
		{"two calls away, longer than a window", "at 1m fault d errors=1 for 60s", map[string]ailing{"b": {ticks: 7, longest: 7}}, true},
		{"two calls away, now and then", "at 1m fault d errors=1 for 60s", map[string]ailing{"b": {ticks: 20, longest: 4}}, false},
		{"down and up again counts as two calls", "at 1m fault b errors=1 for 60s", map[string]ailing{"e": {ticks: 7, longest: 7}}, true},
		{"the author knows better than the event", "truth c overload\nat 1m fault d errors=1 for 60s", map[string]ailing{"b": {ticks: 7, longest: 7}}, false},
		{"no fault at all, and trouble", "at 1m fault d errors=1 for 60s benign", map[string]ailing{"b": {ticks: 40, longest: 40, late: 28}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := parsed(t, chain+c.lines+"\n")
			st, err := s.stage(Options{}, "")
			if err != nil {
				t.Fatal(err)
			}
			r := &Result{Graph: st.world.Graph(), Affected: map[string]bool{}}
			for name, a := range c.ailing {
				st.meter.services[s.mustIndex(t, name)] = a
			}
			s.scoreSpread(r, st.meter)
			if r.Cascade != c.want {
				t.Errorf("cascade is %v, want %v", r.Cascade, c.want)
			}
			if r.ServicesAffected != len(c.ailing) {
				t.Errorf("%d services affected, want %d", r.ServicesAffected, len(c.ailing))
			}
		})
	}
}

func (s *Scenario) mustIndex(t *testing.T, name string) int {
	t.Helper()
	for i := range s.Blueprint.Services {
		if s.Blueprint.Services[i].Name == name {
			return i
		}
	}
	t.Fatalf("no service %q", name)
	return 0
}

// TestTroubleInTheWorld holds that the meter sees in a real world what the
// definition says: a service that fails four of five, and its hard callers.
func TestTroubleInTheWorld(t *testing.T) {
	s := parsed(t, chain+"at 2m fault d errors=.8 for 2m\n")
	r := play(t, s, Options{})
	if diff := cmp.Diff(map[string]bool{"a": true, "b": true, "c": true, "d": true}, r.Affected); diff != "" {
		t.Errorf("affected (-want +got):\n%s", diff)
	}
	if !r.Cascade {
		t.Error("errors that reach the entry, three calls away, are a cascade")
	}
	if r.GoodputMin > .25 || r.GoodputBefore < .99 {
		t.Errorf("goodput was %v and fell to %v", r.GoodputBefore, r.GoodputMin)
	}
	slight := play(t, parsed(t, chain+"at 2m fault d errors=.08 for 2m\n"), Options{})
	if slight.ServicesAffected != 0 || slight.Cascade {
		t.Errorf("%d services in trouble by 8 %% of errors", slight.ServicesAffected)
	}
}

func TestFalseActions(t *testing.T) {
	for _, c := range []struct {
		lines, target string
		at            time.Duration
		want          bool
	}{
		{"at 1m fault c errors=1", "c", 2 * time.Minute, false},
		{"at 1m fault c errors=1", "b->c", 2 * time.Minute, false},
		{"at 1m fault c errors=1", "a#banner", 2 * time.Minute, false},
		{"at 1m fault c errors=1", "d", 2 * time.Minute, true},    // below it
		{"at 1m fault c errors=1", "c->d", 2 * time.Minute, true}, // as well
		{"at 1m fault c errors=1", "e", 2 * time.Minute, true},    // beside it
		{"at 1m fault c errors=1", "c", 30 * time.Second, true},   // too early
		{"at 1m fault c errors=1 benign", "c", 2 * time.Minute, true},
		{"at 1m load users 3", "d", 2 * time.Minute, false}, // wherever the rush goes
		{"truth d overload\nat 1m load users 3", "c->d", 2 * time.Minute, false},
		{"truth d overload\nat 1m fault c errors=1", "d", 2 * time.Minute, false},
		{"at 1m net c->d loss=1", "c->d", 2 * time.Minute, false},
	} {
		s := parsed(t, chain+c.lines+"\n")
		st, err := s.stage(Options{}, "")
		if err != nil {
			t.Fatal(err)
		}
		r := &Result{Start: Origin(), Graph: st.world.Graph(), Actions: []Moved{
			{At: Origin().Add(c.at), Target: c.target, Purpose: sre.ToApply, Phase: sre.InEffect},
			{At: Origin().Add(c.at), Target: c.target, Purpose: sre.ToRevert, Phase: sre.Undone},
			{At: Origin().Add(c.at), Target: c.target, Purpose: sre.ToApply, Phase: sre.Simulated},
		}}
		want := 0
		if c.want {
			want = 1
		}
		if got := s.markFalse(r); got != want || r.Actions[0].False != c.want {
			t.Errorf("%q: an action on %s at %s: %d false, want %d", c.lines, c.target, c.at, got, want)
		}
	}
}

// TestDistances holds the search against the plain way of relaxing all edges.
func TestDistances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "services")
		services := make([]sre.Service, n)
		for i := range services {
			services[i].Name = fmt.Sprint("s", i)
		}
		var edges []sre.Edge
		for range rapid.IntRange(0, 20).Draw(t, "edges") {
			edges = append(edges, sre.Edge{From: rapid.IntRange(0, n-1).Draw(t, "from"), To: rapid.IntRange(0, n-1).Draw(t, "to")})
		}
		from := rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 3).Draw(t, "start")
		want := make([]int, n)
		for i := range want {
			want[i] = n
		}
		for _, i := range from {
			want[i] = 0
		}
		for range n {
			for _, e := range edges {
				want[e.From] = min(want[e.From], want[e.To]+1)
				want[e.To] = min(want[e.To], want[e.From]+1)
			}
		}
		if diff := cmp.Diff(want, distances(sre.NewGraph(services, edges), from)); diff != "" {
			t.Errorf("distances from %v (-want +got):\n%s", from, diff)
		}
	})
}
