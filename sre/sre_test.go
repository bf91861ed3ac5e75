package sre

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestLimitTakesTheSmallerOfShareAndNumber(t *testing.T) {
	cases := []struct {
		limit Limit
		of    int
		want  int
	}{
		{Limit{Percent: 10, Number: 5}, 100, 5},
		{Limit{Percent: 10, Number: 50}, 100, 10},
		{Limit{Percent: 10, Number: 5}, 3, 1}, // a share cannot forbid everything in a small fleet
		{Limit{Percent: 10, Number: 0}, 100, 0},
		{Limit{Percent: 0, Number: 5}, 100, 0},
		{Limit{Percent: 100, Number: 5}, 0, 0},
	}
	for _, c := range cases {
		if got := c.limit.Of(c.of); got != c.want {
			t.Errorf("%+v of %d: %d, want %d", c.limit, c.of, got, c.want)
		}
	}
}

func randomGraph(t *rapid.T) *Graph {
	n := rapid.IntRange(1, 12).Draw(t, "services")
	services := make([]Service, n)
	for i := range services {
		services[i] = Service{Name: fmt.Sprintf("s%d", i), Entry: rapid.Bool().Draw(t, "entry")}
	}
	var edges []Edge
	for range rapid.IntRange(0, 30).Draw(t, "edges") {
		edges = append(edges, Edge{From: rapid.IntRange(-1, n).Draw(t, "from"), To: rapid.IntRange(-1, n).Draw(t, "to")})
	}
	return NewGraph(services, edges)
}

// calls is the dumb twin of Downstream: follow edges until nothing is new.
func calls(g *Graph, from, to int) bool {
	reached := map[int]bool{from: true}
	for grown := true; grown; {
		grown = false
		for _, e := range g.Edges {
			if reached[e.From] && !reached[e.To] {
				reached[e.To], grown = true, true
			}
		}
	}
	return reached[to]
}

func TestReachMatchesFollowingEveryEdge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := randomGraph(t)
		for i := range g.Services {
			down, up := g.Downstream(i), g.Upstream(i)
			for j := range g.Services {
				if i == j {
					continue
				}
				if slices.Contains(down, j) != calls(g, i, j) || slices.Contains(up, j) != calls(g, j, i) {
					t.Fatalf("services %d and %d: down %v, up %v", i, j, down, up)
				}
			}
			if slices.Contains(down, i) || slices.Contains(up, i) {
				t.Fatal("a service reaches itself")
			}
		}
	})
}

func TestGraphDropsWhatItCannotPlaceAndKeepsTheFirst(t *testing.T) {
	g := NewGraph([]Service{{Name: "a"}, {Name: "b"}}, []Edge{
		{From: 0, To: 1, Spec: EdgeSpec{Retries: 3}}, {From: 0, To: 1, Spec: EdgeSpec{Retries: 9}}, {From: 0, To: 7}, {From: -1, To: 0},
	})
	if len(g.Edges) != 1 || g.Edges[0].Spec.Retries != 3 {
		t.Errorf("edges %+v", g.Edges)
	}
	if diff := cmp.Diff([]string{"a"}, g.Callers("b")); diff != "" {
		t.Error(diff)
	}
	if g.Callers("nobody") != nil || g.Callees("nobody") != nil {
		t.Error("an unknown service has neighbours")
	}
}

func TestBlastRadiusIsTheShareOfEntryTrafficBehindAService(t *testing.T) {
	g := NewGraph(
		[]Service{{Name: "web", Entry: true}, {Name: "app", Entry: true}, {Name: "api"}, {Name: "db"}},
		[]Edge{{From: 0, To: 2}, {From: 2, To: 3}},
	)
	traffic := func(i int) Reading { return Reading{Value: []float64{300, 100, 0, 0}[i], State: Present} }
	want := BlastRadius{Services: []string{"db", "api", "web"}, Entries: []string{"web"}, EntryShare: 0.75}
	if diff := cmp.Diff(want, g.BlastRadius(3, traffic)); diff != "" {
		t.Error(diff)
	}
	unknown := g.BlastRadius(3, func(int) Reading { return Reading{} })
	if unknown.EntryShare != 0.5 {
		t.Errorf("with unknown traffic the share is %v, want each entry to count the same", unknown.EntryShare)
	}
}

func TestEntriesAreTheMarkedOnesElseTheRoots(t *testing.T) {
	marked := NewGraph([]Service{{Name: "a"}, {Name: "b", Entry: true}}, []Edge{{From: 0, To: 1}})
	if diff := cmp.Diff([]int{1}, marked.Entries()); diff != "" {
		t.Error(diff)
	}
	roots := NewGraph([]Service{{Name: "a"}, {Name: "b"}, {Name: "alone"}}, []Edge{{From: 0, To: 1}})
	if diff := cmp.Diff([]int{0}, roots.Entries()); diff != "" {
		t.Error(diff)
	}
}

