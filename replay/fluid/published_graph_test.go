package fluid

import (
	"fmt"
	"testing"
	"time"
)

// chainOf is a chain of services with pools of four times the workers that are
// busy in health; only the last one is hurt.
func chainOf(n int) Blueprint {
	b := Blueprint{Clients: []ClientSpec{{Rate: 100}}}
	for i := range n {
		b.Services = append(b.Services, ServiceSpec{Name: fmt.Sprint("c", i), Work: 5 * time.Millisecond, Replicas: 1})
		if i > 0 {
			b.Edges = append(b.Edges, EdgeSpec{From: i - 1, To: i, Calls: 1, Hard: true})
		}
	}
	FleetOptions{Headroom: 1.4, Pools: 4, Step: defaultStep}.size(&b)
	return b
}

func testChain(t *testing.T) {
	for n := 4; n <= 6; n++ {
		m := mustNew(t, chainOf(n))
		m.Advance(time.Minute)
		before := over(m, 30*time.Second)
		m.SetCondition(n-1, Condition{Capacity: 0.2})
		full := make([]float64, n) // seconds until the pool is exhausted
		low := 1.0
		for k := 1; k <= 600; k++ {
			low = min(low, over(m, 100*time.Millisecond))
			for i := range n - 1 {
				if s := m.Service(i); full[i] == 0 && s.Queue > 0 && s.Busy > 0.95*s.Workers {
					full[i] = float64(k) / 10
				}
			}
		}
		row(t, fmt.Sprintf("chain of %d, only the last one is cut to 20 %%", n), "upstream collapses", "goodput %.2f to %.2f; pools full after %v s, first to last", before, low, full[:n-1])
		if low > 0.2 || before < 0.999 {
			t.Errorf("goodput %.3f to %.3f", before, low)
		}
		for i, at := range full[:n-1] {
			if at == 0 {
				t.Errorf("the pool of hop %d of %d never filled", i, n)
			}
		}
		b := chainOf(n)
		for i := range b.Services {
			b.Services[i].Workers *= 100
		}
		wide := mustNew(t, b)
		wide.Advance(time.Minute)
		wide.SetCondition(n-1, Condition{Capacity: 0.2})
		wide.Advance(time.Minute)
		for i := range n - 1 {
			if q := wide.Service(i).Queue; q > 0 {
				t.Errorf("hop %d of %d queues %g with pools that are wide enough", i, n, q)
			}
		}
	}
}

// busiestLeaf is the service without callees that most requests reach.
func busiestLeaf(b Blueprint) int {
	leaf, most := 0, 0.0
	calls := make([]bool, len(b.Services))
	for _, e := range b.Edges {
		calls[e.From] = true
	}
	for i, x := range b.flows() {
		if !calls[i] && x > most {
			leaf, most = i, x
		}
	}
	return leaf
}

func testFleetCollapse(t *testing.T) {
	services := 1000
	if testing.Short() {
		services = 150
	}
	for _, c := range []struct {
		name, published string
		o               FleetOptions
		low, high       float64 // goodput 430 s after the trigger
	}{
		{"3 retries between services", ".02-.15 after 430 s", FleetOptions{Retries: 3}, 0, 0.3},
		{"3 retries, clients too", "permanent", FleetOptions{Retries: 3, ClientRetries: 3}, 0, 0.15},
		{"no retries", ".87-1.00 after 430 s", FleetOptions{}, 0.87, 1.2},
		{"budget 10 %, queue below timeout", ".93-1.02 in 5 of 6", FleetOptions{Retries: 3, Budget: 0.1, QueueSeconds: 0.15}, 0.93, 1.2},
	} {
		c.o.Services = services
		b := Fleet(c.o)
		m := mustNew(t, b)
		m.Advance(30 * time.Second)
		before := over(m, 30*time.Second)
		leaf := busiestLeaf(b)
		m.SetCondition(leaf, Condition{Capacity: 0.3})
		m.Advance(time.Minute)
		m.SetCondition(leaf, Well())
		m.Advance(120 * time.Second)
		soon := over(m, 20*time.Second)
		m.Advance(280 * time.Second)
		late := over(m, 20*time.Second)
		row(t, fmt.Sprintf("%d services, leaf at 30 %% 60 s: %s", services, c.name), c.published, "goodput %.3f before, %.3f after 130 s, %.3f after 430 s", before, soon, late)
		if before < 0.999 || late < c.low || late > c.high {
			t.Errorf("%s: goodput %.3f before, %.3f late", c.name, before, late)
		}
	}
}
