package agent

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/sre"
)

// contest is one random life of a set of knobs that the agent, agents that it
// has replaced, an autoscaler and people write.
type contest struct {
	*rig
	rt     *rapid.T
	b      *board
	trail  *fenced
	old    []*Agent
	scaled arbiter.Knob // the knob that the autoscaler writes
	every  int          // ticks between two looks of it; 0 for none
	wants  float64      // what it last wrote
	// stubborn is an autoscaler that sets the knob back to what it wants. That is
	// what lay beneath, too: the agent knows only from a lever that can be read and
	// says that somebody did it.
	stubborn bool
	undone   map[string]time.Time // actions that a person had undone, and until when that may take
}

// restless is a law that turns every so many ticks.
type restless struct{ every int64 }

func (l restless) Next(_ sre.Control, s control.Scene) control.Move {
	to := 0.1
	if s.Now.Unix()/l.every%2 == 0 {
		to = 1
	}
	return control.Move{Params: sre.Params{"ratio": to}, Memory: sre.Control{Done: true}}
}

func newContest(rt *rapid.T, tb testing.TB) *contest {
	c := &contest{rt: rt, b: newBoard(), undone: map[string]time.Time{}}
	c.b.tells = rapid.SampledFrom([]telling{byName, broken, silent}).Draw(rt, "tells")
	c.rig = newRig(tb, func(r *rig) {
		p := &r.cfg.Policy.Arbitration
		p.Ineffective, p.Concurrent, p.Turns = 99, 99, rapid.IntRange(2, 3).Draw(rt, "turns")
		r.mind.twins, r.mind.apart = rapid.Bool().Draw(rt, "twins"), rapid.Bool().Draw(rt, "apart")
		r.mind.lease, r.w.sticky, r.w.cures = 10*time.Minute, false, rapid.IntRange(0, 2).Draw(rt, "cures")
		r.w.held = func() int { return len(c.b.ours("")) }
		if rapid.IntRange(0, 2).Draw(rt, "never calm") > 0 {
			r.mind.says = func(k sre.Check) (sre.Verdict, bool) { return sre.Inconclusive, k.Expr == "sick" }
		}
		if rapid.Bool().Draw(rt, "law") {
			under(restless{rapid.SampledFrom([]int64{1, 1, 2, 3, 4, 8}).Draw(rt, "turns every")})(r)
		}
	})
	c.trail = &fenced{memory: c.rig.trail, durable: func([]sre.Record) {}}
	c.scaled = arbiter.Knob{Kind: sre.RetryBudget, Target: sre.Target{Lever: "fake", Service: "api"}}
	c.every = rapid.SampledFrom([]int{0, 0, 3, 10}).Draw(rt, "autoscaler")
	c.stubborn = c.b.tells != silent && rapid.Bool().Draw(rt, "stubborn")
	if rapid.Bool().Draw(rt, "tuned by hand") {
		c.b.write("human", c.scaled)
	}
	c.join()
	return c
}

func (c *contest) join() {
	ports := c.a.ports
	ports.Levers, ports.Trail, ports.Log = map[string]sre.Remediator{"fake": c.b}, c.trail, slog.New(slog.DiscardHandler)
	a, err := newWith(c.cfg, ports, c.a.mind)
	if err != nil {
		c.rt.Fatal(err)
	}
	if err := a.Restore(c.trail.all()); err != nil {
		c.rt.Fatal(err)
	}
	c.a = a
}

func (c *contest) oneIn(n int, what string) bool {
	return rapid.IntRange(0, n-1).Draw(c.rt, what) == n-1
}

// others write, and the world goes on.
func (c *contest) others(tick int) {
	if c.oneIn(12, "trigger") {
		c.w.sick = !c.w.sick
	}
	if c.oneIn(30, "cause") {
		c.mind.cause = rapid.SampledFrom([]string{"db", "api"}).Draw(c.rt, "which")
	}
	c.b.unseen = !c.stubborn && c.oneIn(12, "unseen")
	if c.oneIn(25, "human") {
		c.b.write("human", arbiter.Knob{
			Kind:   rapid.SampledFrom([]sre.ActionKind{sre.RetryBudget, sre.Shed}).Draw(c.rt, "kind"),
			Target: sre.Target{Lever: "fake", Service: rapid.SampledFrom([]string{"web", "api"}).Draw(c.rt, "service")},
		})
	}
	if d := c.b.at(c.scaled); c.every > 0 && tick%c.every == 0 && d.writer != "human" {
		if c.wants == 0 || !c.stubborn && d.value != c.wants || c.oneIn(10, "load") {
			c.b.write("autoscaler", c.scaled)
			c.wants = d.value
		} else if d.value != c.wants {
			d.set("autoscaler", c.wants, c.b.now)
		}
	}
	if c.oneIn(60, "replaced") {
		c.old = append(c.old, c.a)
		c.join()
	}
	if open := c.a.book.open(); c.oneIn(40, "undo") && len(open) > 0 {
		c.desk.queue = append(c.desk.queue, undo(rapid.SampledFrom(open).Draw(c.rt, "what").ID))
	}
}

