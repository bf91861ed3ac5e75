package detectors

import (
	"testing"

	"github.com/sreagent/sreagent/sre"
)

func TestAnErrorBudgetIsNoMechanism(t *testing.T) {
	found := []sre.Precursor{
		{Detector: "slow_dependency", Mechanism: sre.SlowDependency, Service: "web", Severity: sre.Warning, Score: .3, Risk: .2},
		{Detector: "burn_rate", Mechanism: sre.Unknown, Service: "web", Severity: sre.Critical, Score: .9},
		{Detector: "overload", Mechanism: sre.Overload, Service: "web", Severity: sre.Critical, Score: .5, Risk: .4},
	}
	New(DefaultConfig()).settle(found)
	if p := found[1]; p.Severity != sre.Critical || p.Score != .9 {
		t.Errorf("the page of a burning budget became %s, %v", p.Severity, p.Score)
	}
	if p := found[0]; p.Severity != sre.Critical || p.Score != .5 || p.Risk != .4 {
		t.Errorf("what leads is %s, %v, %v", p.Severity, p.Score, p.Risk)
	}
	if p := found[2]; p.Severity != sre.Warning || p.Score >= .5 {
		t.Errorf("what is explained is %s, %v", p.Severity, p.Score)
	}
}
