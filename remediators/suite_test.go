package remediators

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sreagent/sreagent/sre"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// subject is one lever in front of a target that the suite can look into.
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
}

func (s *subject) directive(epoch, seq uint64, ttl time.Duration) sre.Directive {
	return sre.Directive{Action: s.action, Epoch: epoch, Seq: seq, Expires: testTime().Add(ttl)}
}

// subjects are the levers on which the suite runs.
func subjects() map[string]func(*testing.T) *subject {
	return map[string]func(*testing.T) *subject{
		"guard/fake":          guardSubject,
		"guard/real":          realGuardSubject,
		"haproxy/admit":       func(t *testing.T) *subject { return haproxySubject(t, "unix", admitAction()) },
		"haproxy/admit_tcp":   func(t *testing.T) *subject { return haproxySubject(t, "tcp", admitAction()) },
		"haproxy/drain":       func(t *testing.T) *subject { return haproxySubject(t, "unix", drainAction()) },
		"haproxy/weight":      func(t *testing.T) *subject { return haproxySubject(t, "unix", weightAction()) },
		"haproxy/connections": func(t *testing.T) *subject { return haproxySubject(t, "unix", maxconnAction()) },
	}
}

func TestConformance(t *testing.T) {
	cases := map[string]func(*testing.T, *subject){
		"apply is idempotent":          applyIdempotent,
		"renewal extends the expiry":   renewExtends,
		"revert restores":              revertRestores,
		"revert twice is fine":         revertTwice,
		"revert of nothing is fine":    revertOfNothing,
		"revert leaves other actions":  revertLeavesOthers,
		"stale epoch is refused":       staleEpoch,
		"stale sequence is refused":    staleSeq,
		"deadline is honoured":         deadlineHonoured,
		"cut connection is unknown":    cutIsUnknown,
		"probe tells the truth":        probeTruthful,
		"describe is stable":           describeStable,
		"nonsense is invalid":          nonsenseInvalid,
		"a directive needs an expiry":  needsExpiry,
		"state outlives the lever":     outlivesLever,
		"takeover is seen as foreign":  takeoverForeign,
		"manual undo names the target": manualNamesTarget,
	}
	for name, newSubject := range subjects() {
		t.Run(name, func(t *testing.T) {
			for label, run := range cases {
				t.Run(label, func(t *testing.T) { run(t, newSubject(t)) })
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, want sre.Code) {
	t.Helper()
	if got := sre.CodeOf(err); got != want {
		t.Fatalf("code is %q, want %q: %v", got, want, err)
	}
}

func probe(t *testing.T, s *subject) sre.TargetState {
	t.Helper()
	st, err := s.lever.Probe(t.Context(), s.action)
	must(t, err)
	return st
}

func applyIdempotent(t *testing.T, s *subject) {
	d := s.directive(5, 1, time.Minute)
	must(t, s.lever.Apply(t.Context(), d))
	once := s.inForce()
	must(t, s.lever.Apply(t.Context(), d))
	if diff := cmp.Diff(once, s.inForce()); diff != "" {
		t.Errorf("the second apply changed something:\n%s", diff)
	}
}

func renewExtends(t *testing.T, s *subject) {
	must(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)))
	must(t, s.lever.Apply(t.Context(), s.directive(5, 2, 3*time.Minute)))
	st := probe(t, s)
	if want := testTime().Add(3 * time.Minute); !st.Expires.Equal(want) || !st.InEffect {
		t.Errorf("after a renewal: %+v, want it in effect until %v", st, want)
	}
}

func revertRestores(t *testing.T, s *subject) {
	start, before := s.inForce(), probe(t, s)
	must(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)))
	if s.inForce() == start {
		t.Fatal("apply changed nothing: the test cannot fail")
	}
	d := s.directive(5, 2, time.Minute)
	d.Restore = before.Current
	must(t, s.lever.Revert(t.Context(), d))
	if diff := cmp.Diff(start, s.inForce()); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
	after := probe(t, s)
	if after.InEffect || after.Owner != "" || !cmp.Equal(after.Current, before.Current) {
		t.Errorf("after revert: %+v, want %v in force and no owner", after, before.Current)
	}
}

