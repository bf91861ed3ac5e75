package incidents

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// Options says which cases are drawn. Zero fields take their defaults.
type Options struct {
	Count   int           // number of cases
	Seed    uint64        // of all of them; 1
	Least   int           // fewest services of a fleet; 100
	Most    int           // most services; 1000
	Benign  bool          // nothing goes wrong
	Tick    time.Duration // of the agent, in whole seconds; 10s
	WarmUp  time.Duration // history before the first tick; 15m
	Before  time.Duration // from the first tick to the earliest fault; 5m
	After   time.Duration // from the fault to the end; 8m
	Day     time.Duration // length of a benign case; 24h
	Disturb Disturbance
}

// Disturbance makes what the agent measures worse than it is. A good method says
// much the same of a disturbed case.
type Disturbance struct {
	ClockError time.Duration // half of the services are measured by clocks that run late, by up to that
	Missing    float64       // share of the series that were never there, 0 to 1
	Rename     bool          // every service has another name
}

// fewestServices is the size below which no graph of three layers holds a fault
// with callers and callees.
const fewestServices = 12

// Validate returns every mistake in the options.
func (o Options) Validate() sre.Faults {
	var f sre.Faults
	o = o.withDefaults()
	if o.Count < 1 {
		f.Add("count", fmt.Sprintf("is %d", o.Count), "1 or more")
	}
	if o.Least < fewestServices || o.Most < o.Least || o.Most > 10_000 {
		f.Add("services", fmt.Sprintf("is %d-%d", o.Least, o.Most), fmt.Sprintf("LEAST-MOST between %d and 10000", fewestServices))
	}
	if o.Tick < time.Second || o.Tick > time.Minute || o.Tick%time.Second != 0 {
		f.Add("tick", "is "+o.Tick.String(), "whole seconds up to 1m")
	}
	for _, d := range []struct {
		path  string
		value time.Duration
	}{{"warm_up", o.WarmUp}, {"before", o.Before}, {"after", o.After}, {"day", o.Day}} {
		if d.value < time.Minute || d.value%time.Second != 0 {
			f.Add(d.path, "is "+d.value.String(), "whole seconds, 1m or more")
		}
	}
	if e := o.Disturb.ClockError; e < 0 || e > 10*time.Minute {
		f.Add("clock_error", "is "+e.String(), "0s to 10m")
	}
	if !(o.Disturb.Missing >= 0 && o.Disturb.Missing < 1) {
		f.Add("missing", fmt.Sprintf("is %v", o.Disturb.Missing), "0 up to 1")
	}
	return f
}

