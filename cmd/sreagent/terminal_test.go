package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

const steering = "\x1b[31mred\x1b]0;title\x07 \u009b2J \u202egnp\x7f\r"

func TestSafe(t *testing.T) {
	for text, want := range map[string]string{
		"plain, ünïcode 日本 💥\n\ttab": "plain, ünïcode 日本 💥\n\ttab",
		"\x1b[31m\x07\r\x00":         `\x1b[31m\x07\x0d\x00`,
		"\u009b\u202e\x7f\u200b":     `\u009b\u202e\u007f\u200b`,
		"\U000e0041":                 `\udb40\udc41`,
		"\x9b31m\xff":                `\x9b31m\xff`,
		"cut \xe6\x97":               `cut \xe6\x97`,
	} {
		if got := safe(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// However a text is cut into writes, it comes out the same, can be printed, and
// means the same where it is JSON.
func TestSafeWriterProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text") + string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		var got bytes.Buffer
		w := &safeWriter{to: &got}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			if wrote, err := w.Write([]byte(rest[:n])); wrote != n || err != nil {
				t.Fatalf("wrote %d of %d, %v", wrote, n, err)
			}
			rest = rest[n:]
		}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		if want := safe(text); got.String() != want {
			t.Fatalf("got %q, want %q", got.String(), want)
		}
		if i := strings.IndexFunc(got.String(), func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
			t.Fatalf("%q reaches the terminal", got.String()[i:])
		}
		var raw bytes.Buffer
		enc := json.NewEncoder(&raw)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(text); err != nil {
			t.Fatal(err)
		}
		var before, after string
		if err := json.Unmarshal(raw.Bytes(), &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(safe(raw.String())), &after); err != nil || before != after {
			t.Fatalf("%q became %q, %v", before, after, err)
		}
	})
}

// What a recording says must not reach the terminal raw, whatever it is that
// repeats it.
func TestNoCommandLetsARecordingSteerTheTerminal(t *testing.T) {
	dir := t.TempDir()
	quoted := strconv.QuoteToASCII(steering) // as YAML has it
	asJSON, err := json.Marshal(steering)
	if err != nil {
		t.Fatal(err)
	}
	hostile := strings.NewReplacer("%s", "hostile", "source: test", "source: "+quoted, "a cart that fails", quoted).Replace(recordedIncident)
	decision := `{"seq":1,"at":"2026-03-04T05:11:00Z","kind":"decision","decision":{"id":"x","verdict":"act","runbook":` + string(asJSON) + `}}`
	start := `{"seq":0,"at":"2026-03-04T05:00:00Z","kind":"stop"}`
	writeBundle(t, dir, "hostile", "incident.yaml", hostile, "trail.jsonl", start+"\n"+decision+"\n")
	writeBundle(t, dir, "topology", "topology.yaml", "edges:\n  - {"+quoted+": 1}\n")
	writeBundle(t, dir, "signals", "signals.yaml", recordedSignals+"  - {"+quoted+": 1}\n")
	if err := os.Rename(writeBundle(t, dir, "x"), filepath.Join(dir, "\x1b[31mname")); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{
		{"check", "bundle", "hostile"}, {"check", "bundle", "topology"}, {"check", "bundle", "topology", "-o", "json"}, {"check", "bundle", "signals"},
		{"check", "bundle", "\x1b[31mname"}, {"check", "bundle", "\x1b[31mnone"},
		{"replay", "hostile"}, {"replay", "hostile", "-o", "json"}, {"replay", "topology"}, {"replay", "\x1b[31mname"},
		{"backtest", "hostile"}, {"backtest", "hostile", "-o", "json"}, {"backtest", "."}, {"backtest", ".", "-o", "json"},
		{"scenario", "run", "\x1b[31mnone"}, {"scenario", "show", "\x1b[31mnone"},
	} {
		t.Run(strings.Join(line, " "), func(t *testing.T) {
			t.Chdir(dir)
			code, out, errs := commandLine(t.Context(), line...)
			if good := strings.HasSuffix(line[min(len(line)-1, 2)], "name") || slices.Contains(line, "hostile") || strings.HasSuffix(line[1], "name"); good != (code == 0) {
				t.Errorf("exit %d: %s", code, errs)
			}
			for name, text := range map[string]string{"output": out, "errors": errs} {
				if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
					t.Errorf("%s: %q", name, text[i:min(len(text), i+60)])
				}
			}
			if line[len(line)-1] == "json" && !json.Valid([]byte(out)) {
				t.Errorf("no JSON: %s", out)
			}
		})
	}
}
