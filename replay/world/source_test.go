package world

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sources"
	"github.com/sreagent/sreagent/sre"
)

// TestColumnsStandAsInTheGuardPreset keeps the order on which readers rely.
func TestColumnsStandAsInTheGuardPreset(t *testing.T) {
	var want []string
	for _, q := range (sources.SignalsConfig{Preset: "guard"}).Queries() {
		want = append(want, fmt.Sprintf("%s %s %s %t", q.Name, q.Kind, q.Unit, q.Edge()))
	}
	var got []string
	for _, s := range Signals() {
		if s.Name != "cache" && s.Name != "cpu" && s.Name != "workers" {
			got = append(got, fmt.Sprintf("%s %s %s %t", s.Name, s.Kind, s.Unit, s.Edge))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns differ (-preset +world):\n%s", diff)
	}
}

// TestHealthyWorld checks the readings against what the blueprint says.
func TestHealthyWorld(t *testing.T) {
	w := newWorld(t, shop(), nil)
	s := observe(t, w, after(5*time.Minute))
	for _, c := range []struct {
		service, signal string
		least, most     float64
	}{
		{"gateway", "traffic", 79.999, 80.001},
		{"cart", "traffic", 79.999, 80.001},
		{"db", "traffic", 39.999, 40.001}, // half of cart's are found in its cache
		{"ads", "traffic", 39.999, 40.001},
		{"cart", "cache", .4999, .5001},
		{"gateway", "errors", 0, 1e-6},
		{"gateway", "goodput", 79.99, 80.001},
		{"gateway", "retries", 0, 1e-3},
		{"gateway", "timeouts", 0, 1e-3},
		{"gateway", "shed", 0, 0},
		{"cart", "replicas", 2, 2},
		{"db", "cpu", .3333, .3334},  // 40 of 120 per second
		{"db", "pool", .3333, .3334}, // the same, which is more than 40 * 10ms of 20 workers
		{"db", "latency", .010, .020},
		{"db", "latency_p99", .020, .050},
		{"gateway", "latency", .012, .030},
		{"db", "queue", .4, 1}, // Little's law: 40 per second for a little more than 10ms
	} {
		got := cell(t, s, c.service, c.signal)
		if !got.OK() || !(got.Value >= c.least && got.Value <= c.most) {
			t.Errorf("%s(%s) is %v %s, want %v to %v", c.signal, c.service, got.Value, got.State, c.least, c.most)
		}
	}
	if got := cell(t, s, "db", "cache"); got.State != sre.Absent {
		t.Errorf("a service without a cache has a hit ratio: %+v", got)
	}
	if got := edgeCell(t, s, "cart", "db", "edge_traffic"); !got.OK() || got.Value < 39.99 || got.Value > 40.01 {
		t.Errorf("edge_traffic(cart -> db) is %+v, want 40", got)
	}
	if got := s.Graph.Entries(); !slices.Equal(got, []int{gateway}) {
		t.Errorf("entries are %v", got)
	}
}

// TestIncidentIsSeen follows a slow database: what fails is seen where it fails,
// and the retries of its callers.
func TestIncidentIsSeen(t *testing.T) {
	w := newWorld(t, shop(), nil)
	slowDB(w, 60*time.Second, 100*time.Second)
	before := observe(t, w, after(60*time.Second))
	if got := cell(t, before, "db", "errors"); got.Value != 0 {
		t.Errorf("errors before the fault: %+v", got)
	}
	s := observe(t, w, after(90*time.Second))
	if got := cell(t, s, "db", "errors"); got.Value < .9 {
		t.Errorf("errors(db) is %+v, want above 0.9", got)
	}
	if got := cell(t, s, "db", "queue"); got.Value < 100 {
		t.Errorf("queue(db) is %+v, want above 100", got)
	}
	if got := edgeCell(t, s, "cart", "db", "edge_retries"); got.Value < 40 {
		t.Errorf("edge_retries(cart -> db) is %+v, want above 40", got)
	}
	good, offered := users(w)
	if good >= offered || good <= 0 {
		t.Errorf("goodput %v of %v, want some and not all", good, offered)
	}
}

// TestStaleThenAbsent follows a service whose scrapes fail.
func TestStaleThenAbsent(t *testing.T) {
	w := newWorld(t, shop(), func(o *Options) { o.Aligned = true })
	last := observe(t, w, after(60*time.Second))
	if err := w.Silence("cart", after(20*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := w.Silence("nobody", after(time.Minute)); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("silence of an unknown service: %v", err)
	}
	for _, c := range []struct {
		after        time.Duration
		signal       string
		want         sre.ReadingState
		wantOfOthers sre.ReadingState
	}{
		{5 * time.Second, "queue", sre.Stale, sre.Present},         // its series ended
		{5 * time.Second, "traffic", sre.Present, sre.Present},     // two scrapes are in the window still
		{10 * time.Second, "traffic", sre.Stale, sre.Present},      // one is
		{5 * time.Minute, "queue", sre.Stale, sre.Present},         // as old as a stale value may be
		{5*time.Minute + 5*time.Second, "queue", 0, sre.Present},   // forgotten
		{5*time.Minute + 5*time.Second, "traffic", 1, sre.Present}, // was seen five seconds later
		{5*time.Minute + 10*time.Second, "traffic", 0, sre.Present},
	} {
		s := observe(t, w, after(60*time.Second+c.after))
		got := cell(t, s, "cart", c.signal)
		if got.State != c.want {
			t.Errorf("%s after the last scrape %s is %s, want %s", c.after, c.signal, got.State, c.want)
		}
		if c.signal == "queue" && got.State == sre.Stale && got.Value != cell(t, last, "cart", "queue").Value {
			t.Errorf("a stale value is not the last one: %v", got.Value)
		}
		if got := cell(t, s, "db", c.signal); got.State != c.wantOfOthers {
			t.Errorf("%s of another service is %s", c.signal, got.State)
		}
	}
}

// TestBlind has the metric store go away for a while.
func TestBlind(t *testing.T) {
	w := newWorld(t, shop(), nil)
	before := observe(t, w, after(60*time.Second))
	w.Blind(after(90 * time.Second))
	s := observe(t, w, after(75*time.Second))
	if s.Health.Up || s.Health.Err == "" || len(s.Health.Failed) != len(Signals()) {
		t.Errorf("health while blind: %+v", s.Health)
	}
	if got, was := cell(t, s, "db", "traffic"), cell(t, before, "db", "traffic"); got.State != sre.Stale || got.Value != was.Value {
		t.Errorf("a reading while blind is %+v, was %+v", got, was)
	}
	if s := observe(t, w, after(90*time.Second)); !s.Health.Up || !cell(t, s, "db", "traffic").OK() {
		t.Errorf("sight did not come back: %+v", s.Health)
	}
}

// TestObserveAgain asks for instants that have passed.
func TestObserveAgain(t *testing.T) {
	w := newWorld(t, shop(), func(o *Options) { o.Keep = 2 })
	ctx, source := context.Background(), w.Source()
	var seen []*sre.Snapshot
	for i := 1; i <= 3; i++ {
		seen = append(seen, observe(t, w, after(time.Duration(i)*10*time.Second)))
	}
	again, err := source.Observe(ctx, after(20*time.Second))
	if err != nil || again != seen[1] {
		t.Errorf("a kept instant gives %p, %v; want the snapshot of then, %p", again, err, seen[1])
	}
	for _, at := range []time.Duration{10 * time.Second, 25 * time.Second} { // no longer kept, never taken
		if _, err := source.Observe(ctx, after(at)); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("observe %s: %v", at, err)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := source.Observe(canceled, after(time.Minute)); err == nil {
		t.Error("a cancelled observation gave no error")
	}
	if got := w.Now(); !got.Equal(after(30 * time.Second)) {
		t.Errorf("the world is at %s", got)
	}
}

// TestHistory warms up from a world that has not run yet, and from one that has.
func TestHistory(t *testing.T) {
	collect := func(w *World, from, to time.Time, step time.Duration) []*sre.Snapshot {
		t.Helper()
		var out []*sre.Snapshot
		for s, err := range w.Source().History(context.Background(), from, to, step) {
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Changes) > 0 {
				t.Errorf("history tells of changes: %v", s.Changes)
			}
			out = append(out, s)
		}
		return out
	}
	instants := func(snaps []*sre.Snapshot) (out []time.Duration) {
		for _, s := range snaps {
			out = append(out, s.At.Sub(start))
		}
		return out
	}
	w := newWorld(t, shop(), nil)
	w.Announce(sre.Change{ID: "c", At: after(12 * time.Second), Kind: sre.Flag, Service: "cart"})
	first := collect(w, start.Add(-20*time.Second), after(30*time.Second), 10*time.Second)
	if diff := cmp.Diff([]time.Duration{0, 10 * time.Second, 20 * time.Second}, instants(first)); diff != "" {
		t.Errorf("instants of a first history:\n%s", diff)
	}
	if first[1].Interval != 10*time.Second {
		t.Errorf("the interval is %s, want the step", first[1].Interval)
	}
	s := observe(t, w, after(30*time.Second))
	if len(s.Changes) != 1 || s.Changes[0].ID != "c" {
		t.Errorf("the change of the history is not told at the first tick: %v", s.Changes)
	}
	again := collect(w, start, after(45*time.Second), 5*time.Second)
	want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second, 35 * time.Second, 40 * time.Second}
	if diff := cmp.Diff(want, instants(again)); diff != "" {
		t.Errorf("instants of a second history:\n%s", diff)
	}
	if again[1] != first[1] {
		t.Error("a kept instant was made anew")
	}
	for _, err := range w.Source().History(context.Background(), start, after(time.Hour), 0) {
		if err == nil {
			t.Error("a step of zero is no error")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range w.Source().History(ctx, after(time.Minute), after(time.Hour), time.Second) {
		if err == nil {
			t.Error("a cancelled history gave a snapshot")
		}
	}
}

// TestSnapshotsAreImmutable observes on and holds what was given before.
func TestSnapshotsAreImmutable(t *testing.T) {
	w := newWorld(t, shop(), nil)
	w.Announce(sre.Change{ID: "c", At: after(12 * time.Second), Kind: sre.Flag, Service: "cart"})
	s := observe(t, w, after(20*time.Second))
	before := dump(s)
	slowDB(w, 20*time.Second, 60*time.Second)
	w.Announce(sre.Change{ID: "d", At: after(25 * time.Second), Kind: sre.Flag, Service: "cart"})
	observe(t, w, after(60*time.Second))
	if diff := cmp.Diff(before, dump(s)); diff != "" {
		t.Errorf("a snapshot changed after it was given:\n%s", diff)
	}
}

// dump writes everything in a snapshot, exactly.
func dump(s *sre.Snapshot) string {
	return fmt.Sprintf("%s %s %v %v %v %v %v %+v", s.At, s.Interval, s.Service.Values, s.Service.States, s.Edge.Values, s.Edge.States, s.Changes, s.Health)
}

// story runs a world through everything that can happen to it and writes down
// all that is seen.
func story(t *testing.T, seed uint64) string {
	b := shop()
	b.Noise, b.Seed = true, seed
	var out strings.Builder
	w := newWorld(t, b, func(o *Options) {
		o.ScrapeLoss, o.Seed = .1, seed
		o.Scraped = func(at time.Time, samples []Sample) {
			for _, s := range samples {
				fmt.Fprintln(&out, at, s.Metric, s.Value, s.Stale)
			}
		}
	})
	slowDB(w, 30*time.Second, 60*time.Second)
	w.Announce(sre.Change{ID: "d", At: after(25 * time.Second), Kind: sre.Deploy, Service: "ads", To: "v2"})
	w.At(after(50*time.Second), func(*fluid.Model) {
		for i, a := range guardActions() {
			a.ID = fmt.Sprint("a", i)
			if err := w.Lever().Apply(context.Background(), sre.Directive{Action: a, Epoch: 1, Expires: after(80 * time.Second)}); err != nil {
				t.Error(err)
			}
		}
	})
	for at := start; at.Before(after(4 * time.Minute)); at = at.Add(5 * time.Second) {
		out.WriteString(dump(observe(t, w, at)))
	}
	return out.String()
}

// TestSameSeedSameBytes runs one story several times, on one and two processors.
func TestSameSeedSameBytes(t *testing.T) {
	want := story(t, 3)
	if story(t, 3) != want {
		t.Fatal("a second run differs")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if story(t, 3) != want {
		t.Fatal("a run on one processor differs")
	}
	if story(t, 4) == want {
		t.Fatal("another seed gives the same run")
	}
}

// TestStrideLeavesNoTrace advances by different strides.
func TestStrideLeavesNoTrace(t *testing.T) {
	run := func(stride time.Duration) string {
		w := newWorld(t, shop(), func(o *Options) { o.ScrapeLoss = .2 })
		slowDB(w, 30*time.Second, 60*time.Second)
		for at := start; at.Before(after(90 * time.Second)); at = at.Add(stride) {
			w.AdvanceTo(at)
		}
		return dump(observe(t, w, after(90*time.Second)))
	}
	want := run(time.Hour)
	for _, stride := range []time.Duration{30 * time.Millisecond, 100 * time.Millisecond, 7 * time.Second} {
		if run(stride) != want {
			t.Errorf("advancing by %s makes a difference", stride)
		}
	}
}

// TestScriptRunsAtItsStep checks the order of what happens at one instant.
func TestScriptRunsAtItsStep(t *testing.T) {
	w := newWorld(t, shop(), nil)
	var log []string
	note := func(text string) func(*fluid.Model) {
		return func(m *fluid.Model) { log = append(log, fmt.Sprintf("%s at %s", text, m.Elapsed())) }
	}
	w.At(after(2*time.Second), note("second"))
	w.At(after(1050*time.Millisecond), note("between steps"))
	w.At(after(2*time.Second), note("third"))
	w.At(after(time.Second), func(m *fluid.Model) {
		note("first")(m)
		w.At(after(500*time.Millisecond), note("too late"))
	})
	w.AdvanceTo(after(10 * time.Second))
	want := []string{"first at 1s", "too late at 1s", "between steps at 1.1s", "second at 2s", "third at 2s"}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("script (-want +got):\n%s", diff)
	}
}

// TestChangesAreToldOnce announces changes ahead and late.
func TestChangesAreToldOnce(t *testing.T) {
	w := newWorld(t, shop(), nil)
	for _, c := range []struct {
		id string
		at time.Duration
	}{{"later", 40 * time.Second}, {"b", 10 * time.Second}, {"a", 10 * time.Second}} {
		w.Announce(sre.Change{ID: c.id, At: after(c.at), Kind: sre.ConfigEdit, Service: "cart"})
	}
	told := func(at time.Duration) (ids []string) {
		for _, c := range observe(t, w, after(at)).Changes {
			ids = append(ids, c.ID)
		}
		return ids
	}
	if got := told(9900 * time.Millisecond); len(got) > 0 {
		t.Errorf("told before it happened: %v", got)
	}
	if got := told(30 * time.Second); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("told %v", got)
	}
	w.Announce(sre.Change{ID: "late", At: after(20 * time.Second), Kind: sre.ConfigEdit, Service: "cart"})
	if got := told(40 * time.Second); !slices.Equal(got, []string{"late", "later"}) {
		t.Errorf("told %v", got)
	}
}

// TestOptions lists what is wrong with them, all at once.
func TestOptions(t *testing.T) {
	_, err := New(shop(), Options{
		Start: start.Add(time.Microsecond), Interval: -1, Scrape: 150 * time.Millisecond, Window: 100 * time.Millisecond,
		ScrapeLoss: 2, Keep: -1, ReturnSteps: -1, ReturnEvery: -1, LoseAnswers: -1,
	})
	for _, path := range []string{"start", "interval", "scrape", "window", "scrape_loss", "keep", "return_steps", "return_every", "lose_answers"} {
		if err == nil || !strings.Contains(err.Error(), path+":") {
			t.Errorf("nothing is said of %s: %v", path, err)
		}
	}
	if _, err := New(fluid.Blueprint{}, Options{Start: start}); err == nil {
		t.Error("an empty blueprint is no mistake")
	}
}
