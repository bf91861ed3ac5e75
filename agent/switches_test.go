package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

var recs = sre.Switch{
	Name: "shop/recs", Service: "web", Role: sre.Operator, Duration: 30 * time.Second, Drill: true,
	Targets: []sre.Target{{Lever: "fake", Service: "web", Name: "shop/recs"}},
}

// withSwitches is a rig of a quiet world in which people may flip switches, with
// an agent that may do nothing by itself.
func withSwitches(t testing.TB, change ...func(*rig)) *rig {
	shop := recs
	shop.Name, shop.Role, shop.Targets = "shop", sre.Approver, []sre.Target{{Lever: "fake", Service: "web", Name: "shop"}}
	bare := sre.Switch{Name: "bare", Role: sre.Operator, Duration: time.Minute}
	first := func(r *rig) {
		r.cfg.Switches, r.cfg.Policy.Mode = []sre.Switch{bare, shop, recs}, sre.Watch
		r.lever.honest = true
	}
	return newRig(t, append([]func(*rig){first}, change...)...)
}

func (r *rig) flip(role sre.Role, c sre.SwitchChange) sre.Answer {
	r.t.Helper()
	r.desk.queue = append(r.desk.queue, sre.Input{Kind: sre.InputSwitch, By: "ada", Role: role, Reason: "overload", Switch: &c})
	r.run(1)
	return r.desk.last()
}

// off is the percent that the lever holds, by name of the target.
func (r *rig) off() map[string]float64 {
	out := map[string]float64{}
	for _, e := range r.lever.effects {
		out[e.action.Target.Name], _ = e.action.Params.Float("percent")
	}
	return out
}

func TestAnOrderGoesInStagesAndEndsWithItsTime(t *testing.T) {
	r := withSwitches(t)
	r.run(2)
	got := r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs", Percent: 50})
	if !got.Accepted || !strings.Contains(got.Reason, "1 % off, in stages to 50 %") || r.lever.person != "ada" {
		t.Fatalf("%+v by %q\n%s", got, r.lever.person, r.story())
	}
	begun := r.at
	var seen []float64
	for len(r.lever.effects) > 0 {
		seen = append(seen, r.off()["shop/recs"])
		r.run(1)
	}
	if want := []float64{1, 5, 25, 50}; !slices.Equal(slices.Compact(seen), want) {
		t.Errorf("off by %v, want %v\n%s", seen, want, r.story())
	}
	if lasted := r.at.Sub(begun); lasted != 30*time.Second {
		t.Errorf("it was off for %s, want 30s\n%s", lasted, r.story())
	}
	r.run(1)
	inc := r.desk.view.Incidents[0]
	if inc.State != sre.Closed || inc.Mitigations[0].Before["percent"] != nil && inc.Mitigations[0].Phase != sre.Undone {
		t.Errorf("ended as %s, %+v", inc.State, inc.Mitigations)
	}
	if len(r.pager.notices) > 0 {
		t.Errorf("somebody was paged: %v", r.pager.notices)
	}
	records, intent := r.trail.records, func(rec sre.Record) bool { return rec.Intent != nil }
	command := slices.IndexFunc(records, func(rec sre.Record) bool { return rec.Operator != nil })
	if i := slices.IndexFunc(records, intent); command < 0 || i < command || records[i].Intent.Permit.By != "ada" {
		t.Errorf("the record of the command is %d, of the intent %d\n%s", command, i, r.story())
	}
}

func TestSwitchOnEndsAnOrderAtOnce(t *testing.T) {
	r := withSwitches(t)
	r.run(2)
	if got := r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs", Immediate: true}); !got.Accepted || r.off()["shop/recs"] != 100 {
		t.Fatalf("%+v, off %v", got, r.off())
	}
	r.run(3)
	if got := r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs", Immediate: true}); got.Accepted || !strings.Contains(got.Reason, "already") {
		t.Errorf("a second order: %+v", got)
	}
	if got := r.flip(sre.Viewer, sre.SwitchChange{Name: "shop/recs", On: true}); !got.Forbidden {
		t.Errorf("a viewer switched it on: %+v", got)
	}
	if got := r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs", On: true}); !got.Accepted || got.Reason != "on again" || len(r.off()) > 0 {
		t.Errorf("%+v, off %v\n%s", got, r.off(), r.story())
	}
	if got := r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs", On: true}); got.Accepted {
		t.Errorf("on twice: %+v", got)
	}
}

