package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

func loaded(t testing.TB, name string) *Scenario {
	t.Helper()
	s, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSameWorld holds that an agent that only watches changes nothing: both arms
// are the very same world.
func TestSameWorld(t *testing.T) {
	for _, name := range []string{"policy-watch", "policy-dry-run", "people-reject"} {
		s := loaded(t, name)
		off, on := play(t, s, Options{}), play(t, s, Options{Agent: true})
		if diff := cmp.Diff(off.Story, on.Story, cmp.AllowUnexported(Moment{})); diff != "" {
			t.Errorf("%s: the agent's eyes alone change the world (-off +on):\n%s", name, diff)
		}
	}
}

// TestWatchedAlone holds that a run without the agent can be watched, tick by
// tick, and is not moved by that.
func TestWatchedAlone(t *testing.T) {
	s := loaded(t, "benign-scrape-gap")
	var seen []time.Duration
	watched := play(t, s, Options{Watch: func(tick replay.Tick) error {
		if tick.Snapshot == nil || !tick.Snapshot.At.Equal(tick.At) || tick.Records != nil {
			t.Fatalf("at %s the tick is %+v", tick.At, tick)
		}
		seen = append(seen, tick.At.Sub(Origin()))
		return nil
	}})
	if len(seen) != len(watched.Story) || seen[0] != 0 || seen[len(seen)-1] != s.Length {
		t.Errorf("%d ticks from %s to %s, want %d", len(seen), seen[0], seen[len(seen)-1], len(watched.Story))
	}
	if diff := cmp.Diff(play(t, s, Options{}).Story, watched.Story, cmp.AllowUnexported(Moment{})); diff != "" {
		t.Errorf("to be watched changes the world (-alone +watched):\n%s", diff)
	}
}

// TestResultJSON holds the names that readers rely on, and what is null.
func TestResultJSON(t *testing.T) {
	want := []string{
		"scenario", "agent", "goodput_before", "goodput_min", "goodput_after", "recovered", "recovered_after_seconds",
		"cascade", "services_affected", "actions", "harmful_actions", "false_actions",
	}
	for _, on := range []bool{false, true} {
		text, err := play(t, loaded(t, "retry-storm"), Options{Agent: on}).JSON()
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for _, name := range want {
			if _, ok := got[name]; !ok {
				t.Errorf("agent %v: %q is missing in %s", on, name, text)
			}
		}
		actions, isList := got["actions"].([]any)
		switch {
		case !isList:
			t.Errorf("actions are %v, want a list", got["actions"])
		case on && (got["agent"] != "on" || len(actions) != 2 || got["recovered_after_seconds"] == nil):
			t.Errorf("with the agent: %s", text)
		case !on && (got["agent"] != "off" || len(actions) != 0 || got["recovered_after_seconds"] != nil):
			t.Errorf("without the agent: %s", text)
		}
	}
}

// withRunbook is a configuration whose only runbook is text.
func withRunbook(t *testing.T, text string) agent.Config {
	t.Helper()
	lib, err := runbooks.Load(fstest.MapFS{"own.yaml": {Data: []byte(text)}}, ".")
	if err != nil {
		t.Fatal(err)
	}
	return agent.Config{Runbooks: lib}
}

// brute throttles a service to one request per second, whatever ails it.
const brute = `apiVersion: sreagent/v1
kind: Runbook
metadata: {name: brute, owner: test, description: Throttles the cause.}
spec:
  priority: 10
  match: {mechanisms: [retry_storm, slow_dependency, overload, pool_exhaustion, bad_change]}
  risk: low
  steps:
    - name: throttle
      actions:
        - {kind: shed, lever: guard, target: root, params: {rps: 1}, ttl: 60s}
        - {kind: queue_bound, lever: guard, target: root, params: {length: 100000}, ttl: 60s}
      verify: {expr: "max_errors(entries) < 0.01", within: 60s, held_for: 10s}
      lease: 15m
      on_fail: undo
  hold: 20s
  lift_gap: 10s
  relapse: "max_errors(entries) > 0.5"
`

// TestHarmIsFound holds that an action that hurts is told from one that does
// nothing, beside each other in one step, by twins and by before and after.
func TestHarmIsFound(t *testing.T) {
	s := parsed(t, `title a blow to what is half well
run 8m
service web work=2ms rate=2000 workers=600
service db work=10ms rate=300 workers=64 queue=5000
call web -> db timeout=2s hard
client users -> web rate=200 timeout=4s
truth db bad_change
at 2m deploy db errors=0.3 benign
at 2m fault db errors=0.3
`)
	for _, how := range []Judging{JudgeAuto, JudgeTwins, JudgeBeforeAfter, JudgeNot} {
		r := play(t, s, Options{Agent: true, Config: withRunbook(t, brute), Judge: how})
		harm := map[sre.ActionKind]bool{}
		for _, a := range r.applied() {
			harm[a.Kind] = harm[a.Kind] || a.Harmful
		}
		want := map[sre.ActionKind]bool{sre.Shed: true, sre.QueueBound: false}
		switch how {
		case JudgeBeforeAfter: // cannot tell two at one time apart
			want[sre.QueueBound] = true
		case JudgeNot:
			want[sre.Shed] = false
		case JudgeAuto, JudgeTwins:
		}
		if diff := cmp.Diff(want, harm); diff != "" {
			t.Errorf("judged by %q (-want +got):\n%s\n%s", how, diff, Transcript(r))
		}
	}
}

// TestTwinIsTheSameWorld holds that with a dud the agent does the same until the
// dud's effect is missed, and that the twin of nothing is the run itself.
func TestTwinIsTheSameWorld(t *testing.T) {
	s := loaded(t, "retry-storm")
	r := play(t, s, Options{Agent: true, Judge: JudgeNot})
	config, err := s.agentConfig(agent.Config{})
	if err != nil {
		t.Fatal(err)
	}
	budget := r.applied()[0]
	for _, c := range []struct {
		without string
		same    bool
	}{{"no such action", true}, {budget.ID, false}} {
		twin, err := s.stage(Options{Agent: true, Config: config}, c.without)
		if err != nil {
			t.Fatal(err)
		}
		if err := twin.play(context.Background(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		until := func(m []Moment, at time.Time) []Moment {
			return slices.DeleteFunc(slices.Clone(m), func(m Moment) bool { return !m.At.Before(at) })
		}
		if diff := cmp.Diff(until(r.Story, budget.At), until(twin.meter.story, budget.At), cmp.AllowUnexported(Moment{})); diff != "" {
			t.Errorf("without %s the past is another:\n%s", c.without, diff)
		}
		if same := cmp.Equal(r.Story, twin.meter.story, cmp.AllowUnexported(Moment{})); same != c.same {
			t.Errorf("without %s the rest is the same: %v, want %v", c.without, same, c.same)
		}
		if first := movements(twin.records)[0]; first.ID != budget.ID || first.Phase != sre.InEffect {
			t.Errorf("without %s the agent's first action is %+v", c.without, first)
		}
	}
}

func TestDud(t *testing.T) {
	s := loaded(t, "retry-storm")
	st, err := s.stage(Options{}, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	d := &dud{Remediator: st.world.Lever(), id: "dud"}
	order := func(id, service string) sre.Directive {
		return sre.Directive{
			Action: sre.Action{
				ID: id, Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: service}, Params: sre.Params{"rps": 7.0}, TTL: time.Minute,
			},
			Epoch: 1, Seq: 1, Expires: st.world.Now().Add(time.Minute),
		}
	}
	fake, honest := order("dud", "inventory"), order("honest", "cart")
	for _, x := range []sre.Directive{fake, honest} {
		if err := d.Apply(ctx, x); err != nil {
			t.Fatal(err)
		}
		state, err := d.Probe(ctx, x.Action)
		if err != nil {
			t.Fatal(err)
		}
		if rps, _ := state.Current.Float("rps"); !state.InEffect || rps != 7 || state.Owner != x.Action.ID {
			t.Errorf("%s is seen as %+v", x.Action.ID, state)
		}
	}
	m := st.world.Model()
	if got := m.Control(s.mustIndex(t, "inventory")).Cap; !math.IsInf(got, 1) {
		t.Errorf("the dud caps at %v", got)
	}
	if got := m.Control(s.mustIndex(t, "cart")).Cap; got != 7 {
		t.Errorf("the other action caps at %v, want 7", got)
	}
	if err := d.Revert(ctx, fake); err != nil {
		t.Fatal(err)
	}
	if state, err := d.Probe(ctx, fake.Action); err != nil || state.InEffect {
		t.Errorf("after its revert the dud is %+v, %v", state, err)
	}
}

// TestEventsAddUp holds that events that overlap on one service, call or client
// work together, and that each leaves alone when it ends.
func TestEventsAddUp(t *testing.T) {
	s := parsed(t, small+`at 1m fault db capacity=0.5 slow=10ms errors=.5 lost=0 for 3m
at 2m fault db capacity=0.4 slow=20ms errors=.5 for 1m
at 2m deploy db share=50% over=20s errors=.2 for 1m
at 1m net web->db delay=10ms loss=.5 for 3m
at 2m net web->db delay=20ms loss=.5 for 1m
at 1m load users 2 for 3m
at 2m load users 1.5 over=20s for 1m
at 3m50s cache-loss db 50%
`)
	st, err := s.stage(Options{}, "")
	if err != nil {
		t.Fatal(err)
	}
	well := fluid.Well()
	type state struct {
		condition fluid.Condition
		edge      fluid.EdgeCondition
		offered   float64
	}
	one := fluid.Condition{Capacity: .5, Slow: 10 * time.Millisecond, Errors: .5}
	bad := func(share float64) fluid.Condition {
		return fluid.Condition{
			Capacity: .2, Slow: 30 * time.Millisecond, Errors: .75,
			Bad: &fluid.BadVersion{Share: share, Capacity: 1, Errors: .2},
		}
	}
	net := fluid.EdgeCondition{Delay: 10 * time.Millisecond, Loss: .5}
	both := fluid.EdgeCondition{Delay: 30 * time.Millisecond, Loss: .75}
	m := st.world.Model()
	for _, c := range []struct {
		at   time.Duration
		want state
	}{
		{30 * time.Second, state{well, fluid.EdgeCondition{}, 100}},
		{90 * time.Second, state{one, net, 200}},
		{130 * time.Second, state{bad(.25), both, 250}},
		{150 * time.Second, state{bad(.5), both, 300}},
		{200 * time.Second, state{one, net, 200}},
		{270 * time.Second, state{well, fluid.EdgeCondition{}, 100}},
	} {
		st.world.AdvanceTo(Origin().Add(c.at))
		got := state{m.Condition(1), m.EdgeCondition(0), 0}
		before := m.Client(0).Offered
		m.Clone().Step()
		next := m.Clone()
		next.Advance(time.Second)
		got.offered = math.Round(next.Client(0).Offered - before)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(state{})); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", c.at, diff)
		}
	}
}

func TestWave(t *testing.T) {
	e := &Event{shape: shape{factor: 3, period: 40 * time.Minute}}
	for at, want := range map[time.Duration]float64{0: 1, 10 * time.Minute: 2, 20 * time.Minute: 3, 30 * time.Minute: 2, 40 * time.Minute: 1} {
		if got := e.loadAt(at); math.Abs(got-want) > 1e-9 {
			t.Errorf("after %s the factor is %v, want %v", at, got, want)
		}
	}
}

// TestPeopleAnswerOnce holds who speaks when.
func TestPeopleAnswerOnce(t *testing.T) {
	s := parsed(t, small+"people reject overload after 10s\npeople approve after 30s\nat 20s operator undo\nat 40s operator pause\n")
	c := newCrowd(s, Origin())
	view := &sre.View{Incidents: []sre.Incident{
		{ID: "one", State: sre.AwaitingApproval, StateSince: Origin(), Decision: &sre.Decision{ID: "d1", Runbook: "overload"}},
		{ID: "two", State: sre.AwaitingApproval, StateSince: Origin(), Decision: &sre.Decision{ID: "d2", Runbook: "retry-storm"}},
		{ID: "three", State: sre.Closed},
	}}
	var got []string
	for at := time.Duration(0); at <= time.Minute; at += 5 * time.Second {
		seen := view
		if at == 0 {
			seen = nil
		}
		for _, in := range c.Inputs(Origin().Add(at), seen) {
			got = append(got, strings.Join([]string{at.String(), string(in.Kind), in.Incident, in.Decision, string(in.Role)}, " "))
		}
	}
	want := []string{
		"10s reject one d1 approver", "20s undo one  operator", "20s undo two  operator", "30s approve two d2 approver", "40s pause   operator",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

// TestStopped holds that a run that is stopped ends with its reason and keeps
// what was played.
func TestStopped(t *testing.T) {
	s := loaded(t, "retry-storm")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, on := range []bool{false, true} {
		if _, err := s.Run(ctx, Options{Agent: on}); !errors.Is(err, context.Canceled) {
			t.Errorf("agent %v: error is %v", on, err)
		}
	}
	enough := errors.New("seen enough")
	ticks := 0
	r, err := s.Run(context.Background(), Options{Agent: true, Watch: func(replay.Tick) error {
		if ticks++; ticks == 40 {
			return enough
		}
		return nil
	}})
	if !errors.Is(err, enough) {
		t.Errorf("error is %v", err)
	}
	if r == nil || len(r.Story) != 40 || len(r.Records) == 0 {
		t.Errorf("what was played is lost: %+v", r)
	}
}

// TestScrapedIsOnlyTheRun holds that the twins of a judged run are not recorded.
func TestScrapedIsOnlyTheRun(t *testing.T) {
	s := loaded(t, "retry-storm")
	count := func(how Judging) int {
		var last time.Time
		n := 0
		play(t, s, Options{Agent: true, Judge: how, Scraped: func(at time.Time, samples []world.Sample) {
			if at.Before(last) {
				t.Fatalf("scrape at %s after %s", at, last)
			}
			last = at
			n += len(samples)
		}})
		return n
	}
	if with, without := count(JudgeTwins), count(JudgeNot); with != without || with == 0 {
		t.Errorf("%d samples when judged, %d when not", with, without)
	}
}

// TestOwnPolicyHolds holds that a given policy comes before the scenario's.
func TestOwnPolicyHolds(t *testing.T) {
	s := loaded(t, "retry-storm")
	own := s.Policy
	own.Mode = sre.Watch
	if r := play(t, s, Options{Agent: true, Config: agent.Config{Policy: own}}); len(r.Actions) > 0 {
		t.Errorf("an agent that may only watch moved %v", r.Actions)
	}
}

// TestWithoutPast holds that an agent without history sees the world at once,
// and asks rather than acts while it does not know what is usual.
func TestWithoutPast(t *testing.T) {
	text := "title t\nwarmup 0s\nrun 3m\nservice web rate=300\nclient users -> web rate=100\nat 30s fault web capacity=.1\n"
	r := play(t, parsed(t, text), Options{Agent: true})
	if r.GoodputBefore < .99 || r.GoodputAfter > .2 || len(r.Story) != 37 {
		t.Errorf("goodput is %v and %v over %d ticks", r.GoodputBefore, r.GoodputAfter, len(r.Story))
	}
	if len(r.Actions) > 0 {
		t.Errorf("moved %+v", r.Actions)
	}
}

func BenchmarkRun(b *testing.B) {
	s := loaded(b, "retry-storm")
	for _, on := range []bool{false, true} {
		name := "off"
		if on {
			name = "on"
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Run(context.Background(), Options{Agent: on, Judge: JudgeNot}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
