package gate

import (
	"fmt"
	"maps"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// PermitAdjust mints the permit to move a mitigation to other settings while it
// is in force, as the control law says that its runbook declares for it. Kind,
// target and law stay those that were decided on, so that it stands behind
// nothing more than before. It needs eyes, a lease that holds, time before its end
// and settings within the lever's schema. What moves away from the first state
// needs a mandate besides: nobody has paused the agent, and the policy still lets
// act whoever let the action be applied. What moves back towards it needs none.
func (g *Gate) PermitAdjust(q Question, m sre.Mitigation, spec sre.KindSpec, to sre.Params) (Permit, error) {
	switch {
	case m.Phase != sre.InEffect:
		return Permit{}, fmt.Errorf("%w: %s is %s", ErrNotAllowed, m.Action.ID, m.Phase)
	case m.Action.Law == "":
		return Permit{}, fmt.Errorf("%w: the runbook names no law for %s", ErrNotAllowed, m.Action.ID)
	case m.Moving != nil:
		return Permit{}, fmt.Errorf("%w: what became of the last move is not known", ErrNotAllowed)
	case !q.SourceUp:
		return Permit{}, fmt.Errorf("%w: no data to move it by", ErrStale)
	case !q.Now.Before(m.Expires):
		return Permit{}, fmt.Errorf("%w: it has lapsed", ErrNotAllowed)
	case !q.Now.Before(m.RenewTill):
		return Permit{}, fmt.Errorf("%w: the lease ends %s", ErrNotAllowed, m.RenewTill.UTC().Format(time.TimeOnly))
	case spec.Kind != m.Action.Kind:
		return Permit{}, fmt.Errorf("%w: the lever has not said that it can %s", ErrNotAllowed, m.Action.Kind)
	}
	if err := spec.Check(to); err != nil {
		return Permit{}, fmt.Errorf("%w: %w", ErrNotAllowed, err)
	}
	if !m.Action.Kind.Loosens(m.Before, m.Action.Params, to) {
		if err := g.mayTighten(q, m); err != nil {
			return Permit{}, err
		}
	}
	a := m.Action
	a.Params = maps.Clone(to)
	until := q.Now.Add(time.Duration(g.policy.EvidenceMaxAge))
	return mint(a, sre.ToAdjust, m.Permit.Decision, m.Permit.By, until), nil
}

// mayTighten holds a move away from the first state to the mandate of today.
func (g *Gate) mayTighten(q Question, m sre.Mitigation) error {
	if q.Incident.Order != nil {
		return nil // a pause and a mode bound the agent, not the operator
	}
	human := m.Permit.By != byPolicy
	switch {
	case len(q.Pauses) > 0:
		return fmt.Errorf("%w: paused by %s: it may only be let go", ErrNotAllowed, q.Pauses[0].By)
	case g.policy.Mode != sre.Act && g.policy.Mode != sre.Ask:
		return fmt.Errorf("%w: the policy's mode is %s: it may only be let go", ErrNotAllowed, g.policy.Mode)
	case human:
		return nil
	case g.policy.Mode != sre.Act:
		return fmt.Errorf("%w: the policy's mode is %s, and no human approved it", ErrNotAllowed, g.policy.Mode)
	}
	for _, name := range []string{m.Action.Target.Service, m.Action.Target.Callee} {
		if matches(g.policy.Protected, name) {
			return fmt.Errorf("%w: %s is protected, and no human approved it", ErrNotAllowed, name)
		}
	}
	if f := g.policy.frozenBy(q.Now, m.Action); len(f) > 0 {
		return fmt.Errorf("%w: frozen by %q, and no human approved it: %s", ErrNotAllowed, f[0].Name, f[0].Reason)
	}
	runbook := ""
	if q.Plan != nil {
		runbook = q.Plan.Runbook
	}
	if stance, standing, rule := g.policy.autonomyOf(q, runbook, m.Action); stance != sre.Act {
		if standing.Verb == sre.MandateDemote {
			return fmt.Errorf("%w: demoted to %s: %s, and no human approved it", ErrNotAllowed, stance, standing.Text)
		}
		return fmt.Errorf("%w: rule %d of policy.autonomy says %s, and no human approved it", ErrNotAllowed, rule, stance)
	}
	return nil
}
