package detectors_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func TestSlownessFarFromAnybodysPatienceIsANote(t *testing.T) {
	for timeout, want := range map[time.Duration]sre.Severity{
		500 * time.Millisecond: sre.Info,    // 60 ms of it is nothing
		100 * time.Millisecond: sre.Warning, // 60 ms of it hurts
		0:                      sre.Warning, // nobody knows, so slowness counts by itself
	} {
		f := newFeed(10*time.Second, sre.EdgeSpec{Timeout: timeout, HasRetries: true})
		f.times(60, healthy())
		p, ok := of(f.times(12, healthy().but(reading{"latency": .06})), "golden_signal", sre.Latency)
		if !ok || p.Severity != want {
			t.Errorf("timeout %s: %s, want %s", timeout, p.Severity, want)
		}
	}
}

// What more load alone explains, of a service with room left, is a note until it
// comes near the callers' patience.
func TestSlownessOfAServiceThatCarriesMoreLoad(t *testing.T) {
	busier := reading{"traffic": 78, "pool": .74, "latency": .06}
	for _, c := range []struct {
		name    string
		timeout time.Duration
		change  reading
		want    sre.Severity
	}{
		{"the load explains it", 200 * time.Millisecond, busier, sre.Info},
		{"it comes near the callers' patience", 100 * time.Millisecond, busier, sre.Warning},
		{"nobody's patience is known", 0, busier, sre.Info},
		{"hardly more load", 200 * time.Millisecond, busier.but(reading{"traffic": 66}), sre.Warning},
		{"no room is left", 200 * time.Millisecond, busier.but(reading{"pool": .85}), sre.Warning},
		{"nobody knows of the room", 200 * time.Millisecond, reading{"traffic": 78, "pool": math.NaN(), "latency": .06}, sre.Warning},
		{"some of it fails", 200 * time.Millisecond, busier.but(reading{"errors": .03}), sre.Warning},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(10*time.Second, sre.EdgeSpec{Timeout: c.timeout, HasRetries: true})
			f.times(60, healthy())
			p, ok := of(f.times(12, healthy().but(c.change)), "golden_signal", sre.Latency)
			if !ok || p.Severity != c.want {
				t.Errorf("%s, want %s", p.Severity, c.want)
			}
		})
	}
}

func TestGoldenSignals(t *testing.T) {
	none := sre.Severity("none")
	for _, c := range []struct {
		name   string
		kind   sre.SignalKind
		change reading
		want   sre.Severity
	}{
		{"nothing changes", sre.Errors, nil, none},
		{"errors rise", sre.Errors, reading{"errors": .1}, sre.Warning},
		{"errors rise by too little to matter", sre.Errors, reading{"errors": .004}, none},
		{"latency rises fivefold", sre.Latency, reading{"latency": .1}, sre.Warning},
		{"tail latency rises", sre.Latency, reading{"tail": .8}, sre.Warning},
		{"latency falls", sre.Latency, reading{"latency": .005}, none},
		{"latency rises less than matters", sre.Latency, reading{"latency": .0245}, sre.Info},
		{"traffic triples", sre.Traffic, reading{"traffic": 180}, sre.Info},
		{"traffic vanishes", sre.Traffic, reading{"traffic": 0}, sre.Info},
		{"occupancy rises inside its limits", sre.Pool, reading{"pool": .75}, sre.Info},
		{"occupancy rises high", sre.Pool, reading{"pool": .9}, sre.Warning},
		{"occupancy falls", sre.Pool, reading{"pool": .1}, none},
		{"memory use rises high", sre.Saturation, reading{"memory": 95}, sre.Warning},
		{"backlog doubles", sre.Queue, reading{"queue": 12}, sre.Info},
		{"backlog explodes", sre.Queue, reading{"queue": 120}, sre.Warning},
		{"cache is lost", sre.Cache, reading{"cache": .4}, sre.Warning},
		{"cache gets better", sre.Cache, reading{"cache": 1}, none},
		{"replicas go down a little", sre.Replicas, reading{"replicas": 2}, sre.Info},
		{"replicas are all gone", sre.Replicas, reading{"replicas": 0}, sre.Warning},
		{"callers give up", sre.Timeouts, reading{"timeouts": 10}, sre.Warning},
		{"retries rise", sre.Retries, reading{"retries": 20}, sre.Info},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(10*time.Second, sre.EdgeSpec{})
			f.times(60, healthy())
			changed := f.at.Add(f.interval)
			ps := f.times(12, healthy().but(c.change))
			p, ok := of(ps, "golden_signal", c.kind)
			if !ok {
				if c.want != none {
					t.Fatalf("found nothing, want %s", c.want)
				}
				return
			}
			if p.Severity != c.want {
				t.Errorf("severity is %s, want %s: %+v", p.Severity, c.want, p)
			}
			if p.Service != "api" || p.Score <= 0 || p.Score > 1 {
				t.Errorf("sign is %+v", p)
			}
			if gap := changed.Sub(p.Since); gap < 0 || gap > f.interval {
				t.Errorf("onset is %v before the change, want the sample before it", gap)
			}
			if len(p.Evidence) == 0 || !strings.Contains(p.Evidence[0].Meaning, "(usual ") {
				t.Errorf("evidence is not in words: %+v", p.Evidence)
			}
		})
	}
}

