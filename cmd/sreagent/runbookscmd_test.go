package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestRunbooksAreListedShownAndDrawn(t *testing.T) {
	const own = "../../runbooks/testdata/tree.yaml"
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"list", exitOK, "retry-storm"},
		{"list " + own, exitOK, "bad_change, overload"},
		{"list nowhere", exitUsage, "no such file"},
		{"show retry-storm", exitOK, "# retry-storm"},
		{"show " + own, exitOK, "Wrong to use: a service whose callers"},
		{"show nobody", exitUsage, "retry-storm"},
		{"show ../../runbooks/testdata/risk.bad.yaml", exitFailed, `risk is "tiny"`},
		{"graph overload", exitOK, "flowchart TD"},
		{"graph --format=svg " + own, exitOK, "<svg xmlns"},
	} {
		code, out, said := cli(t, append([]string{"runbooks"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out+said, c.want) {
			t.Errorf("%s: exit %d, want %d with %q in\n%s%s", c.args, code, c.code, c.want, out, said)
		}
	}
	code, out, _ := cli(t, "runbooks", "schema")
	want, err := os.ReadFile("../../docs/schema/runbook.schema.json")
	if err != nil || code != exitOK || out != string(want) {
		t.Errorf("schema: exit %d, %v, %d bytes", code, err, len(out))
	}
	var infos []struct{ Name string }
	_, out, _ = cli(t, "runbooks", "list", "-o", "json")
	if err := json.Unmarshal([]byte(out), &infos); err != nil || len(infos) < 3 {
		t.Errorf("json: %v, %d", err, len(infos))
	}
}
