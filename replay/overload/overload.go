// Package overload is the bench of the overload law: a service of the simulated
// world is overloaded in every way of a matrix, a law moves its rate cap in a
// closed loop, and what users got of it is counted. Rivals run beside it.
//
// It owns the matrix and the score, no physics (replay/fluid) and no law
// (agent/control). Read Run first, then rivals.go.
package overload

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sre"
)

// Case is one cell of the matrix.
type Case struct {
	Every   time.Duration // the agent's tick
	Lag     int           // ticks by which what the law sees is old
	Missing float64       // share of ticks at which nothing of the service is seen
	NoPool  bool          // nobody measures how many workers or processors are taken
	Cut     float64       // share of the capacity that is gone, 0 to 1
	Crowd   float64       // factor on what users want; 0 is 1
	Fault   time.Duration // how long
	Seed    uint64
	Place   Place
	Budget  float64 // retries that callers are allowed per first attempt from the first cap on; 0 is as many as they like
}

// String names the cell.
func (c Case) String() string {
	what := fmt.Sprintf("cut %.0f %%", 100*c.Cut)
	if c.Crowd > 0 {
		what = fmt.Sprintf("crowd x%g", c.Crowd)
	}
	return fmt.Sprintf("P=%s lag=%d missing=%.0f%% %s %s", c.Every, c.Lag, 100*c.Missing, what, c.Fault)
}

// Score is what came of one run.
type Score struct {
	Goodput  float64       // answered in time, as a share of what could be, after the first minute of the fault; NaN where it is shorter
	Back     time.Duration // from the end of the fault until 95 % of the demand is answered for good; Never where it is not
	Relapses int           // times that a service that was back fell below 80 % for a whole tick
	First    float64       // least share of critical requests let in over ten seconds while others are, after the first minute
	Lowest   float64       // share of the lowest class let in during the fault, after the first minute
}

// Never is the Back of a service that did not come back.
const Never = time.Duration(math.MaxInt64)

// The service: a thousand requests a second at full capacity, eight hundred
// wanted, a queue that is shorter than the patience of its callers, so that the
// capacity cannot be lost to dead work alone.
const (
	capacity = 1000.
	demand   = 800.
	calm     = 2 * time.Minute
	after    = 6 * time.Minute
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Run plays one case with a law in the loop; nil is no control.
func Run(c Case, law control.Law) (Score, error) {
	w, err := world.New(blueprint(c.Place), world.Options{Start: begin, Seed: c.Seed, Interval: c.Every})
	if err != nil {
		return Score{}, err
	}
	end := begin.Add(calm + c.Fault)
	w.At(begin.Add(calm), func(m *fluid.Model) { c.strike(m) })
	w.At(end, c.heal)
	r := run{
		c: c, w: w, law: law, dice: dice(c.Seed),
		action: sre.Action{ID: "cap", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: shop}, Law: control.Overload},
	}
	for _, i := range c.Place.gates() {
		r.gates = append(r.gates, gate{service: i})
	}
	tick := begin
	for at := begin; at.Before(end.Add(after)); at = at.Add(time.Second) {
		if !at.Before(tick) {
			if err := r.tick(at); err != nil {
				return Score{}, err
			}
			tick = tick.Add(c.Every)
		}
		w.AdvanceTo(at.Add(time.Second))
		r.count()
	}
	return r.score(), nil
}

func (c Case) strike(m *fluid.Model) {
	if c.Crowd > 0 {
		for client := range c.Place.clients() {
			m.SetLoad(client, c.Crowd)
		}
		return
	}
	ill := fluid.Well()
	ill.Capacity = 1 - c.Cut
	m.SetCondition(0, ill)
}

func (c Case) heal(m *fluid.Model) {
	for client := range c.Place.clients() {
		m.SetLoad(client, 1)
	}
	m.SetCondition(0, fluid.Well())
}

// run is one case being played.
type run struct {
	c      Case
	w      *world.World
	law    control.Law
	dice   dice
	action sre.Action
	seq    uint64

	seen   []*sre.Snapshot
	memory sre.Control
	held   bool
	since  time.Time

	answered float64
	good     []float64 // a second each
	gates    []gate
}

// gate is what came to a service and was let in, a second each.
type gate struct {
	service  int
	last     fluid.ServiceTotals
	in, came [][fluid.Classes]float64
}

// tick has the law look and the lever move.
func (r *run) tick(at time.Time) error {
	snap, err := r.w.Source().Observe(context.Background(), at)
	if err != nil {
		return err
	}
	if r.dice.next() < r.c.Missing {
		snap = blind(snap)
	}
	if r.c.NoPool {
		snap = without(snap, sre.Pool, sre.Saturation)
	}
	r.seen = append(r.seen, snap)
	i := len(r.seen) - 1 - r.c.Lag
	if r.law == nil || i < 0 || at.Before(begin.Add(calm)) {
		return nil
	}
	if !r.held && (i == 0 || !troubled(r.seen[i]) || !troubled(r.seen[i-1]) && !troubled(r.seen[max(0, i-2)])) {
		return nil
	}
	if !r.held {
		r.held, r.since, r.memory, r.action.Params = true, at, sre.Control{}, nil
		if err := r.clampRetries(at); err != nil {
			return err
		}
	}
	move := r.law.Next(r.memory, control.Scene{Now: at, Every: r.c.Every, Snapshot: r.c.Place.before(r.seen[i]), Action: r.action, Since: r.since})
	r.memory = move.Memory
	switch {
	case move.Memory.Done:
		r.held = false
		return r.move(at, r.seen[i], nil)
	case move.Params != nil:
		r.action.Params = move.Params
		return r.move(at, r.seen[i], move.Params)
	case r.action.Params == nil:
		return nil
	}
	return r.move(at, r.seen[i], r.action.Params)
}

// dice are Steele and others' SplitMix64 (OOPSLA 2014).
type dice uint64

// next is from 0 to below 1.
func (d *dice) next() float64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// troubled is what the agent reaches for the lever for, once it has seen it twice
// in three ticks: a tenth of the requests is not answered. Detection proper is
// not what is measured here.
func troubled(s *sre.Snapshot) bool {
	i, _ := s.Graph.Index(shop)
	r := s.ErrorRatio(i)
	return r.OK() && r.Value > .1
}

// blind is a snapshot without any fresh reading.
func blind(s *sre.Snapshot) *sre.Snapshot {
	dark := *s
	dark.Service = sre.NewMatrix(len(s.Signals), s.Service.Subjects)
	return &dark
}

// without is a snapshot of a system in which signals of these kinds are not
// measured.
func without(s *sre.Snapshot, kinds ...sre.SignalKind) *sre.Snapshot {
	bare := *s
	bare.Service = sre.NewMatrix(len(s.Signals), s.Service.Subjects)
	for row, signal := range s.Signals {
		for i := 0; i < s.Service.Subjects && !slices.Contains(kinds, signal.Kind); i++ {
			bare.Service.Set(row, i, s.Service.At(row, i))
		}
	}
	return &bare
}

// count books the second that has passed.
func (r *run) count() {
	answered := 0.
	for c := range r.c.Place.clients() {
		answered += r.w.Model().Client(c).Good
	}
	r.good, r.answered = append(r.good, answered-r.answered), answered
	for k := range r.gates {
		g := &r.gates[k]
		now := r.w.Model().Service(g.service)
		var in, came [fluid.Classes]float64
		for j := range in {
			in[j], came[j] = now.Admitted[j]-g.last.Admitted[j], now.Arrived[j]-g.last.Arrived[j]
		}
		g.in, g.came, g.last = append(g.in, in), append(g.came, came), now
	}
}