func TestRefusedOrdersTouchNothingAndAreOnRecord(t *testing.T) {
	for want, c := range map[string]sre.SwitchChange{
		"no kill switch": {Name: "nothing"}, "nothing to switch off": {Name: "bare"}, "role approver is needed": {Name: "shop"},
		"whole number": {Name: "shop/recs", Percent: 2.5}, "allowed: 2s to 24h": {Name: "shop/recs", For: 25 * time.Hour},
		"1 to 100": {Name: "shop/recs", Percent: 101},
	} {
		r := withSwitches(t)
		r.run(1)
		got := r.flip(sre.Operator, c)
		last := r.trail.records[len(r.trail.records)-1]
		if got.Accepted || !strings.Contains(got.Reason, want) || got.Forbidden != (c.Name == "shop") {
			t.Errorf("%+v: %+v, want %q", c, got, want)
		}
		if last.Operator == nil || last.Operator.Refused != got.Reason || r.lever.touched > 0 || len(r.desk.view.Incidents) > 0 {
			t.Errorf("%+v: touched %d, last on record %+v", c, r.lever.touched, last)
		}
	}
}

func TestTheLeversRefusalIsTheAnswer(t *testing.T) {
	r := withSwitches(t)
	r.lever.apply = func(sre.Action) error { return sre.Refusedf("no such flag") }
	r.run(1)
	if got := r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs"}); got.Accepted || !strings.Contains(got.Reason, "no such flag") {
		t.Errorf("%+v", got)
	}
	r.run(2)
	if inc := r.desk.view.Incidents[0]; inc.State != sre.Closed {
		t.Errorf("%s\n%s", inc.State, r.story())
	}
}

// People need switches most when the agent sees nothing; stages wait for sight.
func TestABlindAgentStillSwitches(t *testing.T) {
	r := withSwitches(t, func(r *rig) { r.w.blind = true })
	r.run(2)
	r.flip(sre.Approver, sre.SwitchChange{Name: "shop", Immediate: true})
	r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs"})
	r.run(8)
	if off := r.off(); off["shop"] != 100 || off["shop/recs"] != 1 {
		t.Errorf("off %v\n%s", off, r.story())
	}
	r.run(30)
	if len(r.off()) > 0 || r.desk.view.Incidents[0].State != sre.Closed {
		t.Errorf("off %v after its time\n%s", r.off(), r.story())
	}
}

func TestADrillLooksOnceAndGoesBack(t *testing.T) {
	r := withSwitches(t)
	r.lever.detail, r.lever.honest = "the reader sees recs=off for the drill key", false
	r.run(1)
	if got := r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs", Drill: true}); !got.Accepted || !strings.Contains(got.Reason, "drill") {
		t.Fatalf("%+v\n%s", got, r.story())
	}
	for _, e := range r.lever.effects {
		if e.action.Params["drill"] != true || e.action.Params["percent"] != 100.0 {
			t.Errorf("applied %v", e.action.Params)
		}
	}
	r.run(4)
	inc := r.desk.view.Incidents[0]
	if inc.State != sre.Closed || inc.Order.Seen != r.lever.detail || len(r.off()) > 0 {
		t.Errorf("%s, seen %q, off %v\n%s", inc.State, inc.Order.Seen, r.off(), r.story())
	}
	if !slices.ContainsFunc(r.trail.records, func(rec sre.Record) bool { return rec.Result != nil && rec.Result.State.Detail == r.lever.detail }) {
		t.Error("what was seen is not on record")
	}
}

