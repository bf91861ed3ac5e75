package oncall

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

const recsPath = "/api/v1/switches/shop%2Fcheckout%2Frecs"

func TestASwitchIsFlippedUnderTheNameOfItsOperator(t *testing.T) {
	o := newOffice(t)
	o.verdict = func(in sre.Input) sre.Answer {
		return sre.Answer{Input: in.ID, Accepted: true, Reason: "1 % off", Incident: "order-1"}
	}
	got := dataOf[Receipt](t, o.do(t, "POST", recsPath, tokenOf(sre.Operator), `{"state":"off","percent":25,"for":"90s","immediate":true,"reason":"overload"}`))
	if got.Incident != "order-1" || !got.Accepted {
		t.Errorf("receipt %+v", got)
	}
	want := []sre.Input{{
		ID: "input-1", Kind: sre.InputSwitch, At: noon, By: "a-operator", Role: sre.Operator, Name: "shop/checkout/recs", Reason: "overload",
		Switch: &sre.SwitchChange{Name: "shop/checkout/recs", Percent: 25, For: 90 * time.Second, Immediate: true},
	}}
	if diff := cmp.Diff(want, o.heard); diff != "" {
		t.Error(diff)
	}
}

func TestBadSwitchRequests(t *testing.T) {
	o := newOffice(t)
	for body, want := range map[string]string{
		`{}`: `"state" is ""`, `{"state":"of"}`: "allowed: off, on", `{"state":"on","percent":5}`: `only "reason"`,
		`{"state":"off","drill":true,"percent":5}`: "whole drill cohort", `{"state":"off","precent":5}`: "percent",
		`{"state":"off","for":"ten"}`: "for",
	} {
		wantRefusal(t, o.do(t, "POST", recsPath, tokenOf(sre.Admin), body), http.StatusBadRequest, BadData, want)
	}
	wantRefusal(t, o.do(t, "POST", "/api/v1/switches/nothing", tokenOf(sre.Admin), `{"state":"off"}`), http.StatusNotFound, NotFound, "no kill switch")
	if len(o.heard) > 0 {
		t.Errorf("the agent heard %v", o.heard)
	}
}

func TestARoleThatTheSwitchRefusesIsForbidden(t *testing.T) {
	o := newOffice(t)
	o.verdict = func(in sre.Input) sre.Answer {
		return sre.Answer{Input: in.ID, Forbidden: true, Reason: "role approver is needed"}
	}
	wantRefusal(t, o.do(t, "POST", recsPath, tokenOf(sre.Operator), `{"state":"off"}`), http.StatusForbidden, Forbidden, "role approver is needed")
}

func TestSwitchesTellWhatIsOff(t *testing.T) {
	o := newOffice(t)
	v := view()
	target := v.Switches[0].Targets[0]
	v.Incidents = append(v.Incidents, sre.Incident{
		ID: "order-1", State: sre.Resolved, Order: &sre.Order{By: "ada", Until: noon.Add(time.Minute)},
		Mitigations: []sre.Mitigation{{Phase: sre.InEffect, Action: sre.Action{Kind: sre.KillSwitch, Target: target, Params: sre.Params{"percent": 25.0}}}},
	})
	o.desk.Publish(v, nil)
	got := dataOf[[]SwitchState](t, o.do(t, "GET", "/api/v1/switches", tokenOf(sre.Viewer), ""))
	want := []SwitchState{{Switch: v.Switches[0], Off: 25, Incident: "order-1", By: "ada", Until: noon.Add(time.Minute)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
