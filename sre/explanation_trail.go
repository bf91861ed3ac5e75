package sre

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// remembered is the story of an incident as far as it remembers it itself.
func remembered(inc *Incident) []Moment {
	out := []Moment{}
	tell := func(at time.Time, kind MomentKind, format string, args ...any) {
		if !at.IsZero() {
			out = append(out, Moment{At: at, Kind: kind, Text: fmt.Sprintf(format, args...)})
		}
	}
	tell(inc.Diagnosis.Onset, MomentOnset, "the trouble began, as estimated")
	tell(inc.OpenedAt, MomentOpened, "incident opened")
	if inc.SplitFrom != "" {
		tell(inc.OpenedAt, MomentSplit, "split off %s", inc.SplitFrom)
	}
	for _, r := range inc.Rekeys {
		tell(r.At, MomentRekeyed, "another first cause: %s, not %s: %s", r.To, r.From, r.Why)
	}
	if inc.Reopened > 0 && inc.State != Closed {
		tell(inc.StateSince, MomentReopened, "came back after it was closed: %s by now", counted(inc.Reopened, "time"))
	}
	if d := inc.Decision; d != nil {
		tell(d.At, MomentDecision, "decided to %s", stanceOr(d.Stance))
	}
	if a := inc.Approval; a != nil {
		tell(a.At, MomentApproval, "%s", answered(a))
	}
	for _, m := range inc.Mitigations {
		tell(m.AppliedAt, MomentAction, "%s at %s applied; now %s", words(m.Action.Kind), m.Action.Target, orWord(m.Phase, "not started"))
	}
	if inc.MergedInto != "" {
		tell(cmp.Or(inc.ClosedAt, inc.StateSince), MomentMerged, "turned out to be part of %s", inc.MergedInto)
	}
	if !inc.ClosedAt.IsZero() {
		tell(inc.ClosedAt, MomentClosed, "closed")
	} else if inc.StateSince.After(inc.OpenedAt) {
		tell(inc.StateSince, MomentState, "%s", words(inc.State))
	}
	slices.SortStableFunc(out, func(x, y Moment) int { return x.At.Compare(y.At) })
	return out
}

func answered(a *Approval) string {
	if a.Response == Expired {
		return "nobody answered in time"
	}
	text := fmt.Sprintf("%s by %s", a.Response, orWord(a.By, "somebody"))
	if a.Comment != "" {
		text += ": " + a.Comment
	}
	return text
}

// Retell replaces the story by what the trail says of the incident up to the
// instant that is explained, as that is complete. Records must be in order; those
// of other incidents are passed over. Without any of this incident nothing
// changes.
func (e *Explanation) Retell(records []Record) {
	var story []Moment
	seen := folded{}
	for i := range records {
		r := &records[i]
		if r.IncidentID != e.Incident && (r.Incident == nil || r.Incident.MergedInto != e.Incident) || r.At.After(e.At) || e.Incident == "" {
			continue
		}
		seq := r.Seq
		for _, m := range seen.moments(r, e.Incident) {
			m.At, m.Seq = r.At, &seq
			story = append(story, m)
		}
	}
	if len(story) == 0 {
		return
	}
	for _, m := range e.Timeline {
		if m.Kind == MomentOnset {
			story = append([]Moment{m}, story...)
		}
	}
	if left := len(story) - mostMoments; left > 0 {
		// How it began and how it stands matter more than the middle.
		head := mostMoments / 4
		cut := Moment{At: story[head].At, Kind: MomentOther, Text: fmt.Sprintf("%d moments are left out here; `sreagent audit show --incident %s` has them", left+1, e.Incident)}
		story = append(append(story[:head:head], cut), story[head+left+1:]...)
	}
	slices.SortStableFunc(story, func(x, y Moment) int { return x.At.Compare(y.At) })
	e.Timeline = story
}

// folded is an incident as the records before have left it.
type folded struct {
	last *Incident
}