func TestADryRunSwitchesNothing(t *testing.T) {
	r := withSwitches(t, func(r *rig) { r.cfg.Policy.DryRun = true })
	r.run(1)
	if got := r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs"}); !strings.Contains(got.Reason, "dry run") || r.lever.touched > 0 {
		t.Errorf("%+v, touched %d", got, r.lever.touched)
	}
	r.run(2)
	if inc := r.desk.view.Incidents[0]; inc.State != sre.Closed {
		t.Errorf("%s\n%s", inc.State, r.story())
	}
}

// An agent that dies at any write of the trail is followed by one that brings
// the order to its end: never applied twice under two names, never left behind.
func TestAnOrderSurvivesACrashAtEveryRecord(t *testing.T) {
	for _, torn := range []bool{false, true} {
		for at := 2; at < 16; at++ {
			r := withSwitches(t, func(r *rig) { r.trail.breakAt, r.trail.torn = at, torn })
			r.desk.queue = []sre.Input{{Kind: sre.InputSwitch, By: "ada", Role: sre.Operator, Switch: &sre.SwitchChange{Name: "shop/recs"}}}
			for range 45 {
				if err := r.tick(); errors.Is(err, errDisk) {
					r.start()
				} else if err != nil {
					t.Fatal(err)
				}
			}
			open := slices.ContainsFunc(r.desk.view.Incidents, func(inc sre.Incident) bool { return inc.State != sre.Closed })
			if len(r.off()) > 0 || open {
				t.Errorf("write %d, torn %t: off %v\n%s", at, torn, r.off(), r.story())
			}
			if len(r.lever.fresh) > 1 {
				t.Errorf("write %d, torn %t: applied as %v", at, torn, r.lever.fresh)
			}
		}
	}
}

// What cannot be taken back calls a human, whoever ordered it.
func TestAnOrderThatIsStuckCallsSomebody(t *testing.T) {
	r := withSwitches(t)
	r.lever.stays = true
	r.lever.revert = func(sre.Action) error { return sre.Failedf("read-only file system") }
	r.run(1)
	r.flip(sre.Operator, sre.SwitchChange{Name: "shop/recs", Immediate: true, For: 5 * time.Second})
	r.run(60)
	if n := len(r.pager.notices); n == 0 || !r.pager.notices[n-1].NeedsYou || !strings.Contains(r.pager.notices[n-1].Text, "undo order-shop-recs") {
		t.Errorf("notices %+v\n%s", r.pager.notices, r.story())
	}
}

func TestWhatTheAgentDoesAloneHasNobodyBehindIt(t *testing.T) {
	r := newRig(t)
	r.lever.person = "somebody"
	r.w.sick = true
	r.until(sre.Verifying)
	if r.lever.person != "" {
		t.Errorf("the lever was told of %q", r.lever.person)
	}
}

// A kill switch comes back only while its reactivation check is well; an undo
// does not ask it.
func TestWithoutItsReactivationCheckNothingComesBack(t *testing.T) {
	well, asked := false, 0
	r := newRig(t, func(r *rig) {
		r.w.kind, r.mind.levers, r.mind.steps, r.w.cures, r.mind.lease = sre.KillSwitch, []string{"fake"}, 1, 1, time.Hour
		r.mind.kind, r.mind.params = sre.KillSwitch, sre.Params{"percent": 25.0}
		r.ready = func(context.Context, sre.Action) error {
			if asked++; !well {
				return errors.New("connection refused")
			}
			return nil
		}
	})
	r.w.sick = true
	inc := r.until(sre.Lifting)
	r.run(20)
	if len(r.lever.effects) != 1 || asked < 20 {
		t.Fatalf("in effect %d, asked %d times\n%s", len(r.lever.effects), asked, r.story())
	}
	told := slices.ContainsFunc(r.desk.view.Explain, func(e sre.Explained) bool {
		return slices.ContainsFunc(e.Reasons, func(x sre.Reason) bool { return x.Guard == "reactivation" })
	})
	if !told {
		t.Errorf("nobody is told why it stays: %+v", r.desk.view.Explain)
	}
	well = true
	r.until(sre.Closed)
	if m := find(r.a.book.incidents[inc.ID], inc.Mitigations[0].Action.ID); m.Phase != sre.Undone {
		t.Errorf("ended as %s", m.Phase)
	}
}
