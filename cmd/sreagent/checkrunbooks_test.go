package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckRunbooksSaysWhatIsWrongAndHowMuch(t *testing.T) {
	text := soundRunbook
	dir := folder(t, map[string]string{
		"good.yaml":  text,
		"bad.yaml":   strings.Replace(text, "lease: 30m", "lease: soon", 1),
		"short.yaml": strings.ReplaceAll(text, "lease: 30m", "lease: 90s"),
		"lever.yaml": strings.Replace(text, "lever: guard", "lever: mesh", 1),
	})
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"good.yaml", exitOK, "good, 1 runbook"},
		{"bad.yaml", exitFailed, `lease is "soon"; allowed: a duration such as 45s or 2m30s (load)`},
		{"bad.yaml --format github", exitFailed, "bad.yaml,line="},
		{"short.yaml", exitDoubtful, "warning: lease of 1m30s may end before the plan is through"},
		{"short.yaml --strict", exitFailed, "warning: lease of 1m30s"},
		{"lever.yaml", exitOK, "good, 1 runbook"},
		{"lever.yaml --lever kubernetes", exitFailed, `no lever is named "mesh"; allowed: guard, kubernetes (lever)`},
		{"lever.yaml --lever mesh", exitOK, "good"},
		{"missing.yaml", exitUsage, ""},
	} {
		args := strings.Fields(c.args)
		args[0] = filepath.Join(dir, args[0])
		code, out, said := cli(t, append([]string{"check", "runbooks"}, args...)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d, want %d with %q in\n%s%s", c.args, code, c.code, c.want, out, said)
		}
	}
	if code, out, said := cli(t, "check", "runbooks", "../../runbooks/shipped"); code != exitOK && code != exitDoubtful {
		t.Errorf("shipped: exit %d\n%s%s", code, out, said)
	}
	_, out, _ := cli(t, "check", "runbooks", "--format=json", filepath.Join(dir, "bad.yaml"))
	var found []checked
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found) != 1 || found[0].Line == 0 || found[0].Severity != "error" {
		t.Errorf("json: %v %+v", err, found)
	}
}

// soundRunbook is one of which nothing is to be said.
const soundRunbook = `apiVersion: sreagent/v1
kind: Runbook
metadata: {name: sound, owner: sre, description: A queue is bounded., not_for: a queue that is meant to be long}
spec:
  match: {mechanisms: [overload], when: traffic(root) > 0.0}
  risk: medium
  steps:
    - name: bound the queue
      actions:
        - kind: queue_bound
          lever: guard
          target: root
          params: {length: 100}
          ttl: 60s
      verify: {expr: errors(root) < 0.05, within: 25s, held_for: 10s}
      lease: 30m
      on_fail: next
    - name: cap the load
      when: errors(root) > 0.01
      actions:
        - kind: shed
          lever: guard
          target: root
          params: {rps: "${math.greatest(1.0, served(root))}"}
          law: overload
          ttl: 60s
      verify: {expr: errors(root) < 0.2, within: 45s, held_for: 10s}
      lease: 30m
      on_fail: undo
  relapse: errors(root) > 0.3
`
