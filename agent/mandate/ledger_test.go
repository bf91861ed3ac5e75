package mandate

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	key  = sre.MandateKey{Kind: sre.Shed, Service: "web", Runbook: "storm"}
	part = []Part{{Kind: sre.Shed, Target: sre.Target{Service: "web"}}}
)

func scene(stance sre.Stance, e *Earn) Scene {
	return Scene{Now: noon, Rule: func(sre.MandateKey, sre.Target) Rule { return Rule{Stance: stance, Earn: e, Mode: sre.Act} }}
}

func came(l *Ledger, n int, o sre.Outcome) {
	for range n {
		l.Outcome(noon, "f", sre.OutcomeRecord{Runbook: "storm", Mechanism: sre.RetryStorm, Outcome: o}, part)
	}
}

func TestWhatIsDue(t *testing.T) {
	small := &Earn{Outcomes: 5, LowerBound: 0.7, Questions: 2, SLO: SLO{Outcomes: 4}}
	for name, c := range map[string]struct {
		stance sre.Stance
		happen func(*Ledger, *Scene)
		want   string // verb, stance and cause
	}{
		"enough good outcomes":        {sre.Ask, func(l *Ledger, _ *Scene) { came(l, 5, sre.Improved) }, "propose act "},
		"too few":                     {sre.Ask, func(l *Ledger, _ *Scene) { came(l, 4, sre.Improved) }, ""},
		"unclear ones do not count":   {sre.Ask, func(l *Ledger, _ *Scene) { came(l, 4, sre.Improved); came(l, 9, sre.NoDataOutcome) }, ""},
		"old ones do not count":       {sre.Ask, func(l *Ledger, s *Scene) { came(l, 9, sre.Improved); s.Now = noon.Add(91 * day) }, ""},
		"the lower bound is too low":  {sre.Ask, func(l *Ledger, _ *Scene) { came(l, 5, sre.Improved); came(l, 1, sre.Unchanged) }, ""},
		"one harmed":                  {sre.Ask, func(l *Ledger, _ *Scene) { came(l, 400, sre.Improved); came(l, 1, sre.Worsened) }, ""},
		"people said no":              {sre.Ask, func(l *Ledger, _ *Scene) { came(l, 9, sre.Improved); l.Answered(noon, "storm", part, false) }, ""},
		"it has drifted":              {sre.Ask, func(l *Ledger, s *Scene) { came(l, 9, sre.Improved); s.Drifted = stormDrifts }, ""},
		"withheld often enough":       {sre.Watch, func(l *Ledger, _ *Scene) { hold(l, "a"); hold(l, "b") }, "propose ask "},
		"an incident counts once":     {sre.Watch, func(l *Ledger, _ *Scene) { hold(l, "a"); hold(l, "a") }, ""},
		"harm":                        {sre.Act, func(l *Ledger, _ *Scene) { came(l, 400, sre.Improved); came(l, 1, sre.Worsened) }, "demote ask harm"},
		"drift":                       {sre.Act, func(l *Ledger, s *Scene) { came(l, 9, sre.Improved); s.Drifted = stormDrifts }, "demote ask drift"},
		"seldom a success":            {sre.Act, func(l *Ledger, _ *Scene) { came(l, 3, sre.Improved); came(l, 1, sre.Unchanged) }, "demote ask success_rate"},
		"too few to burn":             {sre.Act, func(l *Ledger, _ *Scene) { came(l, 3, sre.Unchanged) }, ""},
		"it comes back":               {sre.Act, func(l *Ledger, _ *Scene) { came(l, 4, sre.Improved); l.Relapsed(noon, "f", true) }, "demote ask recurrence_rate"},
		"another trouble of the kind": {sre.Act, func(l *Ledger, _ *Scene) { came(l, 4, sre.Improved); l.Relapsed(noon, "f", false) }, ""},
		"nothing happened":            {sre.Act, func(*Ledger, *Scene) {}, ""},
		"off stays off":               {Off, func(l *Ledger, _ *Scene) { hold(l, "a"); hold(l, "b"); came(l, 9, sre.Improved) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l, s := NewLedger(), scene(c.stance, small)
			c.happen(l, &s)
			got := ""
			for _, d := range l.Review(s) {
				got += string(d.Verb) + " " + string(d.To) + " " + d.Cause
				if d.Text == "" || d.Verb == sre.MandateDemote && !strings.Contains(d.Regain, "5 further outcomes") {
					t.Errorf("%+v does not say why, or how it is regained", d)
				}
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if s.Rule = scene(c.stance, nil).Rule; len(l.Review(s)) > 0 {
				t.Error("a rule that lets nothing be earned moved")
			}
		})
	}
}

func stormDrifts(runbook string, m sre.Mechanism) bool {
	return runbook == "storm" && m == sre.RetryStorm
}

func hold(l *Ledger, incident string) { l.Withheld(noon, incident, "storm", part) }

// After a no, and after a step down, what was counted before no longer counts.
func TestEvidenceCountsAnew(t *testing.T) {
	for _, verb := range []sre.MandateVerb{sre.MandateDecline, sre.MandateDemote} {
		l, s := NewLedger(), scene(sre.Ask, &Earn{Outcomes: 5, LowerBound: 0.7})
		came(l, 5, sre.Improved)
		l.Change(noon, l.Review(s)[0], "policy")
		if len(l.Review(s)) > 0 {
			t.Fatal("proposed twice")
		}
		l.Change(noon, sre.MandateChange{Verb: verb, MandateKey: key, To: sre.Ask, Base: sre.Ask}, "ann")
		came(l, 4, sre.Improved)
		if got := l.Review(s); len(got) > 0 {
			t.Errorf("%s: %+v", verb, got)
		}
		came(l, 1, sre.Improved)
		if got := l.Review(s); len(got) != 1 {
			t.Errorf("%s: not proposed again: %+v", verb, got)
		}
	}
}

func TestEffective(t *testing.T) {
	earn := &Earn{}
	to := func(to, base sre.Stance) Standing {
		return Standing{MandateChange: sre.MandateChange{To: to, Base: base}}
	}
	for _, c := range []struct {
		rule Rule
		at   Standing
		want sre.Stance
	}{
		{Rule{Stance: sre.Ask, Earn: earn}, Standing{}, sre.Ask},
		{Rule{Stance: sre.Ask, Earn: earn}, to(sre.Act, sre.Ask), sre.Act},
		{Rule{Stance: sre.Ask}, to(sre.Act, sre.Ask), sre.Ask},                 // no longer earned
		{Rule{Stance: sre.Watch, Earn: earn}, to(sre.Act, sre.Ask), sre.Watch}, // the rule was lowered since
		{Rule{Stance: sre.Watch, Earn: &Earn{UpTo: sre.Ask}}, to(sre.Act, sre.Watch), sre.Ask},
		{Rule{Stance: sre.Act}, to(sre.Ask, sre.Act), sre.Ask}, // a step down needs no earn
		{Rule{Stance: sre.Act}, to(sre.Watch, sre.Ask), sre.Watch},
		{Rule{Stance: Off, Earn: earn}, to(sre.Act, Off), Off},
	} {
		if got := c.rule.Effective(c.at); got != c.want {
			t.Errorf("%+v at %+v: %s, want %s", c.rule, c.at.MandateChange, got, c.want)
		}
	}
}

func TestLowerBound(t *testing.T) { // the closed form at p = 1 is n/(n+z²)
	for _, n := range []int{1, 5, 20, 500} {
		want := float64(n) / (float64(n) + z*z)
		if got := lower(n, n); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%d of %d: %v, want %v", n, n, got, want)
		}
	}
	if lower(0, 0) != 0 || lower(0, 9) != 0 || lower(18, 20) >= 0.9 {
		t.Error("not careful")
	}
}