func revertTwice(t *testing.T, s *subject) {
	start := s.inForce()
	must(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)))
	must(t, s.lever.Revert(t.Context(), s.directive(5, 2, time.Minute)))
	must(t, s.lever.Revert(t.Context(), s.directive(5, 2, time.Minute)))
	if diff := cmp.Diff(start, s.inForce()); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

func revertOfNothing(t *testing.T, s *subject) {
	start, before := s.inForce(), probe(t, s)
	d := s.directive(5, 1, time.Minute)
	d.Restore = before.Current
	must(t, s.lever.Revert(t.Context(), d))
	if diff := cmp.Diff(start, s.inForce()); diff != "" {
		t.Errorf("a revert of nothing changed something:\n%s", diff)
	}
}

func revertLeavesOthers(t *testing.T, s *subject) {
	must(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)))
	d := s.directive(5, 2, time.Minute)
	d.Action = s.other
	must(t, s.lever.Apply(t.Context(), d))
	held := s.inForce()
	must(t, s.lever.Revert(t.Context(), s.directive(5, 3, time.Minute)))
	if diff := cmp.Diff(held, s.inForce()); diff != "" {
		t.Errorf("reverting the old action moved the new one's setting:\n%s", diff)
	}
}

func staleEpoch(t *testing.T, s *subject) {
	must(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)))
	held := s.inForce()
	late := s.directive(4, 9, time.Minute)
	late.Action = s.other
	wantCode(t, s.lever.Apply(t.Context(), late), sre.CodeRefused)
	wantCode(t, s.lever.Revert(t.Context(), s.directive(4, 9, time.Minute)), sre.CodeRefused)
	if diff := cmp.Diff(held, s.inForce()); diff != "" {
		t.Errorf("a stale writer changed something:\n%s", diff)
	}
	if st := probe(t, s); st.Epoch != 5 || !st.InEffect {
		t.Errorf("after a stale writer: %+v, want epoch 5 and the action in effect", st)
	}
}

func staleSeq(t *testing.T, s *subject) {
	must(t, s.lever.Apply(t.Context(), s.directive(5, 7, time.Minute)))
	wantCode(t, s.lever.Apply(t.Context(), s.directive(5, 6, time.Minute)), sre.CodeRefused)
	must(t, s.lever.Revert(t.Context(), s.directive(5, 8, time.Minute)))
	must(t, s.lever.Apply(t.Context(), s.directive(6, 1, time.Minute)))
}

func deadlineHonoured(t *testing.T, s *subject) {
	s.stall()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.lever.Apply(ctx, s.directive(5, 1, time.Minute)); err == nil {
		t.Error("apply succeeded without an answer")
	}
	// The lever's own timeout is an hour here: only the context can end this.
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.lever.Probe(ctx, s.action); err == nil {
		t.Error("probe succeeded without an answer")
	}
	s.mend()
	must(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)))
}

func cutIsUnknown(t *testing.T, s *subject) {
	s.cut()
	wantCode(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)), sre.CodeUnknown)
	s.mend()
	// Unknown is followed by a probe, and by the same directive where it says no.
	st := probe(t, s)
	if st.Foreign {
		t.Errorf("after a cut write: %+v, want nobody else blamed", st)
	}
	must(t, s.lever.Apply(t.Context(), s.directive(5, 2, time.Minute)))
	if st := probe(t, s); !st.InEffect {
		t.Errorf("after applying again: %+v, want it in effect", st)
	}
}

