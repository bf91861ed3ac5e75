package mandate

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// keep bounds the events that a line remembers; the oldest go first.
const keep = 500

// what happened to a line.
type what uint8

const (
	improved what = iota
	unchanged
	worsened
	recurred
	approved
	rejected
	withheld
)

// event is one entry of a line. Its number orders it, since clocks may be set
// back.
type event struct {
	what what
	at   time.Time
	n    uint64
}

// line is all that is remembered of a key.
type line struct {
	target     sre.Target // the latest, to find the rule by
	mechanisms []sre.Mechanism
	events     []event
	incident   string // the latest that was withheld: it counts once
	standing   Standing
	fresh      uint64 // events before it no longer count
	proposal   *sre.MandateChange
}

// Standing is where the latest step up or down has left a key. The zero value is
// where the policy's rule puts it.
type Standing struct {
	sre.MandateChange
	By string
	At time.Time
}

// Ledger is the fold of the trail. It is not safe for concurrent use.
type Ledger struct {
	lines map[sre.MandateKey]*line
	cured map[string]share // by fingerprint, what ended its trouble last
	n     uint64
	dirty bool
}

// NewLedger returns a ledger in which nothing has happened.
func NewLedger() *Ledger {
	return &Ledger{lines: map[sre.MandateKey]*line{}, cured: map[string]share{}}
}

// share is a plan and its parts.
type share struct {
	runbook string
	parts   []Part
}

// Part is one action that had a share in what came of a plan.
type Part struct {
	Kind   sre.ActionKind
	Target sre.Target
}

func (l *Ledger) at(k sre.MandateKey) *line {
	if l.lines[k] == nil {
		l.lines[k] = &line{}
	}
	return l.lines[k]
}

// each adds an event to the lines of a plan's parts, once for each key.
func (l *Ledger) each(at time.Time, runbook string, parts []Part, w what, also func(*line)) {
	done := map[sre.MandateKey]bool{}
	for _, p := range parts {
		k := sre.MandateKey{Kind: p.Kind, Service: p.Target.Service, Runbook: runbook}
		if done[k] {
			continue
		}
		done[k] = true
		x := l.at(k)
		x.target = p.Target
		if also != nil {
			also(x)
		}
		l.n++
		x.events = append(x.events, event{w, at, l.n})
		if over := len(x.events) - keep; over > 0 {
			x.events = slices.Delete(x.events, 0, over)
		}
		l.dirty = true
	}
}

// Outcome takes what came of a plan. What could not be read speaks neither for
// nor against.
func (l *Ledger) Outcome(at time.Time, fingerprint string, o sre.OutcomeRecord, parts []Part) {
	var w what
	delete(l.cured, fingerprint)
	switch o.Outcome {
	case sre.Improved:
		w = improved
		l.cured[fingerprint] = share{o.Runbook, parts}
	case sre.Unchanged:
		w = unchanged
	case sre.Worsened:
		w = worsened
	case sre.InconclusiveOutcome, sre.NoDataOutcome:
		return
	default:
		return
	}
	l.each(at, o.Runbook, parts, w, func(x *line) {
		if !slices.Contains(x.mechanisms, o.Mechanism) {
			x.mechanisms = append(x.mechanisms, o.Mechanism)
		}
	})
}

// Recurred takes trouble that came back while a plan still held it down.
func (l *Ledger) Recurred(at time.Time, runbook string, parts []Part) {
	l.each(at, runbook, parts, recurred, nil)
}

// Relapsed takes trouble of a fingerprint that is there again. Where it is soon
// enough to be the same trouble it speaks against the plan that was taken to have
// ended it, once.
func (l *Ledger) Relapsed(at time.Time, fingerprint string, same bool) {
	s, known := l.cured[fingerprint]
	delete(l.cured, fingerprint)
	if known && same {
		l.each(at, s.runbook, s.parts, recurred, nil)
	}
}

// Answered takes a person's answer to a question about a plan.
func (l *Ledger) Answered(at time.Time, runbook string, parts []Part, yes bool) {
	w := rejected
	if yes {
		w = approved
	}
	l.each(at, runbook, parts, w, nil)
}

// Withheld takes an incident in which a rule of autonomy alone kept the agent
// from asking. An incident counts once.
func (l *Ledger) Withheld(at time.Time, incident, runbook string, parts []Part) {
	seen := func(p Part) bool {
		x := l.lines[sre.MandateKey{Kind: p.Kind, Service: p.Target.Service, Runbook: runbook}]
		return x != nil && x.incident == incident
	}
	parts = slices.DeleteFunc(slices.Clone(parts), seen)
	l.each(at, runbook, parts, withheld, func(x *line) { x.incident = incident })
}

// Change takes a step that was made, by the agent or by a person. Evidence
// counts anew after each step and after a no.
func (l *Ledger) Change(at time.Time, c sre.MandateChange, by string) {
	x := l.at(c.MandateKey)
	l.dirty = true
	switch c.Verb {
	case sre.MandatePropose:
		x.proposal = &c
		return
	case sre.MandateWithdraw:
		x.proposal = nil
		return
	case sre.MandateAccept, sre.MandateDemote:
		x.standing = Standing{MandateChange: c, By: by, At: at}
	case sre.MandateRestore:
		x.standing = Standing{MandateChange: c, By: by, At: at}
		x.standing.To = "" // whatever the rule says from now on
	case sre.MandateDecline:
	}
	l.n++
	x.proposal, x.fresh = nil, l.n
}

// Standing is where a key stands by the latest step.
func (l *Ledger) Standing(k sre.MandateKey) Standing {
	if l == nil || l.lines[k] == nil {
		return Standing{}
	}
	return l.lines[k].standing
}

// Changed reports whether anything happened since it was last asked.
func (l *Ledger) Changed() bool {
	was := l.dirty
	l.dirty = false
	return was
}

// keys lists the keys in a fixed order.
func (l *Ledger) keys() []sre.MandateKey {
	return slices.SortedFunc(maps.Keys(l.lines), func(a, b sre.MandateKey) int { return strings.Compare(a.String(), b.String()) })
}
