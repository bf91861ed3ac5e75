package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/sre"
)

// Trail remembers. Append returns when the records are durable, in order.
type Trail interface {
	Append(ctx context.Context, records []sre.Record) error
}

// Desk is the human boundary: what people asked since the last tick, and the
// picture and the answers that they get.
type Desk interface {
	Drain(now time.Time) []sre.Input
	Publish(v *sre.View, answers []sre.Answer)
}

// Pager tells people. Notify hands over and returns; delivery is the pager's
// own affair.
type Pager interface {
	Notify(ctx context.Context, notices []sre.Notice) error
}

// Ports is everything outside the agent. The daemon and a replay differ in
// this struct alone.
type Ports struct {
	Clock      sre.Clock
	Source     sre.Source
	Levers     map[string]sre.Remediator // by the name that targets use
	Trail      Trail
	Desk       Desk
	Pager      Pager
	Forecaster sre.Forecaster                                // optional: without one the graph's algebra is used
	Manual     func(a sre.Action, restore sre.Params) string // optional: the command by which a human undoes an action
	Laws       func(name string) (control.Law, bool)         // optional: control.Named where nil
	// Reactivation says why what a kill switch holds off may not come back yet;
	// nil when it may. Optional. It is asked at most once per tick and kill switch
	// that is to be lifted, and never before an undo or the end of a lease.
	Reactivation func(ctx context.Context, a sre.Action) error
	Log          *slog.Logger
	Registerer   prometheus.Registerer // optional
}

func (p Ports) validate() error {
	var missing []error
	need := func(ok bool, what string) {
		if !ok {
			missing = append(missing, errors.New("the agent needs "+what))
		}
	}
	need(p.Clock != nil, "a clock")
	need(p.Source != nil, "a source of snapshots")
	need(p.Trail != nil, "a trail to record in")
	need(p.Desk != nil, "a desk for people")
	need(p.Pager != nil, "a pager")
	need(p.Log != nil, "a logger")
	return errors.Join(missing...)
}
