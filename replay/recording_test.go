package replay

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// past is a source over a made-up past: one service, one signal, whose value is
// the second of the day. It counts what it was asked.
type past struct {
	graph   *sre.Graph
	asked   int
	fails   time.Time // from here on it cannot be read
	changes map[string][]sre.Change
}

func newPast() *past {
	return &past{graph: sre.NewGraph([]sre.Service{{Name: "cart", Entry: true}}, nil), changes: map[string][]sre.Change{}}
}

func (p *past) snapshot(at time.Time, step time.Duration) *sre.Snapshot {
	s := &sre.Snapshot{
		At: at, Interval: step, Graph: p.graph,
		Signals: []sre.Signal{{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond}},
		Service: sre.NewMatrix(1, 1), Health: sre.SourceHealth{Up: true, Queries: 1},
		Changes: p.changes[at.Format(time.TimeOnly)],
	}
	s.Service.Set(0, 0, sre.Reading{Value: float64(at.Unix() % 86400), State: sre.Present})
	return s
}

func (p *past) Observe(_ context.Context, at time.Time) (*sre.Snapshot, error) {
	return p.snapshot(at, time.Second), nil
}

func (p *past) History(_ context.Context, from, to time.Time, step time.Duration) iter.Seq2[*sre.Snapshot, error] {
	p.asked++
	return func(yield func(*sre.Snapshot, error) bool) {
		for at := from; at.Before(to); at = at.Add(step) {
			if !p.fails.IsZero() && !at.Before(p.fails) {
				yield(nil, errors.New("block is damaged"))
				return
			}
			if !yield(p.snapshot(at, step), nil) {
				return
			}
		}
	}
}

func TestRecordingReadsAheadOnceAndGivesEachTickItsOwn(t *testing.T) {
	p := newPast()
	r := NewRecording(p, t0.Add(30*time.Second), 10*time.Second, nil, nil)
	defer r.Close()
	for i := range 4 {
		at := t0.Add(time.Duration(i) * 10 * time.Second)
		s, err := r.Observe(context.Background(), at)
		if err != nil {
			t.Fatal(err)
		}
		if !s.At.Equal(at) || s.Value(0, sre.Traffic, sre.PerSecond).Value != float64(at.Unix()%86400) {
			t.Errorf("tick %d: snapshot of %s", i, s.At)
		}
	}
	if p.asked != 1 {
		t.Errorf("%d range reads, want 1", p.asked)
	}
	if _, err := r.Observe(context.Background(), t0.Add(40*time.Second)); !errors.Is(err, errRecordingOver) {
		t.Errorf("after the end: %v", err)
	}
}

func TestRecordingRefusesTicksThatDoNotFollow(t *testing.T) {
	r := NewRecording(newPast(), t0.Add(time.Hour), 10*time.Second, nil, nil)
	defer r.Close()
	for _, at := range []time.Time{t0, t0.Add(20 * time.Second)} {
		_, err := r.Observe(context.Background(), at)
		if (err != nil) != at.After(t0) {
			t.Errorf("at %s: %v", at, err)
		}
	}
}