func TestOneBadSampleIsNoAnomaly(t *testing.T) {
	f := newFeed(10*time.Second, sre.EdgeSpec{})
	f.times(60, healthy())
	for k := range 40 {
		r := healthy()
		if k%5 < 2 {
			r = r.but(reading{"errors": .5, "latency": 1})
		}
		for _, p := range f.put(r) {
			if p.Detector == "golden_signal" && p.Kind == sre.Errors && k < 3 {
				t.Fatalf("tick %d: %+v", k, p)
			}
		}
	}
	f = newFeed(10*time.Second, sre.EdgeSpec{})
	f.times(60, healthy())
	found := f.put(healthy().but(reading{"errors": .5}))
	found = append(found, f.times(10, healthy())...)
	if p, ok := of(found, "golden_signal", sre.Errors); ok {
		t.Errorf("a single sample raised %+v", p)
	}
}

// TestDetectionTimeFollowsTheClockAndNotTheTick: a small lasting shift needs
// about as many seconds at one sample per second as at one in ten.
func TestDetectionTimeFollowsTheClockAndNotTheTick(t *testing.T) {
	seconds := func(interval time.Duration) float64 {
		f := newFeed(interval, sre.EdgeSpec{})
		f.times(int(30*time.Minute/interval), healthy())
		start := f.at
		for range 1000 {
			if _, ok := of(f.put(healthy().but(reading{"latency": .023})), "golden_signal", sre.Latency); ok {
				return f.at.Sub(start).Seconds() - 2*interval.Seconds() // two more samples confirm it
			}
		}
		t.Fatal("never found")
		return 0
	}
	fast, slow := seconds(time.Second), seconds(10*time.Second)
	if fast > 1.3*slow || slow > 1.3*fast {
		t.Errorf("found after %.0f s at one sample per second, after %.0f s at one in ten", fast, slow)
	}
}

func TestLittleTrafficProvesLittle(t *testing.T) {
	quiet := reading{"traffic": .2, "errors": 0, "latency": .02}
	f := newFeed(15*time.Second, sre.EdgeSpec{})
	f.times(60, quiet)
	// One of three requests of one window fails: a ratio of a third.
	for range 3 {
		ps := f.put(quiet.but(reading{"errors": .33}))
		ps = append(ps, f.put(quiet)...)
		ps = append(ps, f.times(20, quiet)...)
		if p, ok := of(ps, "golden_signal", sre.Errors); ok {
			t.Fatalf("one failed request raised %+v", p)
		}
	}
	// Every request fails for more than a minute: that is enough.
	if _, ok := of(f.times(6, quiet.but(reading{"errors": 1})), "golden_signal", sre.Errors); !ok {
		t.Error("a service that only fails was not found")
	}
}

func TestFrozenBaselineDoesNotMove(t *testing.T) {
	f := newFeed(10*time.Second, sre.EdgeSpec{})
	f.times(60, healthy())
	f.frozen = []bool{false, true}
	bad := healthy().but(reading{"latency": .2, "errors": .2})
	f.times(5, bad)
	early, _ := of(f.put(bad), "golden_signal", sre.Latency)
	late, ok := of(f.times(500, bad), "golden_signal", sre.Latency)
	if !ok {
		t.Fatal("the frozen service has learned its trouble")
	}
	if early.Evidence[0].Normal != late.Evidence[0].Normal || early.Score != late.Score {
		t.Errorf("baseline moved from %v to %v", early.Evidence[0].Normal, late.Evidence[0].Normal)
	}
	f.frozen = nil
	f.times(500, bad)
	if p, ok := of(f.put(bad), "golden_signal", sre.Latency); ok {
		t.Errorf("a service that is not frozen must get used to its new level: %+v", p)
	}
}

