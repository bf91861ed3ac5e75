//go:build e2e

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// An agent that cannot see does not act, says so, and needs nobody to see
// again.
func TestE2EWithoutPrometheusNothingNewIsDone(t *testing.T) {
	w := startWorld(t, worldOptions{})
	a := startAgent(t, w, agentOptions{runbook: "retry-storm.yaml", ttl: "30s"})
	w.healthy(t, 15)
	w.cut(t)
	inc := a.incident(t, time.Minute, "", sre.AwaitingApproval)
	w.prometheus.kill()

	eventually(t, time.Minute, "sreagent_source_up 0", func() bool { return a.metric(t, `sreagent_source_up{source="prometheus"}`) == "0" })
	eventually(t, time.Minute, "an agent that is not ready and says why", func() bool {
		code, body := get(a.url + "/-/ready")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "the metric store does not answer") && strings.Contains(body, w.promURL)
	})
	status, body := post(t, a.url+"/api/v1/incidents/"+inc.ID+"/approve", a.tokens[sre.Approver], `{"decision":"`+inc.Decision.ID+`","comment":"blind"}`)
	if status != http.StatusConflict || !strings.Contains(body, "stale") {
		t.Errorf("an approval while blind: %d %s", status, body)
	}
	from, err := a.api(sre.Viewer).Status(t.Context())
	must(t, err)
	eventually(t, time.Minute, "ten blind ticks", func() bool {
		s, err := a.api(sre.Viewer).Status(t.Context())
		return err == nil && s.Tick >= from.Tick+10
	})
	if n := len(intents(a.records(t))); n > 0 || w.inForce(t) > 0 {
		t.Errorf("%d intents and %d directives while blind", n, w.inForce(t))
	}
	if code, _ := get(a.url + "/-/healthy"); code != http.StatusOK {
		t.Errorf("/-/healthy while blind: %d", code)
	}

	w.againPrometheus(t)
	eventually(t, time.Minute, "an agent that is ready by itself", func() bool {
		code, _ := get(a.url + "/-/ready")
		return code == http.StatusOK && a.metric(t, `sreagent_source_up{source="prometheus"}`) == "1"
	})
	inc = a.incident(t, time.Minute, inc.ID, sre.AwaitingApproval)
	a.approve(t, inc.ID)
	eventually(t, time.Minute, "directives in force", func() bool { return w.inForce(t) == 3 })
	appliedOnce(t, w, a.records(t))
	a.verified(t)
}

// metric returns the value of one series of the agent's own metrics, as text;
// empty where there is none.
func (a *running) metric(t *testing.T, series string) string {
	t.Helper()
	code, page := get(a.url + "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", code, page)
	}
	for line := range strings.Lines(page) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
