package detectors_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// threeRetries is how the callers of api are set: V = 60*4/100 = 2.4, and the
// level of no return is a backlog of 100/s * 0.5 s = 50.
var threeRetries = sre.EdgeSpec{Timeout: 500 * time.Millisecond, Retries: 3, HasRetries: true}

func find(p sre.Precursor, signal string) (sre.Evidence, bool) {
	for _, e := range p.Evidence {
		if e.Signal == signal {
			return e, true
		}
	}
	return sre.Evidence{}, false
}

func TestRetryStormLevels(t *testing.T) {
	calmly := sre.Severity("")
	noRetries := sre.EdgeSpec{Timeout: 500 * time.Millisecond, HasRetries: true}
	for _, c := range []struct {
		name   string
		spec   sre.EdgeSpec
		change reading
		want   sre.Severity
	}{
		{"fragile but healthy", threeRetries, nil, sre.Info},
		{"no retries are set", noRetries, nil, calmly},
		{"one retry of a light load is harmless", sre.EdgeSpec{Timeout: time.Second, Retries: 1, HasRetries: true}, reading{"traffic": 40, "pool": .4}, calmly},
		{"backlog above a quarter of no return", threeRetries, reading{"queue": 18, "pool": .8}, sre.Warning},
		{"backlog above half of no return", threeRetries, reading{"queue": 30, "pool": .8}, sre.Critical},
		{"backlog beyond no return", threeRetries, reading{"queue": 400, "pool": 1}, sre.Critical},
		{"the same backlog without retries is no storm", noRetries, reading{"queue": 30, "pool": .8}, calmly},
		{"amplified and failing", threeRetries, reading{"traffic": 180, "retries": 120, "errors": .7}, sre.Critical},
		{"amplified, full, dead work", threeRetries, reading{"traffic": 180, "retries": 120, "timeouts": 60, "pool": 1}, sre.Critical},
		{"amplified without harm", threeRetries, reading{"traffic": 90, "retries": 30, "errors": .001}, sre.Info},
		{"a third of little traffic is retried", threeRetries, reading{"traffic": .9, "retries": .4, "errors": .4, "pool": .01, "queue": 0}, calmly},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(10*time.Second, c.spec)
			f.times(60, healthy())
			p, _ := of(f.times(3, healthy().but(c.change)), "retry_storm", "")
			if p.Severity != c.want {
				t.Errorf("severity is %q, want %q: %+v", p.Severity, c.want, p)
			}
			if c.want == sre.Critical && p.Score < .75 || c.want == sre.Info && p.Score > .2 {
				t.Errorf("score of %s is %v", c.want, p.Score)
			}
		})
	}
}

func TestRetryStormNumbers(t *testing.T) {
	f := newFeed(time.Second, threeRetries)
	f.times(60, healthy())
	p, ok := of(f.times(3, healthy().but(reading{"traffic": 96, "retries": 36, "queue": 30, "pool": 1, "errors": .3})), "retry_storm", "")
	if !ok {
		t.Fatal("no sign")
	}
	for _, want := range []struct {
		signal, says string
		now          float64
	}{
		{"retry_share", "retries are 38 % of calls to api (usual 0.2 %)", 36. / 96},
		{"vulnerability", "2.4 times what it can serve", 2.4},
		{"margin", "60 % of the level of no return", .6},
		{"error_ratio", "30 % of requests to api fail", .3},
	} {
		e, ok := find(p, want.signal)
		if !ok {
			t.Errorf("no evidence %q in %+v", want.signal, p.Evidence)
			continue
		}
		if math.Abs(e.Now-want.now) > 1e-6 {
			t.Errorf("%s is %v, want %v", want.signal, e.Now, want.now)
		}
		if !strings.Contains(e.Meaning, want.says) {
			t.Errorf("%s says %q, want %q in it", want.signal, e.Meaning, want.says)
		}
	}
	var sum float64
	for _, e := range p.Evidence {
		sum += e.Weight
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("weights sum to %v", sum)
	}
}

func TestStuckStateKeepsFiring(t *testing.T) {
	f := newFeed(time.Second, threeRetries)
	f.times(60, healthy())
	start := f.at
	stuck := healthy().but(reading{"traffic": 240, "retries": 180, "errors": .9, "timeouts": 200, "queue": 3000, "pool": 1, "latency": 30})
	f.times(3, stuck)
	for k := range 600 {
		p, ok := of(f.put(stuck), "retry_storm", "")
		if !ok || p.Severity != sre.Critical {
			t.Fatalf("tick %d of the stuck state: %+v", k, p)
		}
		if p.Since.Sub(start) > 2*time.Second {
			t.Fatalf("tick %d: onset has moved to %v after the start", k, p.Since.Sub(start))
		}
	}
	last := 0
	for k := range 100 {
		if p, ok := of(f.put(healthy()), "retry_storm", ""); ok && p.Severity != sre.Info {
			last = k
		}
	}
	if last > 3 {
		t.Errorf("still firing %d ticks after recovery", last)
	}
}

