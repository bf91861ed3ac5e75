package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/agent/mandate"
	"github.com/sreagent/sreagent/sre"
)

// fault takes a part of the mandate away from the agent, and not from the life.
type fault func(*gate.Policy)

// someMandate draws rules that a life of some minutes, which begins at 3, meets.
func someMandate(t *rapid.T, p gate.Policy) gate.Policy {
	if rapid.Bool().Draw(t, "protects") {
		p.Protected = []string{rapid.SampledFrom([]string{"api", "w*"}).Draw(t, "protected")}
	}
	if rapid.Bool().Draw(t, "freezes") {
		from := rapid.IntRange(0, 2).Draw(t, "from")
		p.Freezes = []gate.Freeze{{
			Name: "f", Reason: "r", Owner: "o", Override: rapid.SampledFrom([]string{"", "nobody"}).Draw(t, "override"),
			Intervals: []gate.TimeInterval{{Times: []gate.TimeRange{{
				Start: fmt.Sprintf("03:%02d", from), End: fmt.Sprintf("03:%02d", rapid.IntRange(from+1, 9).Draw(t, "to")),
			}}}},
		}}
	}
	if rapid.Bool().Draw(t, "budgets") {
		p.Budgets = []gate.Budget{{
			Limit: sre.Limit{Percent: 100, Number: rapid.IntRange(0, 3).Draw(t, "number")},
			Per:   model.Duration(time.Duration(rapid.IntRange(1, 5).Draw(t, "minutes")) * time.Minute),
		}}
	}
	if rapid.Bool().Draw(t, "rules") {
		p.Autonomy = []gate.Autonomy{{
			Scope:  gate.Scope{Services: []string{rapid.SampledFrom([]string{"web", "api"}).Draw(t, "service")}},
			Stance: rapid.SampledFrom([]sre.Stance{gate.Off, sre.Watch, sre.Ask}).Draw(t, "stance"),
		}}
	} else if rapid.Bool().Draw(t, "earns") {
		p.Autonomy = []gate.Autonomy{{Stance: sre.Act, Earn: &mandate.Earn{Outcomes: 1, LowerBound: 0.3, SLO: mandate.SLO{Outcomes: 1}}}}
	}
	return p
}

// particulars fills in what some inputs need besides.
func (l *life) particulars(in *sre.Input) {
	switch in.Kind {
	case sre.InputPause:
		in.For = time.Duration(rapid.IntRange(0, 30).Draw(l.rt, "for")) * time.Second
	case sre.InputStop:
		in.Revert = rapid.Bool().Draw(l.rt, "revert")
	case sre.InputMandate:
		in.Mandate = &sre.MandateChange{
			Verb: rapid.SampledFrom([]sre.MandateVerb{sre.MandateAccept, sre.MandateDecline, sre.MandateDemote, sre.MandateRestore}).Draw(l.rt, "verb"),
			MandateKey: sre.MandateKey{
				Kind: sre.RetryBudget, Service: rapid.SampledFrom([]string{"web", "api"}).Draw(l.rt, "service"), Runbook: "storm",
			},
		}
	case sre.InputApprove, sre.InputReject, sre.InputResume, sre.InputClose, sre.InputUndo, sre.InputSwitch, sre.InputStart:
	}
}

