package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const (
	keepSigns = 50
	keepRisks = 20
	keepBurns = 50
	// tellSigns is how many signs that nothing was done about are put in words.
	tellSigns = 3
)

// explain keeps this tick's reasoning about an incident, "did nothing" too.
func (a *Agent) explain(t *turn, inc *sre.Incident) {
	e := sre.Explained{At: t.now, Incident: inc.ID, Stance: sre.Watch}
	n, _ := notice(inc)
	e.Summary = n.Title + ": " + n.Text
	switch {
	case !t.seeing && inc.Order == nil:
		e.Summary = n.Title + ": blind, so nothing is done: " + a.seen.Err
	case inc.State == sre.Suspected:
		e.Summary = n.Title + fmt.Sprintf(": suspected for %s, diagnosed after %s", t.now.Sub(inc.StateSince).Round(time.Second), a.cfg.Timing.SuspectFor)
	}
	switch decided := inc.Decision; {
	case !t.seeing && inc.Order == nil: // what was weighed by other evidence says nothing of now
		e.Reasons = []sre.Reason{{Guard: "source", Allows: sre.Watch, Text: "nothing is seen: " + a.seen.Err, Change: "readings again: the plan is weighed anew at the first tick that sees"}}
	case decided == nil:
	case t.seeing && inc.State == sre.AwaitingApproval: // a yes would be weighed like this now
		now := a.gate.Decide(a.question(t, inc))
		e.Stance, e.Reasons = now.Stance, now.Reasons
	default:
		e.Stance, e.Reasons = decided.Stance, decided.Reasons
	}
	if why := a.waits(t, inc); why != "" {
		e.Reasons = append(slices.Clone(e.Reasons), sre.Reason{Guard: "patience", Allows: sre.Watch, Text: why})
	}
	a.explained = append(a.explained, e)
}

