package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

const (
	// partTicks in a row with news of its own make a merged incident that holds
	// levers stand for itself again.
	partTicks = 2

	// keepRekeys bounds how many changes of the first cause an incident tells of.
	keepRekeys = 10
)

// begun is since when an incident has been open this time.
func begun(inc *sre.Incident) time.Time {
	if inc.ReopenedAt.After(inc.OpenedAt) {
		return inc.ReopenedAt
	}
	return inc.OpenedAt
}

// diagnose turns the tick's signs into incidents: news of open ones, closed ones
// that are back, and new ones.
func (a *Agent) diagnose(t *turn) {
	if !t.seeing {
		return
	}
	findings := a.mind.reasoning.Diagnose(t.snap, t.signs, a.book.known(t.now))
	t.merges = map[string]string{}
	for i := range findings {
		f := &findings[i]
		inc := a.subject(t, f)
		if other, twice := t.news[inc.ID]; twice && other.Severity.Rank() >= f.Severity.Rank() {
			continue
		}
		t.news[inc.ID] = f
		for _, id := range f.Merges {
			t.merges[id] = inc.ID
		}
		a.hearNews(t, inc, f)
	}
	a.merge(t)
}

// known is what diagnosis may count a finding as news of: the open incidents,
// and those that were closed a short while ago.
func (b *book) known(now time.Time) []sre.Incident {
	var out []sre.Incident
	for _, inc := range b.incidents {
		if inc.Order != nil {
			continue // a person's own doing, and no fault to find
		}
		if inc.State != sre.Closed || inc.MergedInto == "" && now.Sub(inc.ClosedAt) <= diagnosis.ReopenWithin {
			out = append(out, *inc)
		}
	}
	slices.SortFunc(out, func(x, y sre.Incident) int { return strings.Compare(x.ID, y.ID) })
	return out
}

// subject is the incident that a finding is about, opened if it must be. One of
// several that turn out to be the same fault survives: the one that holds
// levers, since what it holds cannot change hands, else the one that diagnosis
// names.
func (a *Agent) subject(t *turn, f *sre.Finding) *sre.Incident {
	inc := a.book.incidents[f.Incident]
	if inc == nil || inc.State == sre.Closed || !mustUndo(inc) {
		for i, id := range f.Merges {
			other := a.book.incidents[id]
			if other == nil || other.State == sre.Closed || other.MergedInto != "" || !mustUndo(other) {
				continue
			}
			f.Merges = slices.Delete(slices.Clone(f.Merges), i, i+1)
			if inc != nil && inc.State != sre.Closed {
				f.Merges = append(f.Merges, inc.ID)
			}
			return other
		}
	}
	switch {
	case inc == nil || inc.State == sre.Closed && (inc.MergedInto != "" || t.now.Sub(inc.ClosedAt) > diagnosis.ReopenWithin):
		return a.open(t, f)
	case inc.State == sre.Closed:
		a.reopen(t, inc, f)
	}
	return inc
}

// open opens the incident of a finding that belongs to none.
func (a *Agent) open(t *turn, f *sre.Finding) *sre.Incident {
	id := f.Fingerprint + "-" + t.now.UTC().Format("20060102T150405")
	for n := 2; a.book.incidents[id] != nil; n++ {
		id = fmt.Sprintf("%s-%s-%d", f.Fingerprint, t.now.UTC().Format("20060102T150405"), n)
	}
	inc := sre.Incident{
		ID: id, Fingerprint: f.Fingerprint, State: sre.Suspected, Severity: f.Severity, SplitFrom: f.SplitFrom, Storm: f.Storm,
		OpenedAt: t.now, UpdatedAt: t.now, StateSince: t.now, LastSeen: t.now, Diagnosis: recordable(f.Diagnosis),
	}
	if prev := a.book.lately(f.Fingerprint, t.now); prev != nil {
		inc.Tried, inc.Recurrences = slices.Clone(prev.Tried), prev.Recurrences
		if touched(prev) {
			inc.Recurrences++
		}
	}
	if err := a.book.put(inc); err != nil {
		a.log.Error("open incident", "incident", id, "err", err)
	}
	opened := a.book.incidents[id]
	a.remember(t, opened, "open")
	return opened
}

// reopen takes up a closed incident again. What was tried and how often it came
// back stays known; plan, decision and approval were about another hour and are
// never used again, and a new attempt gives new actions new IDs.
func (a *Agent) reopen(t *turn, inc *sre.Incident, f *sre.Finding) {
	if touched(inc) {
		inc.Recurrences++
	}
	inc.Reopened++
	inc.ReopenedAt, inc.LastSeen, inc.ClosedAt = t.now, t.now, time.Time{}
	inc.Attempt++
	inc.Plan, inc.Step, inc.Decision, inc.Approval = nil, 0, nil, nil
	inc.Confidence, inc.Against, inc.Outcome, inc.Escalation = sre.Confidence{}, "", "", ""
	inc.Trouble, inc.OwnTrouble, inc.GaveUp = 0, 0, false
	inc.Mitigations = slices.DeleteFunc(inc.Mitigations, func(m sre.Mitigation) bool { return !m.Phase.Live() && !afloat(&m) })
	inc.Severity = f.Severity
	inc.Diagnosis = recordable(f.Diagnosis)
	a.fire(t, inc, evReopen)
}

