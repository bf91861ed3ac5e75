package lever

import (
	"testing"
	"time"

	"github.com/sreagent/sreagent/plugins/conformance"
	"github.com/sreagent/sreagent/plugins/sdk"
	"github.com/sreagent/sreagent/sre"
)

// TestKit is the kit that every lever has to pass, directly and over the
// plugins' protocol. Restart is not in it, as it cannot be undone.
func TestKit(t *testing.T) {
	for name, pair := range subjects() {
		t.Run(name, func(t *testing.T) {
			conformance.Run(t, func(t *testing.T) conformance.Subject { return kitSubject(t, name, pair) })
		})
		t.Run(name+" over gRPC", func(t *testing.T) {
			subject := func(t *testing.T) conformance.Subject { return kitSubject(t, name, pair) }
			conformance.Run(t, conformance.Wrapped(subject, func(t *testing.T, l sre.Remediator) sre.Remediator {
				remote, stop, err := sdk.InProcess(l)
				must(t, err)
				t.Cleanup(stop)
				return remote
			}))
		})
	}
}

func kitSubject(t *testing.T, name string, pair [2]sre.Action) conformance.Subject {
	f := fakeFor(t, name)
	l := testLever(t, f)
	return conformance.Subject{
		Lever: l, Action: pair[0], Other: pair[1], Bad: nonsense(pair[0]), Now: f.time,
		InForce: f.effects, Writes: f.wrote, Manual: l.Manual,
		Cut:     func() { f.set(func() { f.mode = "cut" }) },
		Stall:   func() { f.set(func() { f.mode = "stall" }) },
		Mend:    func() { f.set(func() { f.mode = "" }) },
		Restart: func() sre.Remediator { return testLever(t, f) },
		Advance: func(d time.Duration) {
			f.set(func() { f.now = f.now.Add(d) })
			must(t, testLever(t, f).Sweep(t.Context(), f.time()))
		},
	}
}

// nonsense is what no server need be asked about.
func nonsense(a sre.Action) []sre.Action {
	with := func(change func(*sre.Action)) sre.Action {
		bad := a
		bad.ID = "bad"
		change(&bad)
		return bad
	}
	bad := []sre.Action{
		with(func(a *sre.Action) { a.ID = "" }),
		with(func(a *sre.Action) { a.Params = sre.Params{"speed": 1.0} }),
		with(func(a *sre.Action) { a.Kind = sre.Shed }),
		with(func(a *sre.Action) { a.Target.Name = "x" }),
	}
	if a.Kind != sre.Drain { // which asks for no service
		bad = append(bad, with(func(a *sre.Action) { a.Target.Service = "bank" }))
	}
	for p := range a.Params {
		bad = append(bad, with(func(a *sre.Action) { a.Params = sre.Params{p: -1.0} }))
	}
	return bad
}
