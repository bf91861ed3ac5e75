package detectors

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/sreagent/sreagent/sre"
)

func budgets(n int) (*burnRate, *sre.Snapshot) {
	services := make([]sre.Service, n)
	for i := range services {
		services[i] = sre.Service{Name: fmt.Sprintf("s%05d", i), Entry: true}
	}
	s := &sre.Snapshot{
		At: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), Interval: 15 * time.Second, Graph: sre.NewGraph(services, nil),
		Signals: []sre.Signal{{Name: "t", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "e", Kind: sre.Errors, Unit: sre.Ratio}},
		Service: sre.NewMatrix(2, n),
	}
	for i := range services {
		s.Service.Set(0, i, sre.Reading{Value: 50, State: sre.Present})
		s.Service.Set(1, i, sre.Reading{Value: .0005, State: sre.Present})
	}
	return newBurnRate(DefaultConfig()), s
}

func TestBurnMemoryIsBounded(t *testing.T) {
	b, s := budgets(10)
	for range 2000 {
		s.At = s.At.Add(s.Interval)
		b.Detect(s, nil, nil)
	}
	size := len(b.tracked)*int(unsafe.Sizeof(burnService{})) + 8*len(b.since)
	for _, r := range b.rings {
		size += 8*len(r.open) + 4*len(r.closed)
	}
	if per := size / 10; per > 2048 {
		t.Errorf("%d bytes per service, want at most 2048", per)
	}
}

func TestBurnAllocatesNothing(t *testing.T) {
	b, s := budgets(20)
	b.Detect(s, nil, nil)
	if n := testing.AllocsPerRun(500, func() {
		s.At = s.At.Add(s.Interval)
		b.Detect(s, nil, nil)
	}); n > 0 {
		t.Errorf("%v allocations per tick", n)
	}
}

// BenchmarkBurn counts every service as an entry: the dearest case.
func BenchmarkBurn(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			d, s := budgets(n)
			b.ReportAllocs()
			for b.Loop() {
				s.At = s.At.Add(s.Interval)
				d.Detect(s, nil, nil)
			}
		})
	}
}
