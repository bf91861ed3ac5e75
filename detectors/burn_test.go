package detectors_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// budgetFeed drives a bank with traffic and the error ratio of one entry, "api".
type budgetFeed struct {
	bank     *detectors.Bank
	graph    *sre.Graph
	at       time.Time
	interval time.Duration
	frozen   []bool
}

func newBudgetFeed(interval time.Duration, cfg detectors.Config) *budgetFeed {
	return &budgetFeed{
		bank:     detectors.New(cfg),
		graph:    sre.NewGraph([]sre.Service{{Name: "api", Entry: true}, {Name: "inner"}}, []sre.Edge{{From: 0, To: 1}}),
		at:       time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC),
		interval: interval,
	}
}

// put runs one tick; NaN is no reading.
func (f *budgetFeed) put(traffic, ratio float64) []sre.Precursor {
	f.at = f.at.Add(f.interval)
	s := &sre.Snapshot{At: f.at, Interval: f.interval, Graph: f.graph, Signals: feedSignals[:2], Service: sre.NewMatrix(2, len(f.graph.Services)), Health: sre.SourceHealth{Up: true}}
	for i := range f.graph.Services {
		for row, v := range []float64{traffic, ratio} {
			if !math.IsNaN(v) {
				s.Service.Set(row, i, sre.Reading{Value: v, State: sre.Present})
			}
		}
	}
	var burns []sre.Precursor
	for _, p := range f.bank.Detect(s, f.frozen) {
		if p.Detector == "burn_rate" {
			burns = append(burns, p)
		}
	}
	return burns
}

// lasting repeats the tick for a span and returns the last signs.
func (f *budgetFeed) lasting(span time.Duration, traffic, ratio float64) []sre.Precursor {
	var last []sre.Precursor
	for range int(span / f.interval) {
		last = f.put(traffic, ratio)
	}
	return last
}

// until repeats the tick until a rule pages and returns how long that took.
func (f *budgetFeed) until(limit time.Duration, traffic, ratio float64) time.Duration {
	for spent := f.interval; spent <= limit; spent += f.interval {
		f.put(traffic, ratio)
		if slices.ContainsFunc(f.bank.Burns(), func(b sre.Burn) bool { return b.Page }) {
			return spent
		}
	}
	return -1
}

func stated(objective float64, services ...string) detectors.Config {
	cfg := detectors.DefaultConfig()
	for _, s := range services {
		cfg.SLO.Services = append(cfg.SLO.Services, detectors.ServiceSLO{Service: s, Objective: objective})
	}
	return cfg
}

// TestTimeToAPage: with good history, a share x of failures fills
// 14.4 x .001 of the hour after 14.4 x .001 / x of it, at every tick.
func TestTimeToAPage(t *testing.T) {
	for _, tick := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 5 * time.Minute} {
		for _, ratio := range []float64{1, .2, .05} {
			t.Run(fmt.Sprint(tick, ratio), func(t *testing.T) {
				f := newBudgetFeed(tick, stated(.999, "api"))
				f.lasting(7*time.Hour, 100, 0)
				got := f.until(2*time.Hour, 100, ratio)
				want := time.Duration(.0144 / ratio * float64(time.Hour))
				// Two readings, and a quarter of the short window for the bucket in which the hour begins.
				if got < want || got > want+2*tick+75*time.Second+want/10 {
					t.Errorf("paged after %v, want %v", got, want)
				}
			})
		}
	}
}

func TestWithinTheObjectiveNothingBurns(t *testing.T) {
	for _, tick := range []time.Duration{time.Second, time.Minute, 5 * time.Minute} {
		f := newBudgetFeed(tick, stated(.999, "api"))
		for range int(8 * time.Hour / tick) {
			if ps := f.put(50, .0009); len(ps)+len(f.bank.Burns()) > 0 {
				t.Fatalf("%v: %+v", tick, ps)
			}
		}
	}
}

// TestTheShortWindowEndsThePage: an outage of ten minutes burns the hour's
// budget, but nobody is kept awake after its end.
func TestTheShortWindowEndsThePage(t *testing.T) {
	f := newBudgetFeed(10*time.Second, stated(.999, "api"))
	f.lasting(time.Hour, 100, 0)
	ps := f.lasting(10*time.Minute, 100, .5)
	if len(ps) != 1 || ps[0].Severity != sre.Critical {
		t.Fatalf("in the outage: %+v", ps)
	}
	began := f.at.Add(-10 * time.Minute)
	if late := ps[0].Since.Sub(began); late < 0 || late > time.Minute {
		t.Errorf("the onset is %v after the fault", late)
	}
	ps = f.lasting(time.Minute, 100, 0)
	if len(ps) != 1 || ps[0].Severity != sre.Info {
		t.Errorf("a minute later: %+v, want a note", ps)
	}
	ps = f.lasting(6*time.Minute, 100, 0)
	if slices.ContainsFunc(f.bank.Burns(), func(b sre.Burn) bool { return b.Short == 5*time.Minute }) {
		t.Errorf("seven minutes later the hour still burns: %+v", f.bank.Burns())
	}
	if slices.ContainsFunc(ps, func(p sre.Precursor) bool { return p.Severity != sre.Info }) {
		t.Errorf("seven minutes later: %+v", ps)
	}
}

