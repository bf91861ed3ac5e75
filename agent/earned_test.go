package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/agent/mandate"
	"github.com/sreagent/sreagent/sre"
)

// earning lets everything be earned from a stance on, after two good outcomes.
func earning(stance sre.Stance) func(*rig) {
	return func(r *rig) {
		r.mind.steps = 1
		r.cfg.Policy.Autonomy = []gate.Autonomy{{Stance: stance, Author: "eve", Earn: &mandate.Earn{
			Outcomes: 2, LowerBound: 0.5, SLO: mandate.SLO{Outcomes: 2},
		}}}
	}
}

// say hands in one input and returns the answer.
func (r *rig) say(in sre.Input) sre.Answer {
	r.t.Helper()
	r.desk.queue = []sre.Input{in}
	r.run(1)
	return r.desk.answers[len(r.desk.answers)-1]
}

// aboutMandate is what somebody says of shed at web by storm.
func aboutMandate(verb sre.MandateVerb, by string, role sre.Role) sre.Input {
	return sre.Input{Kind: sre.InputMandate, By: by, Role: role, Reason: "because", Mandate: &sre.MandateChange{
		Verb: verb, MandateKey: sre.MandateKey{Kind: sre.RetryBudget, Service: "web", Runbook: "storm"},
	}}
}

// incident plays one incident that people approve, and that is cured.
func (r *rig) incident() {
	r.t.Helper()
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	r.say(sre.Input{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID})
	r.until(sre.Closed)
	r.at = r.at.Add(2 * time.Hour) // what comes now is another trouble
	r.run(2)
}

func (r *rig) mandateOf(service string) sre.MandateLine {
	r.t.Helper()
	for _, l := range r.desk.view.Mandate {
		if l.Service == service && l.Kind == sre.RetryBudget {
			return l
		}
	}
	r.t.Fatalf("no line for %s: %+v", service, r.desk.view.Mandate)
	return sre.MandateLine{}
}

func TestAutonomyIsEarned(t *testing.T) {
	r := newRig(t, earning(sre.Ask))
	r.incident()
	if l := r.mandateOf("web"); l.N != 1 || l.Successes != 1 || l.Approved != 1 || l.Proposal != nil {
		t.Fatalf("after one: %+v", l)
	}
	if got := r.say(aboutMandate(sre.MandateAccept, "ann", sre.Admin)); got.Accepted || !strings.Contains(got.Reason, "nothing is proposed") {
		t.Fatalf("%+v", got)
	}
	r.incident()
	if l := r.mandateOf("web"); l.Proposal == nil || l.Proposal.To != sre.Act || l.Stance != sre.Ask {
		t.Fatalf("after two: %+v", l)
	}
	asked := false
	for _, n := range r.pager.notices {
		asked = asked || n.NeedsYou && n.Incident == "mandate-retry_budget/web/storm" && strings.Contains(n.Text, "2 of 2 outcomes")
	}
	if !asked {
		t.Error("nobody was told of the proposal")
	}
	for _, c := range []struct {
		by   string
		role sre.Role
		ok   bool
		says string
	}{
		{"bob", sre.Operator, false, "role approver is needed"},
		{"eve", sre.Admin, false, "somebody else must accept"},
		{byAgent, sre.Admin, false, "nobody who can answer"},
		{"bob", sre.Approver, true, "at act now"},
		{"bob", sre.Approver, false, "nothing is proposed"},
	} {
		if got := r.say(aboutMandate(sre.MandateAccept, c.by, c.role)); got.Accepted != c.ok || !strings.Contains(got.Reason, c.says) {
			t.Fatalf("%s as %s: %+v", c.by, c.role, got)
		}
	}
	other := aboutMandate(sre.MandateAccept, "bob", sre.Approver)
	other.Mandate.Service = "api"
	if got := r.say(other); !got.Accepted {
		t.Fatalf("%+v", got)
	}
	r.start() // what was accepted holds after a restart
	r.run(2)
	r.w.sick = true
	if inc := r.until(sre.Verifying); inc.Approval != nil {
		t.Errorf("a person was asked: %+v", inc.Approval)
	}
}

func TestItDemotesItselfOnHarm(t *testing.T) {
	r := newRig(t, earning(sre.Act))
	r.w.sick, r.w.worsened, r.w.cures = true, true, 99
	r.until(sre.Escalated)
	r.run(1)
	l := r.mandateOf("web")
	if l.Stance != sre.Ask || l.Cause != "harm" || l.By != byAgent || !strings.Contains(l.Regain, "2 further outcomes") {
		t.Fatalf("%+v\n%s", l, r.story())
	}
	told := false
	for _, n := range r.pager.notices {
		told = told || strings.HasPrefix(n.Incident, "mandate-") && strings.Contains(n.Text, "Demoted itself to ask for harm") && strings.Contains(n.Text, "To regain it")
	}
	if !told {
		t.Error("nobody was told")
	}
	r.w.sick, r.w.worsened, r.w.cures = false, false, 2
	r.until(sre.Closed)
	r.start()
	r.at = r.at.Add(2 * time.Hour)
	r.run(2)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	if why := whyNot(inc.Decision); !strings.Contains(why, "demoted to") {
		t.Errorf("asks for %q", why)
	}
	if got := r.say(aboutMandate(sre.MandateRestore, "bob", sre.Operator)); got.Accepted || !got.Forbidden {
		t.Errorf("%+v", got)
	}
	if got := r.say(aboutMandate(sre.MandateRestore, "bob", sre.Approver)); !got.Accepted || r.mandateOf("web").Stance != sre.Act {
		t.Errorf("%+v %+v", got, r.mandateOf("web"))
	}
}

