package gate

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/agent/mandate"
	"github.com/sreagent/sreagent/sre"
)

// scene is a random policy, a random question and perhaps somebody's answer.
type scene struct {
	policy   Policy
	question Question
	approval *sre.Approval
}

// These rooms are small so that random scenes meet each other's rules often.
var (
	someServices = []string{"web", "api", "pay-in", "pay-out"}
	someKinds    = []sre.ActionKind{sre.Shed, sre.RetryBudget, sre.Scale}
	someZones    = []string{"", "Europe/Berlin", "America/New_York"}
)

// mostly draws true in two of three cases, so that a scene is often one fault
// away from acting.
func mostly(t *rapid.T, label string) bool { return rapid.IntRange(0, 2).Draw(t, label) > 0 }

func someScope(t *rapid.T) Scope {
	return Scope{
		Kinds:    rapid.SliceOfN(rapid.SampledFrom(someKinds), 0, 1).Draw(t, "kinds"),
		Services: rapid.SliceOfN(rapid.SampledFrom(append(someServices, "pay-*")), 0, 1).Draw(t, "services"),
	}
}

func somePolicy(t *rapid.T) Policy {
	p := openPolicy()
	p.Mode = sre.Act
	if !mostly(t, "acts") {
		p.Mode = rapid.SampledFrom([]sre.Stance{sre.Watch, sre.Ask}).Draw(t, "mode")
	}
	if !mostly(t, "open") {
		p.Protected = []string{rapid.SampledFrom([]string{"web", "pay-*"}).Draw(t, "protected")}
		p.InForce = sre.Limit{Percent: 100, Number: rapid.IntRange(0, 3).Draw(t, "in_force")}
		p.ActionsPerHour = rapid.IntRange(0, 4).Draw(t, "rate")
	}
	if rapid.Bool().Draw(t, "rules") {
		p.Autonomy = []Autonomy{{Scope: someScope(t), Stance: rapid.SampledFrom([]sre.Stance{Off, sre.Watch, sre.Ask, sre.Act}).Draw(t, "stance")}}
	}
	if rapid.Bool().Draw(t, "freezes") {
		start := rapid.IntRange(0, 22).Draw(t, "from")
		p.Freezes = []Freeze{{
			Scope: someScope(t), Name: "f", Reason: "r", Owner: "o",
			Override: rapid.SampledFrom([]string{"", "approver", "admin", byNobody}).Draw(t, "override"),
			Intervals: []TimeInterval{{
				Times:    []TimeRange{{fmt.Sprintf("%02d:00", start), fmt.Sprintf("%02d:00", rapid.IntRange(start+1, 24).Draw(t, "to"))}},
				Location: rapid.SampledFrom(someZones).Draw(t, "zone"),
			}},
		}}
	}
	if rapid.Bool().Draw(t, "budgets") {
		p.Budgets = []Budget{{
			Scope: someScope(t), Limit: sre.Limit{Percent: 100, Number: rapid.IntRange(0, 2).Draw(t, "number")},
			Schedule: fmt.Sprintf("0 %d * * *", rapid.IntRange(0, 23).Draw(t, "opens")), TimeZone: rapid.SampledFrom(someZones).Draw(t, "zone"),
			Duration: model.Duration(time.Duration(rapid.IntRange(1, 24).Draw(t, "hours")) * time.Hour),
		}}
	}
	if rapid.Bool().Draw(t, "rates") {
		p.Budgets = append(p.Budgets, Budget{
			Scope: someScope(t), Limit: sre.Limit{Percent: 100, Number: rapid.IntRange(0, 3).Draw(t, "number")},
			Per: model.Duration(time.Duration(rapid.IntRange(1, 24).Draw(t, "per")) * time.Hour),
		})
	}
	return p
}

// someClock draws instants around both changes of the clocks of 2026 too.
func someClock(t *rapid.T) time.Time {
	start := rapid.SampledFrom([]string{"2026-03-08T00:00:00Z", "2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z", "2026-07-01T00:00:00Z"}).Draw(t, "day")
	v, err := time.Parse(time.RFC3339, start)
	if err != nil {
		t.Fatal(err)
	}
	return v.Add(time.Duration(rapid.IntRange(0, 24*60-1).Draw(t, "minute")) * time.Minute)
}

