package fluid

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// FleetOptions describes a fleet to be generated. Zero values are the defaults
// given with each field.
type FleetOptions struct {
	Services      int     // at least Layers; 100
	Seed          uint64  // of the topology, rates and times
	Layers        int     // of the call graph; 6, less where there are few services
	Clients       int     // populations, and services of the first layer; an even share of Services
	Headroom      float64 // capacity over load; 1.4
	Pools         float64 // workers over those that are busy on average; 4
	QueueSeconds  float64 // queue bound in seconds of capacity; 0 is unbounded
	Retries       int     // of every call between services; 0
	ClientRetries int     // of every client; 0
	Budget        float64 // of every call between services; 0 is no limit
	Nested        bool    // timeouts outlast all that the callee may try, so that there is no inversion; for few layers and retries, as they multiply, up to 10 minutes
	Deadlines     bool    // every service drops dead work
	Optional      float64 // share of the second and further callees that a service can do without; 0
	Step          time.Duration
	Noise         bool
}

func (o FleetOptions) filled() FleetOptions {
	or := func(x *float64, d float64) {
		if !positive(*x) {
			*x = d
		}
	}
	or(&o.Headroom, 1.4)
	or(&o.Pools, 4)
	if o.Services <= 0 {
		o.Services = 100
	}
	if o.Layers <= 0 {
		o.Layers = 6
	}
	o.Layers = min(o.Layers, o.Services)
	if o.Clients <= 0 || o.Clients > o.Services-o.Layers+1 {
		o.Clients = max(1, o.Services/o.Layers)
	}
	if o.Layers == 1 {
		o.Clients = o.Services
	}
	if o.Step == 0 {
		o.Step = defaultStep
	}
	o.Retries = min(max(0, o.Retries), MaxRetries)
	o.ClientRetries = min(max(0, o.ClientRetries), MaxRetries)
	o.Optional = clamp(o.Optional)
	o.Budget, o.QueueSeconds = max(0, o.Budget), max(0, o.QueueSeconds)
	return o
}

// Fleet generates a layered graph of services: one to four callees each in the
// next layer, the first so that everyone has a caller, the others by Zipf's law,
// so that a few services are called by very many. Rates leave Headroom, timeouts
// are so long against the callee's normal latency that no request times out
// without a fault; but the product of retries over layers makes most fleets with
// retries vulnerable, as Blueprint.Vulnerable reports.
func Fleet(o FleetOptions) Blueprint {
	o = o.filled()
	g := generator{seed: mixed(o.Seed)}
	b := Blueprint{Step: o.Step, Seed: o.Seed, Noise: o.Noise, Services: make([]ServiceSpec, o.Services)}
	layers := o.layers()
	for l, first := 0, 0; l < len(layers); l++ {
		for i := range layers[l] {
			s := &b.Services[first+i]
			s.Name = fmt.Sprintf("s%d-%04d", l, first+i)
			s.Work = time.Millisecond + time.Duration(4*g.float()*float64(time.Millisecond))
			s.Replicas = 2 + g.below(3)
			s.StartDelay, s.Restart, s.Deadlines = 30*time.Second, 20*time.Second, o.Deadlines
		}
		if l+1 < len(layers) {
			b.Edges = o.call(&g, b.Edges, first, layers[l], layers[l+1])
		}
		first += layers[l]
	}
	for c := range o.Clients {
		b.Clients = append(b.Clients, ClientSpec{
			Name: "users-of-" + b.Services[c].Name, Entry: c, Rate: 20 + 200*g.float(), Retries: o.ClientRetries,
			Backoff: o.Step,
			Mix:     [Classes]float64{0.1, 0.2, 0.5, 0.2},
		})
	}
	o.size(&b)
	return b
}

// layers is the number of services in each layer.
func (o FleetOptions) layers() []int {
	n := make([]int, o.Layers)
	n[0] = o.Clients
	left := o.Services - o.Clients
	for l := 1; l < len(n); l++ {
		n[l] = left / (len(n) - l)
		left -= n[l]
	}
	return n
}

// call connects a layer with the next.
func (o FleetOptions) call(g *generator, edges []EdgeSpec, first, width, next int) []EdgeSpec {
	base := first + width
	has := make([][]int, width)
	link := func(i, to int, optional bool) {
		if slices.Contains(has[i], to) {
			return
		}
		has[i] = append(has[i], to)
		e := EdgeSpec{
			From: first + i, To: base + to, Calls: 0.3 + 0.7*g.float(), Retries: o.Retries,
			Budget: o.Budget, Hard: true, Backoff: o.Step,
		}
		if optional && g.float() < o.Optional {
			e.Hard, e.Feature = false, fmt.Sprintf("with-%04d", base+to)
		}
		edges = append(edges, e)
	}
	for i := range max(width, next) {
		link(i%width, i%next, false)
	}
	for i := range width {
		for range g.below(4) {
			if len(has[i]) < 4 {
				link(i, int(math.Pow(float64(next)+1, g.float()))-1, true)
			}
		}
	}
	return edges
}

// patient is the least number of normal latencies that a caller waits. It is
// beyond what tardy simulates, so that health has no timeouts at all.
const patient = 15

// leastRate is the capacity in requests per second that even a service with next
// to no load has; less would make its fluctuations slower than its callers.
const leastRate = 100

// size chooses rates, workers, bounds and timeouts, callees first.
func (o FleetOptions) size(b *Blueprint) {
	flow := b.flows()
	for i := range b.Services {
		s := &b.Services[i]
		c := max(leastRate, flow[i]*o.Headroom)
		s.Rate = c / float64(s.Replicas)
		s.QueueBound = int(math.Ceil(c * o.QueueSeconds))
	}
	hold, latency := b.latencies(flow)
	for i := range b.Services {
		s := &b.Services[i]
		s.Workers = max(2, int(math.Ceil(flow[i]*hold[i]*o.Pools/float64(s.Replicas))))
	}
	out := make([][]int, len(b.Services))
	for i, e := range b.Edges {
		out[e.From] = append(out[e.From], i)
	}
	wait := make([]time.Duration, len(b.Services)) // of the callers of each
	order := callersFirst(*b)
	for k := len(order) - 1; k >= 0; k-- {
		v := order[k]
		need := b.Services[v].Work.Seconds()
		for _, i := range out[v] {
			e := &b.Edges[i]
			e.Timeout = wait[e.To]
			need += (float64(e.Retries)+1)*e.Timeout.Seconds() + float64(e.Retries)*e.Backoff.Seconds()
		}
		x := max(patient*latency[v], 0.2)
		if o.Nested {
			x = max(x, need)
		}
		wait[v] = min(maxPatience, seconds(x, o.Step))
	}
	for c := range b.Clients {
		b.Clients[c].Timeout = max(time.Second, wait[b.Clients[c].Entry])
	}
}

// generator draws numbers from a seed.
type generator struct{ seed, n uint64 }

func (g *generator) float() float64 {
	g.n++
	return uniform(g.seed ^ mixed(g.n))
}

func (g *generator) below(n int) int { return int(g.float() * float64(n)) }
