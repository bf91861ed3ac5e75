package remediators

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Probe reads HAProxy and the ledger, and touches neither.
func (h *haproxyLever) Probe(ctx context.Context, a sre.Action) (st sre.TargetState, err error) {
	defer h.meter.track(opProbe)(&err)
	k, want, err := h.resolve(a)
	if err != nil {
		return st, err
	}
	led, err := h.ledger.load()
	if err != nil {
		return st, &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
	}
	have, err := k.read(ctx)
	if err != nil {
		return st, err
	}
	instance, err := h.api.instance(ctx)
	if err != nil {
		return st, err
	}
	proxy, err := h.proxyEpoch(ctx)
	if err != nil {
		return st, err
	}
	st = sre.TargetState{Current: k.params(have), Epoch: max(led.Epoch, proxy)}
	notes := h.describeHold(&st, a, led.Holds[k.name()], k, have, want, instance)
	if s, ok := k.(serverKnob); ok && have[paramState] == "drain" && st.InEffect {
		left, err := s.sessions(ctx)
		if err != nil {
			return st, err
		}
		if wait, given := led.Holds[k.name()].Action.Params.Float(paramWait); given {
			st.Current[paramWait] = wait
		}
		notes = append(notes, fmt.Sprintf("%v sessions are left on it", left))
	}
	if note := h.compareFile(k, have); note != "" {
		notes = append(notes, note)
	}
	st.Detail = strings.Join(notes, "; ")
	return st, nil
}

// describeHold fills in what the ledger knows of the knob.
func (h *haproxyLever) describeHold(st *sre.TargetState, a sre.Action, held *hold, k knob, have, want settings, instance string) (notes []string) {
	if held != nil && held.Return != nil && held.Phase != phaseReleased {
		// A lease of nobody: whoever asks may take the weight.
		st.Default = k.params(held.Before)
		return append(notes, fmt.Sprintf("the server is coming back: weight %s of %s, all of it at %s",
			have[paramWeight], held.Before[paramWeight], held.Expires.UTC().Format(time.RFC3339)))
	}
	if held == nil {
		if have.matches(want) {
			notes = append(notes, "the wanted settings are in force, but this ledger has no record of who set them")
		}
		return notes
	}
	ours := held.Action.ID == a.ID
	st.Owner, st.Expires = held.Action.ID, held.Expires
	st.Default = k.params(mergeSettings(have, held.Before))
	st.Foreign = !ours || held.foreign(have, instance)
	st.InEffect = ours && !st.Foreign && held.Phase != phaseReverting && have.matches(want)
	if held.Phase != phaseHeld {
		notes = append(notes, "the last write is on record as "+held.Phase)
	}
	if instance != held.Instance {
		notes = append(notes, "haproxy was restarted since the last write")
	}
	if !h.now().Before(held.Expires) {
		notes = append(notes, "lapsed and not yet reverted")
	}
	return notes
}

// compareFile reports where HAProxy's next start would differ from now.
func (h *haproxyLever) compareFile(k knob, have settings) string {
	c, ok := k.(classKnob)
	if !ok || c.admit.file == "" {
		return ""
	}
	all, err := c.admit.fileSettings()
	if err != nil {
		return fmt.Sprintf("the map file cannot be read: %v", err)
	}
	onDisk := c.pick(all)
	var differ []string
	for _, param := range slices.Sorted(maps.Keys(have)) {
		if onDisk[param] != have[param] {
			differ = append(differ, fmt.Sprintf("%s is %q on disk and %q in force", c.key(param), onDisk[param], have[param]))
		}
	}
	if len(differ) == 0 {
		return ""
	}
	return "the map file differs: " + strings.Join(differ, ", ")
}

