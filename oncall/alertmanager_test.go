package oncall

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func TestAlertmanagerIsToldUntilResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, amConfig(), always(200))
		n := notice(b.start)
		b.notify(t, n)
		want := []amAlert{{
			Labels:       map[string]string{"alertname": "SreagentIncident", "incident": "inc-7", "severity": "warning", "service": "checkout", "mechanism": "retry_storm"},
			Annotations:  map[string]string{"summary": n.Title, "description": n.Text, "state": "diagnosed"},
			StartsAt:     b.start,
			EndsAt:       b.start.Add(4 * time.Minute),
			GeneratorURL: "https://sre.example/agent/api/v1/incidents/inc-7/explain",
		}}
		if diff := cmp.Diff(want, b.alerts(t, 0)); diff != "" {
			t.Error(diff)
		}
		if p := b.requests()[0].path; p != "/api/v2/alerts" {
			t.Errorf("path %s", p)
		}
		pass(2 * time.Minute)
		n.State, n.NeedsYou = sre.AwaitingApproval, true
		b.notify(t, n)
		if a := b.alerts(t, 3); a[0].Annotations["needs_you"] != "true" || !a[0].EndsAt.Equal(b.start.Add(6*time.Minute)) {
			t.Errorf("update %+v", a)
		}
		pass(30 * time.Second)
		n.Resolved, n.EndsAt = true, b.start.Add(140*time.Second)
		b.notify(t, n)
		if a := b.alerts(t, 4); len(a) != 1 || !a[0].EndsAt.Equal(n.EndsAt) {
			t.Errorf("resolved %+v", a)
		}
		pass(time.Hour) // and silence after that
		if diff := cmp.Diff([]time.Duration{0, time.Minute, 2 * time.Minute, 2 * time.Minute, 150 * time.Second}, b.times()); diff != "" {
			t.Error(diff)
		}
		b.wantCounts(t, map[string]float64{"alertmanager/sent": 5, "alertmanager/retried": 0, "webhook/sent": 0})
	})
}

func TestAlertmanagerEndsTheOldLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The first attempt fails, yet may have arrived.
		b := newBench(t, amConfig(), func(n int, _ *http.Request) int { return map[bool]int{true: 500, false: 200}[n == 1] })
		n := notice(b.start)
		b.notify(t, n)
		n.Severity = sre.Critical
		b.notify(t, n)
		pass(time.Second)
		a := b.alerts(t, 1)
		if len(a) != 2 || a[0].Labels["severity"] != "warning" || a[1].Labels["severity"] != "critical" {
			t.Fatalf("alerts %+v", a)
		}
		if now := b.start.Add(time.Second); a[0].EndsAt.After(now) || !a[1].EndsAt.After(now) {
			t.Errorf("ends %s and %s", a[0].EndsAt, a[1].EndsAt)
		}
		pass(time.Minute)
		if again := b.alerts(t, 2); len(again) != 1 {
			t.Errorf("the old alert is ended twice: %+v", again)
		}
		n.Severity = sre.Warning // back: the first label set lives again, the second ends
		b.notify(t, n)
		if a := b.alerts(t, 3); len(a) != 2 || a[0].Labels["severity"] != "critical" || a[1].Labels["severity"] != "warning" {
			t.Errorf("alerts %+v", a)
		}
	})
}

func TestAlertmanagerComesBackAndGetsTheNewestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		b := newBench(t, amConfig(), func(int, *http.Request) int {
			if down {
				return 503
			}
			return 200
		})
		n := notice(b.start)
		b.notify(t, n)
		for _, s := range []sre.State{sre.Planned, sre.Acting, sre.Verifying} {
			n.State = s
			b.notify(t, n) // a new state does not break the back-off
		}
		pass(10 * time.Second)
		if diff := cmp.Diff([]time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}, b.times()); diff != "" {
			t.Fatalf("back-off: %s", diff)
		}
		b.mu.Lock()
		down = false
		b.mu.Unlock()
		pass(10 * time.Second)
		got := b.alerts(t, 4)
		if len(b.requests()) != 5 || len(got) != 1 || got[0].Annotations["state"] != string(sre.Verifying) {
			t.Errorf("%d requests, last %+v", len(b.requests()), got)
		}
		b.wantCounts(t, map[string]float64{"alertmanager/retried": 4, "alertmanager/sent": 1})
		if lines := strings.Count(b.log.String(), "level=WARN"); lines != 1 {
			t.Errorf("%d warnings of one outage:\n%s", lines, b.log)
		}
	})
}

