package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/replay/suite"
)

func sampleSuite() *suite.Report {
	sixty, never := 60., (*float64)(nil)
	return &suite.Report{
		Rows: []suite.Row{
			{Story: "retry-storm", Title: "A cut of <20 s> & its storm", Runs: []suite.Run{
				{Arm: suite.Off, Cascade: true, RecoveredAfter: never, LostSeconds: 470},
				{Arm: suite.Static, Cascade: true, Recovered: true, RecoveredAfter: &sixty, LostSeconds: 60.4, Actions: 4, Harmful: 1, False: 1},
				{Arm: suite.Agent, Cascade: true, Recovered: true, RecoveredAfter: &sixty, LostSeconds: 30, Actions: 2, Harmful: 1, False: 1},
			}},
			{Story: "benign-deploy", Runs: []suite.Run{{Arm: suite.Off, Benign: true, Recovered: true}, {Arm: suite.Static, Recovered: true}, {Arm: suite.Agent, Recovered: true}}},
		},
		Summary: suite.Summary{Stories: 2, Cascades: 1, Benign: 1, Arms: []suite.ArmOver{
			{Arm: suite.Off, Handled: backtest.Share{N: 1, High: .79}},
			{Arm: suite.Static, Handled: backtest.Share{Value: 1, N: 1, Low: .21, High: 1}, Recovered: 1, Actions: 4, Harmful: 1, HarmfulStories: 1},
			{Arm: suite.Agent, Handled: backtest.Share{Value: 1, N: 1, Low: .21, High: 1}, Recovered: 1, Actions: 2, Harmful: 1, HarmfulStories: 1, AfterDetection: backtest.Spread{N: 1, Median: 55, P75: 55}},
		}},
	}
}

func TestSuiteShowsEveryStoryInEveryArm(t *testing.T) {
	text := string(fill(t, pages()["suite"]))
	for _, want := range []string{
		"retry-storm", "A cut of &lt;20 s&gt; &amp; its storm", "cascade, never back, 470 s lost", "cascade, back after 1m0s, 30 s lost",
		"<small>⚠ 2 actions, 1 harmful, 1 false</small>", "<small>⚠ 4 actions, 1 harmful, 1 false</small>", "benign-deploy", "no cascade, 0 s lost", "0.210 to 1.000", "median; 55 s at the third quarter", "--run &#39;a|b&#39;",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	many := sampleSuite()
	for len(many.Rows) < maxRows+7 {
		many.Rows = append(many.Rows, many.Rows[1])
	}
	var b bytes.Buffer
	if err := Suite(&b, many, ""); err != nil || !strings.Contains(b.String(), "7 more are left out") {
		t.Errorf("%v: does not say what it leaves out", err)
	}
}
