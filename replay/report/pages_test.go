package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

var rewrite = flag.Bool("rewrite", false, "write the golden pages anew")

// pages are the samples by the name of their golden file.
func pages() map[string]func(io.Writer) error {
	return map[string]func(io.Writer) error{
		"replay": func(w io.Writer) error {
			r := sampleReplay()
			r.Series = r.Series[3:4]
			return Replay(w, r)
		},
		"replay-empty":    func(w io.Writer) error { return Replay(w, ReplayReport{}) },
		"scenario-alone":  func(w io.Writer) error { return Scenario(w, ScenarioReport{Off: sampleScenario().Off}) },
		"backtest":        func(w io.Writer) error { r, c := sampleBacktest(2); return Backtest(w, r, c) },
		"suite":           func(w io.Writer) error { return Suite(w, sampleSuite(), "sreagent scenario suite --run 'a|b'") },
		"suite-empty":     func(w io.Writer) error { return Suite(w, nil, "") },
		"backtest-broken": func(w io.Writer) error { return Backtest(w, brokenBacktest(), nil) },
	}
}

func brokenBacktest() *backtest.Result {
	return &backtest.Result{Partial: true, Bundles: []backtest.Bundle{{ID: "cut", Source: "petshop", Error: "metrics.om:17: the file ends within a line"}}}
}

func fill(t testing.TB, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	for name, page := range pages() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".html")
			got := fill(t, page)
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("page differs (run with -rewrite and look at the difference):\n%s", cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")))
			}
		})
	}
}

func allPages() map[string]func(io.Writer) error {
	all := pages()
	all["replay-full"] = func(w io.Writer) error { return Replay(w, sampleReplay()) }
	all["scenario"] = func(w io.Writer) error { return Scenario(w, sampleScenario()) }
	all["scenario-empty"] = func(w io.Writer) error { return Scenario(w, ScenarioReport{}) }
	all["backtest-full"] = func(w io.Writer) error { r, c := sampleBacktest(15); return Backtest(w, r, c) }
	all["replay-busy"] = func(w io.Writer) error { return Replay(w, busyReplay()) }
	all["backtest-nil"] = func(w io.Writer) error { return Backtest(w, nil, nil) }
	return all
}

func TestSameInputGivesSameBytes(t *testing.T) {
	for name, page := range allPages() {
		first := fill(t, page)
		for range 4 {
			if !bytes.Equal(first, fill(t, page)) {
				t.Errorf("%s: two fillings differ", name)
			}
		}
	}
}

// TestPageIsSelfContainedAndHarmless reads pages as a browser does and allows
// only what the reports are made of.
func TestPageIsSelfContainedAndHarmless(t *testing.T) {
	for name, page := range allPages() {
		t.Run(name, func(t *testing.T) { harmless(t, fill(t, page)) })
	}
}

var elements = strings.Fields(`html head meta title style script body header nav a main section p b i h1 h2 h3 h4 div dl dt dd ul ol li span small
	figure figcaption svg g path rect text article details summary table thead tbody tr th td code pre`)

func harmless(t *testing.T, page []byte) {
	t.Helper()
	ids := map[string]bool{}
	var hrefs []string
	scripts := 0
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if !errors.Is(z.Err(), io.EOF) {
				t.Fatal(z.Err())
			}
			break
		}
		tok := z.Token()
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		if !slices.Contains(elements, tok.Data) {
			t.Errorf("element %q", tok.Data)
		}
		if tok.Data == "script" {
			scripts++
		}
		for _, a := range tok.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "src", a.Key == "xlink:href", a.Key == "srcdoc":
				t.Errorf("attribute %s=%q on %s", a.Key, a.Val, tok.Data)
			case a.Key == "href":
				hrefs = append(hrefs, a.Val)
			case a.Key == "id":
				if ids[a.Val] {
					t.Errorf("id %q twice", a.Val)
				}
				ids[a.Val] = true
			case a.Key == "style" && !regexp.MustCompile(`^[a-zA-Z0-9 .,:;#%-]*$`).MatchString(a.Val):
				t.Errorf("style %q", a.Val)
			}
		}
	}
	if scripts != 1 {
		t.Errorf("%d scripts, want the one of the shell", scripts)
	}
	for _, h := range hrefs {
		if !strings.HasPrefix(h, "#") || !ids[h[1:]] {
			t.Errorf("link to %q, which is not on the page", h)
		}
	}
	for _, bad := range []string{"NaN", "+Inf", "-Inf", "<no value>", "%!", "ZgotmplZ", "url("} {
		if i := bytes.Index(page, []byte(bad)); i >= 0 {
			t.Errorf("page holds %q: …%s…", bad, page[max(0, i-60):min(len(page), i+60)])
		}
	}
}

