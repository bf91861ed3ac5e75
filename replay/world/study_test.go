package world

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// ill is one way in which a service of a fleet can be the cause of trouble.
type ill struct {
	mechanism sre.Mechanism
	entry     bool // strikes an entry
	make      func(m *fluid.Model, i int)
	lasts     time.Duration // 0 is for ever
}

func condition(c fluid.Condition) func(*fluid.Model, int) {
	return func(m *fluid.Model, i int) { m.SetCondition(i, c) }
}

var ills = []ill{
	{sre.RetryStorm, false, condition(fluid.Condition{Capacity: .25}), 40 * time.Second},
	{sre.CapacityDecay, false, condition(fluid.Condition{Capacity: .3}), 0},
	{sre.SlowDependency, false, condition(fluid.Condition{Capacity: 1, Slow: 2 * time.Second}), 0},
	{sre.PoolExhaustion, false, func(m *fluid.Model, i int) {
		s := m.Blueprint().Services[i]
		m.SetCondition(i, fluid.Condition{Capacity: 1, Leak: float64(s.Workers*s.Replicas) / 50})
	}, 0},
	{sre.SurvivorOverload, false, func(m *fluid.Model, i int) {
		m.SetCondition(i, fluid.Condition{Capacity: 1, Lost: m.Blueprint().Services[i].Replicas - 1})
	}, 0},
	{sre.BadChange, false, condition(fluid.Condition{Capacity: 1, Bad: &fluid.BadVersion{Share: 1, Capacity: 1, Errors: .6}}), 0},
	{sre.Overload, true, func(m *fluid.Model, i int) {
		for c, spec := range m.Blueprint().Clients {
			if spec.Entry == i {
				m.SetLoad(c, 4)
			}
		}
	}, 0},
	{sre.CacheLoss, false, func(m *fluid.Model, i int) { m.EvictCache(i, 1) }, 0},
}

// patient is a case of the study: a fleet in trouble, its cause, and services
// that have nothing to do with it but where they stand.
type patient struct {
	w         *World
	s         *sre.Snapshot
	cause     string
	innocents []string
	before    []*sre.Snapshot // from when all was well
}

// busiest returns the service with the most traffic in a layer.
func busiest(b fluid.Blueprint, layer byte) int {
	flow := make([]float64, len(b.Services))
	for _, c := range b.Clients {
		flow[c.Entry] += c.Rate
	}
	best := -1
	for i, s := range b.Services { // callers stand before their callees
		for _, e := range b.Edges {
			if e.From == i {
				flow[e.To] += flow[i] * e.Calls
			}
		}
		if s.Name[1] == layer && (best < 0 || flow[i] > flow[best]) {
			best = i
		}
	}
	return best
}

// patientOf makes a case: the busiest service of a layer falls ill at 1:01, the
// question is asked a minute later.
func patientOf(t testing.TB, x ill, seed uint64, services int, layer byte) patient {
	o := fluid.FleetOptions{Services: services, Seed: seed, Retries: 2, QueueSeconds: 5, Optional: .3}
	if x.mechanism == sre.RetryStorm { // that which lasts
		o.Retries, o.ClientRetries, o.QueueSeconds, o.Optional = 3, 3, 0, 0
	}
	b := fluid.Fleet(o)
	cause := busiest(b, layer)
	if x.entry {
		cause = busiest(b, '0')
	}
	if x.mechanism == sre.CacheLoss {
		b.Services[cause].Cache = fluid.Cache{HitRatio: .8, Keys: 1e5}
		for e := range b.Edges {
			if b.Edges[e].From == cause {
				b.Edges[e].Cached, b.Edges[e].Calls = true, b.Edges[e].Calls*5
			}
		}
	}
	w := newWorld(t, b, nil)
	p := patient{w: w, cause: b.Services[cause].Name}
	begin := 61 * time.Second
	w.At(after(begin), func(m *fluid.Model) { x.make(m, cause) })
	asked := begin + time.Minute
	if x.lasts > 0 {
		w.At(after(begin+x.lasts), func(m *fluid.Model) { m.SetCondition(cause, fluid.Well()) })
		asked = begin + x.lasts + 20*time.Second
	}
	for at := 30 * time.Second; at < begin; at += 10 * time.Second {
		p.before = append(p.before, observe(t, w, after(at)))
	}
	p.s = observe(t, w, after(asked))
	g := w.Graph()
	add := func(edges []int, other func(sre.Edge) int) {
		for _, e := range edges[:min(len(edges), 2)] {
			p.innocents = append(p.innocents, g.Services[other(g.Edges[e])].Name)
		}
	}
	if !x.entry {
		add(g.CallersOf(cause), func(e sre.Edge) int { return e.From })
	}
	add(g.CalleesOf(cause), func(e sre.Edge) int { return e.To })
	for _, i := range g.Entries() {
		if i != cause {
			p.innocents = append(p.innocents, g.Services[i].Name)
		}
	}
	p.innocents = p.innocents[:min(len(p.innocents), 5)]
	return p
}

