package detectors_test

import (
	"slices"
	"testing"

	"github.com/sreagent/sreagent/sre"
)

// TestOccupancyThatClimbsIsForetold: before anything waits. The usual occupancy
// of db is .3 at 60 requests per second.
func TestOccupancyThatClimbsIsForetold(t *testing.T) {
	for _, c := range []struct {
		name       string
		use        []float64
		load       float64 // requests per second at an occupancy of 1; 0 is as many as ever
		mechanisms []sre.Mechanism
	}{
		{"more work, slowly", []float64{.74, .8, .86}, 200, []sre.Mechanism{sre.Overload}},
		{"more work, at once", []float64{.9}, 200, []sre.Mechanism{sre.Overload}},
		{"one step that stays", []float64{.77, .77, .77}, 200, nil},
		{"a climb that has far to go", []float64{.35, .45, .55}, 200, nil},
		{"a crawl", []float64{.76, .77, .78}, 200, nil},
		{"less speed, slowly", []float64{.58, .66, .74}, 0, []sre.Mechanism{sre.CapacityDecay}},
		{"less speed, at once", []float64{.88}, 0, []sre.Mechanism{sre.CapacityDecay, sre.Overload}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown()
			w.tick(60, 0, nil)
			var ps []sre.Precursor
			for _, use := range c.use {
				rates := reading{"db pool": use}
				if c.load > 0 {
					rates["db traffic"], rates["api->db calls"] = use*c.load, use*c.load
				}
				ps = w.but(rates).tick(1, 0, nil)
			}
			var got []sre.Mechanism
			for _, d := range []string{"capacity_decay", "overload"} {
				if p, ok := of(ps, d, ""); ok && p.Service == "db" {
					if p.Severity != sre.Warning {
						t.Errorf("a forecast is %s", p.Severity)
					}
					got = append(got, p.Mechanism)
				}
			}
			if !slices.Equal(got, c.mechanisms) {
				t.Errorf("found %v, want %v", got, c.mechanisms)
			}
		})
	}
}

// TestLeakBehindBusierProcessors: the fuller of two bounds hides the pool, which
// has a reading of its own.
func TestLeakBehindBusierProcessors(t *testing.T) {
	w, g := newTown(), lcg(4)
	w.but(reading{"api members": .1}).tick(120, .01, &g)
	for k := range 30 {
		size := 1 - .02*float64(k) // every ten seconds
		ps := w.but(reading{"api members": .1 / size}).tick(1, .01, &g)
		if p, ok := of(ps, "pool_leak", ""); ok {
			if p.Service != "api" || p.Mechanism != sre.PoolExhaustion || k < 5 {
				t.Errorf("step %d: %+v", k, p)
			}
			return
		}
	}
	t.Error("never seen")
}