// moments puts one record into words. An incident's record tells what changed
// since the one before.
func (f *folded) moments(r *Record, id string) []Moment {
	one := func(kind MomentKind, format string, args ...any) []Moment {
		return []Moment{{Kind: kind, Text: fmt.Sprintf(format, args...)}}
	}
	switch {
	case r.Incident != nil && r.IncidentID != id:
		if r.Incident.State != Closed {
			return nil
		}
		return one(MomentMerged, "%s turned out to be part of this one", r.IncidentID)
	case r.Incident != nil:
		return f.changed(r)
	case r.Decision != nil:
		return one(MomentDecision, "decided to %s%s", stanceOr(r.Decision.Stance), firstAgainst(r.Decision))
	case r.Approval != nil:
		return one(MomentApproval, "%s", answered(r.Approval))
	case r.Operator != nil:
		if r.Operator.Refused != "" {
			return one(MomentOperator, "%s by %s was refused: %s", words(r.Operator.Command), orWord(r.Operator.By, "somebody"), r.Operator.Refused)
		}
		return one(MomentOperator, "%s by %s: %s", words(r.Operator.Command), orWord(r.Operator.By, "somebody"), orWord(r.Operator.Reason, "no reason was given"))
	case r.Intent != nil:
		dry := ""
		if r.Intent.DryRun {
			dry = " (dry run)"
		}
		beside := ""
		if r.Intent.Detail != "" {
			beside = "; " + r.Intent.Detail // who else keeps the target, and that they are paused
		}
		return one(MomentAction, "about to %s %s at %s%s%s%s%s", r.Intent.Permit.Purpose, words(r.Intent.Action.Kind), r.Intent.Action.Target, knobs(r.Intent), byLaw(r.Intent), beside, dry)
	case r.Result != nil:
		return one(MomentAction, "%s", resulted(r.Result))
	case r.Outcome != nil:
		return one(MomentOutcome, "learned: %s", orWord(r.Outcome.Outcome, "not known yet"))
	case r.Notice != nil:
		return one(MomentNotice, "told people: %s", r.Notice.Title)
	}
	return one(MomentOther, "%s", words(r.Kind))
}

// changed says what an incident's record has new.
func (f *folded) changed(r *Record) []Moment {
	now, was := r.Incident, f.last
	f.last = now
	var out []Moment
	tell := func(kind MomentKind, format string, args ...any) {
		out = append(out, Moment{Kind: kind, Text: fmt.Sprintf(format, args...)})
	}
	if was == nil {
		tell(MomentOpened, "opened: %s", blame(now.Diagnosis.Top(), "is"))
		if now.SplitFrom != "" {
			tell(MomentSplit, "split off %s", now.SplitFrom)
		}
		return out
	}
	if now.Reopened > was.Reopened {
		tell(MomentReopened, "came back after it was closed")
	}
	// An incident keeps its latest changes of cause only, so their number says
	// nothing: those that the record before did not have are new.
	for _, k := range now.Rekeys {
		if !slices.Contains(was.Rekeys, k) {
			tell(MomentRekeyed, "another first cause: %s, not %s: %s", k.To, k.From, k.Why)
		}
	}
	if now.MergedInto != "" && was.MergedInto == "" {
		tell(MomentMerged, "turned out to be part of %s", now.MergedInto)
	}
	switch {
	case now.State == Closed && was.State != Closed:
		tell(MomentClosed, "closed (%s)", orWord(r.Change, "no reason was given"))
	case now.State != was.State:
		tell(MomentState, "%s (%s)", words(now.State), orWord(r.Change, "no reason was given"))
	case len(out) == 0 && r.Change != "":
		tell(MomentState, "%s: %s", words(r.Change), words(now.State))
	}
	return out
}

func firstAgainst(d *Decision) string {
	for _, r := range d.Reasons {
		if stanceOr(r.Allows) == stanceOr(d.Stance) && r.Allows != Act {
			return ": " + words(r.Guard) + ", " + r.Text
		}
	}
	return ""
}

// knobs writes the settings of an intent from and to, in order.
func knobs(in *IntentRecord) string {
	if in.Permit.Purpose == ToRevert {
		return ""
	}
	text, sep := "", ": "
	for _, name := range slices.Sorted(maps.Keys(in.Action.Params)) {
		text += fmt.Sprintf("%s%s %v", sep, name, in.Action.Params[name])
		if old, known := in.Before[name]; known {
			text += fmt.Sprintf(" (was %v)", old)
		}
		sep = ", "
	}
	return text
}

// byLaw says which control law moves the lever, and why.
func byLaw(in *IntentRecord) string {
	if in.Permit.Purpose != ToAdjust {
		return ""
	}
	text := ", by law " + in.Action.Law
	if in.Control != nil && in.Control.Why != "" {
		text += ": " + in.Control.Why
	}
	return text
}

