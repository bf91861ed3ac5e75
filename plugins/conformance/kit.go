package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// kase is one promise of a lever.
type kase struct {
	name  string
	hooks []string // of Subject, without which it says nothing
	run   func(testing.TB, *Subject)
}

// cases are all promises, in the order in which an author best mends them.
func cases() []kase {
	hooks := func(names ...string) []string { return names }
	return []kase{
		{"describe is stable and valid", nil, describeValid},
		{"dry run is clean", hooks("InForce"), dryRunClean},
		{"nonsense is invalid", hooks("Bad", "InForce"), nonsenseInvalid},
		{"a directive needs an expiry", nil, needsExpiry},
		{"probe tells the truth", nil, probeTruthful},
		{"apply is idempotent", hooks("InForce"), applyIdempotent},
		{"renewal extends the expiry", nil, renewExtends},
		{"a higher sequence moves the lever", hooks("InForce"), moveKeepsPreState},
		{"revert restores", hooks("InForce"), revertRestores},
		{"revert twice is fine", hooks("InForce"), revertTwice},
		{"revert of nothing is fine", hooks("InForce"), revertOfNothing},
		{"revert leaves other actions", hooks("InForce"), revertLeavesOthers},
		{"takeover is seen as foreign", nil, takeoverForeign},
		{"stale epoch is refused", nil, staleEpoch},
		{"stale sequence is refused", nil, staleSeq},
		{"expiry is honoured", hooks("Advance", "InForce"), expiryHonoured},
		{"revert after expiry is fine", hooks("Advance", "InForce"), revertAfterExpiry},
		{"cancelled context ends a call", hooks("InForce"), cancelledEnds},
		{"deadline is honoured", hooks("Stall", "Mend"), deadlineHonoured},
		{"cut connection is unknown", hooks("Cut", "Mend"), cutIsUnknown},
		{"state outlives the lever", hooks("Restart", "InForce"), outlivesLever},
		{"concurrent calls leave what probe explains", hooks("InForce"), concurrentExplained},
		{"manual undo names the target", hooks("Manual"), manualNamesTarget},
	}
}

// Cases returns the names of all cases, in the order in which Run runs them.
func Cases() []string {
	var names []string
	for _, c := range cases() {
		names = append(names, c.name)
	}
	return names
}

// Run runs every case on a subject of its own, which newSubject makes and
// cleans up by t.Cleanup. A case that misses a hook is skipped and says which.
func Run(t *testing.T, newSubject func(*testing.T) Subject) {
	t.Helper()
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			s := newSubject(t)
			c.check(t, &s)
		})
	}
}

func (c kase) check(t testing.TB, s *Subject) {
	t.Helper()
	if missing := s.lacks(c.hooks); len(missing) > 0 {
		t.Skipf("the subject has no %s", strings.Join(missing, ", "))
	}
	c.run(t, s)
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

func apply(t testing.TB, s *Subject, a sre.Action, seq uint64) {
	t.Helper()
	must(t, s.Lever.Apply(t.Context(), s.directive(a, 5, seq, time.Minute)))
}

func revert(t testing.TB, s *Subject, a sre.Action, seq uint64, restore sre.Params) {
	t.Helper()
	d := s.directive(a, 5, seq, time.Minute)
	d.Restore = restore
	must(t, s.Lever.Revert(t.Context(), d))
}

func probe(t testing.TB, s *Subject, a sre.Action) sre.TargetState {
	t.Helper()
	st, err := s.Lever.Probe(t.Context(), a)
	must(t, err)
	return st
}

// unchanged fails where the target is not as it was.
func unchanged(t testing.TB, s *Subject, before, what string) {
	t.Helper()
	if s.InForce == nil {
		return
	}
	if diff := cmp.Diff(before, s.InForce()); diff != "" {
		t.Errorf("%s (-before +after):\n%s", what, diff)
	}
}

// inForce reads the target, or nothing where the subject cannot look into it.
func inForce(s *Subject) string {
	if s.InForce == nil {
		return ""
	}
	return s.InForce()
}

// noWrites fails where a write has reached the target.
func noWrites(t testing.TB, s *Subject, what string) {
	t.Helper()
	if s.Writes == nil {
		return
	}
	if n := s.Writes(); n != 0 {
		t.Errorf("%s: %d writes reached the target", what, n)
	}
}

// covers reports whether every wanted setting is in force.
func covers(have, wanted sre.Params) bool {
	for name, w := range wanted {
		want, number := wanted.Float(name)
		got, ok := have.Float(name)
		if number && (!ok || got != want) || !number && have[name] != w {
			return false
		}
	}
	return true
}
