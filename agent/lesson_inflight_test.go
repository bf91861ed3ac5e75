package agent

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// roads lets the ways to the levers fail, and the agent die, at random.
func (l *life) roads() {
	if l.oneIn(10, "trigger") {
		l.w.sick = !l.w.sick
	}
	if l.oneIn(3, "manner") {
		service := rapid.SampledFrom([]string{"web", "api"}).Draw(l.rt, "lever")
		l.k.manners[service] = rapid.SampledFrom([]manner{fine, fine, drops, mute, late, unseen}).Draw(l.rt, "how")
	}
	if l.oneIn(10, "crash") {
		l.trail.breakAt, l.trail.torn = l.trail.appends+1+rapid.IntRange(0, 1).Draw(l.rt, "append"), rapid.Bool().Draw(l.rt, "torn")
	}
}

// What was sent is on record before it is sent, is looked for before it is sent
// again, arrives once, and is taken over or taken back by the run that follows,
// whose writes fence those of the run before.
func TestLesson08InFlightIsTrackedAndFenced(t *testing.T) {
	arrived := 0
	whole := steadily(t, 60, func(rt *rapid.T) {
		l := newLife(rt, t)
		l.w.sick = true
		for range 80 {
			l.roads()
			l.live()
			arrived += len(l.k.fresh)
		}
		l.heal()
	})
	showsNothing(t, whole, arrived > 0, "anything in force")
	t.Run("an agent that does not know that it was replaced", func(t *testing.T) {
		fenced := 0
		whole := steadily(t, 60, func(rt *rapid.T) {
			l := newLife(rt, t)
			l.w.cures, l.w.sick, l.mind.twins, l.mind.says = 99, true, false, nil
			for range rapid.IntRange(4, 14).Draw(rt, "ticks") {
				l.live()
			}
			old := l.a
			l.rebuild()
			if old.epoch >= l.a.book.starts+1 {
				rt.Fatalf("the run after epoch %d takes %d", old.epoch, l.a.book.starts+1)
			}
			for range 14 { // long enough to renew
				l.live()
			}
			written := map[string]knob{}
			for name, s := range l.k.set {
				if s.epoch == l.a.epoch {
					written[name] = *s
				}
			}
			old.ports.Trail, old.ports.Desk = &memory{}, &person{}
			wrong := len(l.k.wrong)
			for i := range 30 { // its clock has stopped with it
				if err := old.Tick(context.Background(), l.at.Add(time.Duration(i)*time.Millisecond)); err != nil {
					rt.Fatal(err)
				}
			}
			for name, was := range written {
				fenced++
				if now := *l.k.set[name]; now.owner != was.owner || now.epoch != was.epoch || now.seq != was.seq || !maps.Equal(now.value, was.value) {
					rt.Fatalf("%s was %+v and is %+v", name, was, now)
				}
			}
			l.k.wrong = l.k.wrong[:wrong] // it touches without a record of this trail
		})
		showsNothing(t, whole, fenced > 0, "anything to fence")
	})
	t.Run("what has arrived is taken over", func(t *testing.T) {
		for _, late := range []bool{false, true} { // seen at the first look, or only just before it is sent again
			r := newRig(t)
			cutAtTheTouch(r)
			sent := r.a.book.open()[0].Mitigations[0].Action
			looks := 0
			r.lever.probe = func(sre.Action) error {
				if looks++; looks == 3 || !late {
					r.lever.effects[sent.ID] = effect{action: sent, expires: r.w.now.Add(20 * time.Second)}
				}
				return nil
			}
			r.run(1)
			again := slices.ContainsFunc(r.meant(sre.ToApply), func(rec sre.Record) bool {
				return rec.Intent.Action.ID == sent.ID && rec.Intent.Epoch == r.a.epoch
			})
			if m := find(r.a.book.open()[0], sent.ID); again || m.Phase != sre.InEffect || m.Before == nil {
				t.Errorf("late %t: sent again %t, %s, undo %v\n%s", late, again, m.Phase, m.Before, r.story())
			}
		}
	})
	t.Run("what may arrive yet is fenced", func(t *testing.T) {
		for name, story := range map[string]func(*rig){
			"no answer": func(r *rig) { r.lever.apply = func(sre.Action) error { return errCut } },
			"a crash": func(r *rig) {
				cutAtTheTouch(r)
				hindrances["a pause"](r)
			},
		} {
			r := newRig(t)
			story(r)
			r.w.sick = true
			r.until(sre.Escalated)
			if a, u := r.intents(sre.ToApply), r.intents(sre.ToRevert); a != 2 || u != 2 {
				t.Errorf("%s: sent %d times and fenced %d times\n%s", name, a, u, r.story())
			}
		}
	})
	t.Run("two incidents, one lever", func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.mind.twins = true })
		r.w.sick = true
		r.run(60)
		owner := map[string]string{}
		for _, rec := range r.meant(sre.ToApply) {
			lever := knobOf(rec.Intent.Action)
			if by, taken := owner[lever]; taken && by != rec.IncidentID {
				t.Errorf("%s is moved by %s and by %s", lever, by, rec.IncidentID)
			}
			owner[lever] = rec.IncidentID
		}
		showsNothing(t, true, len(owner) > 0, "anything moved")
	})
}

// Who else keeps a target is said by its lever, and must be found in the trail
// before it is moved.
func TestWhatALeverSaysOfItsTargetIsInTheTrail(t *testing.T) {
	r := newRig(t)
	r.lever.detail = "kept by somebody else, who is paused"
	r.w.sick = true
	r.until(sre.Closed)
	for _, p := range []sre.Purpose{sre.ToApply, sre.ToRevert} {
		for _, rec := range r.meant(p) {
			if rec.Intent.Detail != r.lever.detail {
				t.Errorf("%s: %q", p, rec.Intent.Detail)
			}
		}
	}
}
