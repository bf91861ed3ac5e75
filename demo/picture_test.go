package demo

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// asked is a view in which the agent waits for a person.
func asked() *sre.View {
	now := time.Unix(1000, 0)
	agent := &fakeAgent{stage: &fakeStage{}}
	return &sre.View{At: now, Tick: 9, Ready: true, Incidents: []sre.Incident{agent.incident(now, now)}}
}

// acted is a view with a mitigation in force.
func acted() *sre.View {
	now := time.Unix(1000, 0)
	agent := &fakeAgent{stage: &fakeStage{}}
	agent.approve(now, "keyboard")
	return &sre.View{At: now, Tick: 9, Ready: true, Incidents: []sre.Incident{agent.incident(now.Add(time.Second), now)}}
}

func TestPictureFitsWhateverTheScreen(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := picture{
			width: rapid.IntRange(minWidth, 200).Draw(rt, "width"), height: rapid.IntRange(1, 60).Draw(rt, "height"),
			began: time.Unix(0, 0), now: time.Unix(rapid.Int64Range(0, 5000).Draw(rt, "now"), 0),
			title: rapid.String().Filter(noBreaks).Draw(rt, "title"),
		}
		for range rapid.IntRange(0, 300).Draw(rt, "seconds") {
			p.addSecond(rapid.Float64Range(0, 1.2).Draw(rt, "ratio"), rapid.Float64Range(0, 1e6).Draw(rt, "retries"))
		}
		for range rapid.IntRange(0, 30).Draw(rt, "lines") {
			p.addLog(rapid.String().Filter(noBreaks).Draw(rt, "line"))
		}
		p.view = rapid.SampledFrom([]*sre.View{nil, {}, {Ready: true}, asked(), acted()}).Draw(rt, "view")
		if rapid.Bool().Draw(rt, "asks") {
			p.question = &question{lines: questionText(&asked().Incidents[0])}
		}
		lines := strings.Split(p.draw(), "\n")
		if len(lines) > p.height {
			rt.Fatalf("%d lines on a screen of %d", len(lines), p.height)
		}
		for _, l := range lines {
			if w := lipgloss.Width(l); w > p.width {
				rt.Fatalf("%d columns on a screen of %d: %q", w, p.width, l)
			}
		}
	})
}

func noBreaks(s string) bool { return !strings.ContainsAny(s, "\n\r\t\x1b\v\f\u0085\u2028\u2029") }

func TestPictureAtSixtyColumns(t *testing.T) {
	p := picture{
		width: 60, height: 30, began: time.Unix(0, 0), now: time.Unix(75, 0), title: "Phase 2 of 2: the shop with the agent",
		view: asked(), question: &question{lines: questionText(&asked().Incidents[0])},
	}
	for i := range 30 {
		p.addSecond(map[bool]float64{true: 1, false: 0.02}[i < 20], 300)
	}
	p.addLog("Capacity of inventory is cut by 60 % for 5s.")
	want := `sreagent demo 1:15  Phase 2 of 2: the shop with the agent

goodput  █░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░    2 %
         ████████████████████▁▁▁▁▁▁▁▁▁▁
retries  300/s to inventory

Approve the cure for retry storm at inventory?
do: retry budget guard/cart->inventory ratio=0.1 for up to
  30s
evidence: Retries can bring 2.8 times what inventory can do.
touches: inventory, cart, gateway; 100 % of the traffic at
  the entries
instead of: overload, it takes service from users
undo: taken back step by step once it is calm for 20s, at
  the latest after 5m0s; lapses by itself if the agent dies
confidence: 0.80, at least 0.60 (prior)
[y] approve   [n] reject

incident retry storm at inventory, awaiting approval

Capacity of inventory is cut by 60 % for 5s.`
	if diff := cmp.Diff(want, p.draw()); diff != "" {
		t.Errorf("picture (-want +got):\n%s", diff)
	}
}

func TestPictureOfWhatTheAgentDid(t *testing.T) {
	p := picture{width: 100, height: 30, title: "Phase 2", view: acted()}
	got := p.draw()
	for _, text := range []string{
		"incident retry storm at inventory, verifying",
		"decision ask by retry-storm, confidence 0.80, at least 0.60",
		"  - confidence allows ask: 0.60 is below 0.70",
		"  + budget allows act: 1 of 5 levers",
		"in force retry budget guard/cart->inventory ratio=0.1, in effect",
	} {
		if !strings.Contains(got, text) {
			t.Errorf("the picture lacks %q:\n%s", text, got)
		}
	}
}

