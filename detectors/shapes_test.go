package detectors_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// shape is what befalls the latency and the errors of a service, as a function
// of the time since it began. It returns factors, and whether readings come.
type shape struct {
	name    string
	at      func(since time.Duration) (latency float64, errors float64, comes bool)
	want    bool // it is trouble, and must be found
	allowed time.Duration
}

func shapes() []shape {
	return []shape{
		{"step", func(time.Duration) (float64, float64, bool) { return 3, 0, true }, true, 2 * time.Minute},
		{"step of errors", func(time.Duration) (float64, float64, bool) { return 1, .3, true }, true, 2 * time.Minute},
		{"ramp over ten minutes", func(s time.Duration) (float64, float64, bool) {
			return 1 + 3*min(1, s.Minutes()/10), 0, true
		}, true, 10 * time.Minute},
		{"spike of one sample", func(s time.Duration) (float64, float64, bool) {
			if s == 0 {
				return 8, .5, true
			}
			return 1, 0, true
		}, false, 0},
		{"small level shift", func(time.Duration) (float64, float64, bool) { return 1.15, 0, true }, false, 0},
		{"drift over a day", func(s time.Duration) (float64, float64, bool) { return 1 + s.Hours()/24, 0, true }, false, 0},
		{"dropout", func(s time.Duration) (float64, float64, bool) { return 1, 0, s > 5*time.Minute }, false, 0},
	}
}

// noisy is one tick of a healthy service at a rate of requests per second, with
// the noise that counting that many requests makes.
func noisy(g *lcg, rps, latency, errors float64, window time.Duration) reading {
	n := math.Max(1, rps*window.Seconds())
	failed := math.Round(math.Max(0, n*errors+math.Sqrt(n*errors*(1-errors))*g.gauss()))
	return reading{
		"traffic": math.Max(0, rps+math.Sqrt(rps/window.Seconds())*g.gauss()),
		"latency": .05 * latency * (1 + .2*math.Abs(g.gauss())/math.Sqrt(math.Min(n, 25))),
		"errors":  math.Min(1, failed/n),
		"pool":    math.Max(0, .4+.02*g.gauss()),
	}
}

func warned(ps []sre.Precursor) bool {
	return slices.ContainsFunc(ps, func(p sre.Precursor) bool { return p.Severity != sre.Info })
}

// TestShapes: every shape at every tick and at loads from one request in a
// hundred seconds to a thousand per second. Where few requests come, nothing
// need be found, but nothing may be made up either.
func TestShapes(t *testing.T) {
	for _, sh := range shapes() {
		for _, interval := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 5 * time.Minute} {
			for _, rps := range []float64{.01, 1, 10, 1000} {
				t.Run(fmt.Sprintf("%s/%v/%v", sh.name, interval, rps), func(t *testing.T) {
					window := max(interval, 15*time.Second)
					f, g := newFeed(interval, sre.EdgeSpec{}), lcg(11)
					for range 400 {
						if ps := f.put(noisy(&g, rps, 1, .001, window)); warned(ps) {
							t.Fatalf("before anything happened: %+v", ps)
						}
					}
					enough := rps*window.Seconds() >= 20
					began := f.at.Add(interval)
					for f.at.Sub(began) < max(20*time.Minute, 8*interval) {
						latency, errors, comes := sh.at(f.at.Add(interval).Sub(began))
						r := reading{}
						if comes {
							r = noisy(&g, rps, latency, errors+.001, window)
						}
						ps := f.put(r)
						if !warned(ps) {
							continue
						}
						if !sh.want && interval > 30*time.Second && enough {
							return // a sample covers more than the persistence
						}
						if !sh.want {
							t.Fatalf("after %v: %+v", f.at.Sub(began), ps)
						}
						if late := f.at.Sub(began); late > max(sh.allowed, 3*interval) && enough {
							t.Errorf("found after %v", late)
						}
						return
					}
					if sh.want && enough {
						t.Error("not found")
					}
				})
			}
		}
	}
}