func someQuestion(t *rapid.T) Question {
	q := easyQuestion()
	q.Now, q.Services = someClock(t), 4
	var all []sre.Action
	for i := range rapid.IntRange(1, 2).Draw(t, "actions") {
		all = append(all, sre.Action{
			ID: fmt.Sprintf("i.0.0.%d", i), Kind: rapid.SampledFrom(someKinds).Draw(t, "kind"),
			Target: sre.Target{Lever: "guard", Service: rapid.SampledFrom(someServices).Draw(t, "service")},
		})
	}
	q.Plan = &sre.Plan{
		Runbook: "r", Risk: rapid.SampledFrom([]sre.RiskClass{sre.LowRisk, sre.LowRisk, sre.MediumRisk}).Draw(t, "risk"),
		Steps: []sre.Step{{Name: "s", Reversible: true, Actions: all}},
	}
	inc := *q.Incident
	inc.Diagnosis.At, inc.Confidence.Lower = q.Now, .9
	if !mostly(t, "fresh") { // an age below nothing is a clock that was set back
		inc.Diagnosis.At = q.Now.Add(-time.Duration(rapid.IntRange(-120, 240).Draw(t, "age")) * time.Second)
	}
	if !mostly(t, "sure") {
		inc.Confidence.Lower = rapid.Float64Range(0, 1).Draw(t, "lower")
	}
	if !mostly(t, "unpaused") {
		q.Pauses = []sre.Pause{{Name: "p", By: "ann", Since: q.Now}}
	}
	for range rapid.IntRange(0, 2).Draw(t, "held") {
		q.Held = append(q.Held, Held{Incident: "j", Kind: sre.Breaker, Target: sre.Target{
			Lever: "mesh", Service: rapid.SampledFrom(someServices).Draw(t, "held service"),
		}})
	}
	for range rapid.IntRange(0, 2).Draw(t, "started") {
		q.Started = append(q.Started, Started{
			At:   q.Now.Add(-time.Duration(rapid.IntRange(-30, 24*60).Draw(t, "minutes ago")) * time.Minute),
			Kind: rapid.SampledFrom(someKinds).Draw(t, "started kind"), Target: sre.Target{Service: rapid.SampledFrom(someServices).Draw(t, "started at")},
		})
	}
	if down := rapid.SampledFrom([]sre.Stance{"", "", sre.Ask, sre.Watch}).Draw(t, "demoted to"); down != "" {
		q.Standing = func(sre.MandateKey) mandate.Standing {
			return mandate.Standing{MandateChange: sre.MandateChange{Verb: sre.MandateDemote, To: down}, By: "policy"}
		}
	}
	q.Incident, q.LastHour = &inc, rapid.IntRange(0, 3).Draw(t, "last_hour")
	return q
}

func someScene(t *rapid.T) scene {
	s := scene{policy: somePolicy(t), question: someQuestion(t)}
	if rapid.Bool().Draw(t, "answered") {
		s.approval = &sre.Approval{
			Response: rapid.SampledFrom([]sre.Response{sre.Approved, sre.Approved, sre.Rejected, sre.Expired}).Draw(t, "response"),
			By:       "ann", Role: rapid.SampledFrom([]sre.Role{sre.Operator, sre.Approver, sre.Admin}).Draw(t, "role"),
			At: s.question.Now,
		}
	}
	return s
}

// permitted carries a scene to the permits: whether the first action of its plan
// may be applied, and whether a human stands behind it.
func permitted(g *Gate, s scene) (allowed, human bool) {
	d := g.Decide(s.question)
	if s.approval != nil {
		s.approval.Decision = d.ID
	}
	c, _, err := g.Clear(s.question, &d, s.approval)
	if err != nil {
		return false, false
	}
	p, err := g.PermitApply(c, s.question, s.question.Plan.Steps[0].Actions[0])
	return err == nil, p.Person() != ""
}

