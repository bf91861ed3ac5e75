package arbiter

import (
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Knob is what has one writer at a time.
type Knob struct {
	Kind   sre.ActionKind
	Target sre.Target
}

// KnobOf returns the knob that an action moves.
func KnobOf(a sre.Action) Knob { return Knob{a.Kind, a.Target} }

// Cure is the recurrence key: an action on a target against a cause.
type Cure struct {
	Cause string
	Knob
}

// Foreign is a value that somebody else wrote over the agent's.
type Foreign struct {
	At                time.Time
	By                string
	Old, Ours, Theirs sre.Params
}

// Ledger is what the arbiter remembers. It is folded from the trail, so it holds
// no policy: how long an entry counts is asked when it is read. Not safe for
// concurrent use.
type Ledger struct {
	foreign map[Knob]Foreign
	failed  map[Cure][]time.Time // oldest first
	moves   map[Knob][]move      // of the agent's that may have been carried out, oldest first
	swings  map[Knob][]time.Time // when a knob was found to swing, oldest first
	set     map[Knob]time.Time   // when the agent last set it to help; taking back is not setting
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{
		foreign: map[Knob]Foreign{}, failed: map[Cure][]time.Time{},
		moves: map[Knob][]move{}, swings: map[Knob][]time.Time{}, set: map[Knob]time.Time{},
	}
}

// Overwritten notes that somebody else has moved a knob of the agent's. The
// latest write counts.
func (l *Ledger) Overwritten(k Knob, f Foreign) {
	if old, known := l.foreign[k]; !known || f.At.After(old.At) {
		l.foreign[k] = f
	}
}

// Strange reports whether a setting that is found on a knob is somebody else's:
// the agent has moved the knob since an instant, and the setting is neither one
// that it sent nor what lay beneath. It returns what lay beneath and what the
// agent sent last. What nobody has read, or what shares no name with what was
// sent last, is not strange.
func (l *Ledger) Strange(k Knob, found sre.Params, since time.Time) (beneath, ours sre.Params, strange bool) {
	if found == nil {
		return nil, nil, false
	}
	last, seized := l.foreign[k]
	for _, m := range l.moves[k] {
		if m.at.Before(since) || seized && !m.at.After(last.At) || m.beneath == nil {
			continue
		}
		beneath, ours, strange = m.beneath, m.to, true
		if same(m.beneath, found) {
			return beneath, ours, false
		}
		if same(m.to, m.beneath) { // given back: as it was read, with every name
			continue
		}
		asSent, comparable := shows(found, m.to)
		if asSent {
			return beneath, ours, false
		}
		strange = comparable
	}
	return beneath, ours, strange
}

func same(p, q sre.Params) bool { return p.Near(q) && q.Near(p) }

// shows reports whether what is found has the settings that were sent, of those
// that it names, and whether it names any.
func shows(found, sent sre.Params) (as, some bool) {
	common := sre.Params{}
	for name, v := range sent {
		if _, named := found[name]; named {
			common[name] = v
		}
	}
	return len(common) > 0 && common.Near(found), len(common) > 0
}

// Frozen returns who moved a knob and until when the agent leaves it alone.
func (l *Ledger) Frozen(p Policy, k Knob, now time.Time) (Foreign, time.Time, bool) {
	f, known := l.foreign[k]
	until := f.At.Add(time.Duration(p.Freeze))
	return f, until, known && now.Before(until)
}

// Came notes what came of a cure. Only an improvement speaks for it: then what
// it failed at before no longer counts. Everything else, not knowing included,
// speaks against it.
func (l *Ledger) Came(c Cure, o sre.Outcome, at time.Time) {
	if o == sre.Improved {
		delete(l.failed, c)
		return
	}
	const kept = 64 // more than any policy asks for
	times := append(l.failed[c], at)
	l.failed[c] = slices.Clone(times[max(0, len(times)-kept):])
}

// Failures counts how often a cure did not help within the window, and returns
// when the oldest of those leaves it.
func (l *Ledger) Failures(p Policy, c Cure, now time.Time) (int, time.Time) {
	n, next := 0, time.Time{}
	for _, at := range l.failed[c] {
		if leaves := at.Add(time.Duration(p.Window)); now.Before(leaves) {
			if n == 0 {
				next = leaves
			}
			n++
		}
	}
	return n, next
}
