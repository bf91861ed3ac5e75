package diagnosis_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// outbreak is one true fault of a simulated fleet: where, from when on, how far
// up it is felt, and through which mechanism.
type outbreak struct {
	root  int
	start int // tick
	reach int // calls
	m     sre.Mechanism
}

// fleetSim emits the signs of several faults in a layered fleet of 1,000
// services with 25 entries, a hub that all call, delays per call, one victim in five
// that shows nothing, signs that flicker, and noise.
type fleetSim struct {
	s      *sre.Snapshot
	faults []outbreak
	rng    uint64
	starts map[string]int // by service and fault: the tick at which it began to suffer, -1 for never
	dark   map[int]bool   // victims that are not measured well enough to show anything
}

const (
	simTick  = 10 * time.Second
	simTicks = 60
	simWidth = 125 // services per layer
)

func (f *fleetSim) next() float64 {
	f.rng = f.rng*6364136223846793005 + 1442695040888963407
	return float64(f.rng>>11) / (1 << 53)
}

func newFleetSim(seed uint64, faults int) *fleetSim {
	f := &fleetSim{rng: seed*2654435761 + 1, starts: map[string]int{}, dark: map[int]bool{}}
	const layers, width = 8, simWidth
	services := make([]sre.Service, layers*width+1)
	var edges []sre.Edge
	for i := range services {
		services[i] = sre.Service{Name: fmt.Sprintf("s%03d", i), Entry: i < 25}
		if i == layers*width {
			services[i].Name = "hub"
			break
		}
		edges = append(edges, sre.Edge{From: i, To: layers * width})
		if i/width+1 < layers {
			for range 2 {
				edges = append(edges, sre.Edge{From: i, To: (i/width+1)*width + int(f.next()*width)})
			}
		}
	}
	f.s = &sre.Snapshot{
		Interval: simTick, Graph: sre.NewGraph(services, edges), Service: sre.NewMatrix(1, len(services)),
		Signals: []sre.Signal{{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond}}, Health: sre.SourceHealth{Up: true},
	}
	for i := range services {
		f.dark[i] = f.next() < .2
		f.s.Service.Set(0, i, sre.Reading{Value: 50, State: sre.Present})
	}
	kinds := []sre.Mechanism{sre.RetryStorm, sre.PoolExhaustion, sre.CapacityDecay, sre.CacheLoss, sre.Overload}
	for len(f.faults) < faults {
		o := outbreak{root: 2*simWidth + int(f.next()*6*simWidth), start: 3 + int(f.next()*27), reach: 1 + int(f.next()*3), m: kinds[int(f.next()*float64(len(kinds)))]}
		f.faults = append(f.faults, o)
	}
	for k, o := range f.faults {
		f.spread(k, o)
	}
	return f
}

// spread notes when each service begins to feel a fault: a tick or two per call,
// and not everybody feels it.
func (f *fleetSim) spread(k int, o outbreak) {
	type step struct{ i, at, left int }
	queue := []step{{o.root, o.start, o.reach}}
	for len(queue) > 0 {
		here := queue[0]
		queue = queue[1:]
		key := fmt.Sprint(here.i, "/", k)
		if _, seen := f.starts[key]; seen {
			continue
		}
		f.starts[key] = here.at
		if here.left == 0 {
			continue
		}
		for _, e := range f.s.Graph.CallersOf(here.i) {
			if f.next() < .85 {
				queue = append(queue, step{f.s.Graph.Edges[e].From, here.at + int(f.next()*3), here.left - 1})
			}
		}
	}
}

// signs returns what is seen at one tick, and which faults stand behind each
// service.
func (f *fleetSim) signs(tick int) ([]sre.Precursor, map[string][]int) {
	f.s.At = noon.Add(time.Duration(tick) * simTick)
	var ps []sre.Precursor
	owners := map[string][]int{}
	put := func(i int, kind sre.SignalKind, score float64, began int) {
		p := sign(f.s.Graph.Services[i].Name, kind, score, 0)
		p.Since = noon.Add(time.Duration(began)*simTick + time.Duration((f.next()-.5)*20)*time.Second)
		ps = append(ps, p)
	}
	for i := range f.s.Graph.Services {
		for k, o := range f.faults {
			began, hit := f.starts[fmt.Sprint(i, "/", k)]
			if !hit || tick < began || f.dark[i] && i != o.root || f.next() < .02 {
				continue
			}
			name := f.s.Graph.Services[i].Name
			owners[name] = append(owners[name], k)
			if i != o.root {
				put(i, sre.Latency, .5+.3*f.next(), began)
				continue
			}
			put(i, sre.Errors, .7+.2*f.next(), began)
			put(i, sre.Pool, .9, began)
			last := &ps[len(ps)-1]
			last.Detector, last.Mechanism, last.Severity = "overload", o.m, sre.Critical
		}
	}
	if tick%17 == 0 { // one sign of nothing, somewhere
		ps = append(ps, note(sign(f.s.Graph.Services[int(f.next()*8*simWidth)].Name, sre.Traffic, .4, 0)))
	}
	return ps, owners
}

