//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/demo"
	"github.com/sreagent/sreagent/sre"
)

// The main promise: a metastable failure is seen, a person is asked with all
// that is needed for the answer, the cure is applied and verified, and taken
// back again; every step is told and on record.
func TestE2ETheLoopFromMetricsToAVerifiedCure(t *testing.T) {
	began := time.Now()
	w := startWorld(t, worldOptions{alertmanager: true})
	a := startAgent(t, w, agentOptions{})
	w.healthy(t, 15)
	ended := w.cut(t)

	inc := a.incident(t, time.Minute, "", sre.AwaitingApproval)
	t.Logf("asked %v after the detection", inc.StateSince.Sub(inc.OpenedAt))
	w.down(t, ended)
	promptIsWhole(t, a, inc)
	answersAreChecked(t, a, inc)
	eventually(t, time.Minute, "a firing alert", func() bool { return slices.Contains(w.alerts(t), inc.ID) })
	if n := len(intents(a.records(t))); n > 0 || w.inForce(t) > 0 {
		t.Fatalf("%d levers were moved before the approval", n)
	}

	a.approve(t, inc.ID)
	var healthy time.Time
	eventually(t, 90*time.Second, "goodput above .95", func() (ok bool) {
		healthy, ok = w.recovered(ended, 5)
		return ok
	})
	t.Logf("goodput is back %v after the detection", healthy.Sub(inc.OpenedAt))
	if took := healthy.Sub(inc.OpenedAt); took > time.Minute {
		t.Errorf("goodput was back %v after the detection, want 1m at most", took)
	}
	if w.inForce(t) == 0 {
		t.Error("goodput came back with nothing in force")
	}

	a.incident(t, 2*time.Minute, inc.ID, sre.Closed)
	lifted := time.Now()
	if n := w.inForce(t); n > 0 {
		t.Errorf("%d directives after the incident was closed", n)
	}
	if slices.Contains(w.alerts(t), inc.ID) {
		t.Error("the alert still fires after the incident was closed")
	}
	eventually(t, time.Minute, "15 s of goodput without a mitigation", func() bool {
		begins, ok := w.recovered(lifted, 15)
		return ok && begins.Sub(lifted) < 3*time.Second
	})
	if again, err := a.api(sre.Viewer).Incidents(t.Context(), false); err != nil || len(again) > 0 {
		t.Errorf("a relapse: %v, %v", again, err)
	}

	if code := a.terminate(t, 20*time.Second); code != exitOK {
		t.Errorf("the agent stopped with exit code %d", code)
	}
	appliedOnce(t, w, a.records(t))
	a.verified(t)
	tamperingIsFound(t, a)
	recordedAndReplayed(t, w, a, began)
}

// promptIsWhole looks at the question as people do.
func promptIsWhole(t *testing.T, a *running, inc sre.Incident) {
	t.Helper()
	prompts, err := a.api(sre.Viewer).Approvals(t.Context())
	must(t, err)
	if len(prompts) != 1 || prompts[0].Incident != inc.ID {
		t.Fatalf("open questions: %+v", prompts)
	}
	p := prompts[0]
	if p.Service != demo.Leaf || p.Mechanism != sre.RetryStorm {
		t.Errorf("asked about %s at %s", p.Mechanism, p.Service)
	}
	if len(p.Evidence) == 0 || len(p.Alternatives) == 0 || len(p.Blast.Services) == 0 || p.Undo == "" || p.OnSilence == "" || len(p.Steps) == 0 {
		t.Errorf("the question lacks something: %+v", p)
	}
	for _, step := range p.Steps[:1] {
		for _, action := range step.Actions {
			for _, s := range action.Settings {
				if s.Old == nil {
					t.Errorf("%s: the old value of %s was not read", action.Target, s.Name)
				}
			}
		}
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"approvals"}, []string{inc.ID, "EVIDENCE", "CONFIDENCE", "retry budget"}},
		{[]string{"incidents"}, []string{inc.ID, "awaiting", demo.Leaf}},
		{[]string{"explain", inc.ID}, []string{inc.ID, demo.Leaf, "confidence"}},
		{[]string{"status"}, []string{"ready", "1 waiting for an answer"}},
	} {
		code, out, stderr := a.cli(t, sre.Viewer, c.args...)
		if code != exitOK {
			t.Errorf("%v: exit %d: %s", c.args, code, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v does not say %q:\n%s", c.args, want, out)
			}
		}
		if c.args[0] == "approvals" {
			t.Log("\n" + out)
		}
	}
}