// send drives the model as bubbletea does.
func send(m terminalModel, msgs ...tea.Msg) terminalModel {
	for _, msg := range msgs {
		next, _ := m.Update(msg)
		m = next.(terminalModel)
	}
	return m
}

func key(text string) tea.Msg {
	if text == "ctrl+c" {
		return tea.KeyMsg{Type: tea.KeyCtrlC}
	}
	return tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(text)}
}

func TestKeysAnswerTheOpenQuestionOnce(t *testing.T) {
	for _, tc := range []struct {
		keys []string
		want []answer
	}{
		{[]string{"x", "y", "y", "n"}, []answer{{"d1", true}}},
		{[]string{"N"}, []answer{{"d1", false}}},
		{[]string{"Y"}, []answer{{"d1", true}}},
		{[]string{"x", " "}, nil},
	} {
		var got []answer
		m := terminalModel{say: func(a answer) { got = append(got, a) }, quit: func() { t.Error("quit") }}
		m = send(m, key("y"), askMsg(question{decision: "d1", lines: []string{"Well?"}}))
		for _, k := range tc.keys {
			m = send(m, key(k))
		}
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("keys %q: got %v, want %v", tc.keys, got, tc.want)
		}
	}
	var got []answer
	m := terminalModel{say: func(a answer) { got = append(got, a) }}
	send(m, askMsg(question{decision: "d1"}), withdrawMsg{}, key("y"))
	if len(got) > 0 {
		t.Errorf("a question that was taken back was answered: %v", got)
	}
}

func TestKeysThatLeave(t *testing.T) {
	for _, k := range []string{"ctrl+c", "q"} {
		left := 0
		send(terminalModel{quit: func() { left++ }}, key(k))
		if left != 1 {
			t.Errorf("%s: quit was called %d times", k, left)
		}
	}
}

func TestModelFollowsTheStory(t *testing.T) {
	m := terminalModel{fixedWidth: func() int { return 50 }}
	m = send(m, tea.WindowSizeMsg{Width: 90, Height: 20}, phaseMsg("Phase 1"), tellMsg("It begins."),
		secondMsg{GoodputSample{Total: Count{100, 87}}, 12}, viewMsg{&sre.View{Ready: true}}, clockMsg(time.Unix(5, 0)))
	got := m.View()
	for _, text := range []string{"Phase 1", "It begins.", "87 %", "12/s", "watches; no incident"} {
		if !strings.Contains(got, text) {
			t.Errorf("the view lacks %q:\n%s", text, got)
		}
	}
	m = send(m, phaseMsg("Phase 2"))
	if got := m.View(); strings.Contains(got, "87 %") || strings.Contains(got, "watches") {
		t.Errorf("a new phase shows the old shop:\n%s", got)
	}
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, []string{""}},
		{"short", 10, []string{"short"}},
		{"one two three", 8, []string{"one two", "  three"}},
		{"  lead kept here", 8, []string{"  lead", "  kept", "  here"}},
		{"unbreakable word", 8, []string{"unbreak…", "  word"}},
	} {
		if diff := cmp.Diff(tc.want, wrap(tc.text, tc.width, "  ")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tc.text, diff)
		}
	}
}

func TestDescriptionsOfTheUnusual(t *testing.T) {
	inc := sre.Incident{Decision: &sre.Decision{}, Plan: &sre.Plan{}}
	got := strings.Join(questionText(&inc), "\n")
	for _, text := range []string{"unknown trouble at no known service", "touches: none", "undo: none, this cannot be taken back"} {
		if !strings.Contains(got, text) {
			t.Errorf("the question lacks %q:\n%s", text, got)
		}
	}
	if got := evidenceText(sre.Evidence{Signal: "queue_delay", Subject: "cart", Now: 2.5, Normal: 0.01, Unit: sre.Seconds}); got != "queue delay of cart is 2.5, normally 0.01 seconds" {
		t.Errorf("evidence without a meaning: %q", got)
	}
	if got := phaseText(sre.NotStarted); got != "not started" {
		t.Errorf("phase: %q", got)
	}
}