// TestHeavyTailsAreNoTrouble: a series that leaps tenfold now and then by itself
// is judged by that, once that has been seen.
func TestHeavyTailsAreNoTrouble(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute} {
		f, g := newFeed(interval, sre.EdgeSpec{}), lcg(5)
		alarms := 0
		for k := range 20000 {
			leap := math.Pow(1-g.next(), -.5) // Pareto with infinite variance
			ps := f.put(noisy(&g, 20, leap, .001, max(interval, 15*time.Second)))
			if k > 200 && warned(ps) {
				alarms++
			}
		}
		if alarms > 20 {
			t.Errorf("%v: %d of 20000 ticks in alarm", interval, alarms)
		}
	}
}

// TestAgreementIsEvidence: deviations too weak to be told from chance one by one
// are found where they come together.
func TestAgreementIsEvidence(t *testing.T) {
	found := func(r reading) bool {
		f, g := newFeed(time.Minute, sre.EdgeSpec{}), lcg(2)
		for range 300 {
			f.put(noisy(&g, 50, 1, .001, time.Minute))
		}
		for range 2 {
			if warned(f.put(noisy(&g, 50, 1, .001, time.Minute).but(r))) {
				return true
			}
		}
		return false
	}
	slow, busy, lost := reading{"latency": .095}, reading{"pool": .62}, reading{"traffic": 35}
	both := reading{}.but(slow).but(busy).but(lost)
	if found(busy) || found(lost) {
		t.Error("a busier pool or less traffic alone is an alarm")
	}
	if !found(both) {
		t.Error("slowness with a busier pool and less traffic is none")
	}
}

// TestNightlyJobIsExcused: from the second night on, what comes every night at
// the same hour is usual, and the same at noon is not.
func TestNightlyJobIsExcused(t *testing.T) {
	f, g := newFeed(time.Minute, sre.EdgeSpec{}), lcg(8)
	put := func(slow bool) bool {
		latency := 1.
		if slow {
			latency = 4
		}
		return warned(f.put(noisy(&g, 50, latency, .001, time.Minute)))
	}
	nights := map[int]int{}
	for day := range 6 {
		for minute := range 24 * 60 {
			late := day % 3 * 5 // it is not punctual
			if put(minute >= 120+late && minute < 180+late) {
				nights[day]++
			}
		}
	}
	if nights[0] == 0 {
		t.Error("the first night is not noticed")
	}
	for day := 3; day < 6; day++ {
		if nights[day] > 0 {
			t.Errorf("night %d is %d minutes in alarm", day, nights[day])
		}
	}
	for range 12 * 60 {
		put(false)
	}
	noon := 0
	for range 20 {
		if put(true) {
			noon++
		}
	}
	if noon == 0 {
		t.Error("the same at noon is not noticed")
	}
}

// TestAWeekLaterTheSame: verdicts depend on the hour of the week and not on the
// date.
func TestAWeekLaterTheSame(t *testing.T) {
	now, later := newFeed(time.Minute, threeRetries), newFeed(time.Minute, threeRetries)
	const week = 7 * 24 * time.Hour
	later.at = later.at.Add(week)
	g := lcg(21)
	for k := range 3000 {
		r := noisy(&g, 30, 1, .001, time.Minute)
		if k%700 > 690 {
			r = r.but(reading{"latency": .4, "errors": .2})
		}
		a, b := now.put(r), later.put(r)
		for i := range b {
			b[i].Since = b[i].Since.Add(-week)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("tick %d:\n%s", k, diff)
		}
	}
}

// TestOrderOfServicesDoesNotMatter: the same fleet in another order has the same
// signs.
func TestOrderOfServicesDoesNotMatter(t *testing.T) {
	const n = 6
	bank, turned := detectors.New(detectors.DefaultConfig()), detectors.New(detectors.DefaultConfig())
	var forth, back []sre.Service
	var edges, otherEdges []sre.Edge
	for i := range n {
		forth = append(forth, sre.Service{Name: fmt.Sprintf("s%d", i)})
		back = append(back, sre.Service{Name: fmt.Sprintf("s%d", n-1-i)})
		if i > 0 {
			edges = append(edges, sre.Edge{From: i - 1, To: i})
			otherEdges = append(otherEdges, sre.Edge{From: n - i, To: n - 1 - i})
		}
	}
	one, two := sre.NewGraph(forth, edges), sre.NewGraph(back, otherEdges)
	g, at := lcg(4), time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for k := range 300 {
		at = at.Add(15 * time.Second)
		a := &sre.Snapshot{At: at, Interval: 15 * time.Second, Graph: one, Signals: feedSignals, Service: sre.NewMatrix(len(feedSignals), n), Edge: sre.NewMatrix(0, n-1)}
		b := *a
		b.Graph, b.Service = two, sre.NewMatrix(len(feedSignals), n)
		for i := range n {
			r := noisy(&g, 30, 1, .001, 15*time.Second)
			if i == 2 && k > 280 {
				r = r.but(reading{"latency": .5, "errors": .4})
			}
			for row, sig := range feedSignals {
				if v, ok := r[sig.Name]; ok {
					a.Service.Set(row, i, sre.Reading{Value: v, State: sre.Present})
					b.Service.Set(row, n-1-i, sre.Reading{Value: v, State: sre.Present})
				}
			}
		}
		if diff := cmp.Diff(bank.Detect(a, nil), turned.Detect(&b, nil)); diff != "" {
			t.Fatalf("tick %d:\n%s", k, diff)
		}
	}
}

