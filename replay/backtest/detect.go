package backtest

import (
	"slices"
	"time"
)

// judge says how a fault was met. The alarm that noticed it becomes rightful if
// it did so from its beginning.
func (o *Observer) judge(f *span, rightful map[*alarm]bool) Fault {
	out := Fault{
		Services: slices.Clone(f.Services), Fault: f.Fault.Fault, InjectedAt: f.InjectedAt.UTC(),
		OracleRanking: []Suspect{}, Ranking: []Suspect{}, SettledRanking: []Suspect{}, Decisions: []Decision{},
	}
	if r := o.oracle.rankings[f]; r != nil {
		out.OracleRanking = r
	}
	out.CandidateCount = len(out.OracleRanking)
	out.OracleRank = rankOf(out.OracleRanking, f.Services)
	if t := o.clerk.of(f); t != nil {
		out.Trace = t.left
	}
	out.Kind, out.Harm = string(f.Fault.Mechanism), o.harm(f)
	a, since := o.detection(f)
	if a == nil {
		return out
	}
	rightful[a] = rightful[a] || since.Equal(a.At)
	since = since.UTC()
	delay := since.Sub(f.InjectedAt).Seconds()
	out.DetectedAt, out.DelaySeconds = &since, &delay
	if alert, ok := o.alert(f); ok {
		lead := alert.Sub(since).Seconds()
		out.LeadSeconds = &lead
	}
	out.AlarmService, out.Mechanism = a.Service, string(a.mechanism)
	first, last := a.view(since), a.view(f.until)
	out.Ranking, out.SettledRanking = first.says, last.says
	out.SettledMechanism = string(last.mechanism)
	out.OwnRank = rankOf(first.says, f.Services)
	if len(first.says) > 0 {
		p := first.says[0].Probability
		out.Confidence = &Confidence{P: p, Lower: p * first.quality}
	}
	return out
}

// view returns what the alarm said at an instant.
func (a *alarm) view(at time.Time) opinion {
	held := opinion{says: []Suspect{}}
	for _, op := range a.opinions {
		if !op.at.After(at) {
			held = op
		}
	}
	return held
}

// detection returns the alarm that noticed a fault, and since when it did. Of
// those that came at once it is the one that was surest of its first suspect,
// since that is the one to be read first; their IDs say nothing.
func (o *Observer) detection(f *span) (*alarm, time.Time) {
	var best *alarm
	var since time.Time
	for _, a := range o.alarms {
		at, ok := f.noticed(a)
		if ok && !o.owns(f, at) && !at.Before(f.InjectedAt) {
			ok = false // a later fault has begun: it is that one's
		}
		if ok && (best == nil || at.Before(since) || at.Equal(since) && a.view(at).sure() > best.view(at).sure()) {
			best, since = a, at
		}
	}
	return best, since
}

// sure is the probability of the first suspect.
func (o opinion) sure() float64 {
	if len(o.says) == 0 {
		return 0
	}
	return o.says[0].Probability
}

// noticed returns from when on an alarm is about the fault.
func (f *span) noticed(a *alarm) (time.Time, bool) {
	switch {
	case a.At.After(f.until):
		return time.Time{}, false
	case !a.At.Before(f.InjectedAt):
		return a.At, true
	case !a.over.IsZero() && !a.over.After(f.InjectedAt):
		return time.Time{}, false
	}
	before := false // it named a true service when the fault was injected
	for _, op := range a.opinions {
		switch {
		case op.at.After(f.until):
		case !op.names(f.Services):
			if op.at.Before(f.InjectedAt) {
				before = false
			}
		case op.at.Before(f.InjectedAt):
			before = true
		case !before:
			return f.first(a, op.at), true
		}
	}
	if before && f.alerted && f.InjectedAt.Sub(a.At) <= lookBack {
		return a.At, true
	}
	return time.Time{}, false
}

// first is since when an alarm that came to name a true service is about the
// fault.
func (f *span) first(a *alarm, named time.Time) time.Time {
	if f.alerted && f.InjectedAt.Sub(a.At) <= lookBack {
		return a.At
	}
	return named
}

// alert returns when a human was woken: the first alert that belongs to the
// fault.
func (o *Observer) alert(f *span) (time.Time, bool) {
	var at time.Time
	for _, a := range o.subject.Incident.Alerts {
		if o.owns(f, a.At) && (at.IsZero() || a.At.Before(at)) {
			at = a.At
		}
	}
	return at, !at.IsZero()
}
