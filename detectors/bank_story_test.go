package detectors_test

import (
	"bytes"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// chapter is one kind of trouble in a city: what its readings are at the k-th
// tick, and whether somebody changes api at its first.
type chapter struct {
	name   string
	ticks  int
	change bool
	at     func(k int) reading
}

func same(r reading) func(int) reading { return func(int) reading { return r } }

// swing holds each of two readings for three ticks.
func swing(one, other reading) func(int) reading {
	return func(k int) reading {
		if k/3%2 == 0 {
			return one
		}
		return other
	}
}

// newCity is a town with a cache before its database, calls whose timeouts do
// not nest, and memory that may fill.
func newCity(interval time.Duration) *town {
	w := newTown().but(reading{
		"api cache": .9, "api->db calls": 12, "db traffic": 12, "db pool": .3, "peer memory": 40, "web errors": .0005,
	})
	edges := slices.Clone(w.graph.Edges)
	edges[1].Spec.Retries = 2
	w.graph = sre.NewGraph(w.graph.Services, edges)
	w.interval = interval
	return w
}

// silence takes every reading of a service away.
func silence(service string) reading {
	out := reading{}
	for _, sig := range feedSignals {
		out[service+" "+sig.Name] = math.NaN()
	}
	return out
}

func chapters() []chapter {
	slowDB := reading{
		"db latency": .6, "api->db call_latency": .6, "api latency": .62, "web->api call_latency": .62, "web latency": .65, "api queue": 40,
	}
	return []chapter{
		{"peace", 10, false, same(nil)},
		{"a callee is slow", 8, false, same(slowDB.but(reading{"db tail": .9, "api errors": .3}))},
		{"workers are held", 8, false, same(slowDB.but(reading{"api pool": .97, "api traffic": 30}))},
		{"timeouts do not nest", 8, false, same(slowDB.but(reading{
			"db latency": .9, "api->db call_latency": .9, "api->db call_timeouts": 4, "api latency": 1.2, "api tail": 1.5,
			"web->api call_latency": .95, "web->api call_timeouts": 30, "web->api call_retries": 12,
		}))},
		{"replicas are gone", 8, false, same(reading{"api replicas": 2, "api queue": 60})},
		{"replicas come and go", 24, false, swing(reading{"api replicas": 2}, reading{"api replicas": 5})},
		{"a breaker opens and closes", 24, false, swing(reading{"web->api calls": 5, "api traffic": 5, "api errors": .3}, reading{"api errors": .3})},
		{"capacity decays", 8, false, same(reading{"api pool": 1, "api traffic": 40, "api queue": 200, "api latency": .4})},
		{"the cache is lost", 8, false, same(reading{
			"api cache": .1, "api->db calls": 108, "db traffic": 108, "db queue": 300, "db errors": .5, "db pool": 1, "api errors": .4, "api queue": 100,
		})},
		{"asked for more, answers less", 8, false, same(reading{"api traffic": 90, "web->api calls": 90, "api errors": .8, "api pool": 1})},
		{"a change does harm", 14, true, same(reading{"api errors": .3})},
		{"a change does none", 14, true, same(nil)},
		{"retries feed on themselves", 8, false, same(reading{
			"api traffic": 160, "web->api calls": 160, "web->api call_retries": 100, "api retries": 100, "api timeouts": 60, "web->api call_timeouts": 60,
			"api pool": 1, "api queue": 200, "api errors": .6,
		})},
		{"more load than room", 8, false, same(reading{"peer traffic": 98, "web->peer calls": 98, "peer pool": 1, "peer queue": 80, "peer latency": .2})},
		{"memory fills", 90, false, func(k int) reading { return reading{"peer memory": math.Min(100, 40+.7*float64(k))} }},
		{"a pool leaks", 55, false, func(k int) reading { return reading{"api pool": math.Min(1, .6/math.Max(.3, 1-.012*float64(k)))} }},
		{"the entry fails", 12, false, same(reading{"web errors": .5})},
		{"nothing is heard of one whose caller fails", 6, false, same(silence("db").with(reading{"api errors": .4}))},
	}
}

// pair is a bank that is never stopped beside one that is.
type pair struct {
	w        *town
	stopped  *detectors.Bank
	g        lcg
	heard    map[string]int
	sameMind bool // compare all that is in memory too
}

func newPair(interval time.Duration) *pair {
	return &pair{w: newCity(interval), stopped: detectors.New(detectors.DefaultConfig()), g: 7, heard: map[string]int{}}
}

// failer is what testing and rapid have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// restart puts a restored bank in the place of the stopped one.
func (p *pair) restart(t failer) {
	t.Helper()
	state := p.w.bank.State()
	if other := p.stopped.State(); !bytes.Equal(state, other) {
		t.Fatalf("the states differ: %d bytes and %d", len(state), len(other))
	}
	p.stopped = detectors.New(detectors.DefaultConfig())
	if err := p.stopped.Restore(state); err != nil {
		t.Fatalf("%v", err)
	}
	if !bytes.Equal(p.stopped.State(), state) {
		t.Fatalf("the restored bank saves another state")
	}
	if diff := cmp.Diff(p.w.bank.Burns(), p.stopped.Burns(), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("burns:\n%s", diff)
	}
}

// tick shows both banks the same readings.
func (p *pair) tick(t failer, now reading, noise float64) {
	t.Helper()
	p.w.at = p.w.at.Add(p.w.interval)
	s := p.w.but(now).snapshot(noise, &p.g)
	p.w.changes = nil
	ps := p.w.bank.Detect(s, p.w.frozen)
	if diff := cmp.Diff(ps, p.stopped.Detect(s, p.w.frozen), cmpopts.EquateNaNs()); diff != "" {
		t.Fatalf("%v:\n%s", p.w.at, diff)
	}
	if diff := cmp.Diff(p.w.bank.Burns(), p.stopped.Burns(), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("burns at %v:\n%s", p.w.at, diff)
	}
	for _, sign := range ps {
		p.heard[sign.Detector]++
	}
	if !p.sameMind {
		return
	}
	if diff := cmp.Diff(p.w.bank, p.stopped, everything()); diff != "" {
		t.Fatalf("in memory at %v:\n%s", p.w.at, diff)
	}
}

// everything compares all fields of two banks but those that are only room for
// the work of one tick.
func everything() cmp.Options {
	return cmp.Options{
		cmp.Exporter(func(reflect.Type) bool { return true }),
		cmpopts.EquateNaNs(), cmpopts.EquateEmpty(),
		cmp.FilterPath(func(p cmp.Path) bool {
			return slices.Contains([]string{".heldNext", ".order", ".roll"}, p.Last().String())
		}, cmp.Ignore()),
		cmp.Comparer(func(a, b *sre.Graph) bool { return a == b }),
		cmp.Comparer(func(a, b *sre.Snapshot) bool { return a == b }),
	}
}

// TestRestartAtEveryTick: through every kind of trouble, a bank that is stopped
// and restored before every tick says what one says that runs on, and has the
// same in mind. A field that is not saved shows here as soon as a chapter sets it.
func TestRestartAtEveryTick(t *testing.T) {
	p := newPair(10 * time.Second)
	step := 0
	play := func(ticks int, at func(int) reading) {
		for k := range ticks {
			p.restart(t)
			p.sameMind = step%20 == 0
			step++
			p.tick(t, at(k), .01)
		}
	}
	play(120, same(nil))
	for _, c := range chapters() {
		if c.change {
			p.w.changes = []sre.Change{{ID: "v2", Kind: sre.Deploy, Service: "api", At: p.w.at, From: "1", To: "2", By: "x", Note: "y", Source: "z"}}
		}
		play(c.ticks, c.at)
		play(25, same(nil))
	}
	for _, name := range p.w.bank.Detectors() {
		if p.heard[name] == 0 {
			t.Errorf("nothing was heard of %s: its state is not tested", name)
		}
	}
}

// TestRestoredBankGoesOnAsIfNothingHadHappened: over random chapters, stopped at
// random ticks, with changes, freezes, lost readings, half hours that turn and a
// graph that grows.
func TestRestoredBankGoesOnAsIfNothingHadHappened(t *testing.T) {
	all := chapters()
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(rapid.SampledFrom([]time.Duration{time.Second, 15 * time.Second, time.Minute, 10 * time.Minute}).Draw(t, "interval"))
		p.g = lcg(rapid.Uint64().Draw(t, "seed"))
		for range rapid.IntRange(0, 40).Draw(t, "peace") {
			p.tick(t, nil, .05)
		}
		for range rapid.IntRange(1, 4).Draw(t, "chapters") {
			c := rapid.SampledFrom(all).Draw(t, "chapter")
			n := rapid.IntRange(1, c.ticks+8).Draw(t, "ticks")
			stop := rapid.IntRange(0, n).Draw(t, "stop")
			for k := range n {
				if k == stop {
					p.restart(t)
				}
				p.chance(t, c.change && k == 0)
				p.tick(t, p.mood(t, c.at(k)), .05)
			}
			p.restart(t)
		}
		p.sameMind = true
		p.tick(t, nil, .05)
	})
}