func TestErrorRatioFromWhateverIsMeasured(t *testing.T) {
	one := NewGraph([]Service{{Name: "a"}}, nil)
	cases := []struct {
		name    string
		signals []Signal
		values  []float64
		states  []ReadingState
		want    Reading
	}{
		{"ratio", []Signal{{Kind: Errors, Unit: Ratio}}, []float64{0.2}, []ReadingState{Present}, Reading{0.2, Present}},
		{"percent", []Signal{{Kind: Errors, Unit: Percent}}, []float64{20}, []ReadingState{Stale}, Reading{0.2, Stale}},
		{"rates", []Signal{{Kind: Errors, Unit: PerSecond}, {Kind: Traffic, Unit: PerSecond}}, []float64{5, 50}, []ReadingState{Present, Present}, Reading{0.1, Present}},
		{"stale traffic", []Signal{{Kind: Errors, Unit: PerSecond}, {Kind: Traffic, Unit: PerSecond}}, []float64{5, 50}, []ReadingState{Present, Stale}, Reading{0.1, Stale}},
		{"no traffic", []Signal{{Kind: Errors, Unit: PerSecond}, {Kind: Traffic, Unit: PerSecond}}, []float64{0, 0}, []ReadingState{Present, Present}, Reading{0, Present}},
		{"absent is not zero", []Signal{{Kind: Errors, Unit: PerSecond}, {Kind: Traffic, Unit: PerSecond}}, []float64{0, 50}, []ReadingState{Absent, Present}, Reading{}},
		{"nothing", nil, nil, nil, Reading{}},
	}
	for _, c := range cases {
		s := &Snapshot{Graph: one, Signals: c.signals, Service: NewMatrix(len(c.signals), 1)}
		for i := range c.signals {
			s.Service.Set(i, 0, Reading{c.values[i], c.states[i]})
		}
		if got := s.ErrorRatio(0); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestParametersAreCheckedAgainstTheSchema(t *testing.T) {
	spec := KindSpec{Kind: Shed, Params: []ParamSpec{
		{Name: "rps", Type: "number", Required: true, Min: 1, Max: 100}, {Name: "class", Type: "string"}, {Name: "hard", Type: "bool"},
	}}
	nan := 0.0
	nan /= nan
	for name, c := range map[string]struct {
		params Params
		ok     bool
	}{
		"good":         {Params{"rps": 5.0, "class": "low", "hard": true}, true},
		"whole number": {Params{"rps": 5}, true},
		"missing":      {Params{"class": "low"}, false},
		"too large":    {Params{"rps": 101.0}, false},
		"not a number": {Params{"rps": "5"}, false},
		"nan":          {Params{"rps": nan}, false},
		"text":         {Params{"rps": 5.0, "class": 3.0}, false},
		"truth":        {Params{"rps": 5.0, "hard": "yes"}, false},
		"unknown":      {Params{"rps": 5.0, "b": 1.0, "a": 1.0}, false},
	} {
		err := spec.Check(c.params)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && CodeOf(err) != CodeInvalid {
			t.Errorf("%s: code %q", name, CodeOf(err))
		}
	}
}

func TestWhatIsNotRecognisedIsUnknown(t *testing.T) {
	for want, err := range map[Code]error{
		"": nil, CodeRefused: fmt.Errorf("wrapped: %w", Refusedf("no")), CodeUnknown: errors.New("cut"), CodeFailed: Failedf("no"),
	} {
		if got := CodeOf(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if CodeOf(&ActionError{}) != CodeUnknown {
		t.Error("an error without a code is not unknown")
	}
}

func TestClosedSetsKnowTheirMembersAndTheSafeZero(t *testing.T) {
	if Stance("").Rank() != Watch.Rank() || Role("").Rank() != 0 || Severity("").Rank() != 0 || Verdict("") != NoData {
		t.Error("a zero value is not the safe one")
	}
	if SignalKind("x").Valid() || Unit("").Valid() || Mechanism("").Valid() || ActionKind("x").Valid() || State("").Valid() || ChangeKind("").Valid() {
		t.Error("something outside a closed set is valid")
	}
	for _, p := range []Phase{Intended, InEffect, Undoing, Lost} {
		if !p.Live() {
			t.Errorf("%s is not live", p)
		}
	}
	for _, p := range []Phase{NotStarted, Undone, Failed, Released, Lapsed, Simulated} {
		if p.Live() {
			t.Errorf("%s is live", p)
		}
	}
}

func TestFaultsKeepTheirPlaces(t *testing.T) {
	var inner, outer Faults
	inner.Add("a", "is bad", "good")
	inner.Add("[2]", "is bad", "")
	inner.Add("", "is empty", "")
	outer.Under("list", inner)
	outer.Under("", inner[:1])
	want := "list.a: is bad; allowed: good\nlist[2]: is bad\nlist: is empty\na: is bad; allowed: good"
	if diff := cmp.Diff(want, outer.Error()); diff != "" {
		t.Error(diff)
	}
}
