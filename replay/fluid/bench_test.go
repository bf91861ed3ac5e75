package fluid

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// BenchmarkFleet runs fleets in health. One core is used.
func BenchmarkFleet(b *testing.B) {
	for _, n := range []int{100, 300, 1000, 3000, 5000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := mustNew(b, Fleet(FleetOptions{Services: n, Seed: 1, Retries: 3}))
			m.Advance(20 * time.Second)
			steps(b, m)
		})
	}
}

// BenchmarkCollapse runs fleets that a cascade holds down: every service has a
// backlog, and retries are everywhere.
func BenchmarkCollapse(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := mustNew(b, Fleet(FleetOptions{Services: n, Seed: 1, Retries: 3, ClientRetries: 3}))
			m.Advance(20 * time.Second)
			m.SetCondition(busiestLeaf(m.plan), Condition{Capacity: 0.2})
			m.Advance(90 * time.Second)
			steps(b, m)
		})
	}
}

// BenchmarkClone is what a forecast pays before it starts.
func BenchmarkClone(b *testing.B) {
	m := mustNew(b, Fleet(FleetOptions{Services: 1000, Seed: 1, Retries: 3}))
	m.Advance(20 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		m.Clone()
	}
}

// steps reports the speed over wall time, and over processor time for machines
// that others use too.
func steps(b *testing.B, m *Model) {
	b.ReportAllocs()
	b.ResetTimer()
	before := processor(b)
	for b.Loop() {
		m.Step()
	}
	b.StopTimer()
	simulated := m.plan.Step.Seconds() * float64(b.N)
	b.ReportMetric(simulated/b.Elapsed().Seconds(), "x_realtime")
	b.ReportMetric(simulated/(processor(b)-before).Seconds(), "x_processor")
	b.ReportMetric(float64(len(m.plan.Edges)), "edges")
}

// processor is the time that this process has computed.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkNew builds the largest fleet.
func BenchmarkNew(b *testing.B) {
	plan := Fleet(FleetOptions{Services: 10000, Seed: 1, Retries: 3})
	b.ReportAllocs()
	for b.Loop() {
		mustNew(b, plan)
	}
}
