package world

import (
	"testing"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// TestGoodput counts from call to call.
func TestGoodput(t *testing.T) {
	w := newWorld(t, shop(), nil)
	w.AdvanceTo(after(30 * time.Second))
	if good, offered := w.Goodput(); !near(offered, 2400) || good < 2399 {
		t.Errorf("healthy: %v of %v, want 2400 of 2400", good, offered)
	}
	if good, offered := w.Goodput(); good != 0 || offered != 0 {
		t.Errorf("without time in between: %v of %v", good, offered)
	}
	w.At(after(30*time.Second), func(m *fluid.Model) {
		c := fluid.Well()
		c.Errors = .5
		m.SetCondition(gateway, c)
	})
	w.AdvanceTo(after(60 * time.Second))
	w.Goodput()
	w.AdvanceTo(after(120 * time.Second))
	// One retry: half of the half that failed is answered after all.
	if good, offered := w.Goodput(); good/offered < .74 || good/offered > .76 {
		t.Errorf("with half of the answers failing: %v of %v, want three quarters", good, offered)
	}
}

// TestPerService finds who is harmed.
func TestPerService(t *testing.T) {
	w := newWorld(t, shop(), nil)
	w.AdvanceTo(after(30 * time.Second))
	for _, h := range w.PerService() {
		if h.Share > 1e-6 || h.Arrived < 1000 {
			t.Errorf("healthy: %+v", h)
		}
	}
	w.At(after(30*time.Second), func(m *fluid.Model) {
		c := m.Control(ads)
		c.Cap = 10
		m.SetControl(ads, c)
		bad := fluid.Well()
		bad.Errors = .2
		m.SetCondition(db, bad)
	})
	w.AdvanceTo(after(90 * time.Second))
	byName := map[string]Harm{}
	for _, h := range w.PerService() {
		byName[h.Service] = h
	}
	if h := byName["ads"]; h.Share < .7 || h.Share > .8 { // 10 of 40 per second are let in
		t.Errorf("shed: %+v, want a share of three quarters", h)
	}
	if h := byName["db"]; h.Share < .19 || h.Share > .21 {
		t.Errorf("failing: %+v, want a share of a fifth", h)
	}
	if h := byName["gateway"]; h.Share > .02 { // db is called up to three times
		t.Errorf("behind retries: %+v", h)
	}
	for _, h := range w.PerService() {
		if h != (Harm{Service: h.Service}) {
			t.Errorf("without time in between: %+v", h)
		}
	}
}

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
