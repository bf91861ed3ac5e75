package oncall

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// failing is an incident whose undo did not work.
func failing() sre.Incident {
	inc := over()
	inc.State, inc.ClosedAt, inc.Outcome = sre.Escalated, time.Time{}, sre.Worsened
	inc.Escalation = "undo failed and the enforcement point does not answer"
	inc.Approval = &sre.Approval{Decision: "inc-7/d2", Response: sre.Expired, At: noon}
	inc.Mitigations[0].Phase, inc.Mitigations[0].Err = sre.Lost, "unknown: connection refused"
	inc.Mitigations[0].Expires = noon.Add(30 * time.Second)
	inc.Mitigations[0].Manual = "curl -X DELETE http://web:9000/guard/v1/directives/inc-7-0-0"
	return inc
}

func TestPagesAreGolden(t *testing.T) {
	pages := map[string]func(w io.Writer, width int) error{
		"incidents": func(w io.Writer, width int) error {
			return RenderIncidents(w, append(view().Incidents, failing()), width, noon)
		},
		"prompt": func(w io.Writer, width int) error { return RenderPrompt(w, storm(), width, noon) },
		"explain": func(w io.Writer, width int) error {
			return RenderExplain(w, explained(over(), trail()), width, noon)
		},
		"explain-escalated": func(w io.Writer, width int) error {
			return RenderExplain(w, explained(failing(), nil), width, noon)
		},
		"explain-tick": func(w io.Writer, width int) error { return RenderExplain(w, sre.ExplainTick(troubled()), width, noon) },
	}
	for name, render := range pages {
		for _, width := range []int{40, 60, 80, 120} {
			var buf bytes.Buffer
			if err := render(&buf, width); err != nil {
				t.Fatal(err)
			}
			checkLines(t, buf.String(), width)
			golden(t, fmt.Sprintf("%s-%d.txt", name, width), buf.Bytes())
		}
	}
}

// explained is the explanation of one incident as the API makes it.
func explained(inc sre.Incident, records []sre.Record) sre.Explanation {
	v := view()
	v.Incidents = []sre.Incident{inc}
	e, _ := sre.Explain(v, inc.ID)
	e.Retell(records)
	return e
}

// troubled is a view with signs that are part of an incident and signs that are
// not, risks, burns, a pause and failed queries.
func troubled() *sre.View {
	v := view()
	sign := sre.Precursor{Detector: "retry_storm", Mechanism: sre.RetryStorm, Service: "checkout", Caller: "web", Score: 0.91, Severity: sre.Critical, Since: noon.Add(-5 * time.Minute)}
	v.Incidents[0].Diagnosis.Precursors = []sre.Precursor{sign}
	v.Signs = []sre.Precursor{sign, {
		Detector: "anomaly", Mechanism: sre.Unknown, Service: "search", Score: 0.31, Severity: sre.Info, Since: noon.Add(-45 * time.Second),
		Evidence: []sre.Evidence{{Signal: "latency_p99", Subject: "search", Now: 0.9, Normal: 0.3, Unit: sre.Seconds, Weight: 1}},
	}}
	v.Risks = []sre.Risk{{Service: "checkout", Caller: "web", Probability: 0.44, Mechanism: sre.RetryStorm, Evidence: storm().Diagnosis.Hypotheses[0].Evidence}}
	v.Burns = []sre.Burn{{Service: "web", Objective: 0.999, Long: time.Hour, Short: 5 * time.Minute, LongRate: 18.2, ShortRate: 31, Threshold: 14.4, Page: true, Since: noon.Add(-4 * time.Minute)}}
	v.Pauses = []sre.Pause{{Name: "night", By: "bob", Reason: "freeze", Since: noon.Add(-time.Hour)}}
	v.Source.Failed = []string{"pool", "queue"}
	return v
}

func checkLines(t interface{ Errorf(string, ...any) }, text string, width int) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > width && line != "      "+failing().Mitigations[0].Manual {
			t.Errorf("%d columns in a page of %d: %q", n, width, line)
		}
		if strings.TrimRight(line, " ") != line || strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("line %q has blanks at its end or control characters", line)
		}
	}
}