func TestStormIsFoundWithoutAnyHistory(t *testing.T) {
	// An agent that starts in the middle of a storm knows no capacity.
	f := newFeed(time.Second, threeRetries)
	stuck := reading{"traffic": 240, "retries": 180, "errors": .9, "queue": 3000, "pool": 1}
	p, ok := of(f.times(3, stuck), "retry_storm", "")
	if !ok || p.Severity != sre.Critical {
		t.Errorf("found %+v", p)
	}
}

func TestUnknownSettingsAreSaidToBeAssumed(t *testing.T) {
	f := newFeed(time.Second, sre.EdgeSpec{})
	f.times(60, healthy())
	p, ok := of(f.times(4, healthy().but(reading{"traffic": 180, "retries": 120, "errors": .6, "queue": 300, "pool": 1})), "retry_storm", "")
	if !ok || p.Severity != sre.Critical {
		t.Fatalf("found %+v", p)
	}
	e, _ := find(p, "margin")
	if !strings.Contains(e.Meaning, "assumed") {
		t.Errorf("margin says %q", e.Meaning)
	}
}

func TestBacklogThatGrowsIsSeenBeforeItIsHigh(t *testing.T) {
	// Ten more in every second; no return is at 50, half of it at 25.
	f := newFeed(time.Second, threeRetries)
	f.times(60, healthy())
	q := 3.
	for k := range 10 {
		q += 4
		p, _ := of(f.put(healthy().but(reading{"queue": q, "pool": 1})), "retry_storm", "")
		if p.Severity == sre.Critical {
			if q > 27 {
				t.Errorf("critical only at tick %d with a backlog of %v", k, q)
			}
			e, _ := find(p, "margin")
			if !strings.Contains(e.Meaning, "s left") {
				t.Errorf("margin says %q", e.Meaning)
			}
			return
		}
	}
	t.Error("never critical")
}

// edgeFeed shows api only through what web reports of its calls.
func TestAmplificationFromFanOut(t *testing.T) {
	signals := []sre.Signal{{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "errors", Kind: sre.Errors, Unit: sre.Ratio}}
	edge := []sre.Signal{{Name: "calls", Kind: sre.Traffic, Unit: sre.PerSecond}}
	f := newFeed(10*time.Second, threeRetries)
	bank := detectors.New(detectors.DefaultConfig())
	put := func(own, calls, errors float64, change ...sre.Change) []sre.Precursor {
		f.at = f.at.Add(f.interval)
		s := &sre.Snapshot{
			At: f.at, Interval: f.interval, Graph: f.graph, Signals: signals, EdgeSignals: edge,
			Service: sre.NewMatrix(2, 2), Edge: sre.NewMatrix(1, 1), Health: sre.SourceHealth{Up: true}, Changes: change,
		}
		s.Service.Set(0, web, sre.Reading{Value: own, State: sre.Present})
		s.Service.Set(0, api, sre.Reading{Value: calls, State: sre.Present})
		s.Service.Set(1, api, sre.Reading{Value: errors, State: sre.Present})
		s.Edge.Set(0, 0, sre.Reading{Value: calls, State: sre.Present})
		return bank.Detect(s, nil)
	}
	for range 40 {
		put(50, 100, 0)
	}
	var ps []sre.Precursor
	for range 3 {
		ps = put(50, 250, .6)
	}
	p, ok := of(ps, "retry_storm", "")
	e, _ := find(p, "retry_share")
	if !ok || p.Severity != sre.Critical || math.Abs(e.Now-.6) > 1e-9 {
		t.Fatalf("found %+v", p)
	}
	if !strings.Contains(e.Meaning, "assumed") {
		t.Errorf("a share that is worked out from fan-out says %q", e.Meaning)
	}
	// A new version of web calls more often: that is no retry.
	bank = detectors.New(detectors.DefaultConfig())
	for range 40 {
		put(50, 100, 0)
	}
	put(50, 250, 0, sre.Change{ID: "1", Service: "web", Kind: sre.Deploy, At: f.at})
	for k := range 40 {
		if p, ok := of(put(50, 250, 0), "retry_storm", ""); ok && p.Severity != sre.Info {
			t.Fatalf("tick %d after the deploy: %+v", k, p)
		}
	}
}

