package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// witness follows what the agent does: the incidents, the questions and the
// mitigations, from one view to the next.
type witness struct {
	screen screen
	agent  Agent
	yes    bool

	cutAt       time.Time
	detected    time.Time
	firstAction time.Time
	answered    time.Time // when the last answer of a person was taken
	inputs      int
	ready       bool
	tick        uint64
	incidents   []sre.Incident    // latest form of each, in order of first sight
	asked       string            // decision that is on the screen, or was answered
	told        map[string]string // last thing told per incident or action
}

// follow takes in the latest view, and deals with what the agent asks.
func (w *witness) follow(ctx context.Context) error {
	v := w.agent.View()
	if v == nil || (v.Tick == w.tick && w.ready) {
		return nil
	}
	w.tick, w.ready = v.Tick, w.ready || v.Ready
	w.screen.show(v)
	open := false
	for i := len(v.Incidents) - 1; i >= 0; i-- { // the newest comes first in a view
		inc := v.Incidents[i]
		open = open || asks(&inc)
		w.keep(inc)
		w.narrate(&inc)
	}
	if !w.cutAt.IsZero() {
		w.times()
	}
	if !open {
		w.screen.withdraw()
	}
	return w.approve(ctx)
}

func (w *witness) keep(inc sre.Incident) {
	for i := range w.incidents {
		if w.incidents[i].ID == inc.ID {
			w.incidents[i] = inc
			return
		}
	}
	w.incidents = append(w.incidents, inc)
}

// times notes when the fall was first seen and when a lever was first moved.
// What the agent saw or did before the cut does not count.
func (w *witness) times() {
	for _, inc := range w.incidents {
		w.detected = w.first(w.detected, inc.OpenedAt)
		if inc.OpenedAt.Before(w.cutAt) { // it was open already, and spoke up again
			w.detected = w.first(w.detected, inc.LastSeen)
		}
		for _, m := range inc.Mitigations {
			w.firstAction = w.first(w.firstAction, m.AppliedAt)
		}
	}
}

// first returns the earlier of what is known and a candidate after the cut.
func (w *witness) first(known, at time.Time) time.Time {
	if at.Before(w.cutAt) || (!known.IsZero() && !at.Before(known)) {
		return known
	}
	return at
}

// free returns since when nothing but the agent stood between the fall and the
// recovery: the detection, or a person's answer that came later.
func (w *witness) free() time.Time {
	if w.answered.After(w.detected) {
		return w.answered
	}
	return w.detected
}

// narrate tells what is new about an incident.
func (w *witness) narrate(inc *sre.Incident) {
	if w.tellOnce(inc.ID, string(inc.State)) {
		w.screen.tell(fmt.Sprintf("Incident %s: %s at %s, %s.", inc.ID, mechanismOf(inc), causeOf(inc), stateText(inc.State)))
	}
	if d := inc.Decision; d != nil && w.tellOnce(d.ID, string(d.Stance)) {
		w.screen.tell(fmt.Sprintf("Decision: %s, by runbook %s, confidence %s.", d.Stance, orNone(d.Runbook), confidenceText(d.Confidence)))
		for _, r := range d.Reasons {
			w.screen.tell("  " + reasonText(r))
		}
	}
	for _, m := range inc.Mitigations {
		if m.Phase != sre.NotStarted && w.tellOnce(m.Action.ID, string(m.Phase)) {
			w.screen.tell(fmt.Sprintf("  %s: %s.", actionText(m.Action), phaseText(m.Phase)))
		}
	}
}

// tellOnce reports whether text is news about key.
func (w *witness) tellOnce(key, text string) bool {
	if w.told == nil {
		w.told = map[string]string{}
	}
	if old, known := w.told[key]; known && old == text {
		return false
	}
	w.told[key] = text
	return true
}

// asks reports whether an incident waits for a person.
func asks(inc *sre.Incident) bool {
	return inc.State == sre.AwaitingApproval && inc.Decision != nil && inc.Decision.Stance == sre.Ask
}

// approve puts an open question to the person, or answers it where that was
// said beforehand.
func (w *witness) approve(ctx context.Context) error {
	for i := range w.incidents {
		inc := &w.incidents[i]
		if !asks(inc) || inc.Decision.ID == w.asked {
			continue
		}
		w.asked = inc.Decision.ID
		if w.yes {
			return w.submit(ctx, inc, true, "--yes")
		}
		w.screen.ask(question{incident: inc.ID, decision: inc.Decision.ID, lines: questionText(inc)})
	}
	return nil
}

// answer passes on what the person said at the keyboard.
func (w *witness) answer(ctx context.Context, a answer) error {
	for i := range w.incidents {
		inc := &w.incidents[i]
		if asks(inc) && inc.Decision.ID == a.decision {
			return w.submit(ctx, inc, a.yes, "keyboard")
		}
	}
	w.screen.tell("The question was no longer open.")
	return nil
}

func (w *witness) submit(ctx context.Context, inc *sre.Incident, yes bool, by string) error {
	w.inputs++
	in := sre.Input{
		ID: fmt.Sprintf("demo-%d", w.inputs), Kind: sre.InputApprove, At: time.Now(), By: by, Role: sre.Approver,
		Incident: inc.ID, Decision: inc.Decision.ID, Reason: "answered in the demo",
	}
	if !yes {
		in.Kind = sre.InputReject
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	got, err := w.agent.Submit(ctx, in)
	if err != nil {
		return fmt.Errorf("hand in the answer: %w", err)
	}
	if !got.Accepted {
		w.screen.tell("The agent did not take the answer: " + got.Reason + ".")
		w.asked = "" // the same question may be put again
		return nil
	}
	if !yes {
		return fmt.Errorf("%w at the keyboard, so the shop stays down", ErrRejected)
	}
	if !w.yes {
		w.answered = in.At
	}
	w.screen.tell("Approved by " + by + ".")
	return nil
}

// acted reports whether any lever was moved since the cut.
func (w *witness) acted() bool { return !w.firstAction.IsZero() }

// lifted reports whether nothing is in force any more and every incident that a
// lever was moved for is over. A mere suspicion that nothing was done about, on
// a machine that stutters, keeps nobody waiting.
func (w *witness) lifted() bool {
	for i := range w.incidents {
		inc := &w.incidents[i]
		if len(inc.InForce()) > 0 || moved(inc) && !closedOrResolved(inc.State) {
			return false
		}
	}
	return true
}

// moved reports whether any lever was moved for an incident.
func moved(inc *sre.Incident) bool {
	return slices.ContainsFunc(inc.Mitigations, func(m sre.Mitigation) bool { return !m.AppliedAt.IsZero() })
}

// report adds what was done to the result.
func (w *witness) report(r *Phase2) {
	r.Actions = []ActionResult{}
	for i := range w.incidents {
		inc := &w.incidents[i]
		for _, m := range inc.Mitigations {
			if m.AppliedAt.IsZero() {
				continue
			}
			if m.Phase == sre.Undone || m.Phase == sre.Lapsed {
				r.Reverted++
			}
			verdict := sre.Watch
			if inc.Decision != nil {
				verdict = inc.Decision.Stance
			}
			r.Actions = append(r.Actions, ActionResult{
				Kind: m.Action.Kind, Target: m.Action.Target.String(), Params: m.Action.Params,
				Verdict: verdict, ApprovedBy: m.Permit.By,
			})
		}
	}
}
