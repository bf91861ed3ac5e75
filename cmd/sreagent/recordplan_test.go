package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
)

var recordNow = time.Date(2026, 3, 1, 14, 0, 3, 0, time.UTC)

// recordConfig is a loaded configuration with one signal.
func recordConfig(t *testing.T, more string) *loaded {
	t.Helper()
	const head = `interval: 10s
prometheus: {url: "http://127.0.0.1:1", warm_up: 10m}
signals: {custom: [{name: load, kind: traffic, unit: requests_per_second, query: 'sum by (service) (rate(requests_total[2m])) / on (service) limit offset 1h'}]}
`
	cfg, err := loadConfig(folder(t, map[string]string{"sreagent.yaml": head + more}) + "/sreagent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func planFor(t *testing.T, cfg *loaded, now time.Time, from, to string) *recordPlan {
	t.Helper()
	plan, err := makePlan(recordFlags{from: from, to: to, chunk: 30 * time.Minute}, cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestAPlanCoversTheTicksAndAllThatTheyNeed(t *testing.T) {
	plan := planFor(t, recordConfig(t, ""), recordNow, "2026-03-01T12:00:01Z", "2026-03-01T13:00:09Z")
	at := func(clock string) time.Time {
		when, err := time.Parse(time.RFC3339, "2026-03-01T"+clock+"Z")
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	if !plan.Start.Equal(at("12:00:10")) || !plan.End.Equal(at("13:00:00")) {
		t.Errorf("start %s, end %s", plan.Start, plan.End)
	}
	// The warm-up of 10m, the look-back of 5m, and what the query reaches back.
	want := []selection{{"limit", at("10:45:10")}, {"requests_total", at("11:43:10")}}
	if diff := cmp.Diff(want, plan.Selections); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := at("11:50:10"); !plan.warmFrom().Equal(want) {
		t.Errorf("the agent begins to look at %s, want %s", plan.warmFrom(), want)
	}
	next := plan.earliest()
	for i := range plan.chunks() {
		from, to, selectors := plan.chunk(i)
		if !from.Equal(next) || !to.After(from) || to.Sub(from) > 30*time.Minute {
			t.Errorf("chunk %d is %s to %s", i, from, to)
		}
		if later := !to.After(at("11:43:10")); later != (len(selectors) == 1) {
			t.Errorf("chunk %d from %s asks %v", i, from, selectors)
		}
		next = to
	}
	if want := at("13:00:00").Add(time.Millisecond); !next.Equal(want) {
		t.Errorf("the chunks end before %s, want %s", next, want)
	}
}

func TestAPlanRefusesWhatCannotBeRecorded(t *testing.T) {
	cfg := recordConfig(t, "")
	for _, c := range []struct {
		flags recordFlags
		want  string
	}{
		{recordFlags{from: "yesterday"}, `--from: "yesterday" is no time; allowed: RFC 3339`},
		{recordFlags{from: "-2h", to: "12:00"}, `--to: "12:00" is no time`},
		{recordFlags{from: "-1h", to: "-2h"}, "hold no two ticks of 10s"},
		{recordFlags{from: "-9s"}, "hold no two ticks of 10s"},
		{recordFlags{from: "-1h", to: "2026-03-01T14:00:04Z"}, "--to is 2026-03-01T14:00:04Z; allowed: a time up to now"},
		{recordFlags{from: "-1h", interval: time.Millisecond}, "--interval is 1ms; allowed: 1s to 1h0m0s"},
		{recordFlags{from: "-1h", interval: 2 * time.Hour}, "--interval is 2h0m0s"},
		{recordFlags{from: "-1h", chunk: time.Millisecond}, "--chunk is 1ms"},
		{recordFlags{from: "-10y", chunk: time.Second}, "chunks; allowed: 1000000"},
		{recordFlags{from: "0001-01-01T00:00:00Z"}, "is too long before --to 2026-03-01T14:00:03Z; allowed: 7320 days"},
		{recordFlags{from: "-1y", interval: time.Second}, "--interval 1s makes 31536000 ticks; allowed: fewer than 10000000"},
	} {
		if c.flags.chunk == 0 {
			c.flags.chunk = 30 * time.Minute
		}
		if _, err := makePlan(c.flags, cfg, recordNow); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.flags, err, c.want)
		}
	}
}

func TestTimesAreGivenInTwoForms(t *testing.T) {
	for text, want := range map[string]time.Time{
		"":                          recordNow,
		"now":                       recordNow,
		"-2h":                       recordNow.Add(-2 * time.Hour),
		"2h":                        recordNow.Add(-2 * time.Hour),
		"-1d12h":                    recordNow.Add(-36 * time.Hour),
		"2026-03-01T12:00:00Z":      recordNow.Add(-2*time.Hour - 3*time.Second),
		"2026-03-01T13:00:00+01:00": recordNow.Add(-2*time.Hour - 3*time.Second),
	} {
		if got, err := parseWhen(text, recordNow); err != nil || !got.Equal(want) {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestAPlanContinuesOnlyItself(t *testing.T) {
	cfg := recordConfig(t, "")
	begun := planFor(t, cfg, recordNow, "-2h", "")
	later := recordNow.Add(47 * time.Second)

	again := planFor(t, cfg, later, "-2h", "")
	if diff := again.continues(begun); diff != nil {
		t.Errorf("the same command does not continue: %v", diff)
	}
	if diff := cmp.Diff(begun, again); diff != "" {
		t.Errorf("the times have moved (-begun +again):\n%s", diff)
	}
	absolute := planFor(t, cfg, later, begun.Start.Format(time.RFC3339), begun.End.Format(time.RFC3339))
	if diff := absolute.continues(begun); diff != nil {
		t.Errorf("the same times do not continue: %v", diff)
	}
	for name, c := range map[string]struct {
		plan *recordPlan
		want string
	}{
		"from": {planFor(t, cfg, later, "-3h", ""), "--from was 2026-03-01T12:00:10Z and is 2026-03-01T11:00:50Z; --to was 2026-03-01T14:00:00Z and is 2026-03-01T14:00:50Z"},
		"chunk": {func() *recordPlan {
			p := planFor(t, cfg, later, "-2h", "")
			p.Chunk = model.Duration(time.Minute)
			return p
		}(), "--chunk was 30m and is 1m"},
		"interval": {func() *recordPlan { p := planFor(t, cfg, recordNow, "-2h", ""); p.Interval *= 2; return p }(), "--interval was 10s and is 20s"},
		"versions": {planFor(t, recordConfig(t, "changes: {version_labels: [{query: limit, service_label: a, version_label: b}]}\n"), later, "-2h", ""), "changes.version_labels of the configuration has changed"},
		"topology": {planFor(t, recordConfig(t, "topology: {from_metrics: false}\n"), later, "-2h", ""), "topology of the configuration has changed"},
		"format":   {func() *recordPlan { p := planFor(t, cfg, later, "-2h", ""); p.Format++; return p }(), "it was made by another version of sreagent"},
	} {
		if got := strings.Join(c.plan.continues(begun), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestAPlanHoldsNoAddress(t *testing.T) {
	cfg := recordConfig(t, "")
	cfg.Prometheus.URL = "http://prometheus/tenant-secret"
	if text := fmt.Sprintf("%+v", planFor(t, cfg, recordNow, "-2h", "")); strings.Contains(text, "secret") {
		t.Errorf("%s", text)
	}
}
