package backtest

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

// theatre is a source in which the cart behind the gateway breaks down at an
// instant.
type theatre struct{ breaks time.Time }

var theatreGraph = sre.NewGraph(
	[]sre.Service{{Name: "gateway", Entry: true}, {Name: "cart"}, {Name: "search"}},
	[]sre.Edge{{From: 0, To: 1, Spec: sre.EdgeSpec{Timeout: time.Second, Retries: 2, HasRetries: true, Hard: true}}, {From: 0, To: 2}},
)

func (w theatre) Observe(_ context.Context, at time.Time) (*sre.Snapshot, error) {
	s := &sre.Snapshot{
		At: at, Interval: 10 * time.Second, Graph: theatreGraph, Health: sre.SourceHealth{Up: true},
		Signals: []sre.Signal{
			{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
			{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio}, {Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
		},
		Service: sre.NewMatrix(4, 3),
	}
	wobble := 1 + float64(at.Unix()/10%7)/100
	for service := range 3 {
		values := [4]float64{100, 0, .3, .05}
		switch broken := !at.Before(w.breaks); {
		case broken && service == 1:
			values = [4]float64{140, .6, 1, 2}
		case broken && service == 0:
			values[1] = .6
		}
		for row, v := range values {
			s.Service.Set(row, service, sre.Reading{Value: v * wobble, State: sre.Present})
		}
	}
	return s, nil
}

func (w theatre) History(context.Context, time.Time, time.Time, time.Duration) iter.Seq2[*sre.Snapshot, error] {
	return func(func(*sre.Snapshot, error) bool) {}
}

// paper are levers that stand for the guard.
func paper() map[string]sre.Remediator {
	var kinds []sre.KindSpec
	for kind, params := range map[sre.ActionKind][]string{
		sre.Shed: {"rps"}, sre.QueueBound: {"length"}, sre.RetryBudget: {"ratio"}, sre.Timeout: {"seconds"},
		sre.Breaker: {"failure_ratio", "min_requests", "open_seconds"},
	} {
		spec := sre.KindSpec{Kind: kind, Reversible: true, TTL: true}
		for _, p := range params {
			spec.Params = append(spec.Params, sre.ParamSpec{Name: p, Type: "number", Max: 1e9})
		}
		kinds = append(kinds, spec)
	}
	return map[string]sre.Remediator{"guard": replay.NewPaperLever(sre.Capability{Name: "guard", Kinds: kinds})}
}

// show is a recording in which the cart breaks after some minutes.
func show(t testing.TB, id string, after time.Duration) Recording {
	config := policy(t, 10*time.Second)
	config.Policy.Thresholds.ActLow, config.Policy.Thresholds.ActMedium = .5, .5
	config.Policy.BlastRadius = sre.Limit{Percent: 100, Number: 10}
	config.Policy.InForce = sre.Limit{Percent: 100, Number: 10}
	config.Policy.Arbitration.Touched = config.Policy.InForce
	return Recording{ID: id, Open: func(context.Context) (*Session, error) {
		breaks := begin.Add(after)
		return &Session{
			Subject: Subject{Incident: bundle.Incident{
				ID: "inner " + id, Source: "theatre", Start: begin, End: begin.Add(30 * time.Minute), Interval: model.Duration(10 * time.Second),
				Truth: bundle.Truth{Faults: []bundle.Fault{{Services: []string{"cart"}, InjectedAt: breaks}}},
			}},
			Samples:   1234,
			Rehearsal: replay.Rehearsal{Agent: config, Source: theatre{breaks}, Levers: paper(), Start: begin, End: begin.Add(30 * time.Minute)},
		}, nil
	}}
}

func broken(id, why string) Recording {
	return Recording{ID: id, Source: "theatre", Open: func(context.Context) (*Session, error) { return nil, errors.New(why) }}
}

func bytesOf(t *testing.T, r *Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteResult(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheSameBytesForAnyNumberOfJobs(t *testing.T) {
	recordings := []Recording{
		show(t, "c", 10*time.Minute), show(t, "a", 15*time.Minute), broken("x", "cut off"), show(t, "b", 20*time.Minute), show(t, "d", 12*time.Minute),
	}
	var first string
	for _, jobs := range []int{0, 1, 2, 8} {
		res, err := Run(t.Context(), recordings, Options{Jobs: jobs, Config: "digest"})
		if err != nil {
			t.Fatal(err)
		}
		text := bytesOf(t, res)
		if first == "" {
			first = text
		}
		if diff := cmp.Diff(first, text); diff != "" {
			t.Fatalf("%d jobs: %s", jobs, diff)
		}
	}
	res, err := ReadResult(strings.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, b := range res.Bundles {
		order = append(order, b.ID)
	}
	if diff := cmp.Diff([]string{"c", "a", "x", "b", "d"}, order); diff != "" {
		t.Error(diff)
	}
}

func TestABreakdownIsDetectedAndBlamed(t *testing.T) {
	res, err := Run(t.Context(), []Recording{show(t, "a", 10*time.Minute)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := res.Bundles[0]
	if b.Error != "" {
		t.Fatal(b.Error)
	}
	f := b.Faults[0]
	if f.DetectedAt == nil || *f.DelaySeconds < 0 || *f.DelaySeconds > 120 || f.OwnRank != 1 || f.OracleRank != 1 {
		t.Errorf("detected %v, rank %d, oracle rank %d", f.DetectedAt, f.OwnRank, f.OracleRank)
	}
	if b.ID != "a" || b.Source != "theatre" || b.Samples != 1234 || b.FalseAlarms != 0 || b.WrongActions != 0 {
		t.Errorf("%+v", b)
	}
	if len(f.Decisions) == 0 || len(f.Decisions[0].Actions) == 0 || len(f.Decisions[0].Reasons) == 0 || b.Actions == 0 {
		t.Errorf("%d actions, decisions %+v", b.Actions, f.Decisions)
	}
	if s := res.Summary["theatre"]; s.Detected.Value != 1 || s.Oracle.AC1.Value != 1 || s.EndToEnd.AC1.Value != 1 {
		t.Errorf("%+v", s)
	}
}

func TestWhatCannotBeReadIsReportedAndTheRunGoesOn(t *testing.T) {
	var closed int
	fails := show(t, "fails", time.Minute)
	opened := fails.Open
	fails.Open = func(ctx context.Context) (*Session, error) {
		s, err := opened(ctx)
		s.Rehearsal.Pace = func(context.Context, time.Time) error { return errors.New("out of order") }
		s.Close = func() error { closed++; return nil }
		return s, err
	}
	stuck := show(t, "stuck", time.Minute)
	again := stuck.Open
	stuck.Open = func(ctx context.Context) (*Session, error) {
		s, err := again(ctx)
		s.Close = func() error { return errors.New("disk full") }
		return s, err
	}
	res, err := Run(t.Context(), []Recording{broken("x", "cut off"), fails, stuck, show(t, "a", time.Minute)}, Options{Jobs: 2})
	if err != nil || res.Partial {
		t.Fatalf("partial %v: %v", res.Partial, err)
	}
	var got []string
	for _, b := range res.Bundles {
		got = append(got, b.ID+": "+b.Error)
	}
	want := []string{"x: open recording: cut off", "fails: run: out of order", "stuck: disk full", "a: "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s := res.Summary["theatre"]; s.Failed != 3 || s.Bundles != 1 || closed != 1 {
		t.Errorf("%d failed, %d read, closed %d times", s.Failed, s.Bundles, closed)
	}
}

func TestACancelledRunKeepsWhatIsDoneAndCanBeContinued(t *testing.T) {
	whole := []Recording{show(t, "a", 10*time.Minute), show(t, "b", 15*time.Minute), show(t, "c", 20*time.Minute)}
	full, err := Run(t.Context(), whole, Options{Config: "digest"})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("ctrl-c")
	ctx, cancel := context.WithCancelCause(t.Context())
	cut := append([]Recording{}, whole...)
	cut[1].Open = func(ctx context.Context) (*Session, error) {
		s, err := whole[1].Open(ctx)
		s.Rehearsal.Pace = func(context.Context, time.Time) error { cancel(stop); return nil }
		return s, err
	}
	part, err := Run(ctx, cut, Options{Config: "digest"})
	if !errors.Is(err, stop) || !part.Partial || len(part.Bundles) != 1 || part.Bundles[0].ID != "a" {
		t.Fatalf("%d bundles, partial %v: %v", len(part.Bundles), part.Partial, err)
	}
	read, err := ReadResult(strings.NewReader(bytesOf(t, part)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read.Resume("other"); !errors.Is(err, ErrOtherConfig) {
		t.Errorf("continued with another configuration: %v", err)
	}
	done, err := read.Resume("digest")
	if err != nil {
		t.Fatal(err)
	}
	opened := whole[0]
	whole[0].Open = func(context.Context) (*Session, error) {
		t.Error("a recording that was done is opened again")
		return opened.Open(t.Context())
	}
	rest, err := Run(t.Context(), whole, Options{Config: "digest", Done: done})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(bytesOf(t, full), bytesOf(t, rest)); diff != "" {
		t.Errorf("a continued run differs from a whole one: %s", diff)
	}
}

func TestACancelledContextRunsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never := Recording{ID: "a", Open: func(context.Context) (*Session, error) {
		t.Error("opened")
		return nil, context.Canceled
	}}
	res, err := Run(ctx, []Recording{never}, Options{Jobs: 4})
	if !errors.Is(err, context.Canceled) || !res.Partial || len(res.Bundles) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestTwoRecordingsOfOneIDAreRefused(t *testing.T) {
	never := Recording{ID: "a", Open: func(context.Context) (*Session, error) {
		t.Error("opened")
		return nil, errors.New("opened")
	}}
	res, err := Run(t.Context(), []Recording{never, never}, Options{})
	if !errors.Is(err, ErrSameID) || res == nil || len(res.Bundles) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestWhatFailedIsTriedAgain(t *testing.T) {
	first, err := Run(t.Context(), []Recording{broken("a", "no such file")}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := first.Resume("")
	if err != nil || len(done) != 0 {
		t.Fatalf("%d done: %v", len(done), err)
	}
	again, err := Run(t.Context(), []Recording{show(t, "a", 10*time.Minute)}, Options{Done: first.Bundles})
	if err != nil || again.Bundles[0].Error != "" {
		t.Errorf("%q: %v", again.Bundles[0].Error, err)
	}
}

func TestEachBundleIsToldOnceAndOneAtATime(t *testing.T) {
	var recordings []Recording
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		recordings = append(recordings, show(t, id, 10*time.Minute))
	}
	told := map[string]int{}
	var busy sync.Mutex
	_, err := Run(t.Context(), recordings, Options{Jobs: 4, Done: []Bundle{{ID: "c"}}, OnBundle: func(b Bundle) {
		if !busy.TryLock() {
			t.Error("told twice at the same time")
			return
		}
		defer busy.Unlock()
		told[b.ID]++
	}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"a": 1, "b": 1, "d": 1, "e": 1}, told); diff != "" {
		t.Error(diff)
	}
}

func TestTheWatcherOfTheRecordingSeesTheTicksToo(t *testing.T) {
	r := show(t, "a", 10*time.Minute)
	open := r.Open
	seen := 0
	r.Open = func(ctx context.Context) (*Session, error) {
		s, err := open(ctx)
		s.Rehearsal.Watch = func(replay.Tick) error { seen++; return nil }
		return s, err
	}
	if _, err := Run(t.Context(), []Recording{r}, Options{}); err != nil || seen != 181 {
		t.Errorf("%d ticks: %v", seen, err)
	}
}

func TestResultsThatAreNoResultsAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"bundles":[{"id":""}]}`:                    "read result: bundle 1 has no id",
		`{"bundles":[{"id":"a"},{"id":"a"}]}`:        `read result: bundle "a" comes twice`,
		`{"bundles":`:                                "read result: unexpected EOF",
		`{"bundles":[{"id":"a","false_alarms":""}]}`: "read result: json: cannot unmarshal",
	} {
		if _, err := ReadResult(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzReadResult(f *testing.F) {
	f.Add(`{"bundles":[{"id":"a","faults":[{"services":["x"],"delay_seconds":null,"decisions":[{"actions":[{"params":{"a":1}}]}]}]}],"summary":{}}`)
	f.Add(`{"bundles":[{"id":"a","error":"x"}]}`)
	f.Add(`{"bundles":[{"id":"a","faults":[{"detected_at":"2026-03-01T12:00:00Z"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ReadResult(strings.NewReader(text))
		if err != nil {
			return
		}
		var first, second bytes.Buffer
		if err := WriteResult(&first, r); err != nil {
			return // years beyond what JSON can hold
		}
		again, err := ReadResult(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if err := WriteResult(&second, again); err != nil || first.String() != second.String() {
			t.Fatalf("written twice: %v %s", err, cmp.Diff(first.String(), second.String()))
		}
		if err := WriteText(&second, r); err != nil {
			t.Fatal(err)
		}
		if c := Compare(r, again); len(c.Differences) != 0 {
			t.Fatalf("a result differs from itself: %+v", c.Differences)
		}
		for i := range again.Bundles {
			for k := range again.Bundles[i].Faults {
				again.Bundles[i].Faults[k].DetectedAt = nil
			}
		}
		if err := WriteComparison(&second, Compare(again, r)); err != nil {
			t.Fatal(err)
		}
	})
}