func TestAlertmanagerRefusalOfAnAlertIsNotRepeatedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, amConfig(), always(400))
		b.notify(t, notice(b.start))
		pass(30 * time.Second)
		if len(b.requests()) != 1 {
			t.Errorf("%d requests", len(b.requests()))
		}
		b.wantCounts(t, map[string]float64{"alertmanager/refused": 1, "alertmanager/retried": 0})
	})
	synctest.Test(t, func(t *testing.T) { // a wrong password is cured by people; the alert waits
		b := newBench(t, amConfig(), func(n int, _ *http.Request) int { return map[bool]int{true: 401, false: 200}[n == 1] })
		b.notify(t, notice(b.start))
		pass(5 * time.Second)
		b.wantCounts(t, map[string]float64{"alertmanager/refused": 0, "alertmanager/retried": 1, "alertmanager/sent": 1})
	})
}

func TestTheEndOfAnAlert(t *testing.T) {
	for name, c := range map[string]struct{ start, end, want time.Time }{
		"as told":            {noon.Add(-time.Hour), noon.Add(-time.Minute), noon.Add(-time.Minute)},
		"not told":           {noon.Add(-time.Hour), time.Time{}, noon},
		"in the future":      {noon.Add(-time.Hour), noon.Add(time.Hour), noon},
		"before its start":   {noon.Add(-time.Hour), noon.Add(-2 * time.Hour), noon.Add(-time.Hour)},
		"ahead of our clock": {noon.Add(time.Second), time.Time{}, noon.Add(time.Second)},
	} {
		if got := endOf(sre.Notice{StartsAt: c.start, EndsAt: c.end}, noon); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestLabelsOfANotice(t *testing.T) {
	for name, c := range map[string]struct {
		notice sre.Notice
		want   map[string]string
	}{
		"bare":    {sre.Notice{Incident: "i"}, map[string]string{"alertname": alertName, "incident": "i"}},
		"its own": {sre.Notice{Incident: "i", Severity: sre.Info, Labels: map[string]string{"team_1": "a"}}, map[string]string{"alertname": alertName, "incident": "i", "severity": "info", "team_1": "a"}},
		"forged": {
			sre.Notice{Incident: "i", Severity: sre.Info, Labels: map[string]string{"incident": "x", "severity": "x", "alertname": "x", "1a": "x", "": "x", "a-b": "x", "c": ""}},
			map[string]string{"alertname": alertName, "incident": "i", "severity": "info"},
		},
	} {
		if diff := cmp.Diff(c.want, alertLabels(c.notice)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestManyAlertsGoInBatches sends more than fit one request.
func TestManyAlertsGoInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, amConfig(), always(200))
		var notices []sre.Notice
		for i := range 2*maxBatch + 10 {
			n := notice(b.start)
			n.Incident = fmt.Sprintf("inc-%03d", i)
			notices = append(notices, n)
		}
		b.notify(t, notices...)
		var sizes []int
		seen := make(map[string]bool)
		for i := range b.requests() {
			alerts := b.alerts(t, i)
			sizes = append(sizes, len(alerts))
			for _, a := range alerts {
				seen[a.Labels["incident"]] = true
			}
		}
		// The first request may start while notices are still coming in, so the
		// sizes vary; their bound and their sum do not.
		sum := 0
		for _, n := range sizes {
			sum += n
		}
		if slices.Max(sizes) > maxBatch || sum != len(notices) || len(seen) != len(notices) {
			t.Errorf("%d incidents in batches of %v", len(seen), sizes)
		}
	})
}
