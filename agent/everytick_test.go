package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// unexplained says what somebody who is woken misses in the explanations of a
// view; empty where it is all there.
func unexplained(v *sre.View) string {
	for i := range v.Incidents {
		inc := &v.Incidents[i]
		if inc.State == sre.Closed {
			continue
		}
		e, ok := sre.Explain(v, inc.ID)
		if !ok {
			return inc.ID + " is not explained"
		}
		for _, why := range []string{verdictOf(&e), reasonsOf(v, inc, &e), alternativesOf(inc, &e)} {
			if why != "" {
				return fmt.Sprintf("%s, %s: %s: %+v", inc.ID, inc.State, why, e.Decision)
			}
		}
	}
	e := sre.ExplainTick(v)
	lone := slices.ContainsFunc(e.Signs, func(s sre.ExplainedSign) bool { return s.Incident == "" })
	if open := len(v.Incidents) > 0 && v.Incidents[0].State != sre.Closed; v.Source.Up && lone && !open &&
		(len(e.Decision.WouldMove) == 0 || !strings.ContainsAny(e.Decision.Summary, "0123456789")) {
		return fmt.Sprintf("signs in no incident: %+v", e.Decision)
	}
	return ""
}

// verdictOf wants a verdict, why nothing was done in numbers, and what would
// change that or that nothing would.
func verdictOf(e *sre.Explanation) string {
	d := e.Decision
	if !slices.Contains([]sre.Stance{sre.Watch, sre.Ask, sre.Act}, d.Verdict) || d.Summary == "" {
		return "no verdict"
	}
	if d.Verdict != sre.Act && len(d.WouldMove) == 0 {
		return "nothing is said to change it"
	}
	for _, text := range d.WouldMove {
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "a finding of") {
			return "it is not said what would change it"
		}
	}
	if strings.HasPrefix(d.Summary, "did nothing") {
		var text strings.Builder
		text.WriteString(d.Summary)
		for _, r := range append(slices.Clone(d.Against), d.For...) { // a mode has no number, those that agree have
			text.WriteString(r.Text + r.Change)
		}
		if e.Quality.Source.Up && !strings.ContainsAny(text.String(), "0123456789") {
			return "nothing was done, and no number says why"
		}
	}
	return ""
}

// reasonsOf wants the finding of every guard that was weighed, and no other while
// nothing was seen.
func reasonsOf(v *sre.View, inc *sre.Incident, e *sre.Explanation) string {
	if inc.Order != nil {
		return ""
	}
	d := e.Decision
	against := func(guard string) bool {
		return slices.ContainsFunc(d.Against, func(r sre.Reason) bool { return r.Guard == guard })
	}
	waits := inc.State == sre.Planned || inc.State == sre.AwaitingApproval
	switch {
	case !v.Source.Up && (d.Verdict != sre.Watch || len(d.For) > 0 || !against("source")):
		return "blind, with reasons of an older tick"
	case v.Source.Up && waits:
		for _, guard := range sre.Guards() {
			if !slices.ContainsFunc(append(slices.Clone(d.Against), d.For...), func(r sre.Reason) bool { return r.Guard == guard }) {
				return "no reason of " + guard
			}
		}
	case v.Source.Up && (inc.State == sre.Suspected || inc.State == sre.Diagnosed) && len(d.Against) == 0:
		return "no reason"
	}
	if len(v.Pauses) > 0 && (waits || inc.State == sre.Diagnosed && inc.Plan == nil) && !against("pause") {
		return "paused, and that is no reason"
	}
	return ""
}

// alternativesOf wants the other causes with their probabilities, and the other
// runbooks with why not.
func alternativesOf(inc *sre.Incident, e *sre.Explanation) string {
	if inc.Order != nil {
		return ""
	}
	if len(e.Causes) != len(inc.Diagnosis.Hypotheses) || slices.ContainsFunc(e.Causes, func(h sre.Hypothesis) bool { return h.Probability < 0 }) {
		return "causes are left out"
	}
	d := e.Decision
	looked := inc.Plan == nil && slices.ContainsFunc(d.Against, func(r sre.Reason) bool { return strings.HasPrefix(r.Text, "no runbook fits") })
	if looked && len(d.Rejected) == 0 || inc.Plan != nil && len(d.Rejected) != len(inc.Plan.Rejected) {
		return "runbooks are left out"
	}
	for _, r := range d.Rejected {
		if r.Runbook == "" || r.Reason == "" {
			return "a runbook without why not"
		}
	}
	return ""
}