func (c *contest) live(tick int) {
	c.at = c.at.Add(time.Second)
	c.b.turn(c.at)
	c.others(tick)
	var going []string
	for _, in := range c.desk.queue {
		going = append(going, c.b.ours(in.Incident)...)
	}
	answered := len(c.desk.answers)
	if err := c.a.Tick(context.Background(), c.at); err != nil {
		c.rt.Fatal(err)
	}
	for _, answer := range c.desk.answers[answered:] {
		if !answer.Accepted && len(going) > 0 {
			c.rt.Fatalf("no undo: %s\n%s", answer.Reason, c.story())
		}
		for _, id := range going {
			c.undone[id] = c.at.Add(3 * time.Second) // a tick for each step
		}
	}
	c.check()
	clear(c.b.calls)
	touched := len(c.b.calls)
	for _, a := range c.old {
		_ = a.Tick(context.Background(), c.at)
	}
	if len(c.b.calls) != touched {
		c.rt.Fatalf("a replaced agent touched %v", c.b.calls)
	}
}

func (c *contest) check() {
	for _, why := range c.b.wrong {
		c.rt.Fatalf("%s\n%s", why, c.story())
	}
	for id, by := range c.undone {
		if c.at.Before(by) {
			continue
		}
		delete(c.undone, id)
		if slices.Contains(c.b.ours(""), id) {
			c.rt.Fatalf("%s is in force although a person had it undone\n%s", id, c.story())
		}
	}
	for _, inc := range c.a.book.open() {
		for i := range inc.Mitigations {
			c.still(&inc.Mitigations[i])
		}
	}
	for k, d := range c.b.dials {
		if n, most := c.turns(d), 3*(c.cfg.Policy.Arbitration.Turns+1)+1; n > most {
			c.rt.Fatalf("%s on %s turned %d times in %d ticks, %d are allowed: %v\n%s", k.Kind, k.Target, n, 3*arbiter.SwingTicks, most, d.history, c.story())
		}
	}
}

// still holds a lever that was found to swing twice to the one move to its safer
// end.
func (c *contest) still(m *sre.Mitigation) {
	moves := 0
	for _, w := range c.b.at(arbiter.KnobOf(m.Action)).history {
		if m.Swings > 1 && w.by == m.Action.ID && !w.at.Before(m.SwungAt) {
			moves++
		}
	}
	if moves > 1 {
		c.rt.Fatalf("%s was moved %d times since it was to stay\n%s", m.Action.ID, moves, c.story())
	}
}

// turns counts how often the moves of one action after another changed direction
// of late; what lies between two actions, and what others write, begins anew.
func (c *contest) turns(d *dial) int {
	n, way := 0, 0.
	for i := 1; i < len(d.history); i++ {
		was, is := d.history[i-1], d.history[i]
		if was.by != is.by || !isAction(is.by) {
			way = 0
			continue
		}
		leg := is.to - was.to
		if leg*way < 0 && c.at.Sub(is.at) < 3*arbiter.SwingTicks*time.Second {
			n++
		}
		way = leg
	}
	return n
}

// Never two actions of the agent's on one knob; what a person or an autoscaler has
// set since the agent first moved a knob is never overwritten, so that no two
// take turns there; a law's turns stay within the rule; every undo is let through.
func TestWritersDoNotFightOverAKnob(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		c := newContest(rt, t)
		for tick := range rapid.IntRange(100, 300).Draw(rt, "ticks") {
			c.live(tick)
		}
		for _, rec := range c.trail.records {
			switch {
			case rec.Result != nil && rec.Result.Phase == sre.Released && rec.Result.State.Foreign:
				seen["foreign writes"]++
			case rec.Change == "swing":
				seen["swings"]++
			case rec.Operator != nil:
				seen["undos"]++
			case rec.Start != nil && rec.Start.Epoch > 1:
				seen["takeovers"]++
			}
		}
	})
	for _, what := range []string{"foreign writes", "swings", "undos", "takeovers"} {
		if seen[what] == 0 && !t.Failed() {
			t.Errorf("no life had %s", what)
		}
	}
}
