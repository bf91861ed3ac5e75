package agent

import (
	"context"

	"github.com/sreagent/sreagent/sre"
)

// reactivate asks the reactivation checks of the kill switches that are next to
// be lifted, before anything is decided. What a person ends is not asked about.
func (a *Agent) reactivate(ctx context.Context, t *turn) {
	if a.ports.Reactivation == nil {
		return
	}
	t.ready = map[string]error{}
	for _, inc := range a.book.open() {
		if inc.State != sre.Lifting || inc.Order != nil {
			continue
		}
		for _, m := range nextToLift(inc) {
			if m.Action.Kind != sre.KillSwitch {
				continue
			}
			err := a.ports.Reactivation(ctx, m.Action)
			if t.ready[m.Action.ID] = err; err != nil {
				t.laws[inc.ID] = append(t.laws[inc.ID], sre.Reason{Guard: "reactivation", Allows: sre.Watch, Text: err.Error()})
			}
		}
	}
}

// mayComeBack reports whether a mitigation may be led back or lifted now, as far
// as its reactivation check goes. What is not known holds still.
func (a *Agent) mayComeBack(t *turn, m *sre.Mitigation) bool {
	if a.ports.Reactivation == nil || m.Action.Kind != sre.KillSwitch {
		return true
	}
	err, asked := t.ready[m.Action.ID]
	return asked && err == nil
}
