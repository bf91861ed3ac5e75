package detectors_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// TestBadChange: api is changed, and something happens with it or beside it.
func TestBadChange(t *testing.T) {
	for _, c := range []struct {
		name   string
		before reading // from five minutes before the change
		after  reading
		ticks  int // between the change and what comes after
		also   string
		want   sre.Severity
	}{
		{"fails a third since", nil, reading{"api errors": .33}, 1, "", sre.Critical},
		{"fails one in twenty-five since", nil, reading{"api errors": .04}, 1, "", sre.Warning},
		{"fails one in two hundred since", nil, reading{"api errors": .005}, 1, "", ""},
		{"three times as slow since", nil, reading{"api latency": .06, "web->api call_latency": .06}, 1, "", sre.Warning},
		{"a fifth slower since", nil, reading{"api latency": .024}, 1, "", ""},
		{"nothing happens", nil, nil, 1, "", ""},
		{"the peer fails as well", nil, reading{"api errors": .33, "peer errors": .33}, 1, "", ""},
		{"both were changed, and both fail", nil, reading{"api errors": .33, "peer errors": .33}, 1, "peer", sre.Critical},
		{"the callee fails", nil, reading{"api errors": .33, "db errors": .33, "api->db call_errors": .33}, 1, "", ""},
		{"the callee is slow", nil, reading{"api latency": .3, "db latency": .29, "api->db call_latency": .29}, 1, "", ""},
		{"twice the load", nil, reading{"api latency": .2, "api traffic": 120, "web->api calls": 120, "api errors": .2, "api pool": 1}, 1, "", ""},
		{"it was ill before", reading{"api errors": .33}, reading{"api errors": .33}, 1, "", ""},
		{"long after the watch", nil, reading{"api errors": .33}, 100, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, g := newTown(), lcg(7)
			w.tick(60, .02, &g)
			w.but(c.before).tick(6, .02, &g)
			w.changes = []sre.Change{{ID: "deploy-7", Kind: sre.Deploy, Service: "api", At: w.at}}
			if c.also != "" {
				w.changes = append(w.changes, sre.Change{ID: "deploy-8", Kind: sre.Deploy, Service: c.also, At: w.at})
			}
			w.but(c.before).tick(c.ticks, .02, &g)
			var got sre.Precursor
			for range 30 {
				for _, p := range w.but(c.after).tick(1, .02, &g) {
					if p.Detector == "bad_change" && p.Service == "api" && p.Severity.Rank() >= got.Severity.Rank() {
						got = p
					}
				}
			}
			if got.Severity != c.want {
				t.Fatalf("severity is %q, want %q: %+v", got.Severity, c.want, got)
			}
			if c.want != "" && !strings.Contains(fmt.Sprint(got.Evidence), "deploy-7") {
				t.Errorf("the change is not named: %+v", got.Evidence)
			}
		})
	}
}

// TestManyChangesAreBounded: a flood of changes neither grows without end nor
// hides the one that does harm.
func TestManyChangesAreBounded(t *testing.T) {
	w := newTown()
	w.tick(60, 0, nil)
	for k := range 600 {
		w.changes = append(w.changes, sre.Change{ID: fmt.Sprint(k), Kind: sre.Flag, Service: "db", At: w.at})
	}
	w.changes = append(w.changes, sre.Change{ID: "bad", Kind: sre.Deploy, Service: "api", At: w.at}, sre.Change{ID: "x", Service: "nobody", At: w.at})
	ps := w.but(reading{"api errors": .5}).tick(8, 0, nil)
	p, ok := of(ps, "bad_change", "")
	if !ok || p.Service != "api" || p.Since.After(w.at.Add(-40*time.Second)) {
		t.Errorf("found %+v", p)
	}
}
