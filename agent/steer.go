package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/sre"
)

// steer asks the control law of a mitigation in force what it wants, and wants
// the lever moved there where that is a material change that the gate permits.
// It reports whether the lever is wanted moved, which renews it too. Without
// sight, and while it is not known what the last move came to, the law is not
// asked: it holds still. Nor is it in a dry run, which must not change what is
// really in force.
func (a *Agent) steer(t *turn, inc *sre.Incident, m *sre.Mitigation) bool {
	law, known := a.lawOf(m.Action)
	if !known || !t.seeing || m.Moving != nil || m.Attempts > 0 || a.exec.DryRun() {
		return false
	}
	damp := a.book.ledger.Damped(a.gate.Policy().Arbitration, arbiter.KnobOf(m.Action), t.now)
	switch {
	case inc.Order != nil: // what a person wants is not slowed down
		damp = arbiter.Damping{Slower: 1}
	case !damp.Until.IsZero():
		return a.holdStill(t, inc, m, damp)
	case !damp.Due(t.now, a.cfg.Interval):
		return false
	}
	scene := control.Scene{
		Now: t.now, Every: damp.Slower * a.cfg.Interval, Gain: damp.Gain, Snapshot: t.snap, Action: m.Action, Before: m.Before, Since: m.AppliedAt,
	}
	var move control.Move
	if inc.Order != nil {
		move = ordered(law, memoryOf(m), scene, inc.Order)
	} else {
		scene.Trouble, scene.Lifting = a.troubled(t, inc), a.goesBack(t, inc, m)
		move = law.Next(memoryOf(m), scene)
	}
	m.Control = recordableControl(move.Memory)
	if move.Params == nil || move.Params.Near(m.Action.Params) && m.Action.Params.Near(move.Params) {
		return false
	}
	return a.wantMove(t, inc, m, move.Params)
}

// wantMove wants a mitigation in force at other settings, where the gate permits
// that.
func (a *Agent) wantMove(t *turn, inc *sre.Incident, m *sre.Mitigation, to sre.Params) bool {
	permit, err := a.gate.PermitAdjust(a.question(t, inc), *m, a.spec(m.Action), to)
	if err != nil {
		t.law(inc, m, sre.Watch, "%s; %v", moved(m.Action.Params, to), err)
		return false
	}
	t.law(inc, m, sre.Act, "%s", moved(m.Action.Params, to))
	t.wants = append(t.wants, want{inc: inc, action: m.Action.ID, purpose: sre.ToAdjust, permit: permit})
	return true
}

// law notes what the law of a mitigation wanted this tick.
func (t *turn) law(inc *sre.Incident, m *sre.Mitigation, allows sre.Stance, format string, args ...any) {
	text := fmt.Sprintf("%s on %s: ", m.Action.Kind, m.Action.Target) + fmt.Sprintf(format, args...)
	if why := memoryOf(m).Why; why != "" {
		text += ": " + why
	}
	t.laws[inc.ID] = append(t.laws[inc.ID], sre.Reason{Guard: "law_" + m.Action.Law, Allows: allows, Text: text})
}

// moved writes what changes between two settings, in order of their names.
func moved(from, to sre.Params) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(to)) {
		x, y := setting(from, name), setting(to, name)
		if x != y {
			parts = append(parts, fmt.Sprintf("%s %s -> %s", name, x, y))
		}
	}
	return strings.Join(parts, ", ")
}

func setting(p sre.Params, name string) string {
	if f, numeric := p.Float(name); numeric {
		return fmt.Sprintf("%.4g", f)
	}
	if v, given := p[name]; given {
		return fmt.Sprint(v)
	}
	return "unset"
}

// lawOf returns the law that moves an action. One that this agent does not know
// leaves the action as it was applied.
func (a *Agent) lawOf(action sre.Action) (control.Law, bool) {
	if action.Law == "" {
		return nil, false
	}
	return a.ports.Laws(action.Law)
}

func memoryOf(m *sre.Mitigation) sre.Control {
	if m.Control == nil {
		return sre.Control{}
	}
	return *m.Control
}

// spec is what the action's lever said of its kind; the zero value where it did
// not.
func (a *Agent) spec(action sre.Action) sre.KindSpec {
	for _, c := range a.caps {
		if c.Name == action.Target.Lever {
			spec, _ := c.Kind(action.Kind)
			return spec
		}
	}
	return sre.KindSpec{}
}

// troubled reports whether the plan's check says that the trouble is there, or
// cannot tell: as it was judged this tick, or the plan's sign of a relapse where
// the incident's state judges nothing.
func (a *Agent) troubled(t *turn, inc *sre.Incident) bool {
	if judged, done := t.trouble[inc.ID]; done {
		return judged
	}
	if inc.Plan == nil {
		return true
	}
	f := a.facts(t, inc)
	f.Cause, f.Anywhere = inc.Plan.Cause, inc.Plan.Anywhere
	verdict, _ := a.mind.library.Evaluate(inc.Plan.Relapse, f)
	return verdict != sre.Fail
}

// goesBack reports whether a mitigation is to be led back by its law: it is next
// to be lifted, and it has been calm for long enough. The law has until the end
// of the lease.
func (a *Agent) goesBack(t *turn, inc *sre.Incident, m *sre.Mitigation) bool {
	return inc.State == sre.Lifting && a.calmEnough(t, inc) && slices.Contains(nextToLift(inc), m) && a.mayComeBack(t, m)
}

// ledBack reports whether a mitigation may be taken back now: it has no law, or
// the law says that nothing is held down any more.
func (a *Agent) ledBack(m *sre.Mitigation) bool {
	_, known := a.lawOf(m.Action)
	return !known || m.Control != nil && m.Control.Done
}

// explainLaws adds to this tick's reasoning which law wanted what.
func (a *Agent) explainLaws(t *turn) {
	for i := range a.explained {
		e := &a.explained[i]
		if reasons := t.laws[e.Incident]; e.Incident != "" && len(reasons) > 0 {
			e.Reasons = append(slices.Clone(e.Reasons), reasons...)
		}
	}
}

// keepSamples bounds what a law may remember: it is in the trail.
const keepSamples = 256

// recordableControl returns what a law remembers in a form that the trail can
// carry, and that nobody else changes.
func recordableControl(c sre.Control) *sre.Control {
	out := sre.Control{Done: c.Done, Why: c.Why}
	out.Numbers = maps.Clone(c.Numbers)
	for name, v := range out.Numbers {
		out.Numbers[name] = sre.Finite(v)
	}
	for _, s := range c.Recent[max(0, len(c.Recent)-keepSamples):] {
		if isFinite(s.Value) {
			out.Recent = append(out.Recent, s)
		}
	}
	return &out
}
