package remediators

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// driver reaches a target that holds neither a lease nor a fencing token.
// Errors are *sre.ActionError.
type driver interface {
	apply(ctx context.Context, o order) error
	revert(ctx context.Context, o order) error
	// observe reads the target. Without a probe it returns nil.
	observe(ctx context.Context, o order) (*observed, error)
	// manual is the command for a person that does what revert does.
	manual(o order) string
}

// order is all that a driver may tell its target.
type order struct {
	purpose string // opApply, opRevert or opProbe
	action  sre.Action
	epoch   uint64
	seq     uint64
	expires time.Time
	restore sre.Params
}

// key is the same for every attempt at one order and differs between orders.
func (o order) key() string {
	return fmt.Sprintf("%s/%s/%d-%d", o.action.ID, o.purpose, o.epoch, o.seq)
}

// observed is what a probe has read.
type observed struct {
	current sre.Params
	epoch   uint64 // highest fencing token that the target itself has accepted
	detail  string
}

// leasedLever stands a ledger in for the lease, the pre-state and the fencing
// token that its target does not keep. The order of every write is: check the
// token, read what is there where a probe is configured, record the intent,
// write, read back, record the end. Where no probe is configured, the ledger
// stands for the state too.
type leasedLever struct {
	name   string
	schema schema
	driver driver
	ledger ledgerFile
	log    *slog.Logger
	now    func() time.Time
	meter  meter
}

func newLeased(name string, s schema, d driver, stateDir string, o Options, m *metrics) (*leasedLever, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the ledgers: %w", err)
	}
	l := &leasedLever{
		name: name, schema: s, driver: d,
		ledger: ledgerFile{path: filepath.Join(stateDir, name+".json")},
		log:    o.Log.With("component", "remediators", "lever", name),
		now:    o.Now, meter: newMeter(m, name, o.Now),
	}
	if _, err := l.ledger.load(); err != nil { // as with HAProxy: not without its leases
		return nil, err
	}
	return l, nil
}

// Describe tells of the one kind that is configured.
func (l *leasedLever) Describe(context.Context) (sre.Capability, error) {
	return sre.Capability{Name: l.name, Version: leverVersion, Kinds: []sre.KindSpec{l.schema.spec}, Targets: l.schema.Services}, nil
}

// knobOf names what an action moves; two actions on one knob exclude each other.
func knobOf(a sre.Action) string {
	t := a.Target
	t.Lever = ""
	return string(a.Kind) + t.String()
}

func orderOf(purpose string, d sre.Directive) order {
	return order{purpose: purpose, action: d.Action, epoch: d.Epoch, seq: d.Seq, expires: d.Expires, restore: d.Restore}
}

// sight is what is there now: settings, and whether they were read at all.
type sight struct {
	known  bool
	have   settings
	epoch  uint64
	detail string
}

// look reads the target. Nothing is touched by it, so its errors say so.
func (l *leasedLever) look(ctx context.Context, o order) (sight, error) {
	o.purpose = opProbe
	seen, err := l.driver.observe(ctx, o)
	if err != nil {
		return sight{}, &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
	}
	if seen == nil {
		return sight{detail: "no probe is configured: this is what the ledger says"}, nil
	}
	current, err := l.schema.read(seen.current)
	if err != nil {
		return sight{}, &sre.ActionError{Code: sre.CodeFailed, Reason: "the probe's answer is unusable", Err: errors.New(err.Error())}
	}
	return sight{known: true, have: encodeParams(current), epoch: seen.epoch, detail: seen.detail}, nil
}

// open takes the ledger for writing.
func (l *leasedLever) open(ctx context.Context) (*ledger, func(), error) {
	unlock, err := l.ledger.lock(ctx)
	if err != nil {
		return nil, nil, &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
	}
	led, err := l.ledger.load()
	if err != nil {
		unlock()
		return nil, nil, &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
	}
	return led, unlock, nil
}

// fence refuses a writer that has been replaced and enters the write in the
// ledger's order.
func (l *leasedLever) fence(led *ledger, d sre.Directive, target uint64) error {
	name := knobOf(d.Action)
	if highest := max(led.Epoch, target); d.Epoch < highest {
		return sre.Refusedf("fencing token %d is stale, %d was accepted", d.Epoch, highest)
	}
	if m := led.Marks[name]; m.Epoch == d.Epoch && d.Seq < m.Seq {
		return sre.Refusedf("write %d of epoch %d is stale, %d was accepted", d.Seq, d.Epoch, m.Seq)
	}
	led.Epoch = d.Epoch
	led.Marks[name] = mark{Epoch: d.Epoch, Seq: d.Seq}
	return nil
}

// record saves the ledger where the effect counts more than the record of it.
func (l *leasedLever) record(led *ledger) {
	if led.lost {
		return // what may still be read by a person is not written over
	}
	if err := l.ledger.save(led); err != nil {
		l.log.Error("the ledger could not be written", "err", err)
	}
}

