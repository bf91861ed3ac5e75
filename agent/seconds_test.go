package agent

import (
	"strings"
	"testing"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

func TestTwoPeopleMustApprove(t *testing.T) {
	r := newRig(t, lowConfidence, func(r *rig) { r.cfg.Policy.Approvals = gate.Approvals{Low: 2, Medium: 2, High: 2} })
	r.w.sick = true
	inc := r.until(sre.AwaitingApproval)
	for _, c := range []struct {
		by, says string
		accepted bool
	}{{"ann", "1 of 2, by ann", true}, {"ann", "somebody else is needed", false}} {
		r.desk.queue = []sre.Input{{Kind: sre.InputApprove, By: c.by, Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}}
		r.run(1)
		got := r.desk.answers[len(r.desk.answers)-1]
		if got.Accepted != c.accepted || !strings.Contains(got.Reason, c.says) {
			t.Fatalf("%+v, want %q", got, c.says)
		}
		if r.lever.touched != 0 {
			t.Fatal("a lever was touched after one approval of two")
		}
	}
	r.desk.queue = []sre.Input{{Kind: sre.InputApprove, By: "bob", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID}}
	inc = r.until(sre.Closed)
	if r.lever.touched == 0 || inc.Approval.By != "bob" || len(inc.Approval.With) != 1 || inc.Approval.With[0] != "ann" {
		t.Errorf("touched %d, approval %+v", r.lever.touched, inc.Approval)
	}
}