// outcome counts pairs of services as in clustering: together in truth and in the
// answer, and so on, and how incidents map to faults.
type outcome struct {
	both, truth, answer float64
	incidents, faults   int
	late                int // faults without an incident of their own after a minute
	alerts              int // what an alert per series would have sent
}

func (o *outcome) f1() float64 { return 2 * o.both / (o.truth + o.answer) }

func play(seed uint64, faults int) outcome {
	f := newFleetSim(seed, faults)
	b := newShelf()
	var out outcome
	alerted := map[string]bool{}
	for tick := range simTicks {
		ps, owners := f.signs(tick)
		for _, p := range ps {
			if key := p.Service + string(p.Kind); p.Severity != sre.Info && !alerted[key] {
				alerted[key] = true
				out.alerts++
			}
		}
		fs := b.tick(f.s, ps)
		for _, o := range f.faults {
			if tick == o.start+6 && !slices.ContainsFunc(fs, func(x sre.Finding) bool {
				return slices.Contains(x.Diagnosis.Affected, f.s.Graph.Services[o.root].Name)
			}) && slices.ContainsFunc(ps, func(p sre.Precursor) bool { return p.Service == f.s.Graph.Services[o.root].Name }) {
				out.late++
			}
		}
		if tick == simTicks-1 {
			out.pairs(fs, owners)
		}
	}
	for _, inc := range b.incidents {
		if inc.MergedInto == "" {
			out.incidents++
		}
	}
	out.faults = faults
	return out
}

// pairs compares the grouping of the last tick with the truth. A victim of two
// faults may stand in the incident of either.
func (o *outcome) pairs(fs []sre.Finding, owners map[string][]int) {
	in := map[string]int{}
	var names []string
	for k, f := range fs {
		for _, n := range f.Diagnosis.Affected {
			in[n] = k
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for i, a := range names {
		for _, b := range names[:i] {
			if len(owners[a]) != 1 || len(owners[b]) != 1 {
				continue
			}
			same, together := owners[a][0] == owners[b][0], in[a] == in[b]
			if same {
				o.truth++
			}
			if together {
				o.answer++
			}
			if same && together {
				o.both++
			}
		}
	}
}

// TestConcurrentFaultsInAFleet: one to three faults at a time, each one incident.
func TestConcurrentFaultsInAFleet(t *testing.T) {
	for _, faults := range []int{1, 2, 3} {
		var all outcome
		const runs = 30
		for seed := range uint64(runs) {
			o := play(seed+1, faults)
			all.both, all.truth, all.answer = all.both+o.both, all.truth+o.truth, all.answer+o.answer
			all.incidents, all.faults, all.late, all.alerts = all.incidents+o.incidents, all.faults+o.faults, all.late+o.late, all.alerts+o.alerts
		}
		per := float64(all.incidents) / float64(all.faults)
		fewer := 1 - float64(all.incidents)/float64(all.alerts)
		t.Logf("%d faults at once, %d runs: pairwise F1 %.3f, %.2f incidents per fault, %d of %d without one after a minute, %.1f %% fewer than %d alerts",
			faults, runs, all.f1(), per, all.late, all.faults, 100*fewer, all.alerts)
		if all.f1() < .9 {
			t.Errorf("%d faults: F1 is %.3f, want at least .9", faults, all.f1())
		}
		if per < .8 || per > 1.2 {
			t.Errorf("%d faults: %.2f incidents per fault, want one", faults, per)
		}
		if all.late > 0 {
			t.Errorf("%d of %d faults had no incident after a minute", all.late, all.faults)
		}
	}
}
