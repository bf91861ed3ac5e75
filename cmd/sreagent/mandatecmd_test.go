package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func TestKeysOfTheMandate(t *testing.T) {
	for key, want := range map[string]sre.MandateKey{
		"shed/web/storm":           {Kind: sre.Shed, Service: "web", Runbook: "storm"},
		"retry_budget/team/api/r1": {Kind: sre.RetryBudget, Service: "team/api", Runbook: "r1"},
		"shed":                     {}, "shed/web": {}, "shed//storm": {}, "/web/storm": {}, "shed/web/": {}, "": {},
	} {
		got, err := mandateBody(key)
		if (err != nil) != (want == sre.MandateKey{}) || err == nil && (sre.MandateKey{Kind: got.Kind, Service: got.Service, Runbook: got.Runbook}) != want {
			t.Errorf("%q: %+v, %v", key, got, err)
		}
	}
}

func TestTheMandateIsShown(t *testing.T) {
	var out strings.Builder
	err := printMandate(&out, []sre.MandateLine{
		{
			MandateKey: sre.MandateKey{Kind: sre.Shed, Service: "web", Runbook: "storm"}, Stance: sre.Ask, Base: sre.Ask, Earns: true,
			N: 21, Successes: 20, Lower: 0.87, Approved: 3,
			Proposal: &sre.MandateChange{From: sre.Ask, To: sre.Act, Text: "the evidence"},
		},
		{
			MandateKey: sre.MandateKey{Kind: sre.Restart, Service: "db", Runbook: "leak"}, Stance: sre.Ask, Base: sre.Act, Harm: 1,
			Since: time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC), By: "policy", Cause: "harm", Text: "it got worse", Regain: "earn it",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"shed/web/storm  ", "ask, earns", "20 of 21", "0.87", "3/0", "shed/web/storm: proposed from ask to act: the evidence",
		"restart/db/leak: at ask since 2026-03-01T03:00:00Z by policy (harm): it got worse; to regain it: earn it",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

// People stop, demote and start a daemon over the API, with the roles that each
// takes, and what they said holds over a restart.
func TestPeopleTakeTheMandateBack(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for ticks of a daemon")
	}
	r := startSwitchRig(t)
	ask := func(role sre.Role, want int, says string, args ...string) {
		t.Helper()
		args = append(args, "--url", r.url, "--token-file", filepath.Join(r.dir, "token."+string(role)))
		if code, out, errs := cli(t, args...); code != want || !strings.Contains(out+errs, says) {
			t.Errorf("%q: %d %s%s, want %d with %q", args[:2], code, out, errs, want, says)
		}
	}
	ask(sre.Viewer, exitOK, "nothing is on record yet", "mandate", "show")
	ask(sre.Operator, exitOK, "it ends by itself at", "pause", "--name", "sale", "--for", "1h", "the sale is on")
	ask(sre.Operator, exitUsage, `--for "soon"`, "pause", "--for", "soon", "x")
	ask(sre.Operator, exitOK, "0 incidents are being undone", "stop", "--revert", "enough")
	ask(sre.Admin, exitFailed, "nothing is proposed", "mandate", "accept", "shed/web/storm")
	r.stop()
	r.start()
	ask(sre.Viewer, exitOK, "STOPPED by the-operator", "status")
	ask(sre.Operator, exitFailed, "needs the role approver", "start")
	ask(sre.Admin, exitOK, "1 others hold", "start", "found it")
}