// TestOwnRuleIsFirst: half of all requests fail; the agent looks into it within
// a minute, long before anybody is woken where a good day lies behind.
func TestOwnRuleIsFirst(t *testing.T) {
	f := newBudgetFeed(10*time.Second, stated(.99, "api"))
	f.lasting(6*time.Hour, 100, 0)
	ps := f.lasting(5*time.Minute, 100, .9)
	if len(ps) != 1 || ps[0].Severity != sre.Warning || f.bank.Burns()[0].Page {
		t.Errorf("%+v", ps)
	}
}

// TestLittleTraffic: a failure every few minutes is no outage, whatever its
// share of the few requests, and a real outage is still found.
func TestLittleTraffic(t *testing.T) {
	f := newBudgetFeed(10*time.Second, stated(.999, "api"))
	g := lcg(4)
	for range 12 * 360 { // .05 requests per second, of which 0.3 % fail
		n, failed := 0., 0.
		if g.next() < .5 {
			n = 1
			if g.next() < .003 {
				failed = 1
			}
		}
		if ps := f.put(n/10, failed); slices.ContainsFunc(ps, func(p sre.Precursor) bool { return p.Severity == sre.Critical }) {
			t.Fatalf("%v: %+v", f.at, ps)
		}
	}
	if got := f.until(time.Hour, .05, 1); got <= 0 || got > 10*time.Minute {
		t.Errorf("an outage pages after %v", got)
	}
}

// TestGapsAreNoData: what is not read is neither good nor bad, and nothing that
// was burning is forgotten for want of news.
func TestGapsAreNoData(t *testing.T) {
	nan := math.NaN()
	f := newBudgetFeed(10*time.Second, stated(.999, "api"))
	f.lasting(time.Hour, 100, 0)
	f.lasting(4*time.Minute, 100, .5)
	before := f.bank.Burns()
	f.lasting(2*time.Minute, nan, nan)
	after := f.bank.Burns()
	if len(before) == 0 || len(after) == 0 || !before[0].Since.Equal(after[0].Since) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	// Half of the time unread: the share of what was read.
	f = newBudgetFeed(10*time.Second, stated(.999, "api"))
	for range 180 {
		f.put(100, .02)
		f.put(nan, nan)
	}
	for _, b := range f.bank.Burns() {
		if math.Abs(b.LongRate-20) > .01 || math.Abs(b.ShortRate-20) > .01 {
			t.Errorf("%+v, want a rate of 20", b)
		}
	}
	if len(f.bank.Burns()) != 2 {
		t.Errorf("burns are %+v", f.bank.Burns())
	}
	// Snapshots that are missing altogether count for nothing.
	f.at = f.at.Add(3 * time.Hour)
	f.put(100, 0)
	if got := f.bank.Burns(); slices.ContainsFunc(got, func(b sre.Burn) bool { return b.Long == time.Hour }) {
		t.Errorf("after three dark hours: %+v", got)
	}
}

// TestAnObjectiveThatNobodyStated: what a service has always failed is not an
// alarm, and its outage is one.
func TestAnObjectiveThatNobodyStated(t *testing.T) {
	f := newBudgetFeed(time.Minute, detectors.DefaultConfig())
	for range 24 * 60 {
		if ps := f.put(100, .02); len(ps) > 0 {
			t.Fatalf("usual failures: %+v", ps)
		}
	}
	if ps := f.lasting(time.Hour, 100, .8); len(ps) == 0 || ps[0].Severity != sre.Critical {
		t.Errorf("an outage: %+v", ps)
	}
	f = newBudgetFeed(time.Minute, detectors.DefaultConfig())
	if ps := f.lasting(time.Hour, 100, 1); len(ps) == 0 || ps[0].Severity != sre.Critical {
		t.Errorf("an outage from the first tick on: %+v", ps)
	}
}

func TestWhoIsWatched(t *testing.T) {
	f := newBudgetFeed(10*time.Second, stated(.99, "inner"))
	var names []string
	for _, p := range f.lasting(time.Hour, 100, .5) {
		names = append(names, p.Service)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"api", "inner"}, names); diff != "" {
		t.Error(diff)
	}
	// An entry that turns out to have a caller is watched no longer.
	bare := func(callers ...sre.Edge) *sre.Graph {
		return sre.NewGraph([]sre.Service{{Name: "api"}, {Name: "inner"}, {Name: "front"}}, append([]sre.Edge{{From: 0, To: 1}}, callers...))
	}
	f = newBudgetFeed(10*time.Second, detectors.DefaultConfig())
	f.graph = bare()
	if ps := f.lasting(time.Hour, 100, .5); len(ps) != 1 || ps[0].Service != "api" {
		t.Fatalf("%+v", ps)
	}
	f.graph = bare(sre.Edge{From: 2, To: 0})
	if ps := f.put(100, .5); len(ps) != 0 || len(f.bank.Burns()) != 0 {
		t.Errorf("%+v", ps)
	}
}

