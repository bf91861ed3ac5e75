package agent

import (
	"slices"
	"testing"

	"github.com/sreagent/sreagent/sre"
)

func TestTheQuestionIsExplainedAsItStandsNow(t *testing.T) {
	r := newRig(t, lowConfidence)
	r.w.sick = true
	r.until(sre.AwaitingApproval)
	r.desk.queue = []sre.Input{{Kind: sre.InputPause, By: "bob", Role: sre.Operator, Name: "sale", Reason: "big sale"}}
	r.run(2)
	e := r.desk.view.Explain[0]
	i := slices.IndexFunc(e.Reasons, func(r sre.Reason) bool { return r.Guard == "pause" })
	if e.Stance != sre.Watch || e.Reasons[i].Allows != sre.Watch {
		t.Errorf("paused, and the question is explained as %s: %+v", e.Stance, e.Reasons[i])
	}
}
