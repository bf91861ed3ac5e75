package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/sre"
)

// seesaw is a law that never settles: what it tightened it loosens at its next
// call.
type seesaw struct{ gains *[]float64 }

func (l seesaw) Next(_ sre.Control, s control.Scene) control.Move {
	*l.gains = append(*l.gains, s.Gain)
	to := 0.1
	if now, _ := s.Action.Params.Float("ratio"); now < 0.5 {
		to = 1.0
	}
	return control.Move{Params: sre.Params{"ratio": to}}
}

func swinger(t *testing.T) (*rig, *[]float64) {
	t.Helper()
	gains := &[]float64{}
	r := newRig(t, under(seesaw{gains}), func(r *rig) {
		r.w.cures, r.mind.steps = 99, 1
		r.mind.says = func(sre.Check) (sre.Verdict, bool) { return sre.Fail, true } // neither well nor worse
		r.cfg.Policy.Arbitration.Turns = 3
	})
	r.w.sick = true
	r.until(sre.Verifying)
	r.a.book.open()[0].Plan.Steps[0].Verify.Within = time.Minute // time enough to swing
	return r, gains
}

func untilSwings(r *rig, n int) {
	r.t.Helper()
	for range 60 {
		for _, inc := range r.a.book.open() {
			if len(inc.Mitigations) > 0 && inc.Mitigations[0].Swings >= n {
				return
			}
		}
		r.run(1)
	}
	r.t.Fatalf("never %d swings\n%s", n, r.story())
}

func TestALawThatSwingsIsDampedThenHeldAtTheSaferEndAndPeopleAreCalled(t *testing.T) {
	r, gains := swinger(t)
	untilSwings(r, 1)
	before := len(*gains)
	r.run(4)
	if asked := len(*gains) - before; asked != 4 || (*gains)[before+1] != .5 { // two levers, every other tick
		t.Errorf("asked %d times in 4 ticks, with gains %v", asked, *gains)
	}
	untilSwings(r, 2)
	r.run(2)
	for service, ratio := range r.settings() {
		if ratio != 0.1 {
			t.Errorf("%s stays at %v", service, ratio)
		}
	}
	n, _ := notice(r.a.book.open()[0])
	if !n.NeedsYou || !strings.Contains(n.Text, "found 2 times") {
		t.Errorf("the page says %+v", n)
	}
}

func TestASwingIsRememberedOverARestartAndNeverHoldsUpAnUndo(t *testing.T) {
	r, _ := swinger(t)
	untilSwings(r, 2)
	m := r.a.book.open()[0].Mitigations[0]
	p, k := r.a.gate.Policy().Arbitration, r.a.book.ledger
	want := k.Damped(p, arbiter.KnobOf(m.Action), r.at)
	r.start()
	if got := r.a.book.ledger.Damped(p, arbiter.KnobOf(m.Action), r.at); got != want || got.Until.Before(r.at.Add(29*time.Minute)) {
		t.Errorf("after the restart %+v, before %+v", got, want)
	}
	r.desk.queue = []sre.Input{undo(r.a.book.open()[0].ID)}
	r.run(2)
	if left := len(r.lever.effects); left != 0 {
		t.Errorf("%d levers are not undone", left)
	}
}

// A second action on a lever that is held still has had no call of its law.
func TestALeverThatIsHeldStillNeedsNoMemoryOfItsLaw(t *testing.T) {
	r, _ := swinger(t)
	untilSwings(r, 2)
	r.a.book.open()[0].Mitigations[0].Control = nil
	r.run(1)
	if ratio := r.settings()["web"]; ratio != 0.1 {
		t.Errorf("it stays at %v", ratio)
	}
}

// ends is a law that wants one end after the other, each for two calls, whatever
// came of the last: after a refusal the next call has to renew.
type ends struct{}

func (ends) Next(memory sre.Control, _ control.Scene) control.Move {
	n := memory.Numbers["n"] + 1
	to := 0.05
	if int(n)/2%2 == 0 {
		to = 1
	}
	return control.Move{Params: sre.Params{"ratio": to}, Memory: sre.Control{Numbers: map[string]float64{"n": n}}}
}

func TestWhatTheLeverRefusedIsNoTurn(t *testing.T) {
	for _, refused := range []bool{false, true} {
		r := newRig(t, under(ends{}), func(r *rig) {
			r.w.cures, r.mind.steps = 99, 1
			r.mind.says = func(sre.Check) (sre.Verdict, bool) { return sre.Fail, true }
			r.lever.apply = func(a sre.Action) error {
				if ratio, _ := a.Params.Float("ratio"); refused && ratio != 0.1 {
					return sre.Refusedf("out of bounds")
				}
				return nil
			}
		})
		r.w.sick = true
		r.until(sre.Verifying)
		r.run(9)
		if n := r.intents(sre.ToAdjust); n < 8 {
			t.Fatalf("refused %t: %d moves were sent\n%s", refused, n, r.story())
		}
		for _, when := range []string{"now", "after a restart"} {
			if turns := r.a.book.ledger.Turns(webKnob, time.Time{}); (turns == 0) != refused {
				t.Errorf("refused %t, %s: %d turns", refused, when, turns)
			}
			r.start()
		}
	}
}

// 6 of 8, lifted; an autoscaler goes down to 3; 6 again: the agent has gone down
// for once, back up, and up.
func TestWhatAnAutoscalerMovesBetweenTwoCuresIsNoTurnOfTheAgents(t *testing.T) {
	stands := 8.0
	r := lifted(t, func(r *rig) {
		r.mind.kind, r.mind.params = sre.RetryBudget, sre.Params{"ratio": 6.0}
		r.lever.beneath = func(string) sre.TargetState {
			return sre.TargetState{Current: sre.Params{"ratio": stands}}
		}
	})
	r.run(70)
	r.at = r.at.Add(relapseWithin)
	stands, r.w.sick = 3, true
	r.run(10)
	if n := len(r.sent()); n < 4 {
		t.Fatalf("%d applies\n%s", n, r.story())
	}
	for _, when := range []string{"now", "after a restart"} {
		if turns := r.a.book.ledger.Turns(webKnob, time.Time{}); turns != 0 {
			t.Errorf("%s: %d turns", when, turns)
		}
		r.start()
	}
}