// mandated holds what is begun to the mandate, in the plainest way and without a
// line of the gate's.
func (l *life) mandated(in *sre.IntentRecord, inc *sre.Incident, news []sre.Record) {
	alone, service := in.Permit.By == "policy", in.Action.Target.Service
	fail := func(what string) {
		if l.fault == nil {
			l.rt.Fatalf("%s (alone: %v) %s\n%s", in.Action.ID, alone, what, l.story())
		}
		if l.broken == "" {
			l.broken = what
		}
	}
	if lower := inc.Confidence.Lower; alone && lower < 0.6 || lower < 0.1 {
		fail("below the threshold")
	}
	if age := l.at.Sub(inc.Diagnosis.At); age < 0 || age > time.Duration(l.rules.EvidenceMaxAge) {
		fail("on stale evidence")
	}
	for _, f := range l.rules.Freezes {
		clock := l.at.UTC().Format("15:04")
		if clock >= f.Intervals[0].Times[0].Start && clock < f.Intervals[0].Times[0].End && (alone || f.Override == "nobody") {
			fail("in a freeze")
		}
	}
	if alone && len(l.rules.Protected) > 0 && (service == "api") == (l.rules.Protected[0] == "api") {
		fail("on a protected service")
	}
	for _, rule := range l.rules.Autonomy {
		if len(rule.Services) == 1 && rule.Services[0] == service && (alone || rule.Stance != sre.Ask) {
			fail("beyond its autonomy")
		}
	}
	if alone && l.demoted(in.Action) {
		fail("after it was demoted")
	}
	for _, b := range l.rules.Budgets {
		if alone && l.startedWithin(time.Duration(b.Per)) > b.Limit.Number && !withPeople(news) {
			fail("over a budget")
		}
	}
}

// startedWithin counts what was begun of late by the trail alone.
func (l *life) startedWithin(d time.Duration) int {
	n := 0
	for _, r := range l.trail.records {
		if r.Intent != nil && !r.Intent.DryRun && r.Intent.Permit.Purpose == sre.ToApply && l.at.Sub(r.At) < d {
			n++
		}
	}
	return n
}

// withPeople reports whether people had anything begun in this tick: what they
// approve counts after what was weighed for the agent alone.
func withPeople(news []sre.Record) bool {
	return slices.ContainsFunc(news, func(r sre.Record) bool {
		return r.Intent != nil && r.Intent.Permit.Purpose == sre.ToApply && r.Intent.Permit.By != "policy"
	})
}

// demoted reads the latest step of a key that was taken before this tick.
func (l *life) demoted(x sre.Action) bool {
	for _, r := range slices.Backward(l.trail.records) {
		if r.Operator == nil || r.Operator.Mandate == nil || r.Operator.Refused != "" || !r.At.Before(l.at) {
			continue
		}
		m := r.Operator.Mandate
		if m.Kind != x.Kind || m.Service != x.Target.Service {
			continue
		}
		switch m.Verb {
		case sre.MandateDemote:
			return true
		case sre.MandateAccept, sre.MandateRestore:
			return false
		case sre.MandatePropose, sre.MandateWithdraw, sre.MandateDecline:
		}
	}
	return false
}

// An agent that was not given a part of its mandate is found by the lives that
// are held to it, so that the properties above are known to say something.
func TestALifeFindsAnAgentWithoutPartOfItsMandate(t *testing.T) {
	if testing.Short() {
		t.Skip("many lives")
	}
	for name, c := range map[string]struct {
		plant fault
		want  string
	}{
		"threshold": {func(p *gate.Policy) { p.Thresholds = gate.Thresholds{} }, "below the threshold"},
		"freeze":    {func(p *gate.Policy) { p.Freezes = nil }, "in a freeze"},
		"budget":    {func(p *gate.Policy) { p.Budgets = nil }, "over a budget"},
		"protected": {func(p *gate.Policy) { p.Protected = nil }, "on a protected service"},
		"evidence":  {func(p *gate.Policy) { p.EvidenceMaxAge = model.Duration(time.Hour) }, "on stale evidence"},
		"autonomy":  {func(p *gate.Policy) { p.Autonomy = nil }, "beyond its autonomy"},
	} {
		t.Run(name, func(t *testing.T) {
			lives := rapid.Custom(func(rt *rapid.T) string {
				l := newLife(rt, t, c.plant)
				for range 120 {
					l.happen()
					l.people()
					l.live()
					if l.broken != "" {
						break
					}
				}
				return l.broken
			})
			for seed := range 400 {
				if lives.Example(seed) == c.want {
					return
				}
			}
			t.Errorf("no life found it")
		})
	}
}