// TestHostileNames puts every hostile text into every string of every input.
func TestHostileNames(t *testing.T) {
	hostile := []string{
		`<script>alert(1)</script>`, `"]]>`, `javascript:alert(1)`, `'"><img src=x onerror=alert(1)>`, `</style><svg onload=alert(1)>`,
		`</title></svg><script>`, "\u202eevil\x00\x1b[31m", "{{.}}", "%s%d", strings.Repeat("W", 5000), "\xff\xfe", "--></pre>",
	}
	for _, text := range hostile {
		t.Run(fmt.Sprintf("%.20q", text), func(t *testing.T) {
			replayed, scened := sampleReplay(), sampleScenario()
			result, compared := sampleBacktest(3)
			for _, input := range []any{&replayed, &scened, result, compared} {
				taint(reflect.ValueOf(input), text)
			}
			scened.Text = "" // is shown at length
			summary := result.Summary["petshop"]
			result.Summary[text] = summary
			replayed.Graph = taintedGraph(text)
			for _, page := range [][]byte{
				fill(t, func(w io.Writer) error { return Replay(w, replayed) }),
				fill(t, func(w io.Writer) error { return Scenario(w, scened) }),
				fill(t, func(w io.Writer) error { return Backtest(w, result, compared) }),
			} {
				harmless(t, page)
				if strings.Contains(string(page), strings.Repeat("W", textLength+1)) {
					t.Error("a name of 5,000 letters was not cut")
				}
				if bytes.ContainsAny(page, "\x00\x1b\u202e") {
					t.Error("a control character came through")
				}
			}
		})
	}
}

func taintedGraph(text string) *sre.Graph {
	return sre.NewGraph([]sre.Service{{Name: text}, {Name: text + "2", Entry: true}}, []sre.Edge{{From: 1, To: 0}})
}

// taint replaces every settable string that is not of a closed set whose zero
// value decides the flow.
func taint(v reflect.Value, text string) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		return
	}
	switch k := v.Kind(); {
	case k == reflect.Pointer && !v.IsNil():
		taint(v.Elem(), text)
	case k == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				taint(v.Field(i), text)
			}
		}
	case k == reflect.Slice:
		for i := range v.Len() {
			taint(v.Index(i), text)
		}
	case k == reflect.Map:
		if p, ok := v.Interface().(sre.Params); ok && p != nil {
			p[text] = text
		}
	case k == reflect.String && v.CanSet() && v.Type() != reflect.TypeFor[sre.State]() && v.Type() != reflect.TypeFor[sre.Purpose]():
		v.SetString(text)
	}
}

func TestPolicyAllowsOnlyTheScript(t *testing.T) {
	page := string(fill(t, func(w io.Writer) error { return Replay(w, sampleReplay()) }))
	_, rest, _ := strings.Cut(page, "<script>")
	script, _, _ := strings.Cut(rest, "</script>")
	sum := sha256.Sum256([]byte(script))
	want := "default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; script-src &#39;sha256-" +
		strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;") + "&#39;; base-uri"
	if !strings.Contains(page, want) {
		t.Errorf("policy does not hold %s", want)
	}
}

// busyReplay is a day with more of everything than a page has room for.
func busyReplay() ReplayReport {
	r := sampleReplay()
	r.Timeline.End, r.Timeline.Ticks = after(1208*60), 1208
	r.Series, r.Timeline.Records = nil, nil
	for i := range maxSeries {
		s := Series{Name: fmt.Sprint("signal", i), Unit: sre.PerSecond, Service: fmt.Sprint("service", i/3)}
		for k := range maxPoints {
			s.Times, s.Values = append(s.Times, after(k*120)), append(s.Values, float64((k*7919+i*31)%997)/3)
		}
		r.Series = append(r.Series, s)
	}
	for i := range 60 {
		for _, rec := range storm() {
			rec.At = rec.At.Add(time.Duration(i) * 20 * time.Minute)
			r.Timeline.Records = append(r.Timeline.Records, rename(rec, fmt.Sprint("inc-", i)))
		}
	}
	return r
}

func TestSizes(t *testing.T) {
	if n := len(fill(t, func(w io.Writer) error { return Replay(w, busyReplay()) })); n > 1_000_000 {
		t.Errorf("a replay of 1,208 ticks is %d bytes, want below 1 MB", n)
	}
	b, c := sampleBacktest(15)
	if n := len(fill(t, func(w io.Writer) error { return Backtest(w, b, c) })); n > 2_000_000 {
		t.Errorf("a back-test of 45 recordings is %d bytes, want below 2 MB", n)
	}
}

// rename makes a record one of another incident.
func rename(r sre.Record, id string) sre.Record {
	if r.IncidentID != "" {
		r.IncidentID = id
	}
	if r.Incident != nil {
		inc := *r.Incident
		inc.ID, r.Incident = id, &inc
	}
	if r.Decision != nil {
		d := *r.Decision
		d.Incident, d.ID, r.Decision = id, id+d.ID, &d
	}
	return r
}

var errFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestWriterErrors(t *testing.T) {
	for name, page := range allPages() {
		if err := page(fullDisk{}); !errors.Is(err, errFull) {
			t.Errorf("%s: %v, want the writer's error", name, err)
		}
	}
}

// textOf returns what a reader sees, with one space between words.
func textOf(t *testing.T, page []byte) string {
	t.Helper()
	var b strings.Builder
	z := html.NewTokenizer(bytes.NewReader(page))
	hidden := false
	for kind := z.Next(); kind != html.ErrorToken; kind = z.Next() {
		tok := z.Token()
		switch {
		case tok.Data == "style" || tok.Data == "script":
			hidden = kind == html.StartTagToken
		case kind == html.TextToken && !hidden:
			b.WriteString(tok.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestReplaySaysWhatAReaderNeeds(t *testing.T) {
	text := textOf(t, fill(t, func(w io.Writer) error { return Replay(w, sampleReplay()) }))
	for _, want := range []string{
		"At 12:05:00 “payment answers 15 times slower” in payment began and lasted 6 min 40 s.",
		"The agent opened an incident at 12:05:30, 30 s after the fault in payment, and suspected payment (retry storm) with 74 % confidence, at least 61 %.",
		"It decided to act once and asked a human once; it would have moved 1 lever: retry budget on checkout → payment.",
		"At the end the incident was closed with the outcome “improved”.",
		"✕ confidence allows: ask a human The lower bound 0.61 is below 0.80",
		"✓ freshness All 12 readings are younger than 30 s.",
		"retries of checkout → payment is 340/s, normally 4/s",
		"Spread: payment → checkout → gateway",
		"12:04:50 deploy of payment from v41 to v42 by ci",
		"retry budget on checkout → payment: burst = 10, ratio = 0.1",
		"Traffic from outside is normal.",
		"12:07:45 approved by mira: “go on”",
		"revert retry budget on checkout → payment: ratio = 1 → undone",
		"missing 12:06:00", "extra 12:07:45", "verdict was act, is ask",
		"12:09:00 gateway, errors",
		"no lever is real",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("page does not say %q", want)
		}
	}
}

func TestReplayTellsFaultsByTimeHoweverTheyAreListed(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	listed := []bundle.Fault{{Services: []string{"late"}, InjectedAt: start.Add(time.Hour)}, {Services: []string{"early"}, InjectedAt: start}}
	var page strings.Builder
	if err := Replay(&page, ReplayReport{Incident: bundle.Incident{Truth: bundle.Truth{Faults: listed}}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.String(), "in early at 12:00:00") || listed[0].Services[0] != "late" {
		t.Error("the fault that is listed first is told as the first one, or the caller's list was sorted")
	}
}

func TestScenarioHeadlines(t *testing.T) {
	both := sampleScenario()
	steady := *both.On
	steady.GoodputMin, steady.GoodputAfter, steady.Records, steady.RecoveredAfterSeconds = 1, 1, nil, nil
	for _, c := range []struct {
		name string
		r    ScenarioReport
		want []string
	}{
		{"both", both, []string{
			"Without the agent, goodput fell from 100 % to 12 % and did not recover: it ended at 18 %.",
			"With the agent, goodput fell from 100 % to 29 % and recovered 3 min 5 s after the fault.",
			"it moved 1 lever: retry budget on checkout → payment",
		}},
		{"off", ScenarioReport{Off: both.Off}, []string{"No agent was there to help."}},
		{"steady", ScenarioReport{On: &steady}, []string{"With the agent, goodput stayed at 100 % or above.", "It decided nothing and moved no lever."}},
		{"failure", both, []string{"without the agent: line 14: expected recovered, got a goodput of 0.18"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := textOf(t, fill(t, func(w io.Writer) error { return Scenario(w, c.r) }))
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("page does not say %q", want)
				}
			}
		})
	}
}

func TestBacktestSaysWhatAReaderNeeds(t *testing.T) {
	r, c := sampleBacktest(5)
	text := textOf(t, fill(t, func(w io.Writer) error { return Backtest(w, r, c) }))
	for _, want := range []string{
		"The agent noticed 12 of 15 faults in 15 recordings.", "It raised 6 false alarms and took 3 wrong actions.",
		"0.607 0.470 to 0.730, n = 5", "With 24 labelled answers the calibration error is mostly noise.",
		"✕ not detected", "timeout on gateway->cart: neither cause nor caller of it",
		"false alarms per day 2.1 2.4 +0.3", "decision changed", "time given: place 1 of 12",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("page does not say %q", want)
		}
	}
	broken := textOf(t, fill(t, func(w io.Writer) error { return Backtest(w, brokenBacktest(), nil) }))
	for _, want := range []string{"this is a partial report", "metrics.om:17: the file ends within a line"} {
		if !strings.Contains(broken, want) {
			t.Errorf("page does not say %q", want)
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	r := sampleReplay()
	b.ReportAllocs()
	for b.Loop() {
		if err := Replay(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}
