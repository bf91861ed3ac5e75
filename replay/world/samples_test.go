package world

import (
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// TestSamplesDisturbNothing takes samples at odd moments of one world and holds
// its snapshots against an undisturbed one's.
func TestSamplesDisturbNothing(t *testing.T) {
	calm, asked := newWorld(t, shop(), nil), newWorld(t, shop(), nil)
	for _, w := range []*World{calm, asked} {
		slowDB(w, 20*time.Second, 40*time.Second)
	}
	for at := 5 * time.Second; at <= 90*time.Second; at += 5 * time.Second {
		for i := range 5 {
			asked.Samples(after(at - 5*time.Second + time.Duration(i)*900*time.Millisecond))
		}
		if a, b := dump(observe(t, calm, after(at))), dump(observe(t, asked, after(at))); a != b {
			t.Fatalf("at %s the snapshots differ", at)
		}
	}
}

// TestSamples checks the exposition: every series once, counters that never
// fall, and the identities between them.
func TestSamples(t *testing.T) {
	w := newWorld(t, shop(), nil)
	slowDB(w, 20*time.Second, 60*time.Second)
	w.Announce(sre.Change{ID: "d", At: after(30 * time.Second), Kind: sre.Deploy, Service: "db", To: "v2"})
	past := map[string]float64{}
	gauges := map[string]bool{
		"up": true, "http_requests_in_flight": true, "queue_depth": true, "pool_size": true, "pool_in_use": true, "process_cpu_cores": true,
		"kube_deployment_status_replicas": true, "kube_deployment_status_replicas_ready": true, "breaker_state": true, "build_info": true,
	}
	for at := 10 * time.Second; at <= 2*time.Minute; at += 10 * time.Second {
		now := map[string]float64{}
		for _, s := range w.Samples(after(at)) {
			key := s.Metric.String()
			if _, twice := now[key]; twice {
				t.Fatalf("%s stands twice", key)
			}
			now[key] = s.Value
			if !gauges[string(s.Metric["__name__"])] && s.Value < past[key] {
				t.Errorf("at %s the counter %s fell from %v to %v", at, key, past[key], s.Value)
			}
			if s.Value < 0 || s.Value != s.Value || s.Stale {
				t.Errorf("at %s %s is %v", at, key, s.Value)
			}
		}
		past = now
	}
	get := func(key string) float64 {
		t.Helper()
		v, ok := past[key]
		if !ok {
			t.Errorf("there is no %s", key)
		}
		return v
	}
	count := get(`http_request_duration_seconds_count{service="db"}`)
	if all := get(`http_request_duration_seconds_bucket{le="+Inf", service="db"}`); !near(all, count) {
		t.Errorf("the last bucket holds %v, the count is %v", all, count)
	}
	if a, b := get(`upstream_rq_total{callee="db", service="cart"}`), get(`http_requests_received_total{priority="normal", service="db"}`); a < b {
		t.Errorf("%v attempts were made, %v arrived", a, b)
	}
	get(`build_info{service="db", version="v2"}`)
	get(`shed_total{reason="queue_full", service="gateway"}`)
	get(`cache_requests_total{result="hit", service="cart"}`)
	if _, ok := past[`cache_requests_total{result="hit", service="db"}`]; ok {
		t.Error("a service without a cache exports one")
	}
}
