package world

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// Defaults of Options.
const (
	DefaultScrape      = 5 * time.Second
	DefaultWindow      = 15 * time.Second // or three scrapes where that is longer
	DefaultReturnSteps = 5
	DefaultReturnEvery = 20 * time.Second
	DefaultKeep        = 64
)

// Options sets up a World. Only Start is needed.
type Options struct {
	Start      time.Time     // the model's first instant, in whole milliseconds
	Interval   time.Duration // between two observations; 0 is that of scrapes
	Scrape     time.Duration // between two scrapes of one service, whole steps of the model; 0 is DefaultScrape
	Window     time.Duration // over which rates are taken; 0 is DefaultWindow
	Seed       uint64        // of scrape offsets, losses and lost answers
	ScrapeLoss float64       // share of scrapes that fail, 0 to 1
	Aligned    bool          // all services are scraped at the same instants, instead of each at an offset of its own
	Keep       int           // snapshots that History can still give after their instant; 0 is DefaultKeep

	ReturnSteps int           // in which a lapsed lease goes back to the default; 0 is DefaultReturnSteps
	ReturnEvery time.Duration // between those steps; 0 is DefaultReturnEvery
	LoseAnswers int           // about one in so many applies is done but answered as unknown; 0 is none

	// Scraped sees every scrape, in order of time, then of services: what a
	// Prometheus would store. The slice is valid during the call only, the
	// metrics in it must not be changed. Nil is nobody. It must not call the
	// world's methods.
	Scraped func(at time.Time, samples []Sample)
}

// World is a simulated system in virtual time. Time only moves when somebody
// asks for a later instant. All methods are safe for concurrent use.
type World struct {
	o      Options
	plan   *fluid.Blueprint
	graph  *sre.Graph
	pairs  map[[2]int][]int // relations of the blueprint by caller and callee
	names  []string         // of services, sorted
	step   time.Duration
	period int64     // steps between two scrapes of a target
	offset [][]int32 // targets by the step of the period in which they are scraped

	turn sync.Mutex // held through one advance, so that scripts may call the world

	mu       sync.Mutex // guards what follows
	model    *fluid.Model
	now      int64 // steps taken
	targets  []target
	scratch  []float64
	samples  []Sample
	catalogs []*catalog
	asked    []counters // of Samples: what scrapes count must not depend on who looks
	script   []event
	changes  []sre.Change // announced, not yet due, by time, then ID
	untold   []sre.Change // due, and not in any snapshot yet
	blind    time.Time    // the metric store does not answer before
	silent   time.Time    // no scrape succeeds before
	seen     memory
	kept     []*sre.Snapshot
	guard    *ledger
	platform *ledger
}

// event is something that a script does at a step.
type event struct {
	step int64
	do   func(*fluid.Model)
}

// New makes a world at o.Start. The error names every mistake in the blueprint
// or the options.
func New(b fluid.Blueprint, o Options) (*World, error) {
	model, err := fluid.New(b)
	if err != nil {
		return nil, fmt.Errorf("make the model: %w", err)
	}
	plan := model.Blueprint()
	w := &World{model: model, plan: plan, step: plan.Step}
	o = o.withDefaults()
	if faults := o.validate(w.step); len(faults) > 0 {
		return nil, fmt.Errorf("world options: %w", faults)
	}
	w.o, w.period = o, int64(o.Scrape/w.step)
	for _, s := range plan.Services {
		w.names = append(w.names, s.Name)
	}
	slices.Sort(w.names)
	w.graph = graphOf(plan, o.Start)
	w.pairs = make(map[[2]int][]int, len(plan.Edges))
	for e, spec := range plan.Edges {
		pair := [2]int{spec.From, spec.To}
		w.pairs[pair] = append(w.pairs[pair], e)
	}
	w.lay()
	w.seen.init(len(w.graph.Services), len(w.graph.Edges))
	w.guard = newLedger(w, guardName, guardKinds(), false)
	w.platform = newLedger(w, platformName, platformKinds(), true)
	return w, nil
}

func (o Options) withDefaults() Options {
	o.Scrape = cmp.Or(o.Scrape, DefaultScrape)
	o.Interval = cmp.Or(o.Interval, o.Scrape)
	o.Window = cmp.Or(o.Window, max(DefaultWindow, 3*o.Scrape))
	o.Keep = cmp.Or(o.Keep, DefaultKeep)
	o.ReturnSteps = cmp.Or(o.ReturnSteps, DefaultReturnSteps)
	o.ReturnEvery = cmp.Or(o.ReturnEvery, DefaultReturnEvery)
	o.Start = o.Start.UTC()
	return o
}

func (o Options) validate(step time.Duration) sre.Faults {
	var f sre.Faults
	if o.Start.IsZero() || o.Start.Nanosecond()%int(time.Millisecond) != 0 {
		f.Add("start", "is "+o.Start.Format(time.RFC3339Nano), "an instant in whole milliseconds")
	}
	if o.Interval <= 0 {
		f.Add("interval", "is "+o.Interval.String(), "more than 0s")
	}
	if o.Scrape < step || o.Scrape%step != 0 {
		f.Add("scrape", "is "+o.Scrape.String(), "whole steps of the model, which takes "+step.String())
	}
	if o.Window < 2*o.Scrape || o.Window%time.Millisecond != 0 {
		f.Add("window", "is "+o.Window.String(), "at least two scrapes, in whole milliseconds")
	}
	if !(o.ScrapeLoss >= 0 && o.ScrapeLoss <= 1) {
		f.Add("scrape_loss", fmt.Sprintf("is %v", o.ScrapeLoss), "0 to 1")
	}
	for _, n := range []struct {
		path  string
		value int64
	}{{"keep", int64(o.Keep)}, {"return_steps", int64(o.ReturnSteps)}, {"return_every", int64(o.ReturnEvery)}, {"lose_answers", int64(o.LoseAnswers)}} {
		if n.value < 0 {
			f.Add(n.path, "is negative", "0 or more")
		}
	}
	return f
}

