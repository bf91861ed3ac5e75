package diagnosis

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func TestThePastIsBoundedAndSpread(t *testing.T) {
	var p past
	g := sre.NewGraph(windowServices, windowEdges)
	for k := range 5000 {
		p.keep(&sre.Snapshot{At: windowStart.Add(time.Duration(k) * 10 * time.Second), Graph: g, Health: sre.SourceHealth{Up: true}}, k > 4000)
		if len(p.usual) > pastKept || len(p.recent) > recentTicks {
			t.Fatalf("%d and %d snapshots are kept", len(p.usual), len(p.recent))
		}
	}
	if got := p.usual[pastKept-1].At.Sub(p.usual[0].At); got < pastSpan-2*pastSpan/pastKept {
		t.Errorf("spread over %v", got)
	}
	end := windowStart.Add(4999 * 10 * time.Second)
	if trouble := end.Sub(p.usual[pastKept-7].At); trouble < 2*time.Hour {
		t.Errorf("after 2 h 46 min of trouble the sixth youngest is %v old", trouble)
	}
}

func TestASnapshotWithoutSightIsNotRemembered(t *testing.T) {
	var p past
	p.keep(&sre.Snapshot{At: windowStart}, false)
	if len(p.usual)+len(p.recent) > 0 {
		t.Error("kept")
	}
}

func TestTimeThatGoesBackBeginsAnew(t *testing.T) {
	var p past
	for _, at := range []time.Duration{0, time.Hour, time.Minute} {
		p.keep(&sre.Snapshot{At: windowStart.Add(at), Health: sre.SourceHealth{Up: true}}, false)
	}
	if len(p.usual) != 1 || len(p.recent) != 1 {
		t.Errorf("%d and %d", len(p.usual), len(p.recent))
	}
}

func TestThePastIsSplitAtTheOnset(t *testing.T) {
	var p past
	for _, s := range days(sre.NewGraph(windowServices, windowEdges), 0, 12, nil) {
		p.keep(s, false)
	}
	before, after := p.split(windowStart.Add(9*time.Minute + 30*time.Second))
	if len(after) != 2 || after[0].At != windowStart.Add(10*time.Minute) {
		t.Errorf("%d after", len(after))
	}
	for _, s := range before {
		if !s.At.Before(windowStart.Add(8*time.Minute + 30*time.Second)) {
			t.Errorf("%v is before", s.At)
		}
	}
	if _, after := p.split(windowStart); len(after) != 0 {
		t.Error("an old onset is compared with now")
	}
}

// fleetStory is an engine that knows half an hour of n services in chains of 20,
// and the tick at which one chain is slow from its end up.
func fleetStory(n int) (*Engine, *sre.Snapshot, []sre.Precursor) {
	before, after := chain(n)
	e := New(DefaultConfig())
	for _, s := range before {
		e.Remember(s)
	}
	for _, s := range after[:len(after)-1] {
		e.Remember(s)
	}
	var ps []sre.Precursor
	for i := range 20 {
		ps = append(ps, sre.Precursor{
			Detector: goldenSignal, Mechanism: sre.SlowDependency, Service: fmt.Sprintf("s%04d", i), Kind: sre.Latency, Severity: sre.Warning,
			Score: .8, Since: after[0].At,
			Evidence: []sre.Evidence{{Signal: "latency", Now: .5, Normal: .1, Unit: sre.Seconds, Weight: 1}},
		})
	}
	return e, after[len(after)-1], ps
}

func TestWhatWasSeenBeforeTellsTheCauseFromItsVictims(t *testing.T) {
	e, s, ps := fleetStory(40)
	fs := e.Diagnose(s, ps, nil)
	if len(fs) == 0 || fs[0].Diagnosis.Top().Service != "s0019" {
		t.Fatalf("%d findings", len(fs))
	}
	fresh := New(DefaultConfig()).Diagnose(s, ps, nil)
	if a, b := fs[0].Diagnosis.Top().Probability, fresh[0].Diagnosis.Top().Probability; a <= b {
		t.Errorf("with a past %.3f, without %.3f", a, b)
	}
}

func BenchmarkDiagnoseWithAPast(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e, s, ps := fleetStory(n)
			b.ReportAllocs()
			for b.Loop() {
				e.Diagnose(s, ps, nil)
			}
		})
	}
}

func TestANameThatStandsForAnotherServiceIsNotBlamed(t *testing.T) {
	services := []sre.Service{{Name: "web", Entry: true}, {Name: "balancer"}, {Name: "search"}, {Name: "table"}}
	g := sre.NewGraph(services, []sre.Edge{{From: 0, To: 1}, {From: 0, To: 2}, {From: 2, To: 3}})
	none := moved{"cpu balancer": math.NaN()}
	slow := moved{"cpu balancer": math.NaN(), "latency table": .6, "latency search": .6, "latency balancer": .9, "latency web": .9}
	if hs := RankWindow(days(g, 0, 30, none), days(g, 30, 4, slow), nil); hs[0].Service != "table" {
		t.Errorf("%s first", hs[0].Service)
	}
	alone := moved{"cpu balancer": math.NaN(), "latency balancer": .9, "latency web": .9}
	if hs := RankWindow(days(g, 0, 30, none), days(g, 30, 4, alone), nil); hs[0].Service != "balancer" {
		t.Errorf("%s first where only the name suffers", hs[0].Service)
	}
}

func TestWhatStraysOftenIsNoNews(t *testing.T) {
	sig := sre.Signal{Kind: sre.Latency, Unit: sre.Seconds}
	calm, wild := make([]float64, 60), make([]float64, 60)
	for i := range calm {
		calm[i] = .1 + float64(i%3)/1000
		wild[i] = calm[i]
		if i%10 < 2 {
			wild[i] = .5
		}
	}
	after := []float64{.5, .5, .1, .1}
	a, b := deviation(sig, calm, after), deviation(sig, wild, after)
	if a.z < 10 || b.z > 2*noteworthy {
		t.Errorf("%.1f where it never strayed, %.1f where it often does", a.z, b.z)
	}
}

func TestACollapseOfWhatIsHeldIsASign(t *testing.T) {
	if hs := rankMoved(moved{"cpu api": 5, "errors web": .2}); at(hs, "api") <= at(hs, "cart") {
		t.Error("what died is no more suspicious than what did not")
	}
	idle := rankMoved(moved{"cpu api": 3, "traffic api": 5, "traffic web": 5, "traffic cart": 5, "traffic db": 5})
	if idle[0].Service == "api" {
		t.Errorf("idle and blamed: %+v", idle[0].Evidence)
	}
}

func TestAnOnsetThatIsAMinuteOffNamesTheSameCause(t *testing.T) {
	g := sre.NewGraph(windowServices, windowEdges)
	m := moved{"latency db": .6, "latency api": .6, "latency web": .6}
	late := append(days(g, 0, 30, nil), days(g, 30, 1, m)...)
	early := append(days(g, 29, 1, nil), days(g, 30, 3, m)...)
	for name, hs := range map[string][]sre.Hypothesis{
		"late": RankWindow(late, days(g, 31, 3, m), nil), "early": RankWindow(days(g, 0, 29, nil), early, nil),
	} {
		if hs[0].Service != "db" {
			t.Errorf("%s: %q first", name, hs[0].Service)
		}
	}
}