func (a *Agent) hearNews(t *turn, inc *sre.Incident, f *sre.Finding) {
	if inc.MergedInto != "" {
		if a.alone[inc.ID]++; a.alone[inc.ID] >= partTicks {
			inc.MergedInto = "" // it stands for itself again
			delete(a.alone, inc.ID)
			a.remember(t, inc, "part")
		}
	}
	inc.LastSeen, inc.UpdatedAt = t.now, t.now
	if _, twice := t.before[inc.ID]; !twice && begun(inc).Before(t.now) {
		t.before[inc.ID] = inc.Diagnosis.Top()
	}
	inc.Diagnosis = recordable(f.Diagnosis)
	inc.Storm = inc.Storm || f.Storm
	if f.Severity.Rank() > inc.Severity.Rank() {
		inc.Severity = f.Severity
	}
}

// rekey tells when an incident has come to have another first cause. Its ID,
// and so its page, stays.
func (a *Agent) rekey(t *turn) {
	for _, inc := range a.book.open() {
		before, had := t.before[inc.ID]
		now := inc.Diagnosis.Top()
		if !had || before.Service == now.Service && before.Mechanism == now.Mechanism {
			continue
		}
		left := 0.0
		for _, h := range inc.Diagnosis.Hypotheses {
			if h.Service == before.Service && h.Mechanism == before.Mechanism {
				left = h.Probability
			}
		}
		inc.Rekeys = append(slices.Clone(inc.Rekeys), sre.Rekey{
			At: t.now, From: keyOf(before), To: keyOf(now),
			Why: fmt.Sprintf("%s of %s overtook %s of %s: %.2f to %.2f", now.Mechanism, orUnknown(now.Service),
				before.Mechanism, orUnknown(before.Service), now.Probability, left),
		})
		inc.Rekeys = inc.Rekeys[max(0, len(inc.Rekeys)-keepRekeys):]
		a.remember(t, inc, "rekey")
	}
}

func keyOf(h sre.Hypothesis) string { return orUnknown(h.Service) + " " + string(h.Mechanism) }

// merge ends the incidents that turned out to be others of this tick. One that
// holds levers keeps them, with their leases and their undo, and is only marked:
// it starts nothing more and ends once it holds nothing. One that people have
// been told of waits until the other is more than a suspicion, so that there is
// always a page.
func (a *Agent) merge(t *turn) {
	for _, inc := range a.book.open() {
		into, merges := t.merges[inc.ID]
		if !merges || into == inc.ID || t.news[inc.ID] != nil {
			continue
		}
		survivor := a.book.incidents[into]
		inc.LastSeen = t.now
		delete(a.alone, inc.ID)
		if survivor.State == sre.Suspected && inc.State != sre.Suspected {
			continue
		}
		a.bequeath(t, inc, survivor)
		if inc.MergedInto != into {
			inc.MergedInto = into
			a.remember(t, inc, "join")
		}
	}
}

// bequeath gives the surviving incident what must not be forgotten: cures that
// did not help, how often the trouble came back, and how bad it is.
func (a *Agent) bequeath(t *turn, inc, survivor *sre.Incident) {
	changed := false
	for _, key := range inc.Tried {
		if !slices.Contains(survivor.Tried, key) {
			survivor.Tried, changed = append(survivor.Tried, key), true
		}
	}
	if inc.Recurrences > survivor.Recurrences {
		survivor.Recurrences, changed = inc.Recurrences, true
	}
	if inc.Severity.Rank() > survivor.Severity.Rank() {
		survivor.Severity, changed = inc.Severity, true
	}
	if changed {
		a.remember(t, survivor, "inherit")
	}
}

// whileMerged moves an incident that is part of another one. It plans nothing,
// asks nothing and begins nothing; what it holds is verified, renewed within its
// lease, lifted or taken back in its own course.
func (a *Agent) whileMerged(t *turn, inc *sre.Incident) bool {
	switch inc.State {
	case sre.Diagnosed, sre.Planned, sre.AwaitingApproval:
		if inc.Plan == nil { // nothing says when it is calm
			return a.fire(t, inc, evUndo)
		}
		_, calm := a.relapsed(t, inc)
		return calm && t.now.Sub(inc.GoodSince) >= hold(inc) && a.fire(t, inc, evLift)
	case sre.Acting:
		inc.Escalation = "part of incident " + inc.MergedInto + " before its step was complete"
		return a.fire(t, inc, evFail)
	case sre.Verifying:
		return a.whileVerifying(t, inc)
	case sre.Resolved:
		return a.whileResolved(t, inc)
	case sre.Lifting:
		return a.whileLifting(t, inc)
	case sre.Suspected, sre.Reverting, sre.Escalated, sre.Closed:
	}
	return false
}
