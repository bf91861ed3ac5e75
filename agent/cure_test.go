package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// How a cure is judged, learned from, and taken back.

func TestAnOutcomeIsLearnedUnderWhatThePlanWasMadeAgainst(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures = 99 })
	r.w.sick = true
	r.until(sre.Verifying)
	r.mind.mechanism = sre.Overload // what diagnosis calls it by now
	r.until(sre.Escalated)
	if len(r.mind.learned) != 1 || r.mind.learned[0].Mechanism != sre.RetryStorm || r.mind.learned[0].Service != "db" {
		t.Errorf("learned %+v, want under retry_storm, for which the plan was weighed", r.mind.learned)
	}
}

func TestAnOutcomeIsLearnedTheSameAfterARestart(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures = 99 })
	r.w.sick = true
	r.until(sre.Verifying)
	r.mind.mechanism = sre.Overload
	r.start()
	r.until(sre.Escalated)
	if n := len(r.mind.learned); n != 1 || r.mind.learned[0].Mechanism != sre.RetryStorm {
		t.Errorf("learned %+v", r.mind.learned)
	}
}

// verdicts lets the step's check find what it is told, tick by tick, and then
// the last of it for ever.
func verdicts(r *rig, list ...sre.Verdict) {
	start := r.at
	r.mind.says = func(c sre.Check) (sre.Verdict, bool) {
		i := int(r.at.Sub(start)/time.Second) - 1
		return list[min(max(i, 0), len(list)-1)], c.Expr == "well"
	}
}

func TestACheckThatWaversOnceIsNotAStepThatFailed(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures = 99 })
	r.w.sick = true
	r.until(sre.Verifying) // within 10 s, to be held for 3 s
	f, p := sre.Fail, sre.Pass
	verdicts(r, f, f, f, f, f, f, f, f, p, p, f, p, p, p, p)
	r.until(sre.Resolved)
	if inc := r.desk.view.Incidents[0]; inc.Step != 0 {
		t.Errorf("the second step was taken although the first one worked:\n%s", r.story())
	}
}

func TestACheckThatGoesOnWaveringFails(t *testing.T) {
	r := newRig(t, func(r *rig) { r.w.cures = 99 })
	r.w.sick = true
	since := r.until(sre.Verifying).StateSince
	n := 0
	r.mind.says = func(c sre.Check) (sre.Verdict, bool) {
		if c.Expr != "well" {
			return "", false
		}
		if n++; n%2 == 0 {
			return sre.Pass, true
		}
		return sre.Fail, true
	}
	for r.desk.view.Incidents[0].Step == 0 {
		r.run(1)
	}
	if took := r.at.Sub(since); took < 10*time.Second || took > 17*time.Second {
		t.Errorf("the next step was taken after %s, want 10 s and at most twice the hold more", took)
	}
}

// patience is the reason for which the latest view says that an incident waits.
func (r *rig) patience(prefix string) string {
	for _, e := range r.desk.view.Explain {
		for _, reason := range e.Reasons {
			if strings.HasPrefix(e.Incident, prefix) && reason.Guard == "patience" {
				return reason.Text
			}
		}
	}
	return ""
}

// overlapped brings a rig to a cure under way whose check does not hold because
// of another incident, at api, that hurts the same entry.
func overlapped(r *rig) {
	r.w.cures, r.mind.twins, r.mind.apart, r.mind.rival, r.mind.steps = 99, true, true, "api", 1
	r.mind.says = func(c sre.Check) (sre.Verdict, bool) { return sre.Fail, c.Expr == "well" }
}

func TestACureIsNotUndoneBecauseOfAnotherIncident(t *testing.T) {
	for name, cause := range map[string]string{"its own signs are gone": "api", "its own signs last": "db"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, overlapped)
			r.w.sick = true
			for r.desk.view == nil || len(r.desk.view.Incidents) < 2 || r.of("f00d").State != sre.Verifying {
				if r.run(1); r.at.Sub(r.trail.records[0].At) > 20*time.Second {
					t.Fatalf("the story is another:\n%s", r.story())
				}
			}
			r.mind.sign = cause // where the trouble still shows
			r.run(15)
			inc := r.of("f00d")
			if kept := inc.State == sre.Verifying && len(inc.InForce()) == 2; kept != (cause == "api") {
				t.Errorf("%s with %d levers: %s\n%s", inc.State, len(inc.InForce()), inc.Escalation, r.story())
			}
			if why := r.patience("f00d"); strings.Contains(why, r.of("beef").ID) != (cause == "api") {
				t.Errorf("that it waits is explained as %q", why)
			}
			r.run(320) // the lease bounds the wait
			if inc := r.of("f00d"); len(inc.InForce()) != 0 || inc.State == sre.Verifying {
				t.Errorf("after its lease: %s with %d levers", inc.State, len(inc.InForce()))
			}
		})
	}
}

