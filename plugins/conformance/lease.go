package conformance

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func applyIdempotent(t testing.TB, s *Subject) {
	d := s.directive(s.Action, 5, 1, time.Minute)
	must(t, s.Lever.Apply(t.Context(), d))
	once := s.InForce()
	must(t, s.Lever.Apply(t.Context(), d))
	unchanged(t, s, once, "the second apply changed something")
}

func renewExtends(t testing.TB, s *Subject) {
	apply(t, s, s.Action, 1)
	d := s.directive(s.Action, 5, 2, 3*time.Minute)
	must(t, s.Lever.Apply(t.Context(), d))
	if st := probe(t, s, s.Action); !st.Expires.Equal(d.Expires) || !st.InEffect {
		t.Errorf("after a renewal: %+v, want it in effect until %v", st, d.Expires)
	}
}

func moveKeepsPreState(t testing.TB, s *Subject) {
	start, before := s.InForce(), probe(t, s, s.Action)
	apply(t, s, s.Action, 1)
	first := s.InForce()
	apply(t, s, s.moved(), 2)
	if !s.fixed(t) && s.InForce() == first {
		t.Error("the same action with other values moved nothing")
	}
	if st := probe(t, s, s.moved()); !st.InEffect || st.Foreign || st.Owner != s.Action.ID || !covers(st.Current, s.Other.Params) {
		t.Errorf("after a move: %+v, want %v in effect and owned by %s", st, s.Other.Params, s.Action.ID)
	}
	if st := probe(t, s, s.Action); st.InEffect && !s.fixed(t) {
		t.Errorf("after a move, for the first values: %+v, want not in effect", st)
	}
	wantCode(t, s.Lever.Apply(t.Context(), s.directive(s.Action, 5, 1, time.Minute)), sre.CodeRefused)
	revert(t, s, s.moved(), 3, before.Current)
	unchanged(t, s, start, "after apply, move and revert it is not what it was before the first")
}

func revertRestores(t testing.TB, s *Subject) {
	start, before := s.InForce(), probe(t, s, s.Action)
	apply(t, s, s.Action, 1)
	if s.InForce() == start {
		t.Fatal("apply changed nothing: the case cannot fail")
	}
	revert(t, s, s.Action, 2, before.Current)
	unchanged(t, s, start, "not what it was")
	after := probe(t, s, s.Action)
	if after.InEffect || after.Owner != "" || !cmp.Equal(after.Current, before.Current) {
		t.Errorf("after revert: %+v, want %v in force and no owner", after, before.Current)
	}
}

func revertTwice(t testing.TB, s *Subject) {
	start := s.InForce()
	apply(t, s, s.Action, 1)
	revert(t, s, s.Action, 2, nil)
	revert(t, s, s.Action, 2, nil)
	unchanged(t, s, start, "not what it was")
}

func revertOfNothing(t testing.TB, s *Subject) {
	start, before := s.InForce(), probe(t, s, s.Action)
	revert(t, s, s.Action, 1, before.Current)
	unchanged(t, s, start, "a revert of nothing changed something")
}

func revertLeavesOthers(t testing.TB, s *Subject) {
	apply(t, s, s.Action, 1)
	apply(t, s, s.Other, 2)
	held := s.InForce()
	revert(t, s, s.Action, 3, nil)
	unchanged(t, s, held, "reverting the old action moved the new one's setting")
}

func takeoverForeign(t testing.TB, s *Subject) {
	apply(t, s, s.Action, 1)
	apply(t, s, s.Other, 2)
	if st := probe(t, s, s.Action); !st.Foreign || st.InEffect || st.Owner != s.Other.ID {
		t.Errorf("after a takeover: %+v, want it foreign and owned by %s", st, s.Other.ID)
	}
}

func staleEpoch(t testing.TB, s *Subject) {
	apply(t, s, s.Action, 1)
	held := inForce(s)
	wantCode(t, s.Lever.Apply(t.Context(), s.directive(s.Other, 4, 9, time.Minute)), sre.CodeRefused)
	wantCode(t, s.Lever.Revert(t.Context(), s.directive(s.Action, 4, 9, time.Minute)), sre.CodeRefused)
	unchanged(t, s, held, "a stale writer changed something")
	if st := probe(t, s, s.Action); st.Epoch != 5 || !st.InEffect {
		t.Errorf("after a stale writer: %+v, want epoch 5 and the action in effect", st)
	}
}

func staleSeq(t testing.TB, s *Subject) {
	apply(t, s, s.Action, 7)
	wantCode(t, s.Lever.Apply(t.Context(), s.directive(s.Action, 5, 6, time.Minute)), sre.CodeRefused)
	revert(t, s, s.Action, 8, nil)
	must(t, s.Lever.Apply(t.Context(), s.directive(s.Action, 6, 1, time.Minute)))
}

func expiryHonoured(t testing.TB, s *Subject) {
	start := s.InForce()
	apply(t, s, s.Action, 1)
	must(t, s.Lever.Apply(t.Context(), s.directive(s.Action, 5, 2, 3*time.Minute)))
	s.Advance(2 * time.Minute)
	if st := probe(t, s, s.Action); !st.InEffect {
		t.Errorf("a minute before the renewed expiry: %+v, want it in effect", st)
	}
	s.Advance(2 * time.Minute)
	unchanged(t, s, start, "a minute after the expiry it is not what it was")
	if st := probe(t, s, s.Action); st.InEffect {
		t.Errorf("a minute after the expiry: %+v, want it not in effect", st)
	}
}

func revertAfterExpiry(t testing.TB, s *Subject) {
	start, before := s.InForce(), probe(t, s, s.Action)
	apply(t, s, s.Action, 1)
	s.Advance(time.Hour)
	revert(t, s, s.Action, 2, before.Current)
	unchanged(t, s, start, "after expiry and revert it is not what it was")
}

func outlivesLever(t testing.TB, s *Subject) {
	start := s.InForce()
	apply(t, s, s.Action, 1)
	s.Lever = s.Restart()
	if st := probe(t, s, s.Action); !st.InEffect || st.Owner != s.Action.ID || st.Epoch != 5 {
		t.Errorf("after a restart of the agent: %+v, want it in effect", st)
	}
	wantCode(t, s.Lever.Apply(t.Context(), s.directive(s.Action, 4, 1, time.Minute)), sre.CodeRefused)
	must(t, s.Lever.Revert(t.Context(), s.directive(s.Action, 6, 1, time.Minute)))
	unchanged(t, s, start, "not what it was")
}
