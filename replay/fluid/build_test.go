package fluid

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func TestValidateListsEverything(t *testing.T) {
	b := Blueprint{
		Step: time.Minute,
		Services: []ServiceSpec{
			{Name: "a", Work: -1, Rate: math.NaN(), QueueBound: -1, Replicas: -1, StartDelay: -1, Restart: -1, HeapLimit: -1,
				Decay: Decay{Floor: 2}, Cache: Cache{HitRatio: 0.5}},
			{Name: "a", Work: 1, Rate: 1, Workers: 1},
			{Work: 1, Rate: math.Inf(1), Workers: 1},
		},
		Edges: []EdgeSpec{
			{From: -1, To: 3, Calls: -1, Timeout: 0, Retries: 6, Backoff: -1, Budget: -1, Breaker: Breaker{FailureRatio: 0.5, MinRequests: -1}},
			{From: 1, To: 0, Timeout: time.Hour},
		},
		Clients: []ClientSpec{{Entry: 9, Rate: -1, Mix: [Classes]float64{0, math.Inf(1)}, Retries: -1, Concurrency: -1}},
	}
	m, err := New(b)
	var faults sre.Faults
	if m != nil || !errors.As(err, &faults) {
		t.Fatalf("got %v, %v", m, err)
	}
	var paths []string
	for _, f := range faults {
		paths = append(paths, f.Path)
		if f.Problem == "" || f.Allowed == "" {
			t.Errorf("%+v says too little", f)
		}
	}
	want := strings.Fields(`step
		services[0].work services[0].rate services[0].workers services[0].queue_bound services[0].replicas services[0].start_delay
		services[0].decay.floor services[0].decay.onset services[0].cache.keys services[0].heap_limit services[0].restart
		services[2].name services[2].rate services[1].name
		edges[0].from edges[0].to edges[0].calls edges[0].timeout edges[0].retries edges[0].backoff edges[0].budget
		edges[0].breaker.min_requests edges[0].breaker.open edges[1].timeout
		clients[0].entry clients[0].rate clients[0].mix[1] clients[0].timeout clients[0].retries clients[0].concurrency`)
	if !slices.Equal(paths, want) {
		t.Errorf("faults\n%v\nwant\n%v", paths, want)
	}
	if _, err := New(Blueprint{}); err == nil || !strings.Contains(err.Error(), "services") {
		t.Errorf("an empty blueprint: %v", err)
	}
}

func TestNewLeavesTheBlueprintAlone(t *testing.T) {
	b := pair(nil)
	m := mustNew(t, b)
	b.Services[1].Rate, b.Edges[0].Calls, b.Clients[0].Rate = 1, 9, 9
	if p := m.Blueprint(); p.Services[1].Rate != 200 || p.Edges[0].Calls != 1 || p.Clients[0].Rate != 100 || p.Step != 100*time.Millisecond {
		t.Errorf("shares memory with its blueprint: %+v", p)
	}
}

func TestAdvanceMakesWholeSteps(t *testing.T) {
	m := mustNew(t, pair(nil))
	m.Advance(1099 * time.Millisecond)
	if m.Elapsed() != time.Second {
		t.Errorf("elapsed %v", m.Elapsed())
	}
	m.Advance(-time.Second)
	m.Advance(99 * time.Millisecond)
	if m.Elapsed() != time.Second {
		t.Errorf("elapsed %v", m.Elapsed())
	}
}

// reaches says, by search, whether there is a way from one service to another.
func reaches(b Blueprint, from, to int) bool {
	seen := make([]bool, len(b.Services))
	todo := []int{from}
	for len(todo) > 0 {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, e := range b.Edges {
			if e.From == v && !seen[e.To] {
				seen[e.To] = true
				todo = append(todo, e.To)
			}
		}
	}
	return seen[to]
}

func TestCallersComeFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBlueprint(t)
		order := callersFirst(b)
		at := make([]int, len(order))
		for i := range at {
			at[i] = -1
		}
		for i, v := range order {
			at[v] = i
		}
		if slices.Contains(at, -1) || len(order) != len(b.Services) {
			t.Fatalf("order %v", order)
		}
		for _, e := range b.Edges {
			if at[e.From] > at[e.To] && !reaches(b, e.To, e.From) {
				t.Fatalf("callee %d before caller %d in %v", e.To, e.From, order)
			}
		}
	})
}

