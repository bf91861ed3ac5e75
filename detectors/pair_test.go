package detectors_test

import (
	"maps"
	"math"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

var pairEdges = []sre.Signal{
	{Name: "calls", Kind: sre.Traffic, Unit: sre.PerSecond, Edge: true},
	{Name: "call_retries", Kind: sre.Retries, Unit: sre.PerSecond, Edge: true},
	{Name: "call_errors", Kind: sre.Errors, Unit: sre.Ratio, Edge: true},
	{Name: "call_latency", Kind: sre.Latency, Unit: sre.Seconds, Edge: true},
	{Name: "call_timeouts", Kind: sre.Timeouts, Unit: sre.PerSecond, Edge: true},
}

// town drives a bank with readings of several services and calls.
type town struct {
	*feed
	services map[string]reading
	calls    map[string]reading // by "caller->callee"
}

// newTown builds web -> api -> db and web -> peer, all well: api runs at 60 % of
// 100 per second, db at 30 %.
func newTown() *town {
	second := sre.EdgeSpec{Timeout: time.Second, HasRetries: true}
	graph := sre.NewGraph(
		[]sre.Service{{Name: "web", Entry: true}, {Name: "api"}, {Name: "db"}, {Name: "peer"}},
		[]sre.Edge{{From: 0, To: 1, Spec: second}, {From: 1, To: 2, Spec: second}, {From: 0, To: 3, Spec: second}},
	)
	f := newFeed(10*time.Second, sre.EdgeSpec{})
	f.graph = graph
	well := reading{"calls": 60, "call_retries": 0, "call_errors": 0, "call_latency": .02, "call_timeouts": 0}
	base := healthy().but(reading{"memory": math.NaN(), "cache": math.NaN(), "retries": 0, "errors": 0})
	return &town{
		feed: f,
		services: map[string]reading{
			"web": base.but(reading{"latency": .05, "pool": .3, "queue": 3}), "api": base, "peer": base,
			"db": base.but(reading{"pool": .3, "latency": .01}),
		},
		calls: map[string]reading{"web->api": well, "api->db": well.but(reading{"call_latency": .01}), "web->peer": well},
	}
}

// but changes readings of services and calls, by "subject signal".
func (w *town) but(changes reading) *town {
	out := &town{feed: w.feed, services: maps.Clone(w.services), calls: maps.Clone(w.calls)}
	for key, v := range changes {
		subject, signal, _ := cutLast(key)
		if _, ok := out.services[subject]; ok {
			out.services[subject] = out.services[subject].but(reading{signal: v})
		} else {
			out.calls[subject] = out.calls[subject].but(reading{signal: v})
		}
	}
	return out
}

func cutLast(s string) (before, after string, ok bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == ' ' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// tick shows the town to the bank n times, with every rate and latency off by a
// share of chance, and returns what the last tick found.
func (w *town) tick(n int, noise float64, g *lcg) []sre.Precursor {
	var last []sre.Precursor
	for range n {
		w.at = w.at.Add(w.interval)
		last = w.bank.Detect(w.snapshot(noise, g), w.frozen)
	}
	return last
}

func (w *town) snapshot(noise float64, g *lcg) *sre.Snapshot {
	s := &sre.Snapshot{
		At: w.at, Interval: w.interval, Graph: w.graph, Signals: feedSignals, EdgeSignals: pairEdges,
		Service: sre.NewMatrix(len(feedSignals), len(w.graph.Services)), Edge: sre.NewMatrix(len(pairEdges), len(w.graph.Edges)),
		Changes: w.changes, Health: sre.SourceHealth{Up: true},
	}
	w.changes = nil
	shake := func(sig sre.Signal, v float64) sre.Reading {
		if noise > 0 && sig.Kind != sre.Replicas {
			v = math.Max(0, v*(1+noise*g.gauss()))
		}
		if sig.Unit == sre.Ratio {
			v = math.Min(1, v)
		}
		return sre.Reading{Value: v, State: sre.Present}
	}
	for i, service := range w.graph.Services {
		for row, sig := range feedSignals {
			if v, ok := w.services[service.Name][sig.Name]; ok {
				s.Service.Set(row, i, shake(sig, v))
			}
		}
	}
	for e, edge := range w.graph.Edges {
		name := w.graph.Services[edge.From].Name + "->" + w.graph.Services[edge.To].Name
		for row, sig := range pairEdges {
			if v, ok := w.calls[name][sig.Name]; ok {
				s.Edge.Set(row, e, shake(sig, v))
			}
		}
	}
	return s
}

// TestMechanismsByName: what each detector must and must not say, three ticks
// after a change of the readings.
func TestMechanismsByName(t *testing.T) {
	slowDB := reading{
		"db latency": .6, "api->db call_latency": .6, "api latency": .62, "web->api call_latency": .62, "web latency": .65, "api queue": 40,
	}
	for _, c := range []struct {
		name     string
		change   reading
		detector string
		service  string
		caller   string
		want     sre.Severity
	}{
		{"a callee is slow", slowDB, "slow_dependency", "db", "", sre.Warning},
		{"its caller only passes that on", slowDB, "slow_dependency", "api", "", ""},
		{"slower by half is nothing", reading{"db latency": .015, "api->db call_latency": .015}, "slow_dependency", "db", "", ""},
		{
			"the time is lost between two that are well",
			slowDB.but(reading{"db latency": .01}), "slow_dependency", "db", "api", sre.Warning,
		},
		{"a callee without room waits for itself", slowDB.but(reading{"db pool": .99}), "slow_dependency", "db", "", ""},
		{
			"slow, and the caller fails", slowDB.but(reading{"db tail": .9, "api errors": .3, "api->db call_timeouts": 20}),
			"slow_dependency", "db", "", sre.Critical,
		},
		{
			"workers are held by a slow callee", slowDB.but(reading{"api pool": .97, "api traffic": 30}),
			"pool_exhaustion", "api", "", sre.Critical,
		},
		{"workers are busy with more load", reading{"api pool": .97, "api traffic": 97}, "pool_exhaustion", "api", "", ""},
		{"half the replicas are left, and carry it", reading{"api replicas": 2, "api traffic": 30, "web->api calls": 30}, "survivor_overload", "api", "", ""},
		{"half the replicas are left, and do not", reading{"api replicas": 2}, "survivor_overload", "api", "", sre.Warning},
		{"and work waits", reading{"api replicas": 2, "api queue": 60}, "survivor_overload", "api", "", sre.Critical},
		{"nobody is left", reading{"api replicas": 0, "api errors": 1}, "survivor_overload", "api", "", sre.Critical},
		{
			"asked for more, answers less", reading{"api traffic": 90, "web->api calls": 90, "api errors": .8, "api pool": 1},
			"goodput_divergence", "api", "", sre.Warning,
		},
		{
			"fails with room left", reading{"api traffic": 90, "web->api calls": 90, "api errors": .8},
			"goodput_divergence", "api", "", sre.Info,
		},
		{"an outage without more load", reading{"api errors": .8}, "goodput_divergence", "api", "", ""},
		{"a surge that is served", reading{"api traffic": 90, "web->api calls": 90, "api pool": .9}, "goodput_divergence", "api", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown()
			w.tick(60, 0, nil)
			ps := w.but(c.change).tick(3, 0, nil)
			var got sre.Precursor
			for _, p := range ps {
				if p.Detector == c.detector && p.Service == c.service && p.Caller == c.caller {
					got = p
				}
			}
			if got.Severity != c.want {
				t.Errorf("severity is %q, want %q: %+v", got.Severity, c.want, got)
			}
		})
	}
}

// TestCacheLossReachesTheBackend: api answers from a cache before db.
func TestCacheLossReachesTheBackend(t *testing.T) {
	for _, c := range []struct {
		name       string
		usual, now float64 // hits
		calls      float64 // to db, per second
		usualCalls float64
		pool       float64 // usual occupancy of db
		owner, db  sre.Severity
	}{
		{"lost, and db cannot take it", .9, .1, 54, 6, .3, sre.Critical, sre.Critical},
		{"lost, and db has room for all", .9, .5, 30, 6, .05, sre.Info, ""},
		{"a little less", .9, .87, 8, 6, .3, "", ""},
		{"no cache worth the name", .1, .05, 57, 54, .3, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown().but(reading{"api cache": c.usual, "api->db calls": c.usualCalls, "db traffic": c.usualCalls, "db pool": c.pool})
			w.tick(60, 0, nil)
			lost := reading{"api cache": c.now, "api->db calls": c.calls, "db traffic": c.calls}
			if c.db != "" {
				lost = lost.but(reading{"db queue": 300, "db errors": .5, "db pool": 1, "api errors": .4, "api queue": 100})
			}
			ps := w.but(lost).tick(3, 0, nil)
			got := map[string]sre.Severity{}
			for _, p := range ps {
				if p.Detector == "cache_loss" {
					got[p.Service] = p.Severity
				}
			}
			if got["api"] != c.owner || got["db"] != c.db {
				t.Errorf("owner %q, backend %q, want %q and %q", got["api"], got["db"], c.owner, c.db)
			}
		})
	}
}

