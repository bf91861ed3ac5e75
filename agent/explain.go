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
	e.Stance, e.Reasons = a.weighed(t, inc)
	if inc.Plan == nil {
		e.Rejected = t.unfit[inc.ID]
	}
	if why := a.waits(t, inc); why != "" {
		e.Reasons = append(slices.Clone(e.Reasons), sre.Reason{
			Guard: "patience", Allows: sre.Watch, Text: why, Change: "what it waits for, which the text names",
		})
	}
	a.explained = append(a.explained, e)
}

// weighed gives this tick's verdict on an incident with its reasons. What was
// decided at an earlier tick is weighed again where it may still change, so that
// no reason is older than the picture that it stands in.
func (a *Agent) weighed(t *turn, inc *sre.Incident) (sre.Stance, []sre.Reason) {
	decided := inc.Decision
	switch {
	case inc.Order != nil:
	case !t.seeing:
		return sre.Watch, append([]sre.Reason{sre.Unseen(a.seen.Err)}, a.pausedBy()...)
	case inc.State == sre.Suspected:
		lasted := t.now.Sub(inc.StateSince).Round(time.Second)
		return sre.Watch, []sre.Reason{{
			Guard: "suspicion", Allows: sre.Watch, Text: fmt.Sprintf("suspected for %s, diagnosed after %s", lasted, a.cfg.Timing.SuspectFor),
			Change: fmt.Sprintf("its signs last %s longer", max(0, a.cfg.Timing.SuspectFor-lasted)),
		}}
	case inc.State == sre.Diagnosed && inc.Plan == nil:
		return sre.Watch, append([]sre.Reason{a.planless(t, inc)}, a.pausedBy()...)
	case inc.State == sre.Planned && (decided == nil || !decided.At.Equal(t.now)), inc.State == sre.AwaitingApproval:
		now := a.gate.Decide(a.question(t, inc))
		return now.Stance, now.Reasons
	}
	if decided == nil {
		return sre.Watch, nil
	}
	return decided.Stance, decided.Reasons
}

// planless says why a diagnosis has no plan: no runbook fits, or it was not seen
// at this tick, so that none was looked for.
func (a *Agent) planless(t *turn, inc *sre.Incident) sre.Reason {
	r := sre.Reason{Guard: "plan", Allows: sre.Watch, Change: "a runbook for this mechanism and service fits"}
	switch _, fresh := t.news[inc.ID]; {
	case !fresh:
		gone := t.now.Sub(inc.LastSeen).Round(time.Second)
		r.Text = fmt.Sprintf("no sign of it for %s; it is over after %s", gone, a.calm(inc))
		r.Change = "a sign of it comes back: then a runbook is looked for"
	case len(t.unfit[inc.ID]) == 0:
		r.Text = "no runbook fits: there is none"
	default:
		r.Text = fmt.Sprintf("no runbook fits: %s weighed", count(len(t.unfit[inc.ID]), "runbook"))
	}
	return r
}

// pausedBy are the pauses as reasons, where no gate was asked.
func (a *Agent) pausedBy() []sre.Reason {
	var out []sre.Reason
	for _, p := range a.book.pauses {
		out = append(out, sre.Reason{
			Guard: "pause", Allows: sre.Watch, Text: fmt.Sprintf("paused by %s since %s: %s", p.By, p.Since.UTC().Format(time.DateTime), p.Reason),
			Change: "the pause " + p.Name + " is taken back",
		})
	}
	return out
}

// passOver remembers why no runbook fits a diagnosis, in the trail and in the
// count of decisions not taken, where that is news. A number that has moved in a
// reason is none: else every tick would be in the trail.
func (a *Agent) passOver(t *turn, inc *sre.Incident, rejected []sre.Rejection) {
	if t.unfit == nil {
		t.unfit = map[string][]sre.Rejection{}
	}
	t.unfit[inc.ID] = rejected
	if inc.Rejected != nil && slices.EqualFunc(inc.Rejected, rejected, sameRejection) {
		return
	}
	inc.Rejected = append([]sre.Rejection{}, rejected...)
	a.meter.limited("plan")
	a.remember(t, inc, noRunbook)
}

// noRunbook is the change of an incident that no runbook fits any more, or for
// other reasons than before.
const noRunbook = "no_runbook_fits"

func sameRejection(x, y sre.Rejection) bool {
	return x.Runbook == y.Runbook && withoutNumbers(x.Reason) == withoutNumbers(y.Reason)
}

func withoutNumbers(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || strings.ContainsRune(".-+", r) {
			return -1
		}
		return r
	}, text)
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
		e.Reasons = append(e.Reasons, sre.Reason{Guard: sre.WhatWouldChange, Allows: sre.Watch, Text: whatWouldChange(t, aside, grave)})
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
	for id, f := range t.news {
		if inc := a.book.incidents[id]; inc == nil || inc.State == sre.Closed {
			continue // ended at this very tick, by a person or as part of another: the sign is nobody's
		}
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
