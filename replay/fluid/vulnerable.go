package fluid

import (
	"math"
	"time"
)

// Vulnerability says how prone a blueprint is to failures that outlive their
// cause, by the signals S5 and S7 of the agent.
type Vulnerability struct {
	// V is, by service, the load with every direct caller retrying to the full
	// over the capacity at its worst. At 1 or below every trigger heals; above,
	// a backlog longer than the callers' timeouts may feed itself.
	V []float64
	// Deep is V with the retries of all layers above multiplied.
	Deep []float64
	// Inversions are the calls that give up before their callee can have tried
	// all it may, in the order of Blueprint.Edges.
	Inversions []Inversion
}

// Inversion is a call whose timeout is shorter than what its callee may need.
type Inversion struct {
	Edge  int     // in Blueprint.Edges, or len(Edges) + the index of a client
	Ratio float64 // time that the callee may need over the timeout, above 1
}

// Worst is the largest V and the service that has it.
func (v Vulnerability) Worst() (service int, worst float64) {
	for i, x := range v.V {
		if x > worst {
			service, worst = i, x
		}
	}
	return service, worst
}

// Vulnerable judges a valid blueprint at a load of 1 with its own settings. It
// is algebra: nothing is run.
func (b Blueprint) Vulnerable() Vulnerability {
	flow := b.flows()
	hold, _ := b.latencies(flow)
	n := len(b.Services)
	r := Vulnerability{V: make([]float64, n), Deep: make([]float64, n)}
	deep := make([]float64, n) // amplified load
	direct := make([]float64, n)
	for _, c := range b.Clients {
		direct[c.Entry] += c.Rate * float64(c.Retries+1)
		deep[c.Entry] += c.Rate * float64(c.Retries+1)
	}
	into := b.callers()
	for _, v := range callersFirst(b) {
		for _, i := range into[v] {
			e := &b.Edges[i]
			direct[v] += flow[e.From] * b.calls(e) * amplification(e)
			deep[v] += deep[e.From] * b.calls(e) * amplification(e)
		}
		c := b.capacity(int(v), hold[v]) * b.worstDecay(int(v))
		r.V[v], r.Deep[v] = direct[v]/c, deep[v]/c
	}
	need := b.needs()
	for i, e := range b.Edges {
		if x := need[e.To] / e.Timeout.Seconds(); x > 1+1e-9 {
			r.Inversions = append(r.Inversions, Inversion{i, x})
		}
	}
	for i, c := range b.Clients {
		if x := need[c.Entry] / c.Timeout.Seconds(); x > 1+1e-9 {
			r.Inversions = append(r.Inversions, Inversion{len(b.Edges) + i, x})
		}
	}
	return r
}

// amplification is the most attempts per call of an edge.
func amplification(e *EdgeSpec) float64 {
	if e.Budget > 0 {
		return min(1+e.Budget, float64(e.Retries+1))
	}
	return float64(e.Retries + 1)
}

// needs is the time in seconds that each service may need for a request when its
// callees use up their timeouts and retries.
func (b Blueprint) needs() []float64 {
	serial, beside := make([]float64, len(b.Services)), make([]float64, len(b.Services))
	for _, e := range b.Edges {
		x := (float64(e.Retries)+1)*e.Timeout.Seconds() + float64(e.Retries)*e.Backoff.Seconds()
		if e.Parallel {
			beside[e.From] = max(beside[e.From], x)
		} else {
			serial[e.From] += x * max(1, e.Calls)
		}
	}
	for i := range serial {
		serial[i] += b.Services[i].Work.Seconds() + beside[i]
	}
	return serial
}

func (b Blueprint) callers() [][]int {
	into := make([][]int, len(b.Services))
	for i, e := range b.Edges {
		into[e.To] = append(into[e.To], i)
	}
	return into
}

// calls per request of the caller, with its cache as full as it gets.
func (b Blueprint) calls(e *EdgeSpec) float64 {
	if e.Cached {
		return e.Calls * (1 - b.Services[e.From].Cache.HitRatio)
	}
	return e.Calls
}

// flows is the load of every service in requests per second without a fault.
func (b Blueprint) flows() []float64 {
	flow := make([]float64, len(b.Services))
	into, order := b.callers(), callersFirst(b)
	own := make([]float64, len(b.Services))
	for _, c := range b.Clients {
		own[c.Entry] += c.Rate
	}
	// One sweep does without circles; with them the sum over rounds converges
	// if a request makes less than one of its kind.
	for range 200 {
		change := 0.0
		for _, v := range order {
			x := own[v]
			for _, i := range into[v] {
				x += flow[b.Edges[i].From] * b.calls(&b.Edges[i])
			}
			change = max(change, math.Abs(x-flow[v]))
			flow[v] = x
		}
		if change < 1e-9 {
			break
		}
	}
	return flow
}

// latencies is the time in seconds that a worker of each service is held, and
// that a caller waits, at the given load.
func (b Blueprint) latencies(flow []float64) (hold, latency []float64) {
	n := len(b.Services)
	hold, latency = make([]float64, n), make([]float64, n)
	out := make([][]int, n)
	for i, e := range b.Edges {
		out[e.From] = append(out[e.From], i)
	}
	order := callersFirst(b)
	for range 4 { // one sweep does without circles
		for k := n - 1; k >= 0; k-- {
			v := order[k]
			s := &b.Services[v]
			beside := 0.0
			hold[v] = s.Work.Seconds()
			for _, i := range out[v] {
				e := &b.Edges[i]
				x := min(latency[e.To], e.Timeout.Seconds())
				if e.Timeout == 0 {
					x = latency[e.To] // not chosen yet
				}
				if e.Parallel {
					beside = max(beside, x*min(1, b.calls(e)))
				} else {
					hold[v] += x * b.calls(e)
				}
			}
			hold[v] += beside
			latency[v] = hold[v] + b.steadyWait(int(v), flow[v], hold[v])
		}
	}
	return hold, latency
}

// capacity is what a service can finish per second in health.
func (b Blueprint) capacity(i int, hold float64) float64 {
	s := &b.Services[i]
	replicas := float64(max(1, s.Replicas))
	cpu := s.Rate * replicas
	if s.Workers < 1 {
		return cpu // not chosen yet
	}
	return min(cpu, float64(s.Workers)*replicas/hold)
}

func (b Blueprint) worstDecay(i int) float64 {
	if f := b.Services[i].Decay.Floor; f > 0 {
		return f
	}
	return 1
}

func (b Blueprint) steadyWait(i int, flow, hold float64) float64 {
	mu := b.capacity(i, hold)
	if mu <= 0 {
		return 0
	}
	s := &b.Services[i]
	servers := mu * s.Work.Seconds()
	if pool := float64(s.Workers * max(1, s.Replicas)); s.Workers > 0 && mu >= pool/hold {
		servers = pool
	}
	rho := min(fullest, flow/mu)
	return allBusy(servers, rho) / (mu * (1 - rho))
}

// seconds turns a number of seconds into a duration, rounded up to steps.
func seconds(x float64, step time.Duration) time.Duration {
	return time.Duration(math.Ceil(x/step.Seconds()-1e-9)) * step
}