func TestWeakerRepeatIsOnlyNoted(t *testing.T) {
	f := newFeed(10*time.Second, sre.EdgeSpec{})
	f.times(600, healthy())
	bad := func(l float64) sre.Severity {
		p, _ := of(f.times(4, healthy().but(reading{"latency": l})), "golden_signal", sre.Latency)
		return p.Severity
	}
	if got := bad(.06); got != sre.Warning {
		t.Fatalf("first episode is %q", got)
	}
	f.times(10, healthy())
	if got := bad(.05); got != sre.Info {
		t.Errorf("weaker repeat within ten minutes is %q", got)
	}
	f.times(10, healthy())
	if got := bad(.5); got != sre.Warning {
		t.Errorf("far stronger repeat is %q", got)
	}
	f.times(100, healthy())
	bad(.06)
	if got := bad(.06); got != sre.Warning {
		t.Errorf("episode after the quiet time is %q", got)
	}
}

func TestSignsOutliveTheirReadingsForAWhile(t *testing.T) {
	f := newFeed(10*time.Second, sre.EdgeSpec{})
	f.times(60, healthy())
	seen, ok := of(f.times(6, healthy().but(reading{"errors": .3})), "golden_signal", sre.Errors)
	if !ok {
		t.Fatal("no sign to hold")
	}
	held, ok := of(f.put(reading{}), "golden_signal", sre.Errors)
	if !ok || held.Score >= seen.Score || held.Severity != seen.Severity {
		t.Errorf("without readings the sign is %+v, want the same one, weaker", held)
	}
	if ps := f.times(13, reading{}); len(ps) > 0 {
		t.Errorf("after more than two minutes without readings: %+v", ps)
	}
	// With readings of that kind present again, nothing is held.
	f.times(6, healthy().but(reading{"errors": .3}))
	if _, ok := of(f.times(8, healthy()), "golden_signal", sre.Errors); ok {
		t.Error("the sign stays although readings are good")
	}
}

func TestSteadySeriesHasAFloor(t *testing.T) {
	// No variance at all: without a floor any change would be infinite.
	f := newFeed(10*time.Second, sre.EdgeSpec{})
	f.times(100, healthy())
	ps := f.times(20, healthy().but(reading{"errors": .0012, "latency": .0202, "pool": .605, "cache": .945}))
	if len(ps) > 0 {
		t.Errorf("hair-thin changes were found: %+v", ps)
	}
}

func TestNoiseRaisesNothing(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 15 * time.Second} {
		f, g := newFeed(interval, sre.EdgeSpec{}), lcg(7)
		for k := range 20000 {
			day := math.Sin(2 * math.Pi * f.at.Sub(time.Time{}).Seconds() / 86400)
			load := 40 * (1 + .5*day)
			n := func(x, sd float64) float64 { return math.Max(0, x*(1+sd*g.gauss())) }
			ps := f.put(reading{
				"traffic": n(load, .05), "errors": n(.002, .3), "latency": n(.02+load/20000, .05), "tail": n(.08, .08),
				"queue": math.Round(n(load/20, .2)), "pool": n(load/100, .04), "memory": n(40, .01), "retries": n(.1, .3),
			})
			for _, p := range ps {
				if p.Severity != sre.Info {
					t.Fatalf("%v, tick %d: %+v", interval, k, p)
				}
			}
		}
	}
}

// TestYoungBaselinesOnOverlappingWindows: at one sample per second over rate
// windows of fifteen, the first samples are nearly the same one, and a baseline
// made of them must not take the next window for trouble.
func TestYoungBaselinesOnOverlappingWindows(t *testing.T) {
	for seed := range 100 {
		f, g := newFeed(time.Second, threeRetries), lcg(seed)
		windows := map[string][]float64{}
		// noisy is the mean of the last fifteen seconds, which wanders by sd.
		noisy := func(name string, x, sd float64) float64 {
			w := append(windows[name], x*(1+sd*math.Sqrt(15)*g.gauss()))
			if len(w) > 15 {
				w = w[1:]
			}
			windows[name] = w
			var sum float64
			for _, v := range w {
				sum += v
			}
			return math.Max(0, sum/float64(len(w)))
		}
		for range 15 { // the window has filled before the first look
			noisy("traffic", 60, .04)
			noisy("latency", .02, .06)
			noisy("tail", .08, .12)
			noisy("pool", .6, .05)
			noisy("errors", .002, .5)
		}
		for k := range 300 {
			ps := f.put(reading{
				"traffic": noisy("traffic", 60, .04), "latency": noisy("latency", .02, .06), "tail": noisy("tail", .08, .12),
				"pool": noisy("pool", .6, .05), "errors": noisy("errors", .002, .5),
				"queue": math.Max(0, math.Round(6+2.5*g.gauss())), "retries": .1, "timeouts": 0,
			})
			for _, p := range ps {
				if p.Severity != sre.Info {
					t.Fatalf("seed %d, second %d: %+v", seed, k, p)
				}
			}
		}
	}
}
