package remediators

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Sweep does what HAProxy cannot do by itself: it reverts what has lapsed by
// now, sets again what a restart of HAProxy has lost within its lease, leads
// returning servers on, and closes the sessions of drained ones whose time is
// up. It logs what it could not do, which stays on record for the next call.
func (h *haproxyLever) Sweep(ctx context.Context, now time.Time) (err error) {
	led, err := h.ledger.load()
	if err == nil && len(led.Holds) == 0 {
		return nil
	}
	instance := ""
	if err == nil {
		instance, err = h.api.instance(ctx)
		if err == nil && len(h.due(led, now, instance)) == 0 {
			return nil
		}
	}
	defer h.meter.track(opSweep)(&err)
	defer func() {
		if err != nil && ctx.Err() == nil {
			h.log.Error("lapsed settings could not be reverted, or held ones not kept", "err", err)
		}
	}()
	if err != nil {
		return err
	}
	led, unlock, err := h.open(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for _, name := range h.due(led, now, instance) {
		if err := h.sweepOne(ctx, led, name, now, instance); err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// due lists the knobs that want something done.
func (h *haproxyLever) due(led *ledger, now time.Time, instance string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(led.Holds)), func(name string) bool {
		held := led.Holds[name]
		lost := held.Phase == phaseHeld && held.Instance != instance
		step := held.Return != nil && held.Phase == phaseHeld && held.Set[paramWeight] != held.Return.weight(now)
		_, waits := held.closesAt()
		return now.Before(held.Expires) && !lost && !step && !waits
	})
}

func (h *haproxyLever) sweepOne(ctx context.Context, led *ledger, name string, now time.Time, instance string) error {
	held := led.Holds[name]
	k, err := h.knob(held.Action)
	if err != nil {
		return err
	}
	proxy, err := h.proxyEpoch(ctx)
	if err != nil {
		return err
	}
	log := h.log.With("action", held.Action.ID, "knob", name)
	if proxy > led.Epoch {
		// Whoever leads now may hold the same values under a lease of their own.
		log.Warn("a setting is left to a newer writer")
		delete(led.Holds, name)
		h.record(led)
		return nil
	}
	switch {
	case !now.Before(held.Expires):
		if err := h.giveBack(ctx, led, k, held, false); err != nil {
			return err
		}
		log.Info("a lapsed setting was reverted")
		return nil
	case held.Phase == phaseHeld && held.Instance != instance:
		log.Warn("haproxy was restarted within the lease; the setting is held on")
		return h.again(ctx, led, k, held, held.Set, instance)
	case held.Return != nil:
		return h.again(ctx, led, k, held, settings{paramWeight: held.Return.weight(now)}, instance)
	}
	return h.closeSessions(ctx, led, k, held, now)
}

// again holds the knob on, at these values. What a restart has put there is
// where it goes back to: that is what HAProxy's configuration says now.
func (h *haproxyLever) again(ctx context.Context, led *ledger, k knob, held *hold, want settings, instance string) error {
	have, err := k.read(ctx)
	if err != nil {
		return err
	}
	if held.foreign(have, instance) {
		_ = h.release(led, held, k)
		h.log.Warn("somebody else has changed the setting; it is left alone", "action", held.Action.ID, "knob", k.name())
		return nil
	}
	next, write := plan(held, have, want, nil)
	next.Action, next.Expires, next.Instance = held.Action, held.Expires, instance
	next.Since, next.Closed, next.Return = held.Since, held.Closed, held.Return
	if held.Return == nil {
		if err := k.check(ctx, write); err != nil {
			return err
		}
	}
	return h.carryOut(ctx, led, k, change{next: next, want: want, have: have, write: write})
}

// slowReturn is a server on the way back to its weight.
type slowReturn struct {
	Since  time.Time     `json:"since"`
	Window time.Duration `json:"window"` // nanoseconds
	To     float64       `json:"to"`
}

// weight is what the server gets at a moment: linear in time and never below a
// tenth, as Envoy's slow start with its default aggression and minimum; HAProxy
// takes whole weights, and 1 at least lets it answer.
func (r slowReturn) weight(now time.Time) string {
	part := 1.0
	if r.Window > 0 {
		part = min(1, max(0.1, float64(now.Sub(r.Since))/float64(r.Window)))
	}
	return strconv.FormatFloat(max(1, math.Floor(part*r.To)), 'f', 0, 64)
}

// returning makes the hold of a server that comes back slowly to a weight, or
// nil where it comes back at once. It is no action's: when its time is over
// it goes back to the weight like anything that lapses.
func (h *haproxyLever) returning(a sre.Action, have, to, instance string) *hold {
	window := time.Duration(h.cfg.Backends[a.Target.Service].SlowStart)
	weight, err := strconv.ParseFloat(to, 64)
	if window <= 0 || err != nil {
		return nil
	}
	now := h.now()
	r := slowReturn{Since: now, Window: window, To: weight}
	first := larger(r.weight(now), have)
	if larger(first, to) == first {
		return nil // nothing is left to come back
	}
	a.ID += ".return"
	a.Kind, a.Params, a.Law = sre.TrafficShift, sre.Params{paramWeight: weight}, ""
	return &hold{
		Action: a, Phase: phaseApplying, Expires: now.Add(window), Instance: instance, Return: &r,
		Before: settings{paramWeight: to}, From: settings{paramWeight: have}, Set: settings{paramWeight: first},
	}
}

func larger(a, b string) string {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil && y > x {
		return b
	}
	return a
}

// slowly begins the return of a server whose state becomes ready. A server
// that cannot be brought back slowly is brought back at once.
func (h *haproxyLever) slowly(ctx context.Context, led *ledger, k knob, held *hold, write settings) {
	s, ok := k.(serverKnob)
	if !ok || write[paramState] != "ready" || led.lost || h.cfg.Backends[held.Action.Target.Service].SlowStart <= 0 {
		return
	}
	s.param = paramWeight
	old := led.Holds[s.name()]
	if old != nil && old.Return == nil {
		return // an action holds the weight
	}
	err := func() error {
		have, err := s.read(ctx)
		if err != nil {
			return err
		}
		to := have[paramWeight]
		if old != nil {
			to = old.Before[paramWeight]
		}
		next := h.returning(held.Action, "0", to, held.Instance)
		if next == nil {
			return nil
		}
		next.From = have
		return h.carryOut(ctx, led, s, change{next: next, want: next.Set, have: have, write: next.Set})
	}()
	if err != nil {
		h.log.Warn("a server comes back with its whole weight at once", "knob", s.name(), "err", err)
	}
}

// closesAt tells when the sessions that are left on a drained server are
// closed; there is no such time where the action names none.
func (h *hold) closesAt() (time.Time, bool) {
	seconds, given := h.Action.Params.Float(paramWait)
	if !given || h.Closed || h.Phase != phaseHeld || h.Set[paramState] != "drain" {
		return time.Time{}, false
	}
	return h.Since.Add(time.Duration(seconds * float64(time.Second))), true
}

// closeSessions ends the wait for a drained server: when nobody is left, or when
// the time is up and those who are left are sent away. The next sweep looks
// whether they went.
func (h *haproxyLever) closeSessions(ctx context.Context, led *ledger, k knob, held *hold, now time.Time) error {
	s, ok := k.(serverKnob)
	at, waits := held.closesAt()
	if !ok || !waits {
		return nil
	}
	left, err := s.sessions(ctx)
	switch {
	case err != nil:
		return err
	case left == 0:
		held.Closed = true
		h.record(led)
		h.log.Info("a drained server has no session left", "action", held.Action.ID, "server", s.path())
		return nil
	case now.Before(at):
		return nil
	}
	h.log.Warn("the sessions left on a drained server are closed", "action", held.Action.ID, "server", s.path(), "sessions", left)
	return s.api.write(ctx, "shutdown sessions server "+s.path())
}

func (k serverKnob) sessions(ctx context.Context) (float64, error) {
	loads, err := k.api.loads(ctx, k.backend, nil)
	if err != nil {
		return 0, err
	}
	for _, l := range loads {
		if l.name == k.server {
			return l.sessions, nil
		}
	}
	return 0, sre.Invalidf("haproxy has no server %s", k.path())
}

// saveState writes the servers' weights and states where HAProxy's next start
// looks for them. A start without them is mended by Sweep, so a failure is
// logged and no more.
func (h *haproxyLever) saveState(ctx context.Context) {
	if h.cfg.StateFile == "" {
		return
	}
	reply, err := h.api.read(context.WithoutCancel(ctx), "show servers state")
	if err == nil {
		err = replaceFile(h.cfg.StateFile, []byte(reply+"\n"), 0o644)
	}
	if err != nil {
		h.log.Error("the state file could not be written", "err", err)
	}
}
