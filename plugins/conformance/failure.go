package conformance

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// within runs a call that is expected to end by itself.
func within(t testing.TB, s *Subject, what string, call func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	timer := time.NewTimer(s.patience())
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		t.Fatalf("%s did not return within %s of its context's end", what, s.patience())
		return nil
	}
}

func cancelledEnds(t testing.TB, s *Subject) {
	start := s.InForce()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := within(t, s, "apply", func() error { return s.Lever.Apply(ctx, s.directive(s.Action, 5, 1, time.Minute)) })
	honest(t, s, "apply", start, err)
	must(t, s.Lever.Apply(t.Context(), s.directive(s.Action, 5, 2, time.Minute)))
	held := s.InForce()
	err = within(t, s, "revert", func() error { return s.Lever.Revert(ctx, s.directive(s.Action, 5, 3, time.Minute)) })
	honest(t, s, "revert", held, err)
	revert(t, s, s.Action, 4, nil)
	unchanged(t, s, start, "not what it was")
}

// honest holds the error of a call whose context was over against what is so.
func honest(t testing.TB, s *Subject, what, before string, err error) {
	t.Helper()
	code := sre.CodeOf(err)
	if code == sre.CodeFailed || code == sre.CodeRefused {
		unchanged(t, s, before, what+" says that nothing took effect, but something has")
	} else if code != sre.CodeUnknown { // which claims nothing
		t.Errorf("%s with a cancelled context: %v, want failed, refused or unknown", what, err)
	}
}

func deadlineHonoured(t testing.TB, s *Subject) {
	s.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := within(t, s, "probe", func() error { _, err := s.Lever.Probe(ctx, s.Action); return err }); err == nil && !s.Recorded {
		t.Error("probe succeeded without an answer")
	}
	applyCtx, cancelApply := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelApply()
	err := within(t, s, "apply", func() error { return s.Lever.Apply(applyCtx, s.directive(s.Action, 5, 1, time.Minute)) })
	if code := sre.CodeOf(err); code != sre.CodeFailed && code != sre.CodeUnknown {
		t.Errorf("apply without an answer: %v, want failed or unknown", err)
	}
	s.Mend()
	must(t, s.Lever.Apply(t.Context(), s.directive(s.Action, 5, 2, time.Minute)))
}

func cutIsUnknown(t testing.TB, s *Subject) {
	start := inForce(s)
	s.Cut()
	wantCode(t, s.Lever.Apply(t.Context(), s.directive(s.Action, 5, 1, time.Minute)), sre.CodeUnknown)
	s.Mend()
	// Unknown is followed by a probe, and by the same directive where it says no.
	if st := probe(t, s, s.Action); st.Foreign {
		t.Errorf("after a cut write: %+v, want nobody else blamed", st)
	}
	apply(t, s, s.Action, 2)
	if st := probe(t, s, s.Action); !st.InEffect {
		t.Errorf("after applying again: %+v, want it in effect", st)
	}
	revert(t, s, s.Action, 3, nil)
	unchanged(t, s, start, "after a cut write and a revert it is not what it was")
}

// concurrentExplained calls everything at once. Whatever won, a probe must tell
// who holds the knob with what, and the last revert must lead back.
func concurrentExplained(t testing.TB, s *Subject) {
	start := s.InForce()
	var wg sync.WaitGroup
	for i := range uint64(4) {
		call := func(what string, f func() error) {
			wg.Go(func() {
				if code := sre.CodeOf(f()); code != "" && code != sre.CodeRefused {
					t.Errorf("concurrent %s: code %q, want none or refused", what, code)
				}
			})
		}
		call("apply", func() error { return s.Lever.Apply(t.Context(), s.directive(s.Action, 5, 3*i+1, time.Minute)) })
		call("apply", func() error { return s.Lever.Apply(t.Context(), s.directive(s.Other, 5, 3*i+2, time.Minute)) })
		call("revert", func() error { return s.Lever.Revert(t.Context(), s.directive(s.Action, 5, 3*i+3, time.Minute)) })
		call("probe", func() error { _, err := s.Lever.Probe(t.Context(), s.Action); return err })
	}
	wg.Wait()
	first, second := probe(t, s, s.Action), probe(t, s, s.Other)
	if first.Owner != second.Owner || first.Epoch != second.Epoch {
		t.Errorf("two probes of one knob disagree: %+v and %+v", first, second)
	}
	switch first.Owner {
	case s.Action.ID:
		if !first.InEffect || second.InEffect {
			t.Errorf("owned by %s: %+v and %+v", s.Action.ID, first, second)
		}
	case s.Other.ID:
		if first.InEffect || !second.InEffect {
			t.Errorf("owned by %s: %+v and %+v", s.Other.ID, first, second)
		}
	case "":
		unchanged(t, s, start, "nobody owns the knob, but it is not what it was")
	default:
		t.Errorf("owned by %q, who was never asked", first.Owner)
	}
	revert(t, s, s.Action, 20, nil)
	revert(t, s, s.Other, 21, nil)
	unchanged(t, s, start, "after everything was reverted it is not what it was")
}