func TestBurnSaysWhatItSaw(t *testing.T) {
	f := newBudgetFeed(10*time.Second, stated(.999, "api"))
	ps := f.lasting(time.Hour, 100, .12)
	got := ps[0].Evidence[0].Meaning
	want := "12 % of the requests to api failed in the latest 5 minutes; its objective of 99.9 % allows 0.1 %"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = ps[0].Evidence[1].Meaning
	want = "in the latest hour its error budget was used 120 times as fast as it is earned; the rule speaks from 14.4 on"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSLOConfigNamesEveryMistake(t *testing.T) {
	cfg := detectors.DefaultConfig()
	cfg.SLO = detectors.SLOConfig{Objective: 99.9, MinEvents: 0, MinFailures: math.NaN(), Services: []detectors.ServiceSLO{
		{Service: "a", Objective: .99}, {Service: "a", Objective: 1}, {Objective: .99},
	}}
	var got []string
	for _, f := range cfg.Validate() {
		got = append(got, f.Path)
	}
	want := []string{"slo.objective", "slo.min_events", "slo.min_failures", "slo.services[1].service", "slo.services[1].objective", "slo.services[2].service"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// sample is one tick as the dumb twin keeps it.
type sample struct {
	at               time.Time
	requests, failed float64
}

// twinRate recomputes a window from all samples. The bucket in which the window
// begins counts by the share that lies inside.
func twinRate(all []sample, now time.Time, tick, short, window time.Duration) (requests, failed float64) {
	width := ((short/4 + tick - 1) / tick) * tick
	window = max(window, width)
	start := now.Add(-window).UnixNano()
	latest := now.Add(-tick/2).UnixNano() / int64(width)
	for _, s := range all {
		b := s.at.Add(-tick/2).UnixNano() / int64(width)
		share := 1.
		if b != latest {
			share = math.Max(0, math.Min(1, float64((b+1)*int64(width)-start)/float64(width)))
		}
		requests += share * s.requests
		failed += share * s.failed
	}
	return requests, failed
}

func TestBurnsEqualADumbTwin(t *testing.T) {
	rules := []struct {
		long, short time.Duration
		threshold   float64
	}{{time.Hour, 5 * time.Minute, 14.4}, {6 * time.Hour, 30 * time.Minute, 6}, {5 * time.Minute, 30 * time.Second, 60}, {72 * time.Hour, 6 * time.Hour, 1}}
	rapid.Check(t, func(t *rapid.T) {
		tick := rapid.SampledFrom([]time.Duration{time.Second, 7 * time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, 20 * time.Minute}).Draw(t, "tick")
		f := newBudgetFeed(tick, stated(.999, "api"))
		var all []sample
		since := make([]time.Time, len(rules)) // when each short window began to burn
		for range rapid.IntRange(1, 12).Draw(t, "spans") {
			n := rapid.IntRange(1, 60).Draw(t, "ticks")
			traffic := rapid.SampledFrom([]float64{0, .05, 3, 100, 5000}).Draw(t, "traffic")
			ratio := rapid.SampledFrom([]float64{0, .0005, .002, .01, .1, 1}).Draw(t, "ratio")
			if rapid.IntRange(0, 4).Draw(t, "dark") == 0 {
				f.at = f.at.Add(time.Duration(n) * tick)
				continue
			}
			for range n {
				f.put(traffic, ratio)
				all = append(all, sample{f.at, traffic * tick.Seconds(), ratio * traffic * tick.Seconds()})
				for i, r := range rules {
					switch n, bad := twinRate(all, f.at, tick, r.short, r.short); {
					case n <= 0:
					case bad/n/.001 <= r.threshold:
						since[i] = time.Time{}
					case since[i].IsZero():
						since[i] = f.at
					}
				}
			}
		}
		if len(all) == 0 || !all[len(all)-1].at.Equal(f.at) {
			return // the bank has not been asked at this time
		}
		burns := f.bank.Burns()
		for i, r := range rules {
			n, bad := twinRate(all, f.at, tick, r.short, r.short)
			nLong, badLong := twinRate(all, f.at, tick, r.short, r.long)
			short, long := bad/n/.001, badLong/nLong/.001
			if near(short, r.threshold) || near(long, r.threshold) || near(nLong, 100) || near(badLong, 10) {
				continue
			}
			want := n > 0 && short > r.threshold && long > r.threshold && nLong >= 100 && badLong >= 10 && since[i].Before(f.at) && time.Duration(len(all))*tick >= r.short
			i = slices.IndexFunc(burns, func(b sre.Burn) bool { return b.Long == r.long })
			if (i >= 0) != want {
				t.Fatalf("%v at a tick of %v: %v, twin says %v (short %v, long %v)", r.long, tick, burns, want, short, long)
			}
			if i >= 0 && (!near(burns[i].ShortRate, short) || !near(burns[i].LongRate, long)) {
				t.Fatalf("%v at a tick of %v: %+v, twin says short %v, long %v", r.long, tick, burns[i], short, long)
			}
		}
	})
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-3*math.Max(math.Abs(a), math.Abs(b)) }