// queueTwin is the smallest model that can fall into a retry storm and stay: a
// FIFO server whose callers give up after T and try again R times.
type queueTwin struct {
	load, capacity, timeout float64
	attempts                float64
	backlog                 float64
}

func (q *queueTwin) step(dt, cut float64) (arrivals, dead float64) {
	wait := q.backlog / (q.capacity * cut)
	amp := 1.
	if wait >= q.timeout {
		amp = q.attempts
		dead = 1
	}
	arrivals = q.load * amp
	q.backlog = math.Max(0, q.backlog+(arrivals-q.capacity*cut)*dt)
	return arrivals, dead * arrivals
}

// TestIndicesForetellTheTwin: at the end of a capacity cut, the indices say
// whether the queue will heal by itself.
func TestIndicesForetellTheTwin(t *testing.T) {
	g := lcg(3)
	right, cases, stuckCases := 0, 0, 0
	for cases < 60 {
		rho, timeout, retries := .3+.6*g.next(), .5+1.5*g.next(), 1+math.Floor(4*g.next())
		q := &queueTwin{capacity: 100, load: 100 * rho, timeout: timeout, attempts: retries + 1, backlog: 1}
		f := newFeed(time.Second, sre.EdgeSpec{Timeout: time.Duration(timeout * float64(time.Second)), Retries: int(retries), HasRetries: true})
		tick := func(cut float64) []sre.Precursor {
			var in, dead float64
			for range 100 {
				in, dead = q.step(.01, cut)
			}
			first := math.Min(in, q.load)
			return f.put(reading{
				"traffic": in, "retries": in - first, "timeouts": dead, "queue": math.Round(q.backlog),
				"pool": math.Min(1, in/(q.capacity*cut)), "errors": dead / in,
			})
		}
		for range 40 {
			tick(1)
		}
		var ps []sre.Precursor
		for range 2 + int(6*g.next()) {
			ps = tick(.2 + .5*g.next())
		}
		p, _ := of(ps, "retry_storm", "")
		v, _ := find(p, "vulnerability")
		m, _ := find(p, "margin")
		if m.Now > .8 && m.Now < 1.25 {
			continue // on the border either outcome is right
		}
		cases++
		foretold := v.Now > 1 && m.Now >= 1
		for range 300 {
			tick(1)
		}
		stuck := q.backlog > 10
		if stuck {
			stuckCases++
		}
		if stuck == foretold {
			right++
		}
	}
	if stuckCases < 10 || stuckCases > 50 {
		t.Fatalf("%d of %d cases stay stuck: the twin tells nothing", stuckCases, cases)
	}
	if right < 58 {
		t.Errorf("%d of %d outcomes foretold", right, cases)
	}
}

// A service counts a request when it answers it. While its queue grows, only
// the callers know how much is asked of it, and how much of that again.
func TestTheCallersKnowOfRetriesFirst(t *testing.T) {
	edges := []sre.Signal{
		{Name: "calls", Kind: sre.Traffic, Unit: sre.PerSecond, Edge: true},
		{Name: "call_retries", Kind: sre.Retries, Unit: sre.PerSecond, Edge: true},
	}
	shareSeen := func(calls, retries float64) float64 {
		f := newFeed(time.Second, threeRetries)
		f.times(60, healthy())
		var found []sre.Precursor
		for range 3 {
			f.at = f.at.Add(f.interval)
			s := f.snapshot(healthy().but(reading{"traffic": 77, "retries": 1, "queue": 200, "pool": 1, "errors": .4}))
			s.EdgeSignals, s.Edge = edges, sre.NewMatrix(2, 1)
			s.Edge.Set(0, 0, sre.Reading{Value: calls, State: sre.Present})
			s.Edge.Set(1, 0, sre.Reading{Value: retries, State: sre.Present})
			found = f.bank.Detect(s, nil)
		}
		p, ok := of(found, "retry_storm", "")
		if !ok {
			t.Fatal("no sign")
		}
		e, ok := find(p, "retry_share")
		if !ok {
			t.Fatalf("no evidence about retries in %+v", p.Evidence)
		}
		return e.Now
	}
	if got := shareSeen(240, 180); math.Abs(got-.75) > 1e-6 {
		t.Errorf("the callers retry 75 %% of their calls; the evidence says %v", got)
	}
	if got := shareSeen(40, 30); math.Abs(got-1./77) > 1e-6 {
		t.Errorf("callers of half of the traffic were believed about all of it: %v", got)
	}
}
