package agent

import (
	"strings"
	"testing"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/sre"
)

func TestAForeignWriteFreezesTheKnobAndSurvivesARestart(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	inc := r.until(sre.Verifying)
	r.lever.foreign = true
	r.desk.queue = []sre.Input{undo(inc.ID)}
	inc = r.until(sre.Escalated)
	m := inc.Mitigations[0]
	knob := arbiter.Knob{Kind: m.Action.Kind, Target: m.Action.Target}
	p := r.a.gate.Policy().Arbitration
	f, until, frozen := r.a.book.ledger.Frozen(p, knob, r.at)
	if !frozen || f.By != "somebody" || f.Theirs["ratio"] != 7.0 {
		t.Fatalf("frozen %t: %+v", frozen, f)
	}
	if n, _ := notice(inc); !strings.Contains(n.Text, "theirs map[ratio:7]") || !strings.Contains(n.Text, "ours ") {
		t.Errorf("the notice names no values: %s", n.Text)
	}
	twin := newRig(t)
	if err := twin.a.Restore(r.trail.all()); err != nil {
		t.Fatal(err)
	}
	if _, again, still := twin.a.book.ledger.Frozen(p, knob, r.at); !still || !again.Equal(until) {
		t.Errorf("after a restart frozen %t until %s, was %s", still, again, until)
	}
}

// A lever that keeps a record of the agent's lease says that it was broken, and
// under whose name it was held: the agent's own.
func TestALeaseThatIsBrokenUnderTheAgentsOwnNameIsAForeignWriteToo(t *testing.T) {
	r := newRig(t)
	r.w.sick = true
	inc := r.until(sre.Verifying)
	m := inc.Mitigations[0]
	delete(r.lever.effects, m.Action.ID)
	r.lever.beneath = reads(sre.TargetState{Foreign: true, Owner: m.Action.ID, Current: sre.Params{"ratio": 7.0}})
	r.desk.queue = []sre.Input{undo(inc.ID)}
	inc = r.until(sre.Escalated)
	f, _, frozen := r.a.book.ledger.Frozen(r.a.gate.Policy().Arbitration, arbiter.KnobOf(m.Action), r.at)
	if !frozen || f.By != "" || f.Theirs["ratio"] != 7.0 {
		t.Fatalf("frozen %t: %+v", frozen, f)
	}
	if n, _ := notice(inc); !strings.Contains(n.Text, "somebody else moved the lever (before") {
		t.Errorf("the notice says %s", n.Text)
	}
}
