package bundle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func TestParseChangesRefuses(t *testing.T) {
	good := `{"at":"2026-01-01T00:00:00Z","kind":"deploy","service":"a","id":"x"}`
	cases := []struct{ name, line, want string }{
		{"kind", strings.Replace(good, "deploy", "mystery", 1), `c:2: kind: unknown kind "mystery"; allowed: deploy, flag, config, scale, other`},
		{"no kind", `{"at":"2026-01-01T00:00:00Z","service":"a","id":"x"}`, `c:2: kind: unknown kind ""; allowed: deploy, flag, config, scale, other`},
		{"no time", `{"kind":"deploy","service":"a","id":"x"}`, `c:2: at: is missing; allowed: a time with its zone, such as 2022-08-22T03:51:19Z`},
		{"time", strings.Replace(good, "T00:00:00Z", "", 1), `c:2: at: this is "2026-01-01"; allowed: a time with its zone, such as 2022-08-22T03:51:19Z`},
		{"no service", strings.Replace(good, `"service":"a",`, "", 1), `c:2: service: is missing; allowed: the name of a service`},
		{"no id", strings.Replace(good, `,"id":"x"`, "", 1), `c:2: id: is missing; allowed: what the change is called where it was made, such as a commit`},
		{"unknown key", strings.Replace(good, `"id"`, `"colour":"red","id"`, 1), `c:2: unknown field "colour" in "{\"at\":\"2026-01-01T00:00:00Z\",\"kind\":\"deploy\",\"service\":\"a\",\"colour\":\"red\",\"id\":\""...; allowed: one JSON object per line`},
		{"two words", strings.Replace(good, `"id"`, `"note":"a","summary":"b","id"`, 1), `c:2: summary: there is a note too, and it says something else; allowed: one of the two`},
		{"two in a line", good + good, `c:2: there is more than one value in the line in "{\"at\":\"2026-01-01T00:00:00Z\",\"kind\":\"deploy\",\"service\":\"a\",\"id\":\"x\"}{\"at\":\"2026-"...; allowed: one change per line`},
		{"cut", good[:30], `c:2: the line is cut in "{\"at\":\"2026-01-01T00:00:00Z\",\""; allowed: one JSON object per line`},
		{"type", strings.Replace(good, `"a"`, "7", 1), `c:2: service has the wrong type, number in "{\"at\":\"2026-01-01T00:00:00Z\",\"kind\":\"deploy\",\"service\":7,\"id\":\"x\"}"; allowed: one JSON object per line`},
		{"list", "[]", `c:2: the line has the wrong type, array in "[]"; allowed: one JSON object per line`},
		{"garbage", "\xff\x00", `c:2: invalid character 'ÿ' looking for beginning of value in "\xff\x00"; allowed: one JSON object per line`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseChanges("c", strings.NewReader(good+"\n"+c.line+"\n"+good+"\n"))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestParseChangesSorts(t *testing.T) {
	text := `{"at":"2026-01-01T00:02:00+01:00","kind":"flag","service":"s","id":"b"}
{"at":"2026-01-01T00:02:00Z","kind":"config","service":"s","id":"b","summary":"same","note":"same"}
{"at":"2026-01-01T00:02:00Z","kind":"scale","service":"s","id":"a"}
`
	got, err := ParseChanges("c", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []sre.Change{
		{ID: "b", At: instant("2025-12-31T23:02:00Z"), Kind: sre.Flag, Service: "s"},
		{ID: "a", At: instant("2026-01-01T00:02:00Z"), Kind: sre.ScaleChange, Service: "s"},
		{ID: "b", At: instant("2026-01-01T00:02:00Z"), Kind: sre.ConfigEdit, Service: "s", Note: "same"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseTrailRefuses(t *testing.T) {
	cases := []struct{ name, line, want string }{
		{"repeated", `{"seq":4,"at":"2026-01-01T00:00:00Z","kind":"stop"}`, `t:2: seq: 4 comes after 4; allowed: ascending numbers`},
		{"back", `{"seq":3,"at":"2026-01-01T00:00:00Z","kind":"stop"}`, `t:2: seq: 3 comes after 4; allowed: ascending numbers`},
		{"kind", `{"seq":5,"at":"2026-01-01T00:00:00Z","kind":"song"}`, `t:2: kind: unknown kind "song"; allowed: start, source, incident, decision, approval, operator, intent, result, outcome, notice, stop`},
		{"hollow", `{"seq":5,"at":"2026-01-01T00:00:00Z","kind":"decision"}`, `t:2: decision: is missing in a record of this kind`},
		{"no time", `{"seq":5,"kind":"stop"}`, `t:2: at: is missing; allowed: a time with its zone, such as 2022-08-22T03:51:19Z`},
		{"cut", `{"seq":5`, `t:2: the line is cut in "{\"seq\":5"; allowed: one JSON object per line`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseTrail("t", strings.NewReader(`{"seq":4,"at":"2026-01-01T00:00:00Z","kind":"stop"}`+"\n"+c.line))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestCheckRecordKnowsAllKinds fails where the vocabulary grows a kind that the
// reader does not know.
func TestCheckRecordKnowsAllKinds(t *testing.T) {
	full := sre.Record{
		At: time.Unix(1, 0), Start: &sre.StartRecord{}, Source: &sre.SourceHealth{}, Incident: &sre.Incident{}, Decision: &sre.Decision{}, Approval: &sre.Approval{},
		Operator: &sre.OperatorRecord{}, Intent: &sre.IntentRecord{}, Result: &sre.ResultRecord{}, Outcome: &sre.OutcomeRecord{}, Notice: &sre.Notice{},
	}
	for _, kind := range sre.RecordKinds() {
		full.Kind = kind
		if fault := checkRecord(&full); fault != nil {
			t.Errorf("%s: %v", kind, fault)
		}
		hollow := sre.Record{At: full.At, Kind: kind}
		if fault := checkRecord(&hollow); (fault == nil) != (kind == sre.RecordStop) {
			t.Errorf("%s without content: %v", kind, fault)
		}
	}
}

func TestLinesLongerThanBound(t *testing.T) {
	for name, parse := range map[string]func() error{
		"changes": func() error { _, err := ParseChanges("f", &discard{pattern: "x", left: 1 << 30}); return err },
		"trail":   func() error { _, err := ParseTrail("f", &discard{pattern: "x", left: 1 << 30}); return err },
	} {
		if err := parse(); err == nil || err.Error() != "f:1: the line is longer than 16 MiB" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzChanges(f *testing.F) {
	f.Add(goodFiles()[ChangesFile])
	f.Add(`{"at":"2026-01-01T00:00:00Z","kind":"deploy","service":"a","id":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseChanges("c", strings.NewReader(text))
		if err != nil {
			return
		}
		if !slices.IsSortedFunc(got, func(a, b sre.Change) int { return a.At.Compare(b.At) }) {
			t.Error("not sorted")
		}
		out, err := jsonLines(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseChanges("c", strings.NewReader(string(out)))
		if err != nil || !cmp.Equal(got, again) {
			t.Errorf("%v: %s", err, cmp.Diff(got, again))
		}
	})
}

func FuzzTrail(f *testing.F) {
	f.Add(goodFiles()[TrailFile])
	f.Add(`{"seq":1,"at":"2026-01-01T00:00:00Z","kind":"intent","intent":{"action":{"params":{"a":1}},"expires":"2026-01-01T00:00:00Z"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseTrail("t", strings.NewReader(text))
		if err != nil {
			return
		}
		out, err := jsonLines(got)
		if err != nil {
			t.Skip("a time that JSON cannot write")
		}
		again, err := ParseTrail("t", strings.NewReader(string(out)))
		if err != nil || len(again) != len(got) {
			t.Errorf("%d records became %d: %v", len(got), len(again), err)
		}
	})
}
