package conformance

import (
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Subject is one lever in front of a fresh target that no case has touched. The
// lever and the two actions are needed; a hook that is nil skips the cases that
// need it.
type Subject struct {
	Lever  sre.Remediator
	Action sre.Action   // a good one, which moves something
	Other  sre.Action   // a good one of the same kind on the same knob, with another ID and, where the kind has parameters, other settings
	Bad    []sre.Action // ones that make no sense: each is to be invalid

	// Now is the present moment at the target, from which expiries are counted;
	// nil is time.Now.
	Now func() time.Time
	// InForce is everything that matters at the target, as text, read past the
	// lever. Two equal texts mean two equal targets.
	InForce func() string
	// Writes is how many writes have reached the target.
	Writes func() int
	// Cut makes writes take effect from now on without being answered.
	Cut func()
	// Stall makes the target answer nothing from now on.
	Stall func()
	// Mend ends what Cut and Stall began.
	Mend func()
	// Restart returns a new lever on the same target, as after a restart of the
	// agent or of the plugin.
	Restart func() sre.Remediator
	// Advance moves the present moment at the target on by d, calls whatever
	// sweeps lapsed settings, and returns when the target has settled.
	Advance func(d time.Duration)
	// Manual is how a person is told to undo an action by hand.
	Manual func(a sre.Action, restore sre.Params) string

	// Recorded says that Probe answers from a record of the lever's own, as where
	// the target cannot be read: then it answers while the target is stalled.
	Recorded bool
	// Patience is how long a call may take that should return at once; zero is
	// ten seconds. A lever that conforms never waits for it.
	Patience time.Duration
}

// Wrapped returns a maker of subjects whose levers are reached through wrap:
// over an in-process connection, or as a process of their own. What it wraps
// is used after a restart of the lever too.
func Wrapped(newSubject func(*testing.T) Subject, wrap func(*testing.T, sre.Remediator) sre.Remediator) func(*testing.T) Subject {
	return func(t *testing.T) Subject {
		s := newSubject(t)
		s.Lever = wrap(t, s.Lever)
		if restart := s.Restart; restart != nil {
			s.Restart = func() sre.Remediator { return wrap(t, restart()) }
		}
		return s
	}
}

func (s *Subject) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	// Whole seconds pass every wire and every ledger unchanged.
	return time.Now().Truncate(time.Second)
}

func (s *Subject) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return 10 * time.Second
}

func (s *Subject) directive(a sre.Action, epoch, seq uint64, ttl time.Duration) sre.Directive {
	return sre.Directive{Action: a, Epoch: epoch, Seq: seq, Expires: s.now().Add(ttl)}
}

// moved is the action with the other one's settings: the same lease elsewhere.
func (s *Subject) moved() sre.Action {
	a := s.Action
	a.Params = s.Other.Params
	return a
}

// fixed reports whether the kind has no parameters: such an action is in force
// or it is not, and there is nothing else to set it to.
func (s *Subject) fixed(t testing.TB) bool {
	t.Helper()
	c, err := s.Lever.Describe(t.Context())
	must(t, err)
	spec, ok := c.Kind(s.Action.Kind)
	return ok && len(spec.Params) == 0
}

// lacks returns the hooks of those named that are nil.
func (s *Subject) lacks(hooks []string) []string {
	missing := map[string]bool{
		"InForce": s.InForce == nil, "Writes": s.Writes == nil, "Cut": s.Cut == nil, "Stall": s.Stall == nil, "Mend": s.Mend == nil,
		"Restart": s.Restart == nil, "Advance": s.Advance == nil, "Manual": s.Manual == nil, "Bad": len(s.Bad) == 0,
	}
	var out []string
	for _, h := range hooks {
		if missing[h] {
			out = append(out, h)
		}
	}
	return out
}