// graphOf draws the blueprint as the agent sees it, timeouts in the milliseconds
// that a topology file can say. A service's index is that of the blueprint;
// relations that the blueprint lists twice are one edge.
func graphOf(b *fluid.Blueprint, at time.Time) *sre.Graph {
	services := make([]sre.Service, len(b.Services))
	for i, s := range b.Services {
		services[i].Name = s.Name
	}
	for _, c := range b.Clients {
		services[c.Entry].Entry = true
	}
	edges := make([]sre.Edge, 0, len(b.Edges))
	for _, e := range b.Edges {
		calls := e.Calls
		if e.Cached { // what people state is what they see on a good day
			calls *= 1 - b.Services[e.From].Cache.HitRatio
		}
		edges = append(edges, sre.Edge{From: e.From, To: e.To, FirstSeen: at, LastSeen: at, Spec: sre.EdgeSpec{
			CallsPerRequest: calls, Timeout: max(time.Millisecond, e.Timeout.Truncate(time.Millisecond)), Retries: e.Retries, HasRetries: true, Hard: e.Hard,
		}})
	}
	return sre.NewGraph(services, edges)
}

// between returns the relations of the blueprint that lead from one service to
// another.
func (w *World) between(from, to int) []int { return w.pairs[[2]int{from, to}] }

// Now returns the instant that the world has reached.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock()
}

// clock returns the instant of the step that was taken last; mu is held.
func (w *World) clock() time.Time { return w.instant(w.now) }

func (w *World) instant(step int64) time.Time { return w.o.Start.Add(time.Duration(step) * w.step) }

// stepAt returns the first step that is not before an instant.
func (w *World) stepAt(at time.Time) int64 {
	d := at.Sub(w.o.Start)
	n := int64(d / w.step)
	if d > 0 && d%w.step != 0 {
		n++
	}
	return n
}

// Graph returns the dependency graph, which never changes. A service has the
// index that it has in the blueprint.
func (w *World) Graph() *sre.Graph { return w.graph }

// Model returns the model itself, for those who tell the story: what it is made
// to suffer is nobody's lever. It must not be used while the world advances.
func (w *World) Model() *fluid.Model { return w.model }

// At has do called when the world reaches an instant: at the first step that is
// not before it, after that step's scrapes. What is due at the same step is done
// in the order of the calls of At; an instant that has passed is done on the
// next advance. do may call Silence, Blind, Announce and At, but nothing that
// moves time.
func (w *World) At(at time.Time, do func(*fluid.Model)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := event{step: w.stepAt(at), do: do}
	i := sort.Search(len(w.script), func(i int) bool { return w.script[i].step > e.step })
	w.script = slices.Insert(w.script, i, e)
}

// Announce tells the agent of a change, in the first snapshot that is not before
// c.At. A deploy also moves the service's version label, from then on.
func (w *World) Announce(c sre.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, c)
	slices.SortStableFunc(w.changes, compareChanges)
}

func compareChanges(a, b sre.Change) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
}

// Silence makes every scrape of a service fail from now until an instant; an
// empty name means all services. The error is about a service that there is not.
func (w *World) Silence(service string, until time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if service == "" {
		w.silent = later(w.silent, until)
		return nil
	}
	i, ok := w.graph.Index(service)
	if !ok {
		return fmt.Errorf("silence %q: no such service", service)
	}
	w.targets[i].silent = later(w.targets[i].silent, until)
	return nil
}

// Blind makes the metric store answer nothing from now until an instant:
// snapshots say that the source is down.
func (w *World) Blind(until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blind = later(w.blind, until)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// AdvanceTo runs the world until an instant, or the last step before it. Going
// back is not possible; an instant that has passed changes nothing.
func (w *World) AdvanceTo(at time.Time) {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(at)
}

// advance moves from one step at which something is due to the next. turn and mu
// are held.
func (w *World) advance(at time.Time) {
	last := int64(at.Sub(w.o.Start) / w.step)
	w.settle()
	for w.now < last {
		next := min(last, w.nextScrape(), w.guard.next(), w.platform.next())
		if len(w.script) > 0 {
			next = min(next, w.script[0].step)
		}
		if len(w.changes) > 0 {
			next = min(next, w.stepAt(w.changes[0].At))
		}
		w.model.Advance(time.Duration(next-w.now) * w.step)
		w.now = next
		w.scrape()
		w.settle()
	}
}

// nextScrape returns the next step at which some service is scraped.
func (w *World) nextScrape() int64 {
	for k := w.now + 1; ; k++ {
		if len(w.offset[k%w.period]) > 0 {
			return k
		}
	}
}

// settle does what is due at the present step: the script first, then leases
// that lapse and changes that become known. Scripts run without mu, as they may
// call the world.
func (w *World) settle() {
	for len(w.script) > 0 && w.script[0].step <= w.now {
		e := w.script[0]
		w.script = w.script[1:]
		w.mu.Unlock()
		e.do(w.model)
		w.mu.Lock()
	}
	w.guard.settle()
	w.platform.settle()
	for len(w.changes) > 0 && !w.changes[0].At.After(w.clock()) {
		c := w.changes[0]
		w.changes = w.changes[1:]
		w.untold = append(w.untold, c)
		if i, ok := w.graph.Index(c.Service); ok && c.Kind == sre.Deploy && c.To != "" {
			w.targets[i].previous, w.targets[i].version = w.targets[i].version, c.To
		}
	}
}
