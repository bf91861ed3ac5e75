package detectors_test

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// prepared returns a warm bank over n services with ten signals, and several
// snapshots to go round, so that values change from tick to tick.
func prepared(n int) (*detectors.Bank, []*sre.Snapshot) {
	bank := detectors.New(detectors.DefaultConfig())
	s, g := fleet(n)
	for _, interval := range []time.Duration{10 * time.Minute, s.Interval} { // the longer for calendars to be there
		s.Interval = interval
		for range 40 {
			s = refresh(s, g)
			bank.Detect(s, nil)
		}
	}
	var ring []*sre.Snapshot
	for range 4 {
		copied := *s
		copied.Service, copied.Edge = sre.NewMatrix(len(s.Signals), n), sre.NewMatrix(len(s.EdgeSignals), len(s.Graph.Edges))
		ring = append(ring, refresh(&copied, g))
	}
	return bank, ring
}

// spin runs the bank b.N ticks on and returns the nanoseconds of one.
func spin(b *testing.B, bank *detectors.Bank, ring []*sre.Snapshot) float64 {
	at, next := ring[len(ring)-1].At, sre.Snapshot{}
	k := 0
	for b.Loop() {
		next = *ring[k%len(ring)]
		at = at.Add(next.Interval)
		next.At = at
		bank.Detect(&next, nil)
		k++
	}
	return float64(b.Elapsed().Nanoseconds()) / float64(b.N)
}

// BenchmarkSeriesTick is the cost of all detectors by series and tick.
func BenchmarkSeriesTick(b *testing.B) {
	bank, ring := prepared(1000)
	b.ReportAllocs()
	b.ReportMetric(spin(b, bank, ring)/(1000*10), "ns/series")
}

// BenchmarkBankTick10000 is one tick of 10,000 services with ten signals.
func BenchmarkBankTick10000(b *testing.B) {
	bank, ring := prepared(10000)
	b.ReportAllocs()
	b.ReportMetric(spin(b, bank, ring)/1e6, "ms/tick")
}

// alternate runs a fleet and one of twice its size turn by turn and returns the
// nanoseconds of every tick of both: what else the machine does meets them alike.
func alternate(n int, more func() bool) (half, whole []float64) {
	type side struct {
		bank *detectors.Bank
		ring []*sre.Snapshot
		at   time.Time
	}
	sides := make([]side, 2)
	for i := range sides {
		bank, ring := prepared(n << i)
		sides[i] = side{bank, ring, ring[len(ring)-1].At}
	}
	took := make([][]float64, len(sides))
	for k := 0; more(); k++ {
		for i := range sides {
			x := &sides[i]
			next := *x.ring[k%len(x.ring)]
			x.at = x.at.Add(next.Interval)
			next.At = x.at
			began := time.Now()
			x.bank.Detect(&next, nil)
			took[i] = append(took[i], float64(time.Since(began).Nanoseconds()))
		}
	}
	return took[0], took[1]
}

func medianOf(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// BenchmarkBankDoubling compares a tick of 10,000 services with one of 5,000.
func BenchmarkBankDoubling(b *testing.B) {
	half, whole := alternate(5000, b.Loop)
	b.ReportMetric(medianOf(whole)/medianOf(half), "times-half")
}

// TestTickGrowsWithTheFleet: four times as long for twice the fleet would mean a
// cost that grows with its square. The quickest of many ticks is compared, which
// other work on the machine disturbs least.
func TestTickGrowsWithTheFleet(t *testing.T) {
	rounds := 0
	half, whole := alternate(400, func() bool { rounds++; return rounds <= 40 })
	if ratio := slices.Min(whole) / slices.Min(half); ratio > 3.5 {
		t.Errorf("twice the fleet takes %.1f times as long", ratio)
	}
}

// BenchmarkBankMemory is what one series takes, its calendar included.
func BenchmarkBankMemory(b *testing.B) {
	const n = 1000
	for b.Loop() {
		var before, after runtime.MemStats
		s, g := fleet(n)
		s.Interval = 10 * time.Minute
		s = refresh(s, g)
		runtime.GC()
		runtime.ReadMemStats(&before)
		bank := detectors.New(detectors.DefaultConfig())
		for range 40 { // more than the half hours after which calendars are made
			next := *s
			next.At = s.At.Add(s.Interval)
			s = &next
			bank.Detect(s, nil)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/(n*float64(len(s.Signals))), "B/series")
		runtime.KeepAlive(bank)
	}
}

// BenchmarkBankState saves and restores 1,000 services with ten signals.
func BenchmarkBankState(b *testing.B) {
	bank, _ := prepared(1000)
	b.ReportAllocs()
	for b.Loop() {
		if err := bank.Restore(bank.State()); err != nil {
			b.Fatal(err)
		}
	}
}
