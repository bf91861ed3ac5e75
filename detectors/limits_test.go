package detectors_test

import (
	"math"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func TestTimeToExhaustion(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal string
		at     func(seconds float64) float64
		want   sre.Severity
	}{
		{"steady", "memory", func(float64) float64 { return 85 }, ""},
		{"falls", "memory", func(s float64) float64 { return 95 - s/60 }, ""},
		{"rises slowly", "memory", func(s float64) float64 { return 60 + s/600 }, ""},
		{"full in minutes", "memory", func(s float64) float64 { return 60 + s/32 }, sre.Warning},
		{"full within two minutes", "memory", func(s float64) float64 { return 58 + s/25 }, sre.Critical},
		{"still half empty", "memory", func(s float64) float64 { return 10 + s/30 }, ""},
		{"a step that is over", "memory", func(s float64) float64 { return 60 + 25*math.Min(1, math.Max(0, (s-700)/10)) }, ""},
		{"a pool fills with load", "pool", func(s float64) float64 { return .55 + s/3200 }, sre.Warning},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, g := newFeed(10*time.Second, sre.EdgeSpec{}), lcg(1)
			var got sre.Severity
			for k := range 95 {
				v := c.at(float64(k) * 10)
				p, ok := of(f.put(reading{c.signal: v * (1 + .0005*g.gauss())}), "exhaustion", "")
				if !ok {
					continue
				}
				got = p.Severity
				limit := 100.
				if c.signal == "pool" {
					limit = 1
				}
				slope := (c.at(float64(k)*10) - c.at(float64(k)*10-10)) / 10
				left, want := p.Evidence[0].Now, (limit-v)/slope
				if math.Abs(left-want) > .1*want+20 {
					t.Errorf("tick %d: full in %.0f s, want %.0f s", k, left, want)
				}
			}
			if got != c.want {
				t.Errorf("severity is %q, want %q", got, c.want)
			}
		})
	}
}

func TestExhaustionIgnoresNoise(t *testing.T) {
	f, g := newFeed(10*time.Second, sre.EdgeSpec{}), lcg(5)
	for k := range 20000 {
		if p, ok := of(f.put(reading{"memory": 80 + 4*g.gauss(), "pool": math.Min(1, .8+.05*g.gauss())}), "exhaustion", ""); ok {
			t.Fatalf("tick %d: %+v", k, p)
		}
	}
}

// leader returns the sign of a service that names the mechanism: the gravest,
// then the one with the highest score.
func leader(ps []sre.Precursor, service string) sre.Precursor {
	var best sre.Precursor
	for _, p := range ps {
		if p.Service != service || p.Detector == "golden_signal" || p.Severity.Rank() <= sre.Info.Rank() {
			continue
		}
		if r, b := p.Severity.Rank(), best.Severity.Rank(); r > b || r == b && p.Score > best.Score {
			best = p
		}
	}
	return best
}

func TestWhatHoldsTheRoomIsNamed(t *testing.T) {
	full := reading{"pool": .97, "queue": 60, "latency": .6}
	for _, c := range []struct {
		name     string
		change   reading
		severity sre.Severity
		want     sre.Mechanism
	}{
		{"more load", full.but(reading{"traffic": 97}), sre.Warning, sre.Overload},
		{"more load that fails", full.but(reading{"traffic": 130, "errors": .25}), sre.Critical, sre.Overload},
		{"replicas are gone", full.but(reading{"replicas": 2}), sre.Critical, sre.SurvivorOverload},
		{"the same load is too much", full, sre.Warning, sre.CapacityDecay},
		{"half of it is too much", full.but(reading{"traffic": 40, "errors": .2}), sre.Critical, sre.CapacityDecay},
		{"thrift: full, and nobody waits", reading{"pool": .97, "traffic": 97}, "", ""},
		{"waiting with free workers", reading{"pool": .6, "queue": 20}, "", ""},
		{"a backlog of seconds before occupancy shows it", reading{"pool": .7, "queue": 150}, sre.Warning, sre.Overload},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(10*time.Second, sre.EdgeSpec{HasRetries: true, Timeout: time.Minute})
			f.times(60, healthy())
			p := leader(f.times(5, healthy().but(c.change)), "api")
			if p.Severity != c.severity || p.Mechanism != c.want {
				t.Errorf("found %q %q, want %q %q: %+v", p.Severity, p.Mechanism, c.severity, c.want, p)
			}
		})
	}
}

func TestOverloadLeavesRetryStormsToTheirDetector(t *testing.T) {
	f := newFeed(10*time.Second, threeRetries)
	f.times(60, healthy())
	ps := f.times(5, healthy().but(reading{"pool": 1, "queue": 300, "traffic": 150, "retries": 90, "errors": .5}))
	if p, ok := of(ps, "overload", ""); ok {
		t.Errorf("overload speaks too: %+v", p)
	}
	if _, ok := of(ps, "retry_storm", ""); !ok {
		t.Error("nobody speaks")
	}
}

func TestPoolHeldBySlowCallee(t *testing.T) {
	f := newFeed(10*time.Second, sre.EdgeSpec{HasRetries: true, Timeout: time.Minute})
	put := func(webNow, apiNow reading) []sre.Precursor {
		f.at = f.at.Add(f.interval)
		s := f.snapshot(apiNow)
		for row, sig := range feedSignals {
			if v, ok := webNow[sig.Name]; ok {
				s.Service.Set(row, web, sre.Reading{Value: v, State: sre.Present})
			}
		}
		return f.bank.Detect(s, nil)
	}
	own := reading{"traffic": 60, "latency": .05, "queue": 4, "pool": .4, "errors": 0}
	for range 60 {
		put(own, healthy())
	}
	var ps []sre.Precursor
	for range 5 {
		ps = put(own.but(reading{"pool": .99, "queue": 80, "latency": 2}), healthy().but(reading{"latency": 1.5}))
	}
	if p := leader(ps, "web"); p.Mechanism != sre.PoolExhaustion {
		t.Errorf("the pool of web: %+v", p)
	}
	if p := leader(ps, "api"); p.Mechanism != sre.SlowDependency {
		t.Errorf("api, which holds it: %+v", p)
	}
}