// answersAreChecked gives answers that must not count.
func answersAreChecked(t *testing.T, a *running, inc sre.Incident) {
	t.Helper()
	path := a.url + "/api/v1/incidents/" + inc.ID + "/approve"
	for name, c := range map[string]struct {
		role     sre.Role
		decision string
		status   int
		says     string
	}{
		"nobody":         {"", inc.Decision.ID, http.StatusUnauthorized, "token"},
		"a viewer":       {sre.Viewer, inc.Decision.ID, http.StatusForbidden, "approver"},
		"an operator":    {sre.Operator, inc.Decision.ID, http.StatusForbidden, "approver"},
		"wrong decision": {sre.Approver, inc.Decision.ID + "9", http.StatusConflict, inc.Decision.ID},
	} {
		status, body := post(t, path, a.tokens[c.role], `{"decision":"`+c.decision+`","comment":""}`)
		if status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s, want %d and %q", name, status, body, c.status, c.says)
		}
	}
	code, _, stderr := a.cli(t, sre.Viewer, "approve", inc.ID, "--decision="+inc.Decision.ID)
	if code != exitFailed || !strings.Contains(stderr, "forbidden") {
		t.Errorf("approve as a viewer: exit %d, %s", code, stderr)
	}
}

func post(t *testing.T, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	var text bytes.Buffer
	_, err = text.ReadFrom(res.Body)
	must(t, err)
	return res.StatusCode, text.String()
}

// alerts returns the incidents whose alerts the Alertmanager has firing.
func (w *site) alerts(t *testing.T) []string {
	t.Helper()
	code, body := get(w.alertURL + "/api/v2/alerts?active=true")
	if code != http.StatusOK {
		t.Fatalf("alertmanager: %d %s", code, body)
	}
	var all []struct {
		Labels map[string]string `json:"labels"`
	}
	must(t, json.Unmarshal([]byte(body), &all))
	var out []string
	for _, alert := range all {
		if alert.Labels["alertname"] == "SreagentIncident" {
			out = append(out, alert.Labels["incident"])
		}
	}
	return out
}

// tamperingIsFound damages copies of the trail and wants each damage named.
func tamperingIsFound(t *testing.T, a *running) {
	t.Helper()
	segments, err := filepath.Glob(a.path("audit/segment-*.jsonl"))
	must(t, err)
	if len(segments) != 1 {
		t.Fatalf("segments: %v", segments)
	}
	whole, err := os.ReadFile(segments[0])
	must(t, err)
	lines := bytes.SplitAfter(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n"))
	lines[len(lines)-1] = append(lines[len(lines)-1], '\n')
	middle := len(lines) / 2
	for name, damage := range map[string]func([][]byte) [][]byte{
		"changed": func(l [][]byte) [][]byte {
			flipped := slices.Clone(l[middle])
			flipped[len(flipped)/2] ^= 1
			l[middle] = flipped
			return l
		},
		"deleted": func(l [][]byte) [][]byte { return slices.Delete(l, middle, middle+1) },
		"swapped": func(l [][]byte) [][]byte {
			l[middle], l[middle+1] = l[middle+1], l[middle]
			return l
		},
		"truncated": func(l [][]byte) [][]byte { return l[:len(l)-2] },
	} {
		copied := filepath.Join(t.TempDir(), name)
		must(t, os.CopyFS(copied, os.DirFS(a.path("audit"))))
		text := bytes.Join(damage(slices.Clone(lines)), nil)
		must(t, os.WriteFile(filepath.Join(copied, filepath.Base(segments[0])), text, 0o600))
		code, out, _ := run(t, "", sreagentBinary(t), "audit", "verify", copied, "--key="+a.path("audit/trail.key.pub"))
		if code != exitFailed || !strings.Contains(out, name) {
			t.Errorf("%s: exit %d, and it says:\n%s", name, code, out)
		}
		t.Logf("%s: %s", name, strings.TrimSpace(out))
	}
}
