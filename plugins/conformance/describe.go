package conformance

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func describeValid(t testing.TB, s *Subject) {
	first, err := s.Lever.Describe(t.Context())
	must(t, err)
	second, err := s.Lever.Describe(t.Context())
	must(t, err)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("describe changed:\n%s", diff)
	}
	if first.Name == "" || first.Version == "" {
		t.Errorf("name %q, version %q: want both", first.Name, first.Version)
	}
	seen := map[sre.ActionKind]bool{}
	for _, k := range first.Kinds {
		if !k.Kind.Valid() || seen[k.Kind] {
			t.Errorf("kind %q is unknown or listed twice", k.Kind)
		}
		seen[k.Kind] = true
		checkParams(t, k)
	}
	spec, ok := first.Kind(s.Action.Kind)
	if !ok || !spec.Reversible {
		t.Fatalf("%s is not described as reversible", s.Action.Kind)
	}
	must(t, spec.Check(s.Action.Params))
	must(t, spec.Check(s.Other.Params))
}

func checkParams(t testing.TB, k sre.KindSpec) {
	t.Helper()
	seen := map[string]bool{}
	for _, p := range k.Params {
		if p.Name == "" || seen[p.Name] {
			t.Errorf("%s: parameter %q has no name or is listed twice", k.Kind, p.Name)
		}
		seen[p.Name] = true
		switch p.Type {
		case "string", "bool":
		case "number":
			if !(p.Min < p.Max) || math.IsInf(p.Min, 0) || math.IsInf(p.Max, 0) {
				t.Errorf("%s: %s allows %v to %v, want a range with both ends", k.Kind, p.Name, p.Min, p.Max)
			}
			if p.Unit == "" && p.Help == "" {
				t.Errorf("%s: %s has neither a unit nor a help that says what the number means", k.Kind, p.Name)
			}
		default:
			t.Errorf("%s: %s is of type %q, want number, string or bool", k.Kind, p.Name, p.Type)
		}
	}
}

func dryRunClean(t testing.TB, s *Subject) {
	before := s.InForce()
	_, err := s.Lever.Describe(t.Context())
	must(t, err)
	probe(t, s, s.Action)
	probe(t, s, s.Other)
	for _, a := range s.Bad {
		_, _ = s.Lever.Probe(t.Context(), a)
	}
	unchanged(t, s, before, "describe and probe changed something")
	noWrites(t, s, "describe and probe")
}

func nonsenseInvalid(t testing.TB, s *Subject) {
	before := s.InForce()
	for _, a := range s.Bad {
		err := s.Lever.Apply(t.Context(), s.directive(a, 9, 1, time.Minute))
		if got := sre.CodeOf(err); got != sre.CodeInvalid {
			t.Errorf("%s %q at %s with %v: code is %q, want invalid: %v", a.Kind, a.ID, a.Target, a.Params, got, err)
		}
	}
	unchanged(t, s, before, "an invalid action changed something")
	noWrites(t, s, "invalid actions")
	if st := probe(t, s, s.Action); st.Epoch != 0 {
		t.Errorf("an invalid action raised the epoch to %d", st.Epoch)
	}
}

func needsExpiry(t testing.TB, s *Subject) {
	before := inForce(s)
	d := s.directive(s.Action, 5, 1, time.Minute)
	d.Expires = time.Time{}
	wantCode(t, s.Lever.Apply(t.Context(), d), sre.CodeInvalid)
	unchanged(t, s, before, "a directive without an expiry changed something")
	noWrites(t, s, "a directive without an expiry")
}

func probeTruthful(t testing.TB, s *Subject) {
	before := probe(t, s, s.Action)
	if before.InEffect || before.Foreign || before.Owner != "" || before.Epoch != 0 {
		t.Errorf("before anything: %+v", before)
	}
	d := s.directive(s.Action, 5, 1, time.Minute)
	must(t, s.Lever.Apply(t.Context(), d))
	st := probe(t, s, s.Action)
	if !st.InEffect || st.Foreign || st.Owner != s.Action.ID || st.Epoch != 5 || !st.Expires.Equal(d.Expires) {
		t.Errorf("in effect: %+v", st)
	}
	if !covers(st.Current, s.Action.Params) {
		t.Errorf("current is %v, want %v", st.Current, s.Action.Params)
	}
	if st := probe(t, s, s.moved()); st.InEffect && !s.fixed(t) {
		t.Errorf("probing for other settings: %+v; want not in effect", st)
	}
}

func manualNamesTarget(t testing.TB, s *Subject) {
	before := probe(t, s, s.Action)
	if s.Manual(s.Action, before.Current) == "" {
		t.Error("no command")
	}
	nobody := sre.Action{ID: "x", Kind: sre.Shed, Target: sre.Target{Service: "nobody"}}
	if text := s.Manual(nobody, nil); text != "" {
		t.Errorf("a command for a target that nobody configured: %s", text)
	}
}
