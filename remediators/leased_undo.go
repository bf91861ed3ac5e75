package remediators

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Probe reads the target where a probe is configured, and the ledger. It
// touches neither.
func (l *leasedLever) Probe(ctx context.Context, a sre.Action) (st sre.TargetState, err error) {
	defer l.meter.track(opProbe)(&err)
	if err := l.schema.checkTarget(a); err != nil {
		return st, err
	}
	led, err := l.ledger.load()
	if err != nil {
		return st, &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
	}
	seen, err := l.look(ctx, order{action: a, epoch: led.Epoch})
	if err != nil {
		return st, err
	}
	notes := []string{}
	if seen.detail != "" {
		notes = append(notes, seen.detail)
	}
	h := led.Holds[knobOf(a)]
	have := seen.have
	if !seen.known && h != nil && h.Phase == phaseHeld {
		have = h.Set
	}
	st = sre.TargetState{Current: decodeParams(have), Epoch: max(led.Epoch, seen.epoch)}
	if h != nil {
		notes = append(notes, l.describeHold(&st, a, h, seen, have)...)
	}
	st.Detail = strings.Join(notes, "; ")
	return st, nil
}

// describeHold fills in what the ledger knows.
func (l *leasedLever) describeHold(st *sre.TargetState, a sre.Action, h *hold, seen sight, have settings) (notes []string) {
	ours := h.Action.ID == a.ID
	st.Owner, st.Expires, st.Default = h.Action.ID, h.Expires, decodeParams(h.Before)
	st.Foreign = !ours || h.Phase == phaseReleased || seen.known && h.foreign(have, "")
	// Only a probe can tell what came of a write without an end.
	sure := h.Phase == phaseHeld || seen.known && h.Phase == phaseApplying
	st.InEffect = ours && !st.Foreign && sure && have.matches(encodeParams(a.Params))
	if h.Phase != phaseHeld {
		notes = append(notes, "the last write is on record as "+h.Phase)
	}
	if !l.now().Before(h.Expires) {
		notes = append(notes, "lapsed and not yet reverted")
	}
	return notes
}

// Revert goes back to the settings found before the first Apply. Where the
// ledger has no hold, as after another agent led, d.Restore says what they were.
func (l *leasedLever) Revert(ctx context.Context, d sre.Directive) (err error) {
	defer l.meter.track(opRevert)(&err)
	if err := l.schema.checkTarget(d.Action); err != nil {
		return err
	}
	led, unlock, err := l.open(ctx)
	if err != nil && ctx.Err() == nil {
		l.log.Error("undoing without the ledger", "err", err)
		led, unlock, err = newLedger(), func() {}, nil
		led.lost = true
	}
	if err != nil {
		return err
	}
	defer unlock()
	seen, err := l.look(ctx, orderOf(opRevert, d))
	if err != nil {
		return err
	}
	name := knobOf(d.Action)
	_, written := led.Marks[name]
	if err := l.fence(led, d, seen.epoch); err != nil {
		return err
	}
	h := led.Holds[name]
	switch {
	case h == nil && l.schema.spec.Reversible:
		h = unrecorded(d, seen, written)
	case h != nil && h.Action.ID != d.Action.ID:
		h = nil
	}
	if h == nil {
		l.record(led)
		return nil
	}
	led.Holds[name] = h
	return l.giveBack(ctx, led, h, seen, orderOf(opRevert, d))
}

// unrecorded makes a hold of what the agent remembers, or nil where there is
// nothing to undo. A ledger that has never heard of a target it cannot read
// knows nothing, so then the target is told.
func unrecorded(d sre.Directive, seen sight, written bool) *hold {
	want, before := encodeParams(d.Action.Params), encodeParams(d.Restore)
	if seen.known {
		if len(before) == 0 || len(want) == 0 || !seen.have.matches(want) {
			return nil
		}
	} else if written {
		return nil
	}
	return &hold{Action: d.Action, Phase: phaseHeld, Before: mergeSettings(seen.have, before), From: want, Set: want, Expires: d.Expires}
}

