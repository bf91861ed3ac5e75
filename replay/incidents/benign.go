package incidents

import (
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// fullest is the share of the load that a benign fleet is sized for, at a load
// of 1, that a flash crowd may reach.
const fullest = 1.15

// benign makes a fleet of which nobody has reason to complain: its load is three
// times as high by day as by night, and there are rushes inside its capacity,
// deploys, replicas that are a little worse than the others, and gaps in the
// measurements.
func (c *Case) benign(d *Dice, size int) {
	f := c.build(fluid.FleetOptions{
		Services: size, Seed: c.Seed, Layers: 3 + d.Below(5), Headroom: d.Between(1.5, 1.8), Retries: d.Below(3),
		QueueSeconds: d.Between(5, 30),
	})
	phase := d.Float()
	for range c.Blueprint.Clients {
		c.swings = append(c.swings, swing{mean: 2. / 3, height: 1. / 3, phase: phase + d.Between(-.05, .05), period: 24 * time.Hour})
	}
	hours := int(c.Ends/time.Hour) + 1
	for range hours {
		c.deploys(d)
		c.worseReplica(d)
		c.gap(d)
	}
	for range (hours + 1) / 2 {
		c.rush(d)
	}
	c.Words = "nothing goes wrong"
	f.measure()
}

// deploys rolls out a version that is as good as the one before; while it does,
// a tenth of the capacity is missing.
func (c *Case) deploys(d *Dice) {
	i, at := d.Below(len(c.Blueprint.Services)), d.Span(0, c.Ends)
	c.announce(sre.Deploy, i, at)
	c.quiet = append(c.quiet, episode{
		at: at, lasts: d.Span(30*time.Second, 2*time.Minute), service: none, client: none, whom: i, shape: &fluid.Condition{Capacity: .9},
	})
}

// worseReplica fails one request in a few hundred for a while.
func (c *Case) worseReplica(d *Dice) {
	c.quiet = append(c.quiet, episode{
		at: d.Span(0, c.Ends), lasts: d.Span(time.Minute, 5*time.Minute), service: none, client: none, whom: d.Below(len(c.Blueprint.Services)),
		shape: &fluid.Condition{Capacity: 1, Errors: d.Between(.001, .004), Slow: time.Duration(d.Below(1000)) * time.Microsecond},
	})
}

// gap silences the measurements of a service.
func (c *Case) gap(d *Dice) {
	c.quiet = append(c.quiet, episode{
		at: d.Span(0, c.Ends), lasts: d.Span(time.Minute, 10*time.Minute), service: d.Below(len(c.Blueprint.Services)), client: none,
	})
}

// rush brings half as many users again to one entry, or fewer where that would
// be more than the fleet is sized for.
func (c *Case) rush(d *Dice) {
	client, at := d.Below(len(c.Blueprint.Clients)), d.Span(0, c.Ends)
	factor := min(d.Between(1.2, 1.6), fullest/c.swings[client].at(at))
	c.quiet = append(c.quiet, episode{at: at, lasts: d.Span(3*time.Minute, 15*time.Minute), service: none, client: client, factor: max(1, factor)})
}

// none stands for no service or client.
const none = -1