// property is what must never be true of a permitted scene. It is computed from
// the scene alone, in the plainest way, and shares no code with the guards. The
// guard is the one that is taken out to see the property fail.
type property struct {
	guard  string
	broken func(s scene, human bool) bool
}

func eachAction(s scene, is func(sre.Action) bool) bool {
	return slices.ContainsFunc(s.question.Plan.Steps[0].Actions, is)
}

// plainly tells whether a scope is about a kind at a service.
func plainly(s Scope, kind sre.ActionKind, service string) bool {
	if len(s.Kinds) == 1 && s.Kinds[0] != kind {
		return false
	}
	return len(s.Services) == 0 || s.Services[0] == service || s.Services[0] == "pay-*" && service[:3] == "pay"
}

func zone(name string) *time.Location {
	in, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return in
}

// frozenPlainly compares the wall clock's text, which sorts as the time does.
func frozenPlainly(s scene) bool {
	for _, f := range s.policy.Freezes {
		iv := f.Intervals[0]
		clock := s.question.Now.In(zone(iv.Location)).Format("15:04")
		if clock >= iv.Times[0].Start && clock < iv.Times[0].End &&
			eachAction(s, func(a sre.Action) bool { return plainly(f.Scope, a.Kind, a.Target.Service) }) {
			return true
		}
	}
	return false
}

func roleOf(s scene) sre.Role {
	if s.approval == nil || s.approval.Response != sre.Approved {
		return ""
	}
	return s.approval.Role
}

// overBudgetPlainly asks of every minute of the window whether the budget opened
// in it, and counts who would be under it.
func overBudgetPlainly(s scene) bool {
	for _, b := range s.policy.Budgets {
		if b.Per > 0 {
			continue
		}
		open := false
		for i := range int(time.Duration(b.Duration) / time.Minute) {
			clock := s.question.Now.Add(-time.Duration(i) * time.Minute).In(zone(b.TimeZone))
			open = open || fmt.Sprintf("%d %d * * *", clock.Minute(), clock.Hour()) == b.Schedule
		}
		count, wanted := map[string]bool{}, false
		for _, h := range s.question.Held {
			if plainly(b.Scope, h.Kind, h.Target.Service) {
				count[h.Target.Service] = true
			}
		}
		eachAction(s, func(a sre.Action) bool {
			if plainly(b.Scope, a.Kind, a.Target.Service) {
				count[a.Target.Service], wanted = true, true
			}
			return false
		})
		if open && wanted && len(count) > b.Limit.Number {
			return true
		}
	}
	return false
}

// overRatePlainly counts what was and would be begun in the time before now.
func overRatePlainly(s scene) bool {
	for _, b := range s.policy.Budgets {
		n, wanted := 0, false
		for _, x := range s.question.Started {
			if plainly(b.Scope, x.Kind, x.Target.Service) && x.At.Add(time.Duration(b.Per)).After(s.question.Now) {
				n++
			}
		}
		eachAction(s, func(a sre.Action) bool {
			if plainly(b.Scope, a.Kind, a.Target.Service) {
				n, wanted = n+1, true
			}
			return false
		})
		if b.Per > 0 && wanted && n > b.Limit.Number {
			return true
		}
	}
	return false
}