// Whatever happens, the stance rises only by a record that a person stands
// behind, and after harm it is not act until one does.
func TestNothingPromotesItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, s := NewLedger(), scene(rapid.SampledFrom([]sre.Stance{sre.Watch, sre.Ask, sre.Act}).Draw(t, "stance"),
			&Earn{Outcomes: 3, LowerBound: 0.5, Questions: 1, SLO: SLO{Outcomes: 3}})
		stands := func() sre.Stance { return s.Rule(key, sre.Target{}).Effective(l.Standing(key)) }
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			before, harmed := stands(), false
			s.Now = s.Now.Add(time.Duration(rapid.IntRange(-1, 30).Draw(t, "hours")) * time.Hour)
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				o := rapid.SampledFrom([]sre.Outcome{sre.Improved, sre.Improved, sre.Improved, sre.Unchanged, sre.Worsened}).Draw(t, "outcome")
				l.Outcome(s.Now, "f", sre.OutcomeRecord{Runbook: "storm", Outcome: o}, part)
				harmed = o == sre.Worsened
			case 2:
				l.Withheld(s.Now, rapid.StringN(1, 2, -1).Draw(t, "incident"), "storm", part)
			case 3:
				if c, fit := l.Fit(key, s); fit {
					c.Verb = sre.MandateAccept
					l.Change(s.Now, c, "ann")
					before = stands() // by a person's word
				}
			case 4:
				l.Answered(s.Now, "storm", part, rapid.Bool().Draw(t, "yes"))
			}
			for _, c := range l.Review(s) {
				l.Change(s.Now, c, "policy")
			}
			if stands().Rank() > before.Rank() {
				t.Fatalf("from %s to %s by itself", before, stands())
			}
			if harmed && stands() == sre.Act {
				t.Fatal("it acts after harm")
			}
		}
	})
}

func TestEarnIsValidated(t *testing.T) {
	for name, e := range map[string]Earn{
		"up_to": {UpTo: sre.Watch}, "outcomes": {Outcomes: -1}, "lower_bound": {LowerBound: 1.2}, "agreement": {Agreement: -0.1},
		"questions": {Questions: 501}, "window": {Window: -1}, "slo.success": {SLO: SLO{Success: 2}}, "slo.outcomes": {SLO: SLO{Outcomes: -3}},
	} {
		if f := e.Validate(); len(f) != 1 || f[0].Path != name || f[0].Allowed == "" {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := (Earn{}).Validate(); len(f) > 0 {
		t.Error(f)
	}
	if f := (Earn{LowerBound: 0.9999}).Validate(); len(f) != 1 {
		t.Error("a bound that cannot be reached is taken")
	}
}