// Apply sets the action's values and holds them until d.Expires.
func (l *leasedLever) Apply(ctx context.Context, d sre.Directive) (err error) {
	defer l.meter.track(opApply)(&err)
	if err := l.schema.check(d.Action); err != nil {
		return err
	}
	if d.Expires.IsZero() {
		return sre.Invalidf("the directive has no expiry")
	}
	if !d.Expires.After(l.now()) {
		return sre.Refusedf("the directive lapsed at %s", d.Expires.UTC().Format(time.RFC3339))
	}
	led, unlock, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	seen, err := l.look(ctx, orderOf(opApply, d))
	if err != nil {
		return err
	}
	if err := l.fence(led, d, seen.epoch); err != nil {
		return err
	}
	name, want := knobOf(d.Action), encodeParams(d.Action.Params)
	old := led.Holds[name]
	if ours := old != nil && old.Action.ID == d.Action.ID; ours {
		switch {
		case old.Phase == phaseReleased || seen.known && old.foreign(seen.have, ""):
			old.Phase = phaseReleased
			l.record(led)
			return sre.Refusedf("somebody else has changed %s since; it is left alone", d.Action.Target)
		case !l.schema.spec.Reversible && old.Phase != phaseHeld:
			return sre.Unknownf(errors.New("the first attempt has no answer"), "it cannot be undone and may have happened already")
		case l.stands(old, want, seen):
			old.Action, old.Expires = d.Action, d.Expires
			return l.extend(led)
		}
	}
	led.Holds[name] = l.next(old, d, seen, want)
	return l.carryOut(ctx, led, old, d, seen)
}

// stands reports whether only the lease has to be extended.
func (l *leasedLever) stands(old *hold, want settings, seen sight) bool {
	return old.Phase == phaseHeld && maps.Equal(old.Set, want) && (!seen.known || seen.have.matches(want)) &&
		(!l.schema.TTL || !l.schema.spec.Reversible)
}

func (l *leasedLever) extend(led *ledger) error {
	if err := l.ledger.save(led); err != nil {
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "the lease could not be extended", Err: err}
	}
	return nil
}

// next works out the new hold. The pre-state passes from hold to hold, but for
// settings that somebody else has moved in between: those go back to theirs.
func (l *leasedLever) next(old *hold, d sre.Directive, seen sight, want settings) *hold {
	h := &hold{Action: d.Action, Phase: phaseApplying, Before: settings{}, From: settings{}, Set: want, Expires: d.Expires}
	if seen.known {
		h.Before, h.From = maps.Clone(seen.have), maps.Clone(seen.have)
	}
	restore := encodeParams(d.Restore)
	switch {
	case old == nil && (!seen.known || seen.have.matches(want)):
		// Nobody can tell here since when: the sender may know from the trail.
		maps.Copy(h.Before, restore)
	case old == nil || old.Phase == phaseReleased:
	case !seen.known:
		h.Before, h.From = maps.Clone(old.Before), maps.Clone(old.Set)
	default:
		for key := range old.Set {
			if !old.holds(key, seen.have[key]) {
				continue
			}
			if before, known := old.Before[key]; known {
				h.Before[key] = before
			} else {
				delete(h.Before, key)
			}
		}
	}
	return h
}

// carryOut records the intent, writes, reads back and records the end.
func (l *leasedLever) carryOut(ctx context.Context, led *ledger, old *hold, d sre.Directive, seen sight) error {
	name := knobOf(d.Action)
	h := led.Holds[name]
	if err := l.ledger.save(led); err != nil {
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
	}
	o := orderOf(opApply, d)
	o.restore = decodeParams(h.Before)
	err := l.driver.apply(ctx, o)
	untouched := err != nil
	if err == nil && seen.known {
		err, untouched = l.readBack(ctx, o, h.Set, seen.have)
	}
	switch {
	case err == nil:
		h.Phase = phaseHeld
	case sre.CodeOf(err) == sre.CodeUnknown || !untouched:
		return err // the record stays: both ends count as ours
	case old == nil:
		delete(led.Holds, name)
	default:
		led.Holds[name] = old
	}
	l.record(led)
	return err
}

// readBack holds the target against what was written, and tells whether it is
// as it was before.
func (l *leasedLever) readBack(ctx context.Context, o order, want, before settings) (err error, untouched bool) { //nolint:revive // the error decides, the flag refines it
	now, err := l.look(ctx, o)
	switch {
	case err != nil:
		return sre.Unknownf(err, "it was accepted and could not be read back"), false
	case !now.have.matches(want):
		return sre.Failedf("it was accepted, but %v is in force", decodeParams(now.have)), maps.Equal(now.have, before)
	}
	return nil, false
}
