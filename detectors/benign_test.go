package detectors_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// TestBenignDayOfAFleet: two days with a threefold peak, deploys that shift
// latency a little, a noisy neighbour, lost scrapes and a crowd inside the
// capacity raise nothing that people would be told of.
func TestBenignDayOfAFleet(t *testing.T) {
	const n = 100
	const tick = 30 * time.Second
	services := make([]sre.Service, n)
	for i := range services {
		services[i] = sre.Service{Name: fmt.Sprintf("s%03d", i)}
	}
	graph := sre.NewGraph(services, nil)
	bank, g := detectors.New(detectors.DefaultConfig()), lcg(17)
	at := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for k := range int(48 * time.Hour / tick) {
		at = at.Add(tick)
		s := &sre.Snapshot{At: at, Interval: tick, Graph: graph, Signals: feedSignals, Service: sre.NewMatrix(len(feedSignals), n)}
		day := 2 - math.Cos(2*math.Pi*at.Sub(at.Truncate(24*time.Hour)).Hours()/24) // 1 to 3
		for i := range n {
			if (k+i*37)%500 == 0 {
				continue // the scrape was lost
			}
			load := 20 * day
			if i%10 == 3 && k%700 > 640 {
				load *= 1.8 // a crowd
			}
			latency := 1 + .2*load/100
			if hour := k / 120; i%5 == 1 && hour%24 >= 10 {
				latency *= 1.1 // since the deploy of ten o'clock
			}
			if i%20 == 7 {
				latency *= math.Pow(1-g.next(), -.25) // a noisy neighbour
			}
			if i%5 == 1 && k%2880 == 1200 {
				s.Changes = append(s.Changes, sre.Change{ID: "v", Service: services[i].Name, At: at})
			}
			r := noisy(&g, load, latency, .001, tick)
			r["pool"] = math.Max(0, load/150+.02*g.gauss())
			for row, sig := range feedSignals {
				if v, ok := r[sig.Name]; ok {
					s.Service.Set(row, i, sre.Reading{Value: v, State: sre.Present})
				}
			}
		}
		for _, p := range bank.Detect(s, nil) {
			if p.Severity != sre.Info && p.Detector == "golden_signal" {
				t.Errorf("%v: %+v", at, p)
			}
		}
	}
}