// chance lets things happen that are nobody's trouble.
func (p *pair) chance(t *rapid.T, change bool) {
	once := func(in int, what string) bool { return rapid.IntRange(0, in).Draw(t, what) == in }
	if change || once(30, "change") {
		service := p.w.graph.Services[rapid.IntRange(0, len(p.w.graph.Services)-1).Draw(t, "changed")].Name
		p.w.changes = []sre.Change{{ID: "c", Kind: sre.Flag, Service: service, At: p.w.at.Add(-time.Second)}}
	}
	p.w.frozen = []bool{false, once(6, "frozen")}
	if once(40, "gap") {
		p.w.at = p.w.at.Add(3 * p.w.interval)
	}
	if g := p.w.graph; len(g.Services) < 7 && once(60, "growth") {
		n := len(g.Services)
		p.w.graph = sre.NewGraph(
			append(slices.Clone(g.Services), sre.Service{Name: string(rune('a' + n)), Entry: true}),
			append(slices.Clone(g.Edges), sre.Edge{From: n, To: 1}),
		)
	}
}

// mood changes the readings of one tick now and then.
func (p *pair) mood(t *rapid.T, r reading) reading {
	switch rapid.IntRange(0, 9).Draw(t, "mood") {
	case 0:
		return r.with(silence("api"))
	case 1:
		return r.with(silence("web"))
	case 2:
		return r.with(reading{"api latency": .5 * p.g.next(), "api queue": 100 * p.g.next(), "web errors": p.g.next()})
	}
	return r
}

// with is but, and NaN stays: it takes the reading away from the town.
func (r reading) with(changes reading) reading {
	out := reading{}
	maps.Copy(out, r)
	maps.Copy(out, changes)
	return out
}
