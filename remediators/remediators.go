package remediators

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sreagent/sreagent/sre"
)

// Options are the ports of the levers. Each may be left out.
type Options struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Sweeper is a lever whose target holds no expiry: somebody has to call Sweep
// for what has lapsed to be reverted.
type Sweeper interface {
	// Sweep reverts what has lapsed by now. What could not be reverted stays on
	// record for the next call; the lever has logged and counted it, and the
	// error holds it.
	Sweep(ctx context.Context, now time.Time) error
}

// Undoer is a lever that can tell a person how to undo an action by hand.
type Undoer interface {
	// Manual returns shell commands that undo the action without the agent,
	// going back to restore. They hold no secret.
	Manual(a sre.Action, restore sre.Params) string
}

// New builds the configured levers, sorted by name. It talks to no target. The
// error holds the faults of the configuration, a client certificate that
// cannot be read or a ledger that cannot be read.
func New(cfg Config, o Options) ([]sre.Remediator, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, faults
	}
	o = o.withDefaults()
	m := newMetrics(o.Registerer)
	var levers []sre.Remediator
	if cfg.Guard.enabled() {
		g, err := newGuard(cfg.Guard, o, m)
		if err != nil {
			return nil, err
		}
		levers = append(levers, g)
	}
	proxies := slices.SortedFunc(slices.Values(cfg.HAProxy), func(a, b HAProxyConfig) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range proxies {
		h, err := newHAProxy(c, cfg.StateDir, o, m)
		if err != nil {
			return nil, fmt.Errorf("open lever %s: %w", c.Name, err)
		}
		levers = append(levers, h)
	}
	leased, err := leasedLevers(cfg, o, m)
	if err != nil {
		return nil, err
	}
	levers = append(levers, leased...)
	for _, c := range cfg.Flags {
		l, err := newFlags(c, cfg.KillSwitches, cfg.StateDir, o, m)
		if err != nil {
			return nil, fmt.Errorf("open lever %s: %w", c.Name, err)
		}
		levers = append(levers, l)
	}
	slices.SortFunc(levers, func(a, b sre.Remediator) int { return cmp.Compare(nameOf(a), nameOf(b)) })
	return levers, nil
}

func nameOf(r sre.Remediator) string {
	switch l := r.(type) {
	case *guardLever:
		return guardName
	case *haproxyLever:
		return l.cfg.Name
	case *leasedLever:
		return l.name
	case *flagLever:
		return l.cfg.Name
	}
	return ""
}

// Run sweeps the levers at once and then at every interval, until the context
// ends. It returns the context's error. Levers that are no Sweeper are passed
// over.
func Run(ctx context.Context, levers []sre.Remediator, every time.Duration, now func() time.Time) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		for _, l := range levers {
			if s, ok := l.(Sweeper); ok {
				_ = s.Sweep(ctx, now()) // logged and counted by the lever
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