// waits says what an incident whose cure is under way waits for, where that is
// not plain from its state.
func (a *Agent) waits(t *turn, inc *sre.Incident) string {
	if !t.seeing || inc.Order != nil || inc.Plan == nil || len(inc.InForce()) == 0 {
		return ""
	}
	switch inc.State {
	case sre.Verifying:
		if t.now.Sub(inc.StateSince) >= inc.Plan.Steps[inc.Step].Verify.Within && a.overshadowed(t, inc) {
			return fmt.Sprintf("the check does not hold, but %s shows nothing any more and incident %s hurts the same entries: what was done is kept",
				inc.Plan.Cause, a.rival(t, inc).ID)
		}
	case sre.Resolved, sre.Lifting:
		if sign := lasting(t, inc); sign != "" {
			return fmt.Sprintf("nothing is lifted while the cause lasts: %s is still serious", sign)
		}
		if inc.Recurrences > 0 && inc.State == sre.Resolved {
			return fmt.Sprintf("the trouble came back %s: %s of calm are needed before anything is lifted", times(inc.Recurrences), hold(inc))
		}
	case sre.Suspected, sre.Diagnosed, sre.Planned, sre.AwaitingApproval, sre.Acting, sre.Reverting, sre.Escalated, sre.Closed:
	}
	return ""
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// explainWatch says what was watched at this tick, and of the signs that belong
// to no incident why nothing was done and what would change that. It comes last,
// under no incident.
func (a *Agent) explainWatch(t *turn) {
	e := sre.Explained{At: t.now, Stance: sre.Watch}
	if !t.seeing {
		e.Summary = "blind: nothing is known of this tick"
		if a.seen.Err != "" {
			e.Summary += ": " + a.seen.Err
		}
		a.explained = append(a.explained, e)
		return
	}
	aside := a.aside(t)
	grave, held := 0, len(t.signs)-len(aside)
	for _, p := range aside {
		if serious(p) {
			grave++
		}
	}
	switch notes := len(aside) - grave; {
	case len(t.signs) == 0:
		e.Summary = "nothing suspicious: "
	case len(aside) == 0:
		e.Summary = fmt.Sprintf("%s, all in incidents: ", count(held, "sign"))
	case grave == 0:
		e.Summary = fmt.Sprintf("%s, none serious: ", count(notes, "note"))
	default:
		e.Summary = fmt.Sprintf("%s in no incident, %s: ", count(grave, "serious sign"), count(notes, "note"))
	}
	e.Summary += a.watched(t)
	for _, p := range aside[:min(len(aside), tellSigns)] {
		e.Reasons = append(e.Reasons, sre.Reason{Guard: "sign", Allows: sre.Watch, Text: signText(p)})
	}
	if len(aside) > 0 {
		e.Reasons = append(e.Reasons, sre.Reason{Guard: "what_would_change", Allows: sre.Watch, Text: whatWouldChange(t, aside, grave)})
	}
	a.explained = append(a.explained, e)
}

// aside lists the signs that are part of no incident's news, strongest first.
func (a *Agent) aside(t *turn) []sre.Precursor {
	if len(t.signs) == 0 {
		return nil
	}
	type place struct {
		detector, service, caller string
		kind                      sre.SignalKind
	}
	of := func(p sre.Precursor) place { return place{p.Detector, p.Service, p.Caller, p.Kind} }
	claimed := map[place]bool{}
	for _, f := range t.news {
		for _, p := range f.Diagnosis.Precursors {
			claimed[of(p)] = true
		}
	}
	var out []sre.Precursor
	for _, p := range t.signs {
		if !claimed[of(p)] {
			out = append(out, p)
		}
	}
	return out
}

// watched says how much was seen, in one clause.
func (a *Agent) watched(t *turn) string {
	present, seen := 0, 0
	for _, states := range [][]sre.ReadingState{t.snap.Service.States, t.snap.Edge.States} {
		for _, s := range states {
			switch s {
			case sre.Present:
				present++
				seen++
			case sre.Stale:
				seen++
			case sre.Absent:
			}
		}
	}
	text := count(len(t.snap.Graph.Services), "service") + " watched, no series seen"
	if seen > 0 {
		text = fmt.Sprintf("%s watched, %d of %s fresh", count(len(t.snap.Graph.Services), "service"), present, count(seen, "series"))
	}
	if a.warm < 1 {
		return text + fmt.Sprintf(", baselines %.0f %% warm", 100*sre.Finite(a.warm))
	}
	return text + ", baselines warm"
}

func whatWouldChange(t *turn, aside []sre.Precursor, grave int) string {
	if grave == 0 {
		return "an incident is opened when one of them grows to a warning, and acted on when it lasts"
	}
	for _, p := range aside {
		if _, known := t.snap.Graph.Index(p.Service); serious(p) && !known {
			return p.Service + " is not in the graph: give it a place in the topology, and its signs open an incident"
		}
	}
	return "an incident is opened when diagnosis finds a cause that they have in common"
}

// signText is one sign in one line: where, what, now and normal.
func signText(p sre.Precursor) string {
	where := p.Service
	if p.Caller != "" {
		where = p.Caller + "->" + p.Service
	}
	text := fmt.Sprintf("%s at %s: %s, %s, score %.2f", p.Detector, where, p.Kind, p.Severity, sre.Finite(p.Score))
	if len(p.Evidence) > 0 {
		e := p.Evidence[0]
		text += fmt.Sprintf("; %s is %.4g, normally %.4g", e.Signal, sre.Finite(e.Now), sre.Finite(e.Normal))
		if e.Unit != "" {
			text += " " + string(e.Unit)
		}
	}
	return text
}

func count(n int, what string) string {
	if n == 1 || strings.HasSuffix(what, "series") {
		return fmt.Sprintf("%d %s", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// risks are those of the tick, as people may read them.
func (a *Agent) risks(t *turn) []sre.Risk {
	if a.mind.risks == nil || len(t.signs) == 0 {
		return nil
	}
	found := a.mind.risks(t.signs)
	out := make([]sre.Risk, min(len(found), keepRisks))
	for i := range out {
		out[i] = found[i]
		out[i].Probability, out[i].Evidence = sre.Finite(found[i].Probability), sre.FiniteEvidence(found[i].Evidence)
	}
	return out
}

// burning is a bank of detectors that watches error budgets.
type burning interface{ Burns() []sre.Burn }

// burns are the error budgets that burn now, as people may read them.
func (a *Agent) burns(t *turn) []sre.Burn {
	bank, watches := a.mind.senses.(burning)
	if !watches || !t.seeing {
		return nil
	}
	found := bank.Burns()
	out := make([]sre.Burn, min(len(found), keepBurns))
	for i := range out {
		out[i] = found[i]
		out[i].LongRate, out[i].ShortRate = sre.Finite(found[i].LongRate), sre.Finite(found[i].ShortRate)
	}
	return out
}