func TestRecordingTellsChangesOnceInOrder(t *testing.T) {
	p := newPast()
	p.changes["05:06:20"] = []sre.Change{{ID: "seen", At: t0.Add(15 * time.Second)}}
	told := []sre.Change{
		{ID: "late", At: t0.Add(29 * time.Second)}, {ID: "b", At: t0.Add(12 * time.Second)},
		{ID: "a", At: t0.Add(12 * time.Second)}, {ID: "before", At: t0.Add(-time.Hour)}, {ID: "on the tick", At: t0.Add(10 * time.Second)},
	}
	r := NewRecording(p, t0.Add(time.Minute), 10*time.Second, told, nil)
	defer r.Close()
	want := []string{"before", "on the tick", "a b seen", "late", ""}
	for i, w := range want {
		s, err := r.Observe(context.Background(), t0.Add(time.Duration(i)*10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range s.Changes {
			got = append(got, c.ID)
		}
		if diff := cmp.Diff(w, strings.Join(got, " ")); diff != "" {
			t.Errorf("tick %d (-want +got): %s", i, diff)
		}
	}
}

func TestRecordingIsBlindWhereTheRecordedAgentWas(t *testing.T) {
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	trail := []sre.Record{
		{At: at(0), Source: &sre.SourceHealth{Up: true}},
		{At: at(20), Source: &sre.SourceHealth{Err: "connection refused"}},
		{At: at(40), Source: &sre.SourceHealth{Up: true}},
		{At: at(60), Source: &sre.SourceHealth{Err: "gone"}},
	}
	r := NewRecording(newPast(), at(80), 10*time.Second, nil, Outages(trail))
	defer r.Close()
	var seen []string
	for i := range 9 {
		s, err := r.Observe(context.Background(), at(10*i))
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, map[bool]string{true: "up", false: s.Health.Err}[s.Health.Up])
	}
	want := "up, up, connection refused, connection refused, up, up, gone, gone, gone"
	if diff := cmp.Diff(want, strings.Join(seen, ", ")); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

func TestRecordingPassesOnWhatCannotBeRead(t *testing.T) {
	p := newPast()
	p.fails = t0.Add(10 * time.Second)
	r := NewRecording(p, t0.Add(time.Minute), 10*time.Second, nil, nil)
	defer r.Close()
	if _, err := r.Observe(context.Background(), t0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Observe(context.Background(), t0.Add(10*time.Second)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

func TestPaperLeverHoldsWhatWasApplied(t *testing.T) {
	ctx := context.Background()
	capability := sre.Capability{Name: "guard", Kinds: []sre.KindSpec{{
		Kind: sre.Shed, Reversible: true, TTL: true, Params: []sre.ParamSpec{{Name: "rps", Type: "number", Max: 100}},
	}}}
	p := NewPaperLever(capability)
	p.setTime(t0)
	action := sre.Action{ID: "a", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "cart"}, Params: sre.Params{"rps": 10.0}}
	other := action
	other.ID = "b"
	directive := func(a sre.Action, epoch uint64) sre.Directive {
		return sre.Directive{Action: a, Epoch: epoch, Expires: t0.Add(time.Minute)}
	}
	probe := func(a sre.Action) sre.TargetState {
		st, err := p.Probe(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if probe(action).InEffect {
		t.Error("in effect before it was applied")
	}
	if err := p.Apply(ctx, directive(action, 2)); err != nil {
		t.Fatal(err)
	}
	if st := probe(action); !st.InEffect || st.Foreign || st.Epoch != 2 || st.Current["rps"] != 10.0 {
		t.Errorf("after apply: %+v", st)
	}
	if st := probe(other); st.InEffect || !st.Foreign {
		t.Errorf("another action on the knob: %+v", st)
	}
	if err := p.Apply(ctx, directive(other, 1)); sre.CodeOf(err) != sre.CodeRefused {
		t.Errorf("a stale epoch: %v", err)
	}
	if err := p.Revert(ctx, directive(other, 2)); err != nil || !probe(action).InEffect {
		t.Errorf("reverting what is not held: %v", err)
	}
	p.setTime(t0.Add(time.Minute))
	if probe(action).InEffect {
		t.Error("in effect after it lapsed")
	}
	p.setTime(t0)
	if err := p.Revert(ctx, directive(action, 2)); err != nil || probe(action).InEffect {
		t.Errorf("after revert: %v", err)
	}
	bad := action
	bad.Params = sre.Params{"rps": 1000.0}
	if err := p.Apply(ctx, directive(bad, 2)); sre.CodeOf(err) != sre.CodeInvalid {
		t.Errorf("a parameter out of bounds: %v", err)
	}
	bad.Kind = sre.Rollback
	if err := p.Apply(ctx, directive(bad, 2)); sre.CodeOf(err) != sre.CodeInvalid {
		t.Errorf("a kind that the lever lacks: %v", err)
	}
}