func (o Options) withDefaults() Options {
	or := func(d *time.Duration, usual time.Duration) {
		if *d == 0 {
			*d = usual
		}
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Least == 0 && o.Most == 0 {
		o.Least, o.Most = 100, 1000
	}
	or(&o.Tick, 10*time.Second)
	or(&o.WarmUp, 15*time.Minute)
	or(&o.Before, 5*time.Minute)
	or(&o.After, 8*time.Minute)
	or(&o.Day, 24*time.Hour)
	return o
}

// Case is one world with its story. All times are from the first tick on.
type Case struct {
	ID        string
	Seed      uint64
	Mechanism sre.Mechanism // empty where nothing goes wrong
	Blueprint fluid.Blueprint
	Service   int           // at fault, in Blueprint.Services; -1 where nothing is
	Inject    time.Duration // when it goes wrong
	Lasts     time.Duration // of the trigger; 0 is a moment
	Ends      time.Duration // of the case
	Words     string        // what happens, in one sentence without its end
	Changes   []sre.Change  // announced; At is set by the stage
	ChangeAt  []time.Duration
	Guilty    string // ID of the change that is to blame

	patience float64 // factor on the shortest timeouts that would do; below 1 is 1

	swings []swing
	quiet  []episode
	act    func(m *fluid.Model, since time.Duration, on bool)
	surge  func(client int, since time.Duration) float64 // factor on the load while the trigger is on
}

// swing is how the load of one population of clients moves in calm.
type swing struct {
	mean, height, phase float64
	period              time.Duration
}

func (s swing) at(t time.Duration) float64 {
	return s.mean + s.height*math.Sin(2*math.Pi*(t.Seconds()/s.period.Seconds()+s.phase))
}

// episode is something that happens and hurts nobody.
type episode struct {
	at, lasts time.Duration
	service   int // whose measurements are missing; -1 where the rest is meant
	factor    float64
	client    int
	shape     *fluid.Condition
	whom      int
}

// calmSwing is the load of an ordinary hour: a slow wave of up to a tenth, which
// the narrowest service can bear.
func calmSwing(d *Dice, clients int) []swing {
	out := make([]swing, clients)
	height, phase, period := d.Between(.03, .1), d.Float(), d.Span(40*time.Minute, 2*time.Hour)
	for c := range out {
		out[c] = swing{mean: 1, height: height * d.Between(.8, 1.2), phase: phase + d.Between(-.05, .05), period: period}
	}
	return out
}

// Draw makes case number index. The options must have passed Validate.
func Draw(o Options, index int) *Case {
	o = o.withDefaults()
	d := &Dice{state: mixed(o.Seed*0x9e3779b97f4a7c15 + uint64(index))}
	c := &Case{Seed: d.next() >> 24, Service: -1}
	size := d.Spread(o.Least, o.Most)
	if o.Benign {
		c.ID = fmt.Sprintf("benign-%d-%04d", o.Seed, index)
		c.Ends = o.Day
		c.benign(d, size)
	} else {
		all := drawn()
		c.Mechanism = all[index%len(all)]
		c.ID = fmt.Sprintf("world-%d-%04d-%s", o.Seed, index, c.Mechanism)
		c.Inject = (o.Before + d.Span(0, 3*time.Minute)).Truncate(step)
		c.Ends = c.Inject + o.After
		c.draw(d, size)
		c.innocent(d)
	}
	c.Blueprint.Seed, c.Blueprint.Noise = c.Seed, true
	if o.Disturb.Rename {
		rename(&c.Blueprint, c.Changes)
	}
	return c
}

// drawn lists the mechanisms that can be made.
func drawn() []sre.Mechanism {
	return slices.DeleteFunc(sre.Mechanisms(), func(m sre.Mechanism) bool { return m == sre.Unknown })
}

// innocent adds changes that do nothing, as there are always some.
func (c *Case) innocent(d *Dice) {
	for range d.Below(4) {
		i := d.Below(len(c.Blueprint.Services))
		if i == c.Service {
			continue
		}
		c.announce(sre.Deploy, i, d.Span(0, c.Inject+time.Minute))
	}
}

func (c *Case) announce(kind sre.ChangeKind, service int, at time.Duration) string {
	id := fmt.Sprintf("change-%d", len(c.Changes)+1)
	n := len(c.Changes) + 2
	c.Changes = append(c.Changes, sre.Change{
		ID: id, Kind: kind, Service: c.Blueprint.Services[service].Name,
		From: fmt.Sprintf("v%d", n-1), To: fmt.Sprintf("v%d", n), By: "pipeline", Source: "world",
	})
	c.ChangeAt = append(c.ChangeAt, at)
	return id
}

// rename gives every service a name that says nothing and sorts otherwise.
func rename(b *fluid.Blueprint, changes []sre.Change) {
	named := make(map[string]string, len(b.Services))
	for i := range b.Services {
		s := &b.Services[i]
		named[s.Name] = fmt.Sprintf("n%06x-%d", mixed(uint64(i)+77)&0xffffff, i)
		s.Name = named[s.Name]
	}
	for i := range changes {
		changes[i].Service = named[changes[i].Service]
	}
}

// drive sets the world to what the case has it be at an instant. on says whether
// the trigger is in force.
func (c *Case) drive(m *fluid.Model, at time.Duration, on bool) {
	since := at - c.Inject
	for client := range c.swings {
		factor := c.swings[client].at(at)
		if on && c.surge != nil {
			factor *= c.surge(client, since)
		}
		for i := range c.quiet {
			if e := &c.quiet[i]; e.client == client && e.factor > 0 && at >= e.at && at < e.at+e.lasts {
				factor *= e.factor
			}
		}
		m.SetLoad(client, factor)
	}
	for i := range c.quiet {
		if e := &c.quiet[i]; e.shape != nil && at >= e.at && at < e.at+e.lasts+step {
			now := fluid.Well()
			if at < e.at+e.lasts {
				now = *e.shape
			}
			m.SetCondition(e.whom, now)
		}
	}
	if c.act != nil && since >= 0 {
		c.act(m, since, on)
	}
}

// step is how often the world is told what to be.
const step = 5 * time.Second
