package sources

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// noPause lets no time pass between attempts.
func noPause(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func TestASurveyTellsWhatTheDaemonWouldHaveLearned(t *testing.T) {
	f := newFleet(t)
	f.setAt("calls", func(at time.Time) model.Vector {
		v := byEdge("web", "cart", 3, "web", "declared", 1)
		if at.Sub(t0) >= 10*time.Minute {
			v = append(v, byEdge("cart", "late", 2)...)
		}
		return v
	})
	f.set("rps", byService("web", 1))
	f.setAt("versions", func(at time.Time) model.Vector {
		version := "v1"
		if at.Sub(t0) >= 7*time.Minute+5*time.Second {
			version = "v2"
		}
		return model.Vector{point(1, "service", "cart", "version", version)}
	})
	jaeger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.FormValue("lookback"); got != "1800000" {
			t.Errorf("jaeger is asked for %s ms", got)
		}
		_, _ = w.Write([]byte(`{"data":[{"parent":"late","child":"traced","callCount":4}]}`))
	}))
	t.Cleanup(jaeger.Close)
	cfg := configFor(f.URL, serviceSignal("rps"), edgeSignal("calls"))
	cfg.Changes.VersionLabels = []VersionLabel{{Query: "versions", ServiceLabel: "service", VersionLabel: "version"}}
	cfg.Topology.Jaeger.URL = jaeger.URL
	cfg.Topology.File = filepath.Join(t.TempDir(), "shop.yaml")
	file := "edges:\n  - {from: web, to: declared, timeout: 250ms, retries: 0, hard: true}\nentries: [web]\npriorities: {web: 2}\n"
	if err := os.WriteFile(cfg.Topology.File, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	survey, err := Look(t.Context(), cfg, RecorderOptions{Pause: noPause}, t0, t0.Add(30*time.Minute), 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	none := 0
	want := Topology{
		Edges: []TopologyEdge{
			{From: "web", To: "declared", Timeout: "250ms", Retries: &none, Hard: true},
			{From: "cart", To: "late", ValidFrom: t0.Add(10 * time.Minute)},
			{From: "late", To: "traced"},
			{From: "web", To: "cart"},
		},
		Entries: []string{"web"}, Priorities: map[string]float64{"web": 2},
	}
	if diff := cmp.Diff(want, survey.Topology); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}
	if len(survey.Changes) != 1 {
		t.Fatalf("changes: %v", survey.Changes)
	}
	deploy := survey.Changes[0]
	if deploy.Kind != sre.Deploy || deploy.From != "v1" || deploy.To != "v2" || !deploy.At.Equal(t0.Add(7*time.Minute+15*time.Second)) {
		t.Errorf("change: %+v", deploy)
	}
	for _, r := range f.ranges {
		if r.query == "rps" {
			t.Error("a service signal was asked for")
		}
	}
	text, err := FormatTopology(survey.Topology)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseTopology("topology.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(want, *again); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
}

func TestASurveyLooksAgainWhereAnAnswerIsMissing(t *testing.T) {
	f, cfg := changingFleet(t)
	whole, err := Look(t.Context(), cfg, RecorderOptions{Pause: noPause}, t0, t0.Add(4*time.Hour), 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if len(whole.Changes) != 1 {
		t.Fatalf("changes: %v", whole.Changes)
	}
	failures := 0
	f.breakWith("versions", func(w http.ResponseWriter, _ *http.Request) {
		if failures++; failures == 3 {
			f.mu.Lock()
			delete(f.broken, "versions")
			f.mu.Unlock()
		}
		http.Error(w, "trouble", http.StatusBadGateway)
	})
	again, err := Look(t.Context(), cfg, RecorderOptions{Pause: noPause}, t0, t0.Add(4*time.Hour), 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(whole, again); diff != "" {
		t.Errorf("(-whole +interrupted):\n%s", diff)
	}
	f.breakWith("versions", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "trouble", http.StatusBadGateway) })
	if _, err := Look(t.Context(), cfg, RecorderOptions{Pause: noPause}, t0, t0.Add(time.Hour), 15*time.Second); err == nil || !strings.Contains(err.Error(), "no answer to version_labels[0]") {
		t.Errorf("err = %v", err)
	}
	f.Close()
	if _, err := Look(t.Context(), cfg, RecorderOptions{Pause: noPause}, t0, t0.Add(time.Hour), 15*time.Second); err == nil {
		t.Error("no error though nobody answers")
	}
}

func TestASurveyAsksNothingThatItDoesNotNeed(t *testing.T) {
	f := newFleet(t)
	cfg := configFor(f.URL, serviceSignal("rps"), edgeSignal("calls"))
	cfg.Topology.FromMetrics = false
	survey, err := Look(t.Context(), cfg, RecorderOptions{Pause: noPause}, t0, t0.Add(time.Hour), 15*time.Second)
	if err != nil || len(survey.Changes) > 0 || len(survey.Topology.Edges) > 0 {
		t.Errorf("%+v, %v", survey, err)
	}
	if len(f.ranges) > 0 {
		t.Errorf("asked %v", f.ranges)
	}
	text, err := FormatTopology(survey.Topology)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseTopology("topology.yaml", text); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestOnePerName(t *testing.T) {
	cfg := SignalsConfig{Presets: PresetNames()}
	queries := OnePerName(cfg.Queries())
	text, err := FormatSignals(queries)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseSignals(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(queries, again); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	single := SignalsConfig{Preset: "guard"}.Queries()
	if diff := cmp.Diff(single, OnePerName(single)); diff != "" {
		t.Errorf("one preset was changed (-want +got):\n%s", diff)
	}
	pair := OnePerName([]SignalQuery{
		{Name: "a", Query: "x", ClientLabel: "c", ServerLabel: "s"},
		{Name: "a", Query: "y", ClientLabel: "c", ServerLabel: "s"},
		{Name: "b", Query: "z", ServiceLabel: "service"},
	})
	want := []SignalQuery{
		{Name: "a", Query: "((x) < Inf) or ((y) < Inf) or (x) or (y)", ClientLabel: "c", ServerLabel: "s"},
		{Name: "b", Query: "z", ServiceLabel: "service"},
	}
	if diff := cmp.Diff(want, pair); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