func TestRenderEdges(t *testing.T) {
	var buf bytes.Buffer
	if err := RenderIncidents(&buf, nil, 80, noon); err != nil || buf.String() != "No incidents.\n" {
		t.Errorf("%q %v", buf.String(), err)
	}
	buf.Reset()
	quiet := view().Incidents[1]
	if err := RenderPrompt(&buf, quiet, 80, noon); err != nil || buf.String() != "Incident inc-6 asks nothing; its state is suspected.\n" {
		t.Errorf("%q %v", buf.String(), err)
	}
	buf.Reset()
	if err := RenderExplain(&buf, explained(quiet, nil), 10, noon); err != nil {
		t.Error(err)
	}
	checkLines(t, buf.String(), minWidth)
	for _, want := range []string{"none is recorded", "did nothing: it is suspected", "no lever was touched"} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("a bare incident does not say %q:\n%s", want, buf.String())
		}
	}
	if err := RenderPrompt(brokenWriter{}, storm(), 80, noon); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a broken writer gives %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestColourOnlyMarks shows that colours add marks and change no text.
func TestColourOnlyMarks(t *testing.T) {
	var plainPage, colourPage bytes.Buffer
	if err := errors.Join(RenderPrompt(&plainPage, storm(), 60, noon), RenderPrompt(&colourPage, storm(), 60, noon, Colour)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(colourPage.String(), "\x1b["+red+"mCRITICAL") || strings.Contains(plainPage.String(), "\x1b") {
		t.Errorf("colours: %q", colourPage.String())
	}
	text := colourPage.String()
	for _, code := range []string{"0", bold, red, yellow} {
		text = strings.ReplaceAll(text, "\x1b["+code+"m", "")
	}
	if text != plainPage.String() {
		t.Error("the text differs between styles")
	}
}

// TestPagesHoldAnyText renders text from outside, such as service names and
// comments: nothing of it may leave the page's width or steer the terminal.
func TestPagesHoldAnyText(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z \x1b\r\n\t]{0,90}`), rapid.StringMatching(`[a-z]{90,200}`))
		inc := storm()
		inc.ID = rapid.StringMatching(`[a-z0-9\x1b-]{1,30}`).Draw(rt, "id")
		inc.Diagnosis.Hypotheses[0].Service = text.Draw(rt, "service")
		inc.Diagnosis.Hypotheses[0].Evidence[0].Meaning = text.Draw(rt, "meaning")
		inc.Decision.Reasons[0].Text = text.Draw(rt, "reason")
		inc.Plan.Steps[0].Actions[0].Target.Name = text.Draw(rt, "target")
		inc.Approval = &sre.Approval{Response: sre.Approved, By: "x", Comment: text.Draw(rt, "comment")}
		width := rapid.IntRange(minWidth, 200).Draw(rt, "width")
		var buf bytes.Buffer
		err := errors.Join(
			RenderPrompt(&buf, inc, width, noon),
			RenderExplain(&buf, explained(inc, nil), width, noon),
			RenderExplain(&buf, sre.ExplainTick(&sre.View{At: noon, Incidents: []sre.Incident{inc}, Signs: []sre.Precursor{{Service: inc.Diagnosis.Hypotheses[0].Service}}}), width, noon),
			RenderIncidents(&buf, []sre.Incident{inc}, min(width, 79), noon),
		)
		if err != nil {
			rt.Fatal(err)
		}
		for line := range strings.Lines(buf.String()) {
			line = strings.TrimSuffix(line, "\n")
			if strings.ContainsFunc(line, unicode.IsControl) || utf8.RuneCountInString(line) > width {
				rt.Fatalf("width %d: %q", width, line)
			}
		}
	})
}

func TestWrapLosesNoWord(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`[a-zé ]{0,120}`).Draw(rt, "text")
		width := rapid.IntRange(8, 60).Draw(rt, "width")
		lines := wrap(text, width)
		squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if got := strings.ReplaceAll(strings.Join(lines, ""), " ", ""); got != squeeze(text) {
			rt.Fatalf("%q became %q", text, lines)
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > width {
				rt.Fatalf("%q is wider than %d", l, width)
			}
		}
	})
}

func TestNumbersForPeople(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  sre.Unit
		want  string
	}{
		{0.38, sre.Ratio, "38%"}, {0.002, sre.Ratio, "0.2%"}, {38, sre.Percent, "38%"}, {212.4, sre.PerSecond, "212/s"}, {3, sre.PerSecond, "3/s"},
		{0.18, sre.Seconds, "180 ms"}, {2.4, sre.Seconds, "2.4 s"}, {0, sre.Seconds, "0 ms"}, {1536, sre.Bytes, "1.5 KiB"}, {3 << 40, sre.Bytes, "3 TiB"},
		{12, sre.Count, "12"}, {-7.25, sre.Count, "-7.2"}, {1234567, sre.Count, "1234567"}, {0.0349, "", "0.035"},
	} {
		if got := measure(c.value, c.unit); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.value, c.unit, got, c.want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 45 * time.Second: "45s", 250 * time.Second: "4m10s", 2 * time.Hour: "2h", 125 * time.Minute: "2h5m",
		76 * time.Hour: "3d4h", -45 * time.Second: "-45s", 59*time.Second + 600*time.Millisecond: "1m",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func BenchmarkRenderPrompt(b *testing.B) {
	inc := storm()
	b.ReportAllocs()
	for b.Loop() {
		if err := RenderPrompt(io.Discard, inc, 80, noon); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAStoryOfTwoDaysShowsTheDay keeps a night's story readable.
func TestAStoryOfTwoDaysShowsTheDay(t *testing.T) {
	midnight := time.Date(2026, 3, 15, 0, 0, 0, 0, time.UTC)
	e := explained(over(), nil)
	e.Timeline = []sre.Moment{{At: midnight.Add(-2 * time.Second), Text: "one"}, {At: midnight.Add(-time.Second), Text: "two"}, {At: midnight, Text: "three"}}
	var buf bytes.Buffer
	if err := RenderExplain(&buf, e, 80, noon); err != nil {
		t.Fatal(err)
	}
	want := "TIME LINE\n  2026-03-14 UTC\n  23:59:58 one\n  23:59:59 two\n  2026-03-15 UTC\n  00:00:00 three\n"
	if !strings.HasSuffix(buf.String(), want) {
		t.Errorf("got %s", buf.String())
	}
}

func TestThePathShowsWhoCallsWhom(t *testing.T) {
	g := sre.ExplainedGraph{Edges: []sre.ExplainedEdge{{From: "cart", To: "db"}, {From: "cart", To: "mail"}}}
	for want, path := range map[string][]string{
		"db <- cart": {"db", "cart"}, "cart -> mail": {"cart", "mail"}, "db <- lost": {"db", "lost"}, "db <- cart -> mail": {"db", "cart", "mail"},
	} {
		if got := drawPath(path, g); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestPromptWithoutMuch(t *testing.T) {
	inc := sre.Incident{ID: "inc-1", State: sre.AwaitingApproval, Severity: sre.Info, Decision: &sre.Decision{ID: "inc-1/d1", At: noon}}
	inc.Diagnosis.Precursors = []sre.Precursor{{Evidence: []sre.Evidence{{Signal: "queue", Subject: "web", Now: 40, Normal: 2, Unit: sre.Count}}}}
	p, ok := NewPrompt(inc)
	if !ok || p.Risk != "high" || len(p.Evidence) != 1 || p.Mechanism != sre.Unknown || p.Alternatives == nil || p.Steps == nil || p.NotTaken == nil {
		t.Errorf("%+v", p)
	}
	var buf bytes.Buffer
	if err := RenderPrompt(&buf, inc, 80, noon); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"INFO: cause not known", "queue of web: 40, normal 2", "nothing is moved, so there is nothing to undo", "the question stays open", "since         unknown",
	} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, buf.String())
		}
	}
}

// What was read and sets nothing is not the same as what was not read.
func TestAnOldValueIsReadOrNoneOrUnknown(t *testing.T) {
	for name, c := range map[string]struct {
		before sre.Params
		want   string
	}{
		"a value": {sre.Params{"ratio": 3.0}, "ratio: 3 -> 0.1"},
		"no such": {sre.Params{}, "ratio: none -> 0.1"},
		"unread":  {nil, "ratio: not read yet -> 0.1"},
	} {
		inc := storm()
		inc.Mitigations[0].Before = c.before
		var buf bytes.Buffer
		if err := RenderPrompt(&buf, inc, 80, noon); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(buf.String(), c.want) {
			t.Errorf("%s: the page lacks %q:\n%s", name, c.want, buf.String())
		}
	}
}

func TestPlainKeepsNothingThatSteers(t *testing.T) {
	for text, want := range map[string]string{
		"café -> 支払い": "café -> 支払い", "a\x1b[2Jb": "a[2Jb", "a\u202eb": "ab", "a\r\nb\tc": "a b c", "\xff\u009b": "",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
