package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// RegisterChecks adds what the guard knows of those it calls, in two checks:
// "callees" fails while any circuit is open or any backend is down, and is not
// critical; "proxy" fails while the active checks find every backend of
// ProxyCallee down, and is. An open circuit alone never makes a service unready:
// without calls it could not find out that its callee is well again.
func (g *Guard) RegisterChecks(c *Checks) error {
	return errors.Join(
		c.Register(Check{Name: "callees", Run: func(context.Context) error { return g.whole() }}),
		c.Register(Check{Name: "proxy", Critical: true, Run: func(context.Context) error { return g.reachable(ProxyCallee) }}),
	)
}

// whole says what is wrong with any callee.
func (g *Guard) whole() error {
	now := g.clock.Now()
	var errs []error
	for _, u := range g.callees() {
		for _, e := range u.all() {
			if err := e.fault(now); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// reachable needs one backend of the callee that is up, if it has any.
func (g *Guard) reachable(callee string) error {
	all := g.endpointsOf(callee)
	if len(all) == 0 || slices.ContainsFunc(all, func(e *endpoint) bool { return !e.down.Load() }) {
		return nil
	}
	now := g.clock.Now()
	errs := make([]error, 0, len(all))
	for _, e := range all {
		errs = append(errs, e.fault(now))
	}
	return errors.Join(errs...)
}

func (g *Guard) callees() []*upstream {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	all := make([]*upstream, 0, len(g.upstreams))
	for _, callee := range slices.Sorted(maps.Keys(g.upstreams)) {
		all = append(all, g.upstreams[callee])
	}
	return all
}

// fault says why calls to an endpoint are not made now, or returns nil.
func (e *endpoint) fault(now time.Time) error {
	if e.down.Load() {
		e.mu.Lock()
		defer e.mu.Unlock()
		return fmt.Errorf("%s is down: %s", e.label, e.lastErr)
	}
	if stats, _ := e.breaker.stats(now); stats.State == string(circuitOpen) {
		return fmt.Errorf("%s: %w since %s", e.label, ErrBreakerOpen, stats.Since.UTC().Format(time.RFC3339))
	}
	return nil
}
