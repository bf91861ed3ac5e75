package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// fenced is a trail that several agents have open, as audit's is fenced: a record
// that does not follow the last one is refused, with all that come with it.
type fenced struct {
	*memory
	durable       func(rs []sre.Record)
	before, after func(rs []sre.Record) // what happens around an append that has intents
}

func (f *fenced) Append(ctx context.Context, rs []sre.Record) error {
	intents := slices.ContainsFunc(rs, func(r sre.Record) bool { return r.Intent != nil })
	if intents && f.before != nil {
		f.before(rs)
	}
	if next := uint64(len(f.records)); len(rs) > 0 && rs[0].Seq != next {
		return fmt.Errorf("append record %d where %d comes next", rs[0].Seq, next)
	}
	if err := f.memory.Append(ctx, rs); err != nil {
		return err
	}
	f.durable(rs)
	if intents && f.after != nil {
		f.after(rs)
	}
	return nil
}

// hand is the way of one agent to the levers.
type hand struct {
	*knobs
	touches atomic.Int64
}

func (h *hand) Apply(ctx context.Context, d sre.Directive) error {
	h.touches.Add(1)
	return h.knobs.Apply(ctx, d)
}

func (h *hand) Revert(ctx context.Context, d sre.Directive) error {
	h.touches.Add(1)
	return h.knobs.Revert(ctx, d)
}

// relay is several agents that follow each other over one world, one trail and
// one set of levers. Each believes that it leads.
type relay struct {
	*rig
	rt     *rapid.T
	k      *knobs
	trail  *fenced
	agents []*Agent
	hands  map[*Agent]*hand
	lost   map[*Agent]bool // the trail refused it
	under  []*Agent        // whose ticks are under way
}

func newRelay(rt *rapid.T, tb testing.TB) *relay {
	r := &relay{rt: rt, k: newKnobs(), hands: map[*Agent]*hand{}, lost: map[*Agent]bool{}}
	r.rig = newRig(tb, func(g *rig) {
		g.mind.lease, g.w.cures, g.w.sticky, g.w.sick = machineLease, 2, false, true
		g.w.held = func() int { return len(r.k.ours()) }
	})
	r.trail = &fenced{memory: r.rig.trail, durable: r.k.permit}
	around := func([]sre.Record) {
		if len(r.under) == 1 && !r.lost[r.under[0]] && rapid.IntRange(0, 5).Draw(rt, "taken over within a tick") == 5 {
			r.join()
			r.turn(r.agents[len(r.agents)-1])
		}
	}
	r.trail.before, r.trail.after = around, around
	r.join()
	return r
}

// join lets one more agent read the trail, with the next name as its version.
func (r *relay) join() {
	ports, h := r.a.ports, &hand{knobs: r.k}
	ports.Levers, ports.Trail, ports.Log = map[string]sre.Remediator{"fake": h}, r.trail, slog.New(slog.DiscardHandler)
	ports.Desk, ports.Pager = &person{}, &pages{}
	cfg := r.cfg
	cfg.Version = fmt.Sprint(len(r.agents))
	a, err := newWith(cfg, ports, r.a.mind)
	if err != nil {
		r.rt.Fatal(err)
	}
	if err := a.Restore(r.trail.all()); err != nil {
		r.rt.Fatal(err)
	}
	r.agents, r.hands[a] = append(r.agents, a), h
}

// leader is the version of the agent that took over last.
func (r *relay) leader() string {
	for _, rec := range slices.Backward(r.trail.records) {
		if rec.Start != nil {
			return rec.Start.Version
		}
	}
	return ""
}

// turn lets an agent tick, and holds it to its place.
func (r *relay) turn(a *Agent) {
	r.under = append(r.under, a)
	defer func() { r.under = r.under[:len(r.under)-1] }()
	led, written, before := r.leader() == a.cfg.Version, len(r.trail.records), r.hands[a].touches.Load()
	err := a.Tick(context.Background(), r.at)
	touched := r.hands[a].touches.Load() > before
	switch first := a.tick == 1; {
	case r.lost[a] && (touched || len(r.trail.records) > written):
		r.rt.Fatalf("agent %s, which was replaced, touched or wrote\n%s", a.cfg.Version, r.story())
	case r.lost[a] && err == nil:
		r.rt.Fatalf("agent %s goes on after the trail refused it\n%s", a.cfg.Version, r.story())
	case !led && !first && touched:
		r.rt.Fatalf("agent %s touched a lever while %s leads\n%s", a.cfg.Version, r.leader(), r.story())
	}
	r.lost[a] = r.lost[a] || err != nil
}

// Whoever was replaced touches nothing from its successor's first record on, but
// for what was on record before: nothing is touched without a durable intent of
// the same epoch, and no intent of an older epoch follows a newer start.
func TestAReplacedAgentTouchesNothing(t *testing.T) {
	takeovers, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		r := newRelay(rt, t)
		for range rapid.IntRange(40, 120).Draw(rt, "turns") {
			r.at = r.at.Add(time.Duration(rapid.IntRange(0, 1).Draw(rt, "second")) * time.Second)
			r.k.turn(r.at)
			if rapid.IntRange(0, 15).Draw(rt, "trigger") == 15 {
				r.w.sick = !r.w.sick
			}
			if rapid.IntRange(0, 9).Draw(rt, "join") == 9 {
				r.join()
			}
			r.turn(rapid.SampledFrom(r.agents).Draw(rt, "who"))
			r.check()
		}
		takeovers += len(r.agents) - 1
		refused += len(r.lost)
	})
	if takeovers == 0 || refused == 0 {
		t.Errorf("%d takeovers and %d refusals show nothing", takeovers, refused)
	}
}

func (r *relay) check() {
	for _, why := range r.k.wrong {
		r.rt.Fatalf("%s\n%s", why, r.story())
	}
	epoch := uint64(0)
	for i, rec := range r.trail.records {
		switch {
		case rec.Seq != uint64(i):
			r.rt.Fatalf("record %d stands at %d", rec.Seq, i)
		case rec.Start != nil && rec.Start.Epoch <= epoch:
			r.rt.Fatalf("epoch %d follows %d", rec.Start.Epoch, epoch)
		case rec.Start != nil:
			epoch = rec.Start.Epoch
		case rec.Intent != nil && rec.Intent.Epoch != epoch:
			r.rt.Fatalf("an intent of epoch %d in epoch %d\n%s", rec.Intent.Epoch, epoch, r.story())
		}
	}
}