func TestFleetIsWhatItSays(t *testing.T) {
	for _, o := range []FleetOptions{
		{Services: 1}, {Services: 3}, {Services: 7, Layers: 7}, {Services: 40, Layers: 1}, {Services: 60, Clients: 2},
		{Services: 1000, Seed: 4, Retries: 3}, {Services: 200, Seed: 1, Optional: 0.5, Budget: 0.1, Retries: 2, QueueSeconds: 0.5, Deadlines: true},
		{Services: 200, Nested: true, Retries: 1}, {Services: 50, Headroom: -1, Pools: math.NaN(), Retries: 99},
	} {
		b := Fleet(o)
		if faults := b.Validate(); len(faults) > 0 {
			t.Errorf("%+v: %v", o, faults)
			continue
		}
		if !reflect.DeepEqual(b, Fleet(o)) {
			t.Errorf("%+v: differs from itself", o)
		}
		f := o.filled()
		if len(b.Services) != f.Services || len(b.Clients) != f.Clients {
			t.Errorf("%+v: %d services, %d clients", o, len(b.Services), len(b.Clients))
		}
		into, out := make([]int, len(b.Services)), make([]int, len(b.Services))
		optional := 0
		for _, e := range b.Edges {
			into[e.To]++
			out[e.From]++
			if e.Feature != "" {
				optional++
			}
		}
		for i := range b.Services {
			if i >= len(b.Clients) && into[i] == 0 {
				t.Errorf("%+v: nobody calls service %d", o, i)
			}
			if out[i] > 4 && o.Layers != 7 && f.Services > 100 && o.Clients == 0 {
				t.Errorf("%+v: service %d calls %d others", o, i, out[i])
			}
		}
		if (o.Optional > 0) != (optional > 0) {
			t.Errorf("%+v: %d optional calls", o, optional)
		}
		if o.Services == 1000 && slices.Max(into) < 15 {
			t.Errorf("the most called service has %d callers", slices.Max(into))
		}
		m := mustNew(t, b)
		m.Advance(30 * time.Second)
		if good := over(m, time.Minute); good < 1-1e-6 {
			t.Errorf("%+v: goodput %g without a fault", o, good)
		}
	}
	if reflect.DeepEqual(Fleet(FleetOptions{Seed: 1}), Fleet(FleetOptions{Seed: 2})) {
		t.Error("the seed changes nothing")
	}
}

func TestVulnerable(t *testing.T) {
	v := pair(func(b *Blueprint) {
		b.Edges[0].Retries, b.Edges[0].Timeout = 3, time.Second
		b.Clients[0].Retries, b.Clients[0].Timeout = 1, 2*time.Second
	}).Vulnerable()
	for i, want := range []float64{200.0 / 1000, 400.0 / 200} {
		about(t, "V", v.V[i], want, 1e-9)
	}
	about(t, "deep V of the back", v.Deep[1], 4, 1e-9)
	if i, x := v.Worst(); i != 1 || x != v.V[1] {
		t.Errorf("worst %d %g", i, x)
	}
	// The front may need four timeouts of 1 s; its clients wait 2 s.
	if len(v.Inversions) != 1 || v.Inversions[0].Edge != 1 {
		t.Fatalf("inversions %+v", v.Inversions)
	}
	about(t, "inversion", v.Inversions[0].Ratio, 4.002/2, 1e-9)

	v = pair(func(b *Blueprint) {
		b.Edges[0].Retries, b.Edges[0].Budget, b.Edges[0].Timeout = 3, 0.1, 100*time.Millisecond
		b.Services[1].Decay = Decay{Floor: 0.5, Onset: 10}
		b.Services[0].Cache, b.Edges[0].Cached = Cache{HitRatio: 0.75, Keys: 10}, true
	}).Vulnerable()
	about(t, "V with a budget, a decay and a cache", v.V[1], 25*1.1/(200*0.5), 1e-9)
	if len(v.Inversions) != 0 {
		t.Errorf("inversions %+v", v.Inversions)
	}
	if n := Fleet(FleetOptions{Services: 100, Layers: 4, Nested: true, Retries: 1}).Vulnerable(); len(n.Inversions) != 0 {
		t.Errorf("nested timeouts with %d inversions", len(n.Inversions))
	}
	if n := Fleet(FleetOptions{Services: 100, Retries: 2}).Vulnerable(); len(n.Inversions) == 0 {
		t.Error("timeouts that are not nested and no inversion")
	}
	if _, x := Fleet(FleetOptions{Services: 100, Retries: 3, Budget: 0.1}).Vulnerable().Worst(); x > 1 {
		t.Errorf("V %g with a budget of 10 %%", x)
	}
}

// The flow and the latency that a fleet is sized by are those that it then has.
func TestSizesAreThoseOfTheModel(t *testing.T) {
	b := Fleet(FleetOptions{Services: 60, Seed: 9})
	flow := b.flows()
	_, latency := b.latencies(flow)
	m := mustNew(t, b)
	m.Advance(2 * time.Minute)
	before := make([]float64, len(flow))
	for i := range flow {
		before[i] = m.Service(i).Departed
	}
	m.Advance(10 * time.Second)
	for i := range flow {
		about(t, b.Services[i].Name+" flow", (m.Service(i).Departed-before[i])/10, flow[i], 1e-3)
		about(t, b.Services[i].Name+" latency", m.Service(i).Latency, latency[i], 0.02)
	}
}