// Apply sets the action's values and holds them until d.Expires.
func (h *haproxyLever) Apply(ctx context.Context, d sre.Directive) (err error) {
	defer h.meter.track(opApply)(&err)
	k, want, err := h.resolve(d.Action)
	if err != nil {
		return err
	}
	if d.Expires.IsZero() {
		return sre.Invalidf("the directive has no expiry")
	}
	if !d.Expires.After(h.now()) {
		return sre.Refusedf("the directive lapsed at %s", d.Expires.UTC().Format(time.RFC3339))
	}
	led, unlock, err := h.open(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	raise, err := h.fence(ctx, led, k, d)
	if err != nil {
		return err
	}
	have, err := k.read(ctx)
	if err != nil {
		return err
	}
	instance, err := h.api.instance(ctx)
	if err != nil {
		return err
	}
	old := led.Holds[k.name()]
	if old != nil && old.Action.ID == d.Action.ID && old.foreign(have, instance) {
		return h.release(led, old, k)
	}
	next, write := plan(old, have, want, restored(k, d.Restore))
	next.Action, next.Expires, next.Instance, next.Since = d.Action, d.Expires, instance, h.now()
	if old != nil && old.Action.ID == d.Action.ID && !old.Since.IsZero() {
		next.Since, next.Closed = old.Since, old.Closed
	}
	if err := k.check(ctx, write); err != nil {
		return err
	}
	return h.carryOut(ctx, led, k, change{next, want, have, write, raise})
}

// plan works out the new hold and what has to be written for it. Pre-states
// pass from hold to hold, so that the last one returns to where the first
// began; what the old one held and the new one does not goes back, and is
// part of the new hold until that is done.
func plan(old *hold, have, want, restore settings) (*hold, settings) {
	next := &hold{Phase: phaseApplying, Before: settings{}, From: settings{}, Set: maps.Clone(want)}
	write := settings{}
	if old != nil && old.Phase != phaseReleased {
		back, _ := old.back(have)
		for key, value := range back {
			if _, again := want[key]; !again {
				write[key] = value
				next.Before[key], next.From[key], next.Set[key] = value, have[key], value
			}
		}
	}
	for key, value := range want {
		next.Before[key], next.From[key] = have[key], have[key]
		if old != nil && old.Phase != phaseReleased && old.Set[key] != "" && old.holds(key, have[key]) {
			next.Before[key] = old.Before[key]
		}
		// The value stands already and no hold tells since when: another
		// leader set it, and the sender knows what was there before.
		if before, known := restore[key]; known && old == nil && have[key] == value {
			next.Before[key] = before
		}
		if have[key] != value {
			write[key] = value
		}
	}
	return next, write
}

// restored reads a pre-state as the agent recorded it; what cannot be read
// is left out.
func restored(k knob, p sre.Params) settings {
	if len(p) == 0 {
		return nil
	}
	s, err := k.parse(p)
	if err != nil {
		return nil
	}
	if _, inMap := k.(classKnob); inMap {
		for _, param := range append(classes(), rpsParam) {
			s[param] += "" // no cap is reported by leaving it out
		}
	}
	return s
}

// release gives up a knob that somebody else has moved: it is not fought over.
func (h *haproxyLever) release(led *ledger, old *hold, k knob) error {
	old.Phase = phaseReleased
	h.record(led)
	return sre.Refusedf("somebody else has changed %s since; it is left alone", k.name())
}

// record saves the ledger where the effect counts more than the record of it.
func (h *haproxyLever) record(led *ledger) {
	if led.lost {
		return // what may still be read by a person is not written over
	}
	if err := h.ledger.save(led); err != nil {
		h.log.Error("the ledger could not be written", "err", err)
	}
}

// change is one write that has been worked out.
type change struct {
	next              *hold
	want, have, write settings
	raise             bool // HAProxy's record of the fencing token has to rise too
}

// carryOut records the intent, writes, and records the end.
func (h *haproxyLever) carryOut(ctx context.Context, led *ledger, k knob, c change) error {
	old := led.Holds[k.name()]
	led.Holds[k.name()] = c.next
	if len(c.write) == 0 {
		c.next.Phase = phaseHeld
	}
	if err := h.ledger.save(led); err != nil {
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
	}
	h.slowly(ctx, led, k, c.next, c.write)
	err := h.write(ctx, k, c.write, c.raise, led.Epoch)
	switch {
	case err == nil && len(c.write) == 0:
		return nil
	case err == nil:
		c.next.Phase = phaseHeld
		c.next.keep(c.want)
		h.record(led)
		return nil
	case sre.CodeOf(err) == sre.CodeUnknown:
		return err
	}
	now, readErr := k.read(context.WithoutCancel(ctx))
	if readErr == nil && now.matches(c.have) {
		led.Holds[k.name()] = old
		if old == nil {
			delete(led.Holds, k.name())
		}
		h.record(led)
	}
	return err
}

// Revert goes back to the settings found before the first Apply. Where the
// ledger has no hold, as after another agent led, d.Restore says what they were.
func (h *haproxyLever) Revert(ctx context.Context, d sre.Directive) (err error) {
	defer h.meter.track(opRevert)(&err)
	k, err := h.knob(d.Action)
	if err != nil {
		return err
	}
	led, unlock, err := h.openForUndo(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	raise, err := h.fence(ctx, led, k, d)
	if err != nil {
		return err
	}
	held := led.Holds[k.name()]
	switch {
	case held == nil:
		held = h.unrecorded(k, d)
	case held.Action.ID != d.Action.ID:
		held = nil
	}
	if held == nil {
		h.record(led)
		return nil
	}
	return h.giveBack(ctx, led, k, held, raise)
}

// unrecorded makes a hold of what the agent remembers, or nil.
func (h *haproxyLever) unrecorded(k knob, d sre.Directive) *hold {
	set, err := k.parse(d.Action.Params)
	if err != nil {
		return nil
	}
	before := restored(k, d.Restore)
	for key := range set {
		if _, known := before[key]; !known {
			delete(set, key)
		}
	}
	if len(set) == 0 {
		return nil
	}
	return &hold{Action: d.Action, Phase: phaseHeld, Before: before, From: set, Set: set}
}

// giveBack returns a knob to where it was and ends its hold. What somebody
// else has changed stays as they left it.
func (h *haproxyLever) giveBack(ctx context.Context, led *ledger, k knob, held *hold, raise bool) error {
	have, err := k.read(ctx)
	if err != nil {
		return err
	}
	var write settings
	if held.Phase != phaseReleased {
		var left []string
		if write, left = held.back(have); len(left) > 0 {
			h.log.Warn("settings that somebody else changed are left alone", "action", held.Action.ID, "knob", k.name(), "settings", left)
		}
	}
	if to, moved := write[paramWeight]; moved && held.Return == nil && !led.lost {
		if next := h.returning(held.Action, have[paramWeight], to, held.Instance); next != nil {
			return h.carryOut(ctx, led, k, change{next: next, want: next.Set, have: have, write: next.Set, raise: raise})
		}
	}
	if len(write) > 0 {
		h.slowly(ctx, led, k, held, write)
		held.Phase = phaseReverting
		h.record(led)
		if err := h.write(ctx, forUndo(k), write, raise, led.Epoch); err != nil {
			return err
		}
	}
	if err := k.settle(held.Set, mergeSettings(have, write)); err != nil {
		return err
	}
	delete(led.Holds, k.name())
	h.record(led)
	return nil
}

// Manual returns the commands that go back to restore by hand, or "" where
// restore does not say to what.
func (h *haproxyLever) Manual(a sre.Action, restore sre.Params) string {
	k, err := h.knob(a)
	if err != nil {
		return ""
	}
	moved, err := k.parse(a.Params)
	if err != nil {
		return ""
	}
	before := restored(k, restore)
	back := settings{}
	for key := range moved {
		if value, known := before[key]; known {
			back[key] = value
		}
	}
	if len(back) == 0 {
		return ""
	}
	commands, shell := k.manual(back)
	peer := "tcp:" + h.api.address
	if h.api.network == "unix" {
		peer = "unix-connect:" + h.api.address
	}
	line := "echo " + shellQuote(strings.Join(commands, "; ")) + " | socat stdio " + shellQuote(peer)
	return strings.Join(append([]string{line}, shell...), "\n")
}