// goodput weighs what is forecast of the entries by their traffic.
func (p patient) goodput(by map[string]float64) float64 {
	var sum, all float64
	for c, spec := range p.w.plan.Clients {
		now, _ := p.w.Model().Load(c)
		load := spec.Rate * now
		all += load
		sum += load * by[p.w.plan.Services[spec.Entry].Name]
	}
	return sum / all
}

// recovers is the judgement that an agent makes of a what-if: at least half of
// what is lost comes back.
func recovers(asIs, healed float64) bool { return healed >= asIs+(1-asIs)/2 }

// tally counts the answers of one forecaster.
type tally struct{ asked, hit, innocents, blamed, unharmed, refused int }

func (k *tally) add(o tally) {
	k.asked += o.asked
	k.hit += o.hit
	k.innocents += o.innocents
	k.blamed += o.blamed
	k.unharmed += o.unharmed
	k.refused += o.refused
}

// study asks a forecaster whether the entries recover with the cause of one case
// healed, and with each innocent.
func (p patient) study(t *testing.T, f sre.Forecaster, name string) (k tally) {
	const horizon = 2 * time.Minute
	got, err := f.Forecast(context.Background(), p.s, nil, horizon)
	if err != nil {
		return tally{refused: 1}
	}
	asIs := p.goodput(got)
	if asIs > .97 {
		return tally{unharmed: 1}
	}
	healed := func(service string) float64 {
		got, err := f.Healed(context.Background(), p.s, service, horizon)
		if err != nil {
			t.Fatal(err)
		}
		return p.goodput(got)
	}
	k.asked = 1
	well := healed(p.cause)
	if recovers(asIs, well) {
		k.hit = 1
	}
	t.Logf("%s: as is %.2f, %s healed %.2f", name, asIs, p.cause, well)
	for _, other := range p.innocents {
		well := healed(other)
		k.innocents++
		if recovers(asIs, well) {
			k.blamed++
		}
		t.Logf("    %s %.2f", other, well)
	}
	return k
}

// TestHealedTellsTheCause asks, over mechanisms, places and fleets, whether the
// entries recover with the true cause healed, and with an innocent. With
// SREAGENT_STUDY set it takes four fleets instead of one.
func TestHealedTellsTheCause(t *testing.T) {
	seeds := uint64(1)
	if os.Getenv("SREAGENT_STUDY") != "" {
		seeds = 4
	}
	var inside, outside, storms tally
	for _, x := range ills {
		var world, live tally
		for seed := range seeds {
			for _, layer := range []byte{'2', '4'} {
				p := patientOf(t, x, seed, 40, layer)
				name := fmt.Sprintf("%s, seed %d, layer %c", x.mechanism, seed, layer)
				world.add(p.study(t, p.w.Forecaster(), "world, "+name))
				f := NewForecaster(LiveConfig{})
				for _, s := range p.before {
					f.(sre.Rememberer).Remember(s)
				}
				live.add(p.study(t, f, "live, "+name))
			}
		}
		t.Logf("SUM %s: world %+v, live %+v", x.mechanism, world, live)
		outside.add(live)
		if x.mechanism == sre.RetryStorm { // nothing is left of the fault, so its callees cannot be told from it
			storms.add(world)
			continue
		}
		inside.add(world)
	}
	t.Logf("SUM all: world %+v, storms %+v, live %+v", inside, storms, outside)
	if inside.hit < inside.asked || inside.blamed > 0 || storms.hit < storms.asked {
		t.Errorf("the world's own forecaster errs: %+v, in storms %+v", inside, storms)
	}
	if 4*outside.hit < 3*outside.asked || 5*outside.blamed > outside.innocents {
		t.Errorf("the forecaster from snapshots errs too often: %+v", outside)
	}
}