// TestUnitDoesNotMatter: sizes in bytes and in mebibytes of bytes move alike.
func TestUnitDoesNotMatter(t *testing.T) {
	sig := []sre.Signal{{Name: "heap", Kind: sre.Saturation, Unit: sre.Bytes}}
	graph := sre.NewGraph([]sre.Service{{Name: "api"}}, nil)
	scores := func(factor float64) []float64 {
		bank, g := detectors.New(detectors.DefaultConfig()), lcg(6)
		at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
		var out []float64
		for k := range 400 {
			at = at.Add(15 * time.Second)
			s := &sre.Snapshot{At: at, Interval: 15 * time.Second, Graph: graph, Signals: sig, Service: sre.NewMatrix(1, 1)}
			v := 1e6 * (1 + .1*g.gauss())
			if k > 380 {
				v *= 4
			}
			s.Service.Set(0, 0, sre.Reading{Value: factor * v, State: sre.Present})
			for _, p := range bank.Detect(s, nil) {
				out = append(out, p.Score)
			}
		}
		return out
	}
	a, b := scores(1), scores(1<<20)
	if len(a) == 0 || !slices.Equal(a, b) {
		t.Errorf("%v and %v", a, b)
	}
}

// TestSilenceUnderFailingCallersIsASign: readings that stop mean nothing, until
// those who call the service fail.
func TestSilenceUnderFailingCallersIsASign(t *testing.T) {
	for _, failing := range []bool{false, true} {
		f := newFeed(10*time.Second, sre.EdgeSpec{})
		put := func(apiTo, webTo reading) []sre.Precursor {
			f.at = f.at.Add(f.interval)
			s := f.snapshot(apiTo)
			for row, sig := range feedSignals {
				if v, ok := webTo[sig.Name]; ok {
					s.Service.Set(row, web, sre.Reading{Value: v, State: sre.Present})
				}
			}
			return f.bank.Detect(s, nil)
		}
		for range 60 {
			put(healthy(), healthy())
		}
		caller := healthy()
		if failing {
			caller["errors"] = .5
		}
		silent := false
		for range 6 {
			for _, p := range put(reading{}, caller) {
				silent = silent || p.Service == "api" && p.Evidence[0].Signal == "silence"
			}
		}
		if silent != failing {
			t.Errorf("callers fail: %v, silence is a sign: %v", failing, silent)
		}
	}
}

// TestFreshChangeIsGivenSomeRoom: right after a change the same deviation counts
// for less.
func TestFreshChangeIsGivenSomeRoom(t *testing.T) {
	score := func(changed bool) float64 {
		f, g := newFeed(30*time.Second, sre.EdgeSpec{}), lcg(9)
		for range 200 {
			f.put(noisy(&g, 20, 1, .001, 30*time.Second))
		}
		if changed {
			f.changes = []sre.Change{{ID: "v2", Service: "api", At: f.at}}
		}
		for range 6 {
			if p, ok := of(f.put(noisy(&g, 20, 2, .001, 30*time.Second)), "golden_signal", sre.Latency); ok {
				return p.Score
			}
		}
		return 0
	}
	with, without := score(true), score(false)
	if with <= 0 || with >= without {
		t.Errorf("score %.2f after a change, %.2f without", with, without)
	}
}
