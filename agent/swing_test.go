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
