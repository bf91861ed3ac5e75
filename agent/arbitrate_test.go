package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

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

// A runbook that takes the dear cure first and does not say why gets a person's
// look; one that takes the cheap one first, or says why, does not.
func TestADearCureGoesFirstOnlyForAReason(t *testing.T) {
	for name, c := range map[string]struct {
		kinds []sre.ActionKind
		ahead string
		want  sre.State
	}{
		"dear first":           {[]sre.ActionKind{sre.Scale, sre.Shed}, "", sre.AwaitingApproval},
		"dear first, and why":  {[]sre.ActionKind{sre.Scale, sre.Shed}, "replicas were lost", sre.Verifying},
		"cheap first":          {[]sre.ActionKind{sre.Shed, sre.Scale}, "", sre.Verifying},
		"the cheap one is had": {[]sre.ActionKind{sre.Shed, sre.Scale, sre.Shed}, "", sre.Verifying},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(r *rig) { r.mind.kinds, r.mind.steps, r.mind.ahead = c.kinds, len(c.kinds), c.ahead })
			r.w.sick = true
			inc := r.until(c.want)
			if c.want == sre.Verifying {
				return
			}
			d := inc.Decision
			why := slices.IndexFunc(d.Reasons, func(r sre.Reason) bool { return r.Guard == "arbitration" })
			if why < 0 || !strings.Contains(d.Reasons[why].Text, "scale on fake/web goes before shed on fake/web") {
				t.Errorf("reasons %+v", d.Reasons)
			}
		})
	}
}

// The same lever is not set again before what it did can show, whoever plans.
func TestAKnobIsNotSetAgainBeforeItsTime(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.mind.kinds, r.mind.steps, r.w.cures = []sre.ActionKind{sre.Scale, sre.Scale}, 2, 99
		p := &r.cfg.Policy.Arbitration
		p.Structural, p.Pace = 9, arbiter.Pace{Timeouts: model.Duration(6 * time.Second), Capacity: model.Duration(30 * time.Second)}
	})
	r.w.sick = true
	r.until(sre.Verifying)
	r.run(60)
	if n := r.intents(sre.ToApply); n != 2 || !strings.Contains(r.story(), "scale on fake/web was set 10s ago") {
		t.Errorf("%d levers were set:\n%s", n, r.story())
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

// What was acted on by more than bounds is remembered for ten minutes, and by
// whom does not matter.
func TestServicesThatWereActedOnAreRemembered(t *testing.T) {
	for kind, want := range map[sre.ActionKind]string{sre.Shed: "api web", sre.RetryBudget: ""} {
		r := newRig(t, func(r *rig) { r.mind.kinds, r.mind.steps = []sre.ActionKind{kind}, 1 })
		r.w.sick = true
		r.until(sre.Verifying)
		for _, c := range []struct {
			later time.Duration
			want  string
		}{{0, want}, {arbiter.TouchedFor - time.Second, want}, {arbiter.TouchedFor, ""}} {
			got := r.a.touched(&turn{now: r.at.Add(c.later)}, nil)
			slices.Sort(got)
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s, %s later: %v, want %q", kind, c.later, got, c.want)
			}
		}
	}
}
