package remediators

import (
	"maps"
	"testing"
	"time"

	"github.com/sreagent/sreagent/plugins/conformance"
	"github.com/sreagent/sreagent/sre"
)

// subject is one lever in front of a target that the kit can look into.
type subject struct {
	lever  sre.Remediator
	action sre.Action   // a good one, which moves something
	other  sre.Action   // a good one with another ID on the same knob
	bad    []sre.Action // ones that make no sense

	inForce func() string // everything that matters at the target, as text
	writes  func() int    // requests that the target took as writes
	cut     func()        // from now on writes take effect and are not answered
	stall   func()        // from now on nothing is answered
	mend    func()        // all is well again
	restart func() sre.Remediator
	advance func(time.Duration) // time passes and what has lapsed is swept

	recorded bool    // probe answers from the ledger
	config   *Config // with which another process makes the same lever; nil is not possible
}

// kit is the subject as the conformance kit takes it.
func (s *subject) kit() conformance.Subject {
	k := conformance.Subject{
		Lever: s.lever, Action: s.action, Other: s.other, Bad: s.bad, Now: testTime,
		InForce: s.inForce, Writes: s.writes, Cut: s.cut, Stall: s.stall, Mend: s.mend, Restart: s.restart, Advance: s.advance,
		Recorded: s.recorded,
	}
	if u, ok := s.lever.(Undoer); ok {
		k.Manual = u.Manual
	}
	return k
}

// subjects are the levers on which the kit runs.
func subjects() map[string]func(*testing.T) *subject {
	all := map[string]func(*testing.T) *subject{
		"guard/fake":          guardSubject,
		"guard/real":          realGuardSubject,
		"haproxy/admit":       func(t *testing.T) *subject { return haproxySubject(t, "unix", admitAction()) },
		"haproxy/caps":        func(t *testing.T) *subject { return haproxySubject(t, "unix", capsAction()) },
		"haproxy/drain_wait":  func(t *testing.T) *subject { return haproxySubject(t, "unix", waitAction()) },
		"haproxy/admit_tcp":   func(t *testing.T) *subject { return haproxySubject(t, "tcp", admitAction()) },
		"haproxy/drain":       func(t *testing.T) *subject { return haproxySubject(t, "unix", drainAction()) },
		"haproxy/weight":      func(t *testing.T) *subject { return haproxySubject(t, "unix", weightAction()) },
		"webhook/probe":       func(t *testing.T) *subject { return webhookSubject(t, true) },
		"webhook/ledger":      func(t *testing.T) *subject { return webhookSubject(t, false) },
		"exec/probe":          func(t *testing.T) *subject { return execSubject(t, true) },
		"exec/ledger":         func(t *testing.T) *subject { return execSubject(t, false) },
		"haproxy/connections": func(t *testing.T) *subject { return haproxySubject(t, "unix", maxconnAction()) },
	}
	maps.Copy(all, flagSubjects())
	return all
}

func TestConformance(t *testing.T) {
	for name, newSubject := range subjects() {
		t.Run(name, func(t *testing.T) {
			conformance.Run(t, func(t *testing.T) conformance.Subject {
				s := newSubject(t)
				if _, ok := s.lever.(Undoer); !ok {
					t.Fatal("the lever cannot tell how to undo by hand")
				}
				return s.kit()
			})
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, want sre.Code) {
	t.Helper()
	if got := sre.CodeOf(err); got != want {
		t.Fatalf("code is %q, want %q: %v", got, want, err)
	}
}