func TestOscillation(t *testing.T) {
	steps := func(low, high float64, each, times int, change func(v float64) reading) []reading {
		var out []reading
		for range times {
			for range each {
				out = append(out, change(low))
			}
			for range each {
				out = append(out, change(high))
			}
		}
		return out
	}
	replicas := func(v float64) reading { return reading{"api replicas": v} }
	calls := func(errors float64) func(float64) reading {
		return func(v float64) reading { return reading{"web->api calls": v, "api traffic": v, "api errors": errors} }
	}
	for _, c := range []struct {
		name  string
		story []reading
		want  sre.Severity
	}{
		{"replicas come and go", steps(2, 4, 4, 3, replicas), sre.Warning},
		{"replicas scale once", steps(2, 4, 10, 1, replicas), ""},
		{"two outages, far apart", append(append(steps(2, 4, 2, 1, replicas), steps(4, 4, 15, 1, replicas)...), steps(2, 4, 2, 1, replicas)...), ""},
		{"a breaker opens and closes", steps(5, 60, 3, 3, calls(.3)), sre.Critical},
		{"a caller works in batches, and nothing fails", steps(5, 60, 3, 3, calls(0)), ""},
		{"calls that waver", steps(55, 60, 3, 3, calls(.3)), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown()
			w.tick(60, 0, nil)
			var worst sre.Severity
			for _, change := range c.story {
				if p, ok := of(w.but(change).tick(1, 0, nil), "oscillation", ""); ok && p.Severity.Rank() > worst.Rank() {
					worst = p.Severity
				}
			}
			if worst != c.want {
				t.Errorf("severity is %q, want %q", worst, c.want)
			}
		})
	}
}

