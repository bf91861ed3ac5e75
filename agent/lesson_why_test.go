package agent

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// told holds the picture of a tick to what people may ask of it.
func told(rt *rapid.T, v *sre.View) {
	of := map[string]int{}
	for _, e := range v.Explain {
		of[e.Incident]++
		if !e.At.Equal(v.At) || strings.TrimSpace(e.Summary) == "" {
			rt.Fatalf("%q is explained at %s: %q", e.Incident, e.At, e.Summary)
		}
		for _, r := range e.Reasons {
			if r.Guard == "" || r.Text == "" {
				rt.Fatalf("a reason without a name or a word: %+v", r)
			}
		}
	}
	if last := v.Explain[len(v.Explain)-1]; last.Incident != "" || of[""] != 1 {
		rt.Fatalf("what was watched is not told: %+v", v.Explain)
	}
	for _, inc := range v.Incidents {
		if inc.State == sre.Closed {
			continue
		}
		i := slices.IndexFunc(v.Explain, func(e sre.Explained) bool { return e.Incident == inc.ID })
		if i < 0 || of[inc.ID] != 1 {
			rt.Fatalf("%s is explained %d times", inc.ID, of[inc.ID])
		}
		if e := v.Explain[i]; inc.Decision != nil && len(e.Reasons) == 0 || !v.Source.Up && !strings.Contains(e.Summary, "blind") {
			rt.Fatalf("%s while %s: %+v", inc.ID, inc.State, e)
		}
	}
}

// weighed holds a decision to its reasons: every guard has said something, the
// least of them is the verdict, and whoever allows less than the whole says what
// would change that.
func weighed(rt *rapid.T, d *sre.Decision, guards int) {
	least := sre.Act
	for _, r := range d.Reasons {
		if r.Guard == "" || r.Text == "" || r.Allows != sre.Act && r.Change == "" {
			rt.Fatalf("decision %s: %+v", d.ID, r)
		}
		if r.Allows.Rank() < least.Rank() {
			least = r.Allows
		}
	}
	if len(d.Reasons) != guards || least != d.Stance {
		rt.Fatalf("decision %s says %s for %d reasons, of which the least is %s", d.ID, d.Stance, len(d.Reasons), least)
	}
}

// Whatever is decided, to do nothing included, can be read with its reasons: at
// every tick, for every open incident, and in the trail for ever.
func TestLesson13EveryDecisionSaysWhy(t *testing.T) {
	decided := map[sre.Stance]int{}
	whole := steadily(t, 60, func(rt *rapid.T) {
		l := newLife(rt, t)
		guards := len(l.a.gate.Decide(soundQuestion(l.at)).Reasons)
		for range 100 {
			before := len(l.trail.records)
			l.happen()
			l.people()
			l.live()
			if l.desk.view == nil || !l.desk.view.At.Equal(l.at) {
				continue // a crash
			}
			told(rt, l.desk.view)
			if why := unexplained(l.desk.view); why != "" {
				rt.Fatal(why)
			}
			for _, rec := range l.trail.records[before:] {
				if rec.Decision != nil {
					weighed(rt, rec.Decision, guards)
					decided[rec.Decision.Stance]++
				}
				if rec.Incident != nil && rec.Incident.State == sre.Acting && (rec.Incident.Decision == nil || len(rec.Incident.Decision.Reasons) != guards) {
					rt.Fatalf("%s acts on %+v", rec.IncidentID, rec.Incident.Decision)
				}
			}
		}
	})
	for _, s := range []sre.Stance{sre.Watch, sre.Ask, sre.Act} {
		showsNothing(t, whole, decided[s] > 0, string(s)+" decided")
	}
}