// giveBack returns the target to where it was and ends the hold. What somebody
// else has changed stays as they left it.
func (l *leasedLever) giveBack(ctx context.Context, led *ledger, h *hold, seen sight, o order) error {
	name, back := knobOf(h.Action), maps.Clone(h.Before)
	done := h.Phase == phaseReleased
	if seen.known && !done {
		write, left := h.back(seen.have)
		if len(left) > 0 {
			l.log.Warn("settings that somebody else changed are left alone", "action", h.Action.ID, "settings", left)
		}
		for _, key := range left {
			back[key] = seen.have[key]
		}
		done = len(write) == 0
	}
	if done {
		delete(led.Holds, name)
		l.record(led)
		return nil
	}
	if !l.schema.spec.Reversible {
		return sre.Refusedf("%s by this lever cannot be undone", h.Action.Kind)
	}
	was := h.Phase
	h.Phase = phaseReverting
	l.record(led)
	o.restore = decodeParams(back)
	err := l.driver.revert(ctx, o)
	if code := sre.CodeOf(err); err != nil && code != sre.CodeUnknown {
		h.Phase = was // it did not take effect
		l.record(led)
		return err
	}
	if err == nil && seen.known {
		err, _ = l.readBack(ctx, o, back, nil)
	}
	if err != nil {
		return err
	}
	delete(led.Holds, name)
	l.record(led)
	return nil
}

// Sweep reverts what has lapsed by now. It logs what it could not revert, which
// stays on record for the next call.
func (l *leasedLever) Sweep(ctx context.Context, now time.Time) (err error) {
	led, err := l.ledger.load()
	if err == nil && len(lapsed(led, now)) == 0 {
		return nil
	}
	defer l.meter.track(opSweep)(&err)
	defer func() {
		if err != nil && ctx.Err() == nil {
			l.log.Error("lapsed settings could not be reverted", "err", err)
		}
	}()
	if err != nil {
		return err
	}
	led, unlock, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for _, name := range lapsed(led, now) {
		if err := l.sweepOne(ctx, led, name); err != nil {
			errs = append(errs, fmt.Errorf("revert lapsed %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (l *leasedLever) sweepOne(ctx context.Context, led *ledger, name string) error {
	h := led.Holds[name]
	if !l.schema.spec.Reversible {
		delete(led.Holds, name) // it was done once; only the record of it lapses
		l.record(led)
		return nil
	}
	if err := l.schema.checkTarget(h.Action); err != nil {
		return err
	}
	o := order{purpose: opRevert, action: h.Action, epoch: led.Epoch, seq: led.Marks[name].Seq, expires: h.Expires}
	seen, err := l.look(ctx, o)
	if err != nil {
		return err
	}
	if seen.epoch > led.Epoch {
		l.log.Warn("a lapsed setting is left to a newer writer", "action", h.Action.ID)
		delete(led.Holds, name)
		l.record(led)
		return nil
	}
	if err := l.giveBack(ctx, led, h, seen, o); err != nil {
		return err
	}
	l.log.Info("a lapsed setting was reverted", "action", h.Action.ID)
	return nil
}

// Manual returns the command that goes back to restore by hand, or "" where the
// action is not this lever's or cannot be undone.
func (l *leasedLever) Manual(a sre.Action, restore sre.Params) string {
	if l.schema.checkTarget(a) != nil || !l.schema.spec.Reversible {
		return ""
	}
	o := order{purpose: opRevert, action: a, restore: restore, expires: l.now()}
	if led, err := l.ledger.load(); err == nil {
		o.epoch, o.seq = led.Epoch, led.Marks[knobOf(a)].Seq+1
		if h := led.Holds[knobOf(a)]; h != nil && h.Action.ID == a.ID && len(restore) == 0 {
			o.restore = decodeParams(h.Before)
		}
	}
	return l.driver.manual(o)
}

func lapsed(led *ledger, now time.Time) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(led.Holds)) {
		if !now.Before(led.Holds[name].Expires) {
			names = append(names, name)
		}
	}
	return names
}
