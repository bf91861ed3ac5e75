package runbooktest

import (
	"strings"
	"testing"
)

// decided is a storm at the stock, with more of a test and what is expected of it.
func decided(more, expect string) string {
	before, _, _ := strings.Cut(storm, "    expect:")
	return before + more + "    expect:\n" + expect
}

const (
	open   = "    policy: {mode: act, blast_radius: {percent: 100, number: 9}, in_force: {percent: 100, number: 9}"
	helped = "    experience: [{runbook: retry-storm, helped: 40}]\n"
)

func TestADecisionIsWhatTheGateSays(t *testing.T) {
	for name, c := range map[string]string{
		"experience lets it act":       decided(open+"}\n"+helped, "      - {at: 30s, runbook: retry-storm, verdict: act, confidence: '>= 0.7', starts: true}\n"),
		"without experience it asks":   decided(open+"}\n", "      - {at: 30s, verdict: ask, confidence: '< 0.6', guards: {confidence: is needed to act alone}, starts: false}\n"),
		"failures lower it":            decided(open+"}\n    experience: [{runbook: retry-storm, failed: 40}]\n", "      - {at: 30s, confidence: '< 0.1', verdict: watch}\n"),
		"the default policy watches":   decided("    policy: {}\n"+helped, "      - {at: 30s, verdict: watch, guards: {mode: watch}, starts: false}\n"),
		"a protected service is asked": decided(open+", protected: [st*]}\n"+helped, "      - {at: 30s, verdict: ask, guards: {protected: 'protected: stock'}, reason: stock, starts: false}\n"),
		"autonomy":                     decided(open+", autonomy: [{kinds: [queue_bound], stance: watch}]}\n"+helped, "      - {at: 30s, verdict: watch, guards: {autonomy: rule 1}}\n"),
		"a freeze": decided(open+", freezes: [{name: sale, reason: the sale, owner: ann, time_intervals: [{weekdays: [monday]}]}]}\n"+helped,
			"      - {at: 30s, verdict: ask, guards: {freeze: the sale}, starts: false}\n"),
		"an approval": decided(open+", protected: [stock]}\n    approvals: [{at: 20s, who: ann, answer: approve}]\n"+helped,
			"      - {at: 10s, starts: false}\n      - {at: 30s, verdict: ask, starts: true}\n"),
		"one of two": decided(open+", protected: [stock], approvals: {low: 2, medium: 2, high: 2}}\n    approvals: [{at: 20s, who: ann, answer: approve}, {at: 40s, who: bob, answer: approve}]\n"+helped,
			"      - {at: 30s, starts: false}\n      - {at: 40s, starts: true}\n"),
		"the same one twice": decided(open+", protected: [stock], approvals: {low: 2, medium: 2, high: 2}}\n    approvals: [{at: 20s, who: ann, answer: approve}, {at: 40s, who: ann, answer: approve}]\n"+helped,
			"      - {at: 40s, starts: false}\n"),
		"a rejection": decided(open+", protected: [stock]}\n    approvals: [{at: 20s, who: ann, answer: reject}]\n"+helped, "      - {at: 30s, starts: false}\n"),
		"no approver": decided(open+", protected: [stock]}\n    approvals: [{at: 20s, who: ann, role: operator, answer: approve}]\n"+helped, "      - {at: 30s, starts: false}\n"),
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range failures(t, c) {
				t.Error(f)
			}
		})
	}
}

func TestADecisionThatDoesNotHoldIsTold(t *testing.T) {
	got := strings.Join(failures(t, decided(open+", protected: [stock]}\n"+helped, "      - {at: 30s, verdict: act, guards: {freeze: sale}, confidence: '< 0.2', starts: true}\n")), "\n")
	for _, want := range []string{"at 30s: verdict", "at 30s: guard freeze", "at 30s: confidence", "at 30s: first step"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}

func TestMistakesInADecisionAreLocated(t *testing.T) {
	acts := "      - {at: 30s, verdict: act}\n"
	for _, c := range []struct{ text, want string }{
		{decided("    policy: {mod: act}\n", acts), `t.yaml:15:14: unknown field "mod"; allowed: actions_per_hour,`},
		{decided("    policy: {mode: dare}\n", acts), `t.yaml:15:20: policy.mode: unknown mode "dare"; allowed: watch, ask, act`},
		{decided("    policy:\n      freezes:\n        - {nam: x}\n", acts), `t.yaml:17:12: unknown field "nam"; allowed: kinds,`},
		{decided("    policy: {evidence_max_age: soon}\n", acts), `t.yaml:15:32: `},
		{decided("    experience: [{helped: 3}]\n", acts), `t.yaml:15: experience with runbook ""`},
		{decided("    approvals: [{who: ann, answer: maybe}]\n", acts), `t.yaml:15: answer "maybe" of "ann"`},
		{decided("    approvals: [{whom: ann}]\n", acts), `t.yaml:15: unknown field "whom"`},
		{decided("    changes: [{id: d1, kind: dream}]\n", acts), `change kind is "dream"`},
		{decided("", "      - {at: 30s, verdict: leap}\n"), `t.yaml:16: verdict is "leap"; allowed: act, ask, watch`},
		{decided("", "      - {at: 30s, confidence: high}\n"), `t.yaml:16: confidence is "high"; allowed: ">= 0.8"`},
		{decided("", "      - {at: 30s, guards: {gut: no}}\n"), `t.yaml:16: guard is "gut"; allowed: mode, autonomy,`},
	} {
		_, err := Parse("t.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}