func resulted(r *ResultRecord) string {
	text := fmt.Sprintf("%s of %s: %s", r.Purpose, r.Action, orWord(r.Phase, "not started"))
	if r.Probed {
		text += ", settled by a probe"
	}
	if r.Err != "" {
		text += ", " + r.Err
	}
	if r.Manual != "" {
		text += "; undo by hand: " + r.Manual
	}
	return text
}

// ViewOfTrail is what a trail knows of the agent after its last record up to at
// (all of it where at is zero): every incident as it last stood. Signs, risks and
// the graph are not in a trail, so that they are missing; the graph is drawn
// from the paths. Records must be in order; false where none is that old.
func ViewOfTrail(records []Record, at time.Time) (*View, bool) {
	v := &View{Source: SourceHealth{Up: true}, WarmUp: 1, Mode: Watch}
	last := map[string]Incident{}
	n := 0
	for i := range records {
		r := &records[i]
		if !at.IsZero() && r.At.After(at) {
			break
		}
		n++
		v.At = r.At
		switch {
		case r.Incident != nil:
			last[r.Incident.ID] = *r.Incident
		case r.Source != nil:
			v.Source = *r.Source
		case r.Start != nil:
			v.Epoch, v.DryRun = r.Start.Epoch, r.Start.DryRun
		case r.Operator != nil:
			v.Pauses = paused(v.Pauses, r)
		}
	}
	if !at.IsZero() && n > 0 {
		v.At = at
	}
	for _, id := range slices.Sorted(maps.Keys(last)) {
		v.Incidents = append(v.Incidents, last[id])
	}
	slices.SortStableFunc(v.Incidents, func(x, y Incident) int {
		return cmp.Or(cmp.Compare(closedLast(x.State), closedLast(y.State)), y.OpenedAt.Compare(x.OpenedAt))
	})
	return v, n > 0
}

func paused(pauses []Pause, r *Record) []Pause {
	rest := slices.DeleteFunc(slices.Clone(pauses), func(p Pause) bool { return p.Name == r.Operator.Name })
	switch r.Operator.Command {
	case InputPause, InputStop:
		return append(rest, Pause{
			Name: r.Operator.Name, By: r.Operator.By, Reason: r.Operator.Reason, Since: r.At,
			Until: r.Operator.Until, Stop: r.Operator.Command == InputStop,
		})
	case InputResume, InputStart:
		return rest
	case InputApprove, InputReject, InputClose, InputUndo, InputSwitch, InputMandate:
	}
	return pauses
}

// fromTrailOnly is the limit of what a trail can say.
const fromTrailOnly = "read from the trail alone, which holds no readings, signs, risks or graph of quiet ticks"

// ExplainTrailAt explains an incident, or a whole tick where incident is empty,
// as a trail had it at an instant, which is its last record where at is zero.
// False where the trail did not have it by then.
func ExplainTrailAt(records []Record, incident string, at time.Time) (Explanation, bool) {
	v, ok := ViewOfTrail(records, at)
	if !ok {
		return Explanation{}, false
	}
	var e Explanation
	if incident == "" {
		if e = ExplainTick(v); !openAny(v) {
			e.Headline = "no incident was open at " + clock(v.At)
			e.Decision.Summary = "did nothing: no incident was open"
		}
	} else if e, ok = Explain(v, incident); !ok {
		return Explanation{}, false
	}
	e.Quality.Notes = append(e.Quality.Notes, fromTrailOnly)
	e.Quality.Source = nil
	e.Retell(records)
	return e, true
}

func openAny(v *View) bool {
	return slices.ContainsFunc(v.Incidents, func(inc Incident) bool { return inc.State != Closed })
}

// MatchIncident finds the incident that a person means: by its ID, or by the
// beginning of just one. The error names what there is.
func MatchIncident(ids []string, given string) (string, error) {
	var hits []string
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	for _, id := range ids {
		if id == given {
			return id, nil
		}
		if given != "" && len(id) > len(given) && id[:len(given)] == given {
			hits = append(hits, id)
		}
	}
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) > 1:
		return "", fmt.Errorf("%q begins %s: %s", given, counted(len(hits), "incident"), listed(hits, 10))
	case len(ids) == 0:
		return "", fmt.Errorf("no incident %q; there is none at all", given)
	}
	return "", fmt.Errorf("no incident %q; there is %s", given, listed(ids, 10))
}