func probeTruthful(t *testing.T, s *subject) {
	before := probe(t, s)
	if before.InEffect || before.Foreign || before.Owner != "" || before.Epoch != 0 {
		t.Errorf("before anything: %+v", before)
	}
	if s.writes() != 0 {
		t.Error("probe wrote")
	}
	must(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)))
	st := probe(t, s)
	if !st.InEffect || st.Foreign || st.Owner != s.action.ID || st.Epoch != 5 || !st.Expires.Equal(testTime().Add(time.Minute)) {
		t.Errorf("in effect: %+v", st)
	}
	if !covers(st.Current, s.action.Params) {
		t.Errorf("current is %v, want %v", st.Current, s.action.Params)
	}
	stronger := s.action
	stronger.Params = s.other.Params
	if st, err := s.lever.Probe(t.Context(), stronger); err != nil || st.InEffect {
		t.Errorf("probing for other settings: %+v, %v; want not in effect", st, err)
	}
}

func describeStable(t *testing.T, s *subject) {
	first, err := s.lever.Describe(t.Context())
	must(t, err)
	second, err := s.lever.Describe(t.Context())
	must(t, err)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("describe changed:\n%s", diff)
	}
	spec, ok := first.Kind(s.action.Kind)
	if !ok || !spec.Reversible {
		t.Fatalf("%s is not described as reversible", s.action.Kind)
	}
	must(t, spec.Check(s.action.Params))
	for _, k := range first.Kinds {
		for _, p := range k.Params {
			if p.Type == "number" && p.Max <= p.Min {
				t.Errorf("%s: %s allows no range", k.Kind, p.Name)
			}
		}
	}
}

func nonsenseInvalid(t *testing.T, s *subject) {
	start := s.inForce()
	for _, a := range s.bad {
		d := s.directive(9, 1, time.Minute)
		d.Action = a
		wantCode(t, s.lever.Apply(t.Context(), d), sre.CodeInvalid)
	}
	if s.writes() != 0 || s.inForce() != start {
		t.Error("an invalid action reached the target")
	}
	if st := probe(t, s); st.Epoch != 0 {
		t.Errorf("an invalid action raised the epoch to %d", st.Epoch)
	}
}

func needsExpiry(t *testing.T, s *subject) {
	d := s.directive(5, 1, time.Minute)
	d.Expires = time.Time{}
	wantCode(t, s.lever.Apply(t.Context(), d), sre.CodeInvalid)
	if s.writes() != 0 {
		t.Error("a directive without an expiry reached the target")
	}
}

func outlivesLever(t *testing.T, s *subject) {
	start := s.inForce()
	must(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)))
	s.lever = s.restart()
	if st := probe(t, s); !st.InEffect || st.Owner != s.action.ID || st.Epoch != 5 {
		t.Errorf("after a restart of the agent: %+v, want it in effect", st)
	}
	wantCode(t, s.lever.Apply(t.Context(), s.directive(4, 1, time.Minute)), sre.CodeRefused)
	must(t, s.lever.Revert(t.Context(), s.directive(6, 1, time.Minute)))
	if diff := cmp.Diff(start, s.inForce()); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

func takeoverForeign(t *testing.T, s *subject) {
	must(t, s.lever.Apply(t.Context(), s.directive(5, 1, time.Minute)))
	d := s.directive(5, 2, time.Minute)
	d.Action = s.other
	must(t, s.lever.Apply(t.Context(), d))
	if st := probe(t, s); !st.Foreign || st.InEffect || st.Owner != s.other.ID {
		t.Errorf("after a takeover: %+v, want it foreign and owned by %s", st, s.other.ID)
	}
}

func manualNamesTarget(t *testing.T, s *subject) {
	u, ok := s.lever.(Undoer)
	if !ok {
		t.Fatal("the lever cannot tell how to undo by hand")
	}
	before := probe(t, s)
	if text := u.Manual(s.action, before.Current); text == "" {
		t.Error("no command")
	}
	if text := u.Manual(sre.Action{ID: "x", Kind: sre.Shed, Target: sre.Target{Service: "nobody"}}, nil); text != "" {
		t.Errorf("a command for a target that nobody configured: %s", text)
	}
}
