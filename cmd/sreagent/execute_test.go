package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestUsageAndItsExitCodes(t *testing.T) {
	for _, c := range []struct {
		args     string
		code     int
		out, err string // what each stream begins with; empty for silence
	}{
		{"--version", exitOK, "sreagent, version", ""},
		{"--help", exitOK, "usage: sreagent", ""},
		{"run --help", exitOK, "usage: sreagent run", ""},
		{"help audit", exitOK, "usage: sreagent audit", ""},
		{"", exitOK, "usage: sreagent", ""},
		{"nonsense", exitUsage, "", "sreagent: expected command but got \"nonsense\""},
		{"run --nonsense", exitUsage, "", "sreagent: unknown long flag '--nonsense'"},
		{"check config /nonexistent.yaml", exitFailed, "", "sreagent: read configuration"},
	} {
		var out, errs bytes.Buffer
		code := execute(t.Context(), strings.Fields(c.args), streams{in: strings.NewReader(""), out: &out, err: &errs})
		begins := func(got, want string) bool { return strings.HasPrefix(got, want) && (want != "" || got == "") }
		if code != c.code || !begins(out.String(), c.out) || !begins(errs.String(), c.err) {
			t.Errorf("%q: exit %d, want %d\nout: %.200s\nerr: %.200s", c.args, code, c.code, out.String(), errs.String())
		}
	}
}

func TestNegativeValuesOfFlags(t *testing.T) {
	for in, want := range map[string]string{
		"record --from -2h out":  "record --from=-2h out",
		"record --from=-2h out":  "record --from=-2h out",
		"replay x --speed -1":    "replay x --speed=-1",
		"record -- -2h":          "record -- -2h",
		"audit show -o json -2h": "audit show -o json -2h",
	} {
		if got := strings.Join(joinNegative(strings.Fields(in)), " "); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