func TestTimeoutInversionGoesLive(t *testing.T) {
	live := reading{
		"db latency": .9, "api->db call_latency": .9, "api->db call_timeouts": 20, "api latency": 1.2, "api tail": 1.5,
		"web->api call_latency": .95, "web->api call_timeouts": 30,
	}
	for _, c := range []struct {
		name    string
		retries int
		change  reading
		want    sre.Severity
	}{
		{"they do not nest, and answers come late", 2, live, sre.Critical},
		{"they do not nest, and all is well", 2, nil, ""},
		{"they nest", 0, live, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown()
			edges := append([]sre.Edge(nil), w.graph.Edges...)
			edges[1].Spec.Retries = c.retries
			w.graph = sre.NewGraph(w.graph.Services, edges)
			w.tick(60, 0, nil)
			p, _ := of(w.but(c.change).tick(3, 0, nil), "timeout_inversion", "")
			if p.Severity != c.want || c.want != "" && p.Service != "db" {
				t.Errorf("found %+v, want %q at db", p, c.want)
			}
		})
	}
}

func TestPoolLeakIsSeenWhileNothingIsSlow(t *testing.T) {
	w, g := newTown(), lcg(4)
	w.tick(120, .01, &g)
	left, size := 0., 1.
	for k := range 70 {
		size -= .012 // of the pool, every ten seconds; empty of spare members at 0.6
		ps := w.but(reading{"api pool": math.Min(1, .6/size)}).tick(1, .01, &g)
		p, ok := of(ps, "pool_leak", "")
		if !ok {
			continue
		}
		if p.Mechanism != sre.PoolExhaustion || p.Service != "api" {
			t.Fatalf("found %+v", p)
		}
		left = (size - .6) / .0012
		if left < 60 {
			t.Errorf("seen at step %d, %v s before the pool is empty", k, left)
		}
		if e, _ := find(p, "time_to_full"); e.Now < left/2 || e.Now > 2*left {
			t.Errorf("full in %v s, want %v", e.Now, left)
		}
		return
	}
	t.Error("never seen")
}