func properties() []property {
	touched := func(s scene) int {
		all := map[string]bool{}
		for _, h := range s.question.Held {
			all[h.Target.Service] = true
		}
		eachAction(s, func(a sre.Action) bool { all[a.Target.Service] = true; return false })
		return len(all)
	}
	return []property{
		{"confidence", func(s scene, human bool) bool {
			need := .6
			if s.question.Plan.Risk == sre.MediumRisk {
				need = .8
			}
			return s.question.Incident.Confidence.Lower < need && !human || s.question.Incident.Confidence.Lower < .1
		}},
		{"freeze", func(s scene, human bool) bool {
			if !frozenPlainly(s) {
				return false
			}
			admin := s.policy.Freezes[0].Override == "admin" && roleOf(s) != sre.Admin
			return !human || s.policy.Freezes[0].Override == "nobody" || admin
		}},
		{"budget", func(s scene, human bool) bool { return !human && overBudgetPlainly(s) }},
		{"budget", func(s scene, human bool) bool { return !human && overRatePlainly(s) }},
		{"autonomy", func(s scene, human bool) bool {
			if s.question.Standing == nil {
				return false
			}
			return s.question.Standing(sre.MandateKey{}).To == sre.Watch || !human
		}},
		{"in_force", func(s scene, human bool) bool { return !human && touched(s) > s.policy.InForce.Number }},
		{"rate", func(s scene, human bool) bool {
			return !human && s.question.LastHour+len(s.question.Plan.Steps[0].Actions) > s.policy.ActionsPerHour
		}},
		{"protected", func(s scene, human bool) bool {
			return !human && len(s.policy.Protected) > 0 && eachAction(s, func(a sre.Action) bool {
				return plainly(Scope{Services: s.policy.Protected}, a.Kind, a.Target.Service)
			})
		}},
		{"freshness", func(s scene, _ bool) bool {
			age := s.question.Now.Sub(s.question.Incident.Diagnosis.At)
			return age < 0 || age > time.Minute
		}},
		{"pause", func(s scene, _ bool) bool { return len(s.question.Pauses) > 0 }},
		{"mode", func(s scene, human bool) bool {
			return s.policy.Mode == sre.Watch || s.policy.Mode == sre.Ask && !human
		}},
		{"autonomy", func(s scene, human bool) bool {
			return len(s.policy.Autonomy) > 0 && eachAction(s, func(a sre.Action) bool {
				stance := s.policy.Autonomy[0].Stance
				return plainly(s.policy.Autonomy[0].Scope, a.Kind, a.Target.Service) &&
					(stance == "off" || stance == sre.Watch || stance == sre.Ask && !human)
			})
		}},
		{"", func(s scene, human bool) bool { // who stands behind it has said yes, and may
			return human && roleOf(s).Rank() < sre.Approver.Rank()
		}},
	}
}

// No random policy, clock and answer lets the agent act below its threshold, in a
// freeze, over a budget, on a protected service without approval, on stale
// evidence, while paused or beyond its mode; and the undo is never refused.
func TestNothingActsBeyondItsMandate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := someScene(t)
		if faults := s.policy.Validate(); len(faults) > 0 {
			t.Fatal(faults)
		}
		g := New(s.policy)
		m := sre.Mitigation{Action: s.question.Plan.Steps[0].Actions[0], Phase: sre.InEffect}
		if !g.PermitRevert(s.question.Now, m, "ann").Allows(sre.ToRevert, s.question.Now) {
			t.Fatal("the undo was refused")
		}
		allowed, human := permitted(g, s)
		for _, p := range properties() {
			if allowed && p.broken(s, human) {
				t.Fatalf("%s: permitted, human %v: %+v", p.guard, human, g.Decide(s.question).Reasons)
			}
		}
	})
}

// Each property is seen to fail on a gate without the guard that keeps it, so
// that a guard that goes missing cannot go unnoticed.
func TestAGateWithoutAGuardIsFound(t *testing.T) {
	scenes := rapid.Custom(someScene)
	for _, p := range properties() {
		if p.guard == "" {
			continue
		}
		t.Run(p.guard, func(t *testing.T) {
			for seed := range 4000 {
				s := scenes.Example(seed)
				g := New(s.policy)
				g.guards = slices.DeleteFunc(slices.Clone(guards), func(x guard) bool { return x.name == p.guard })
				if allowed, human := permitted(g, s); allowed && p.broken(s, human) {
					return
				}
			}
			t.Error("the property holds on a gate that lacks the guard")
		})
	}
}

// Random scenes must meet both ends, or the properties above say nothing.
func TestRandomScenesActAndDoNot(t *testing.T) {
	scenes := rapid.Custom(someScene)
	var alone, behind, refused int
	for seed := range 1000 {
		s := scenes.Example(seed)
		switch allowed, human := permitted(New(s.policy), s); {
		case !allowed:
			refused++
		case human:
			behind++
		default:
			alone++
		}
	}
	if alone < 30 || behind < 30 || refused < 30 {
		t.Errorf("%d alone, %d with a human, %d refused", alone, behind, refused)
	}
}