// anyTick lives a life in which everything that may hold an agent back does, and
// gives each picture to see.
func anyTick(rt *rapid.T, tb testing.TB, see func(*life, *sre.View)) {
	l := newLife(rt, tb)
	l.mind.passed = []sre.Rejection{{Runbook: "reroute", Reason: "made for overload, not for retry_storm"}}
	l.mind.others = []sre.Hypothesis{{Mechanism: sre.Unknown, Probability: 0.1}}
	l.cfg.Policy.Approvals.Low = rapid.IntRange(1, 2).Draw(rt, "people")
	l.rules = l.cfg.Policy
	l.a.Reconfigure(l.cfg)
	for range 100 {
		l.happen()
		if l.oneIn(15, "novelty") {
			l.mind.confidence.Abstain = rapid.SampledFrom([]string{"", "nothing like it was ever seen"}).Draw(rt, "novel")
		}
		if l.oneIn(20, "fit") {
			l.mind.unfit = rapid.SampledFrom([]string{"", "db"}).Draw(rt, "unfit")
		}
		l.people()
		l.live()
		if v := l.desk.view; v != nil && v.At.Equal(l.at) {
			see(l, v)
		}
	}
}

// Whatever holds the agent back, each picture says what is done and why, what else
// was weighed, and what would change it.
func TestEveryTickIsExplained(t *testing.T) {
	came := map[string]int{}
	whole := steadily(t, 150, func(rt *rapid.T) {
		anyTick(rt, t, func(_ *life, v *sre.View) {
			if why := unexplained(v); why != "" {
				rt.Fatal(why)
			}
			for i := range v.Incidents {
				inc := &v.Incidents[i]
				if inc.State == sre.Closed {
					continue
				}
				came[string(inc.State)]++
				if inc.Approval != nil && inc.Approval.Partial() {
					came["waiting for a second person"]++
				}
				e, _ := sre.Explain(v, inc.ID)
				for _, r := range e.Decision.Against {
					came[r.Guard]++
				}
			}
		})
	})
	for _, what := range []string{
		"source", "pause", "freeze", "budget", "lock", "abstention", "confidence", "mode", "protected", "plan", "waiting for a second person",
		"suspected", "diagnosed", "planned", "awaiting_approval", "acting", "verifying", "reverting", "escalated",
	} {
		showsNothing(t, whole, came[what] > 0, what)
	}
}

// A picture that leaves out what people ask for is found, whatever it is.
func TestAPictureThatLeavesSomethingOutIsFound(t *testing.T) {
	each := func(f func(v *sre.View, e *sre.Explained, inc *sre.Incident)) func(*sre.View) {
		return func(v *sre.View) {
			v.Incidents, v.Explain = slices.Clone(v.Incidents), slices.Clone(v.Explain)
			for i := range v.Explain {
				for k := range v.Incidents {
					if v.Incidents[k].ID == v.Explain[i].Incident {
						f(v, &v.Explain[i], &v.Incidents[k])
					}
				}
			}
		}
	}
	for name, plant := range map[string]func(*sre.View){
		"old reasons while blind": each(func(v *sre.View, e *sre.Explained, inc *sre.Incident) {
			if !v.Source.Up && inc.Decision != nil {
				e.Reasons = inc.Decision.Reasons
			}
		}),
		"a guard is silent": each(func(_ *sre.View, e *sre.Explained, _ *sre.Incident) {
			e.Reasons = slices.DeleteFunc(slices.Clone(e.Reasons), func(r sre.Reason) bool { return r.Guard == "budget" })
		}),
		"no reason of a diagnosis without a plan": each(func(_ *sre.View, e *sre.Explained, inc *sre.Incident) {
			if inc.Plan == nil {
				e.Reasons = nil
			}
		}),
		"the other runbooks are lost": each(func(_ *sre.View, e *sre.Explained, inc *sre.Incident) { e.Rejected, inc.Rejected = nil, nil }),
		"a guard that nobody knows says nothing of what would change it": each(func(_ *sre.View, e *sre.Explained, _ *sre.Incident) {
			e.Reasons = append(slices.Clone(e.Reasons), sre.Reason{Guard: "odd", Allows: sre.Watch, Text: "1 of 2"})
		}),
	} {
		t.Run(name, func(t *testing.T) {
			lives := rapid.Custom(func(rt *rapid.T) (found bool) {
				anyTick(rt, t, func(_ *life, v *sre.View) {
					seen := *v
					plant(&seen)
					found = found || unexplained(&seen) != ""
				})
				return found
			})
			for seed := range 40 {
				if lives.Example(seed) {
					return
				}
			}
			t.Error("no life found it")
		})
	}
}
