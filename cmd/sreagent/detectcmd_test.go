package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// spiked is a calm series with one jump, and where the jump stands.
func spiked(header string) (text string, jump int) {
	var b strings.Builder
	b.WriteString(header + "\n")
	at := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	for i := range 600 {
		v := 50 + float64(i*7%13)/10
		if i >= 500 && i < 520 {
			v = 500
		}
		fmt.Fprintf(&b, "%s,%g\n", at.Add(time.Duration(i)*5*time.Minute).Format(time.DateTime), v)
	}
	return b.String(), 500
}

func TestDetectScoresEveryRow(t *testing.T) {
	from, out := t.TempDir(), filepath.Join(t.TempDir(), "scored")
	text, jump := spiked("timestamp,value")
	other, _ := spiked("TimeStamp,Value")
	for name, content := range map[string]string{"a/one.csv": text, "two.csv": other, "notes.txt": "no series\n"} {
		path := filepath.Join(from, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, told, errs := commandLine(t.Context(), "detect", from, "--out", out)
	if code != 0 || errs != "" || !strings.Contains(told, "notes.txt: skipped") {
		t.Fatalf("exit %d: %s%s", code, told, errs)
	}
	for _, name := range []string{"a/one.csv", "two.csv"} {
		scored, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(scored)), "\n")
		if len(lines) != 601 || lines[0] != "timestamp,value,anomaly_score,alarm" {
			t.Fatalf("%s: %d lines, %q", name, len(lines), lines[0])
		}
		alarms := 0
		for i, line := range lines[1:] {
			if strings.HasSuffix(line, ",1") {
				alarms++
				if i < jump {
					t.Errorf("%s: alarm at row %d, before anything happened", name, i)
				}
			}
		}
		if alarms == 0 {
			t.Errorf("%s: no alarm", name)
		}
	}
	one := filepath.Join(t.TempDir(), "one")
	code, told, errs = commandLine(t.Context(), "detect", filepath.Join(from, "two.csv"), "--out", one, "-o", "json")
	var got struct{ Files []struct{ Path string } }
	if err := json.Unmarshal([]byte(told), &got); code != 0 || err != nil || len(got.Files) != 1 || got.Files[0].Path != "two.csv" {
		t.Errorf("one file: exit %d, %v: %s%s", code, err, told, errs)
	}
	whole, err1 := os.ReadFile(filepath.Join(out, "two.csv"))
	single, err2 := os.ReadFile(filepath.Join(one, "two.csv"))
	if err1 != nil || err2 != nil || string(whole) != string(single) {
		t.Errorf("alone the file is scored differently: %v %v", err1, err2)
	}
}

func TestDetectRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"detect", write("a.csv", "x")}, exitUsage, "required flag(s) '--out'"},
		{[]string{"detect", filepath.Join(dir, "gone"), "--out", dir}, exitFailed, "no such file"},
		{[]string{"detect", t.TempDir(), "--out", dir}, exitFailed, "no series found"},
		{[]string{"detect", write("b.csv", "timestamp,value\nyesterday,1\n"), "--out", t.TempDir()}, exitFailed, "b.csv:2"},
		{[]string{"detect", write("c.csv", "when,what\n1,2\n"), "--out", t.TempDir()}, exitFailed, "c.csv"},
		{[]string{"detect", write("d.csv", "timestamp,value\n1,2\n"), "--out", write("file", "")}, exitFailed, "file"},
	} {
		code, _, errs := commandLine(t.Context(), tc.args...)
		if code != tc.code || !strings.Contains(errs, tc.want) {
			t.Errorf("%v: exit %d, want %d with %q: %s", tc.args, code, tc.code, tc.want, errs)
		}
	}
}