// A person may take a stance from the agent where nothing is earned and nothing
// is on record yet.
func TestAPersonDemotes(t *testing.T) {
	r := newRig(t)
	r.run(1)
	for _, c := range []struct {
		change func(*sre.MandateChange)
		ok     bool
		says   string
	}{
		{func(*sre.MandateChange) {}, true, "at ask now"},
		{func(m *sre.MandateChange) { m.To = sre.Act }, false, "no step down"},
		{func(m *sre.MandateChange) { m.Kind = "reboot" }, false, "names no kind"},
		{func(m *sre.MandateChange) { m.Verb = sre.MandatePropose }, false, "nothing that people do"},
	} {
		in := aboutMandate(sre.MandateDemote, "bob", sre.Operator)
		if c.change(in.Mandate); in.Mandate.Verb != sre.MandateDemote {
			in.Role = sre.Admin
		}
		if got := r.say(in); got.Accepted != c.ok || !strings.Contains(got.Reason, c.says) {
			t.Errorf("%+v, want %q", got, c.says)
		}
	}
	r.w.sick = true
	r.until(sre.AwaitingApproval)
}

func TestTheGlobalStop(t *testing.T) {
	r := newRig(t, func(r *rig) { r.mind.steps, r.w.sticky = 1, false })
	r.w.sick = true
	r.until(sre.Resolved)
	if len(r.lever.effects) == 0 {
		t.Fatal("nothing is in force")
	}
	for _, c := range []struct {
		in   sre.Input
		ok   bool
		says string
	}{
		{sre.Input{Kind: sre.InputStart, By: "ann", Role: sre.Admin}, false, "not stopped"},
		{sre.Input{Kind: sre.InputStop, By: "ann", Role: sre.Viewer}, false, "role operator"},
		{sre.Input{Kind: sre.InputPause, Name: sre.StopName, By: "ann", Role: sre.Admin}, false, "the global stop's"},
		{sre.Input{Kind: sre.InputStop, By: "ann", Role: sre.Operator, Reason: "enough", Revert: true}, true, "1 incidents are being undone"},
		{sre.Input{Kind: sre.InputResume, Name: sre.StopName, By: "ann", Role: sre.Admin}, false, "lifted by start"},
	} {
		if got := r.say(c.in); got.Accepted != c.ok || !strings.Contains(got.Reason, c.says) {
			t.Fatalf("%s: %+v, want %q", c.in.Kind, got, c.says)
		}
	}
	r.start() // over a restart
	r.run(60)
	if len(r.lever.effects) > 0 {
		t.Errorf("still in force: %+v\n%s", r.lever.effects, r.story())
	}
	if p := r.desk.view.Pauses; len(p) != 1 || !p[0].Stop || p[0].By != "ann" {
		t.Errorf("pauses %+v", p)
	}
	if got := r.say(sre.Input{Kind: sre.InputStart, By: "ann", Role: sre.Operator}); got.Accepted || !got.Forbidden {
		t.Errorf("an operator lifted the stop: %+v", got)
	}
	if got := r.say(sre.Input{Kind: sre.InputStart, By: "bob", Role: sre.Approver}); !got.Accepted || len(r.desk.view.Pauses) > 0 {
		t.Errorf("%+v", got)
	}
}

func TestAPauseEndsByItself(t *testing.T) {
	r := newRig(t)
	if got := r.say(sre.Input{Kind: sre.InputPause, Name: "sale", By: "ann", Role: sre.Operator, For: 31 * 24 * time.Hour}); got.Accepted {
		t.Errorf("%+v", got)
	}
	for name, lasts := range map[string]time.Duration{"sale": 30 * time.Second, "move": 0} {
		if got := r.say(sre.Input{Kind: sre.InputPause, Name: name, By: "ann", Role: sre.Operator, For: lasts}); !got.Accepted {
			t.Fatalf("%+v", got)
		}
	}
	r.run(28)
	r.start()
	r.run(1)
	r.at = r.at.Add(3 * time.Second)
	r.run(1)
	if p := r.desk.view.Pauses; len(p) != 1 || p[0].Name != "move" {
		t.Fatalf("%+v", p)
	}
	r.at = r.at.Add(-20 * time.Second) // a clock that is set back does not bring it back
	r.start()
	r.run(1)
	if p := r.desk.view.Pauses; len(p) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestTheAuthorDoesNotApprove(t *testing.T) {
	r := newRig(t, lowConfidence, func(r *rig) {
		r.cfg.Policy.Approvals.NotByAuthor = true
		r.mind.author = "ann"
	})
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	yes := sre.Input{Kind: sre.InputApprove, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}
	if got := r.say(yes); got.Accepted || !strings.Contains(got.Reason, "ann wrote the runbook storm") {
		t.Fatalf("%+v", got)
	}
	if yes.By = "bob"; !r.say(yes).Accepted {
		t.Error("somebody else may not either")
	}
}

// A rate counts what was started, also over a restart, and by every incident.
func TestABudgetOfARate(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.mind.steps = 1
		r.cfg.Policy.Budgets = []gate.Budget{{Limit: sre.Limit{Percent: 100, Number: 2}, Per: model.Duration(4 * time.Hour)}}
	})
	r.w.sick = true
	r.until(sre.Closed) // two actions, on web and api
	r.at = r.at.Add(2 * time.Hour)
	r.start()
	r.run(2)
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	if why := whyNot(inc.Decision); !strings.Contains(why, "2 such actions in the last 4h and 2 wanted; budget 1 allows 2") {
		t.Errorf("%q", why)
	}
}