func TestWhatAnotherIncidentMakesWorseIsNotBlamedOnTheCure(t *testing.T) {
	for name, other := range map[string]bool{"alone": false, "beside another": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, overlapped, func(r *rig) { r.mind.twins = other })
			r.w.sick = true
			for r.desk.view == nil || len(r.desk.view.Incidents) == 0 || r.of("f00d").State != sre.Verifying {
				r.run(1)
			}
			r.mind.sign, r.w.entryErrors = "api", 0.99 // db itself stays as it was
			r.run(9)
			if worse := r.of("f00d").Outcome == sre.Worsened; worse == other {
				t.Errorf("outcome %q: %s", r.of("f00d").Outcome, r.of("f00d").Escalation)
			}
		})
	}
}

func TestNothingIsLiftedWhileTheCauseItselfLasts(t *testing.T) {
	serious := func(kind sre.SignalKind, now float64) sre.Precursor {
		return sre.Precursor{
			Detector: "x", Service: "db", Kind: kind, Severity: sre.Warning, Score: 0.7,
			Evidence: []sre.Evidence{{Now: now, Normal: 1}},
		}
	}
	elsewhere, call := serious(sre.Latency, 2), serious(sre.Latency, 2)
	elsewhere.Service, call.Caller = "api", "api"
	for name, c := range map[string]struct {
		sign  sre.Precursor
		waits bool
	}{
		"slow":                            {serious(sre.Latency, 2), true},
		"full":                            {serious(sre.Saturation, 2), true},
		"more traffic than usual":         {serious(sre.Traffic, 2), true},
		"less traffic: it is turned away": {serious(sre.Traffic, 0.5), false},
		"errors: it is turned away":       {serious(sre.Errors, 2), false},
		"a note":                          {note("db", 0.4), false},
		"at another service":              {elsewhere, false},
		"at a call to it":                 {call, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.w.sick = true
			r.until(sre.Resolved)
			r.mind.notes = []sre.Precursor{c.sign}
			r.run(2)
			if told := r.patience("f00d") != ""; told != c.waits {
				t.Errorf("that it waits is explained as %q", r.patience("f00d"))
			}
			r.run(13)
			inc := r.desk.view.Incidents[0]
			if waits := len(inc.InForce()) == 2; waits != c.waits {
				t.Errorf("%s with %d levers\n%s", inc.State, len(inc.InForce()), r.story())
			}
			r.mind.notes = nil
			r.until(sre.Closed)
			if len(r.lever.effects) != 0 {
				t.Errorf("left behind: %v", r.lever.effects)
			}
		})
	}
}

func TestACauseThatNeverEndsIsHeldDownNoLongerThanTheLease(t *testing.T) {
	r := newRig(t, func(r *rig) { r.lever.stays = true })
	r.w.sick = true
	r.until(sre.Resolved)
	sign := note("db", 0.9)
	sign.Severity = sre.Critical
	r.mind.notes = []sre.Precursor{sign}
	r.run(330)
	if len(r.lever.effects) != 0 {
		t.Errorf("in force after the lease: %v", r.lever.effects)
	}
}

func TestALongerCalmIsExplained(t *testing.T) {
	r := newRig(t)
	relapsed(r)
	r.w.sick = false
	r.until(sre.Lifting)
	r.until(sre.Closed)
	r.w.sick, r.w.cures, r.mind.confidence.Lower, r.desk.reply = true, 2, 0.9, approving
	r.until(sre.Resolved)
	if inc := r.desk.view.Incidents[0]; inc.Recurrences == 0 {
		t.Fatalf("the story is another:\n%s", r.story())
	}
	r.run(1)
	if why := r.patience("f00d"); !strings.Contains(why, "of calm are needed") {
		t.Errorf("explained as %q", why)
	}
}

func TestEachRelapseDoublesTheCalmThatLiftingNeeds(t *testing.T) {
	inc := &sre.Incident{Plan: &sre.Plan{Hold: 20 * time.Second}}
	for recurrences, want := range map[int]time.Duration{-1: 20 * time.Second, 0: 20 * time.Second, 1: 40 * time.Second, 3: 160 * time.Second, 50: 160 * time.Second} {
		if inc.Recurrences = recurrences; hold(inc) != want {
			t.Errorf("after %d relapses %s, want %s", recurrences, hold(inc), want)
		}
	}
}
