package backtest

import (
	"testing"
	"time"

	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

// calmly runs an oracle over minutes of one service whose latency is given.
func calmly(faults []bundle.Fault, minutes int, latency func(m int) float64) OracleNormal {
	p := play{until: minutes, faults: faults}
	o := p.observer()
	g := sre.NewGraph([]sre.Service{{Name: "web", Entry: true}}, nil)
	for m := range minutes {
		s := &sre.Snapshot{
			At: minute(float64(m)), Interval: time.Minute, Graph: g,
			Signals: []sre.Signal{{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds}},
			Service: sre.NewMatrix(1, 1), Health: sre.SourceHealth{Up: true},
		}
		s.Service.Set(0, 0, sre.Reading{Value: latency(m), State: sre.Present})
		o.oracle.watch(s.At, s)
	}
	return o.OracleNormal()
}

func TestOneFaultFreeWindowPerHalfHour(t *testing.T) {
	steady := func(m int) float64 { return .1 + float64(m%3)/1000 }
	if got := calmly(nil, 240, steady); got != (OracleNormal{Windows: 7}) {
		t.Errorf("steady: %+v", got)
	}
	if got := calmly([]bundle.Fault{fault(0, 239, "web")}, 240, steady); got != (OracleNormal{}) {
		t.Errorf("in a fault: %+v", got)
	}
	jump := func(m int) float64 {
		if m >= 90 && m < 100 {
			return 5
		}
		return steady(m)
	}
	if got := calmly(nil, 240, jump); got.Blamed != 1 {
		t.Errorf("with a jump in one window: %+v", got)
	}
}

func TestAWindowThatAFaultTouchesIsNotCounted(t *testing.T) {
	steady := func(int) float64 { return .1 }
	all := calmly(nil, 240, steady)
	some := calmly([]bundle.Fault{fault(93, 100, "web")}, 240, steady)
	if some.Windows != all.Windows-1 && some.Windows != all.Windows {
		t.Errorf("%d windows with a fault, %d without", some.Windows, all.Windows)
	}
	if some.Blamed != 0 {
		t.Errorf("%d blamed", some.Blamed)
	}
}

func TestSpecificityIsTheShareInWhichNobodyIsBlamed(t *testing.T) {
	got := SpecificityOf([]OracleNormal{{Windows: 10, Blamed: 2}, {Windows: 30, Blamed: 2}})
	if got.N != 40 || got.Value != .9 || !(got.Low < .9 && .9 < got.High) {
		t.Errorf("%+v", got)
	}
	if got := SpecificityOf(nil); got.N != 0 || got.High != 1 {
		t.Errorf("of nothing: %+v", got)
	}
}
