package sources

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// changingFleet answers differently at each instant: services come and go,
// values move, a version is replaced.
func changingFleet(t testing.TB) (*fleet, Config) {
	f := newFleet(t)
	f.setAt("rps", func(at time.Time) model.Vector {
		minute := int(at.Sub(t0) / time.Minute)
		v := byService("cart", float64(at.Unix()%97), "web", 3)
		if minute%3 == 1 {
			v = v[:1]
		}
		if minute > 20 {
			v = append(v, byService("late", float64(minute), "odd", math.NaN())...)
		}
		return v
	})
	f.setAt("calls", func(at time.Time) model.Vector { return byEdge("web", "cart", float64(at.Unix()%7)) })
	f.setAt("versions", func(at time.Time) model.Vector {
		version := "v1"
		if at.Sub(t0) >= 10*time.Minute {
			version = "v2"
		}
		return model.Vector{point(1, "service", "cart", "version", version)}
	})
	cfg := configFor(f.URL, serviceSignal("rps"), edgeSignal("calls"))
	cfg.Changes.VersionLabels = []VersionLabel{{Query: "versions", ServiceLabel: "service", VersionLabel: "version"}}
	return f, cfg
}

func TestHistoryGivesWhatObserveWouldHaveGiven(t *testing.T) {
	_, cfg := changingFleet(t)
	const step, span = 15 * time.Second, 4 * time.Hour // more than one chunk
	past, live := newSource(t, cfg), newSource(t, cfg)
	at := t0
	for snap, err := range past.History(t.Context(), t0, t0.Add(span), step) {
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(render(t, observe(t, live, at)), render(t, snap)); diff != "" {
			t.Fatalf("at %s (-observed +history):\n%s", at, diff)
		}
		at = at.Add(step)
	}
	if want := t0.Add(span); !at.Equal(want) {
		t.Errorf("history ended before %s, want %s", at, want)
	}
	// The first tick continues where history ended, with the same indices.
	if diff := cmp.Diff(render(t, observe(t, live, at)), render(t, observe(t, past, at))); diff != "" {
		t.Errorf("first tick after warm-up (-cold +warm):\n%s", diff)
	}
}

func TestHistoryAsksInChunks(t *testing.T) {
	f, cfg := changingFleet(t)
	const steps = 2*chunkSteps + 100
	s := newSource(t, cfg)
	n := 0
	for _, err := range s.History(t.Context(), t0, t0.Add(steps*15*time.Second), 15*time.Second) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != steps {
		t.Errorf("%d snapshots, want %d", n, steps)
	}
	points := map[string]int{}
	for _, r := range f.ranges {
		in := int(math.Round((r.end-r.start)/r.step)) + 1
		if in > 11_000 || in > chunkSteps {
			t.Errorf("one query for %d points", in)
		}
		points[r.query] += in
	}
	if want := map[string]int{"rps": steps, "calls": steps, "versions": steps}; cmp.Diff(want, points) != "" {
		t.Errorf("points asked: %v, want %v", points, want)
	}
}

func TestHistorySeesDeploys(t *testing.T) {
	_, cfg := changingFleet(t)
	var got []sre.Change
	for snap, err := range newSource(t, cfg).History(t.Context(), t0, t0.Add(30*time.Minute), time.Minute) {
		if err != nil {
			t.Fatal(err)
		}
		if snap.Interval != time.Minute {
			t.Fatalf("interval %s", snap.Interval)
		}
		got = append(got, snap.Changes...)
	}
	if len(got) != 1 || got[0].From != "v1" || got[0].To != "v2" || !got[0].At.Equal(t0.Add(10*time.Minute)) {
		t.Errorf("changes %+v", got)
	}
}

func TestHistoryLeavesReportsToTheLiveTicks(t *testing.T) {
	_, cfg := changingFleet(t)
	s := newSource(t, cfg)
	if err := s.Report(t.Context(), sre.Change{ID: "x", Service: "cart", At: t0}); err != nil {
		t.Fatal(err)
	}
	for snap := range s.History(t.Context(), t0, t0.Add(5*time.Minute), time.Minute) {
		if len(snap.Changes) > 0 {
			t.Fatalf("history took %+v", snap.Changes)
		}
	}
	if got := observe(t, s, t0.Add(5*time.Minute)).Changes; len(got) != 1 || got[0].ID != "x" {
		t.Errorf("live changes %+v", got)
	}
}

func TestHistoryWithFailures(t *testing.T) {
	fails := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	t.Run("one signal", func(t *testing.T) {
		f, cfg := changingFleet(t)
		f.breakWith("calls", fails)
		n := 0
		for snap, err := range newSource(t, cfg).History(t.Context(), t0, t0.Add(3*time.Minute), time.Minute) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			if !snap.Health.Up || cmp.Diff([]string{"calls"}, snap.Health.Failed) != "" {
				t.Errorf("health %+v", snap.Health)
			}
		}
		if n != 3 {
			t.Errorf("%d snapshots", n)
		}
	})
	t.Run("all signals", func(t *testing.T) {
		f, cfg := changingFleet(t)
		for _, q := range []string{"rps", "calls", "versions"} {
			f.breakWith(q, fails)
		}
		wantOneError(t.Context(), t, newSource(t, cfg), time.Minute, "read history: query rps: server_error: server error: 500")
	})
	t.Run("cancelled", func(t *testing.T) {
		_, cfg := changingFleet(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errors.New("shutting down"))
		wantOneError(ctx, t, newSource(t, cfg), time.Minute, "read history: shutting down")
	})
	t.Run("no step", func(t *testing.T) {
		_, cfg := changingFleet(t)
		wantOneError(t.Context(), t, newSource(t, cfg), 0, "read history: step is 0s")
	})
	t.Run("times that were not asked for", func(t *testing.T) {
		f, cfg := changingFleet(t)
		for _, q := range []string{"rps", "calls", "versions"} {
			f.breakWith(q, func(w http.ResponseWriter, _ *http.Request) {
				respond(w, "matrix", model.Matrix{{Metric: model.Metric{"service": "cart", "client": "a", "server": "b", "version": "v"},
					Values: []model.SamplePair{{Timestamp: model.TimeFromUnix(t0.Unix() - 60), Value: 1}}}})
			})
		}
		wantOneError(t.Context(), t, newSource(t, cfg), time.Minute, "times that were not asked for")
	})
}

func wantOneError(ctx context.Context, t *testing.T, s *Source, step time.Duration, want string) {
	t.Helper()
	n := 0
	for snap, err := range s.History(ctx, t0, t0.Add(3*time.Minute), step) {
		n++
		if snap != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v; want %s", snap, err, want)
		}
	}
	if n != 1 {
		t.Errorf("%d elements, want 1", n)
	}
}

func TestHistoryMayBeLeftEarly(t *testing.T) {
	_, cfg := changingFleet(t)
	s := newSource(t, cfg)
	for range s.History(t.Context(), t0, t0.Add(time.Hour), time.Minute) {
		break
	}
	observe(t, s, t0.Add(time.Hour)) // would hang if a lock were still held
}
