package suite

import (
	"fmt"
	"slices"

	"github.com/sreagent/sreagent/replay/incidents"
)

// Trouble is a kind of thing that goes wrong in a fleet.
type Trouble string

// The kinds of trouble. The last two are for what an agent has never met.
const (
	Starved  Trouble = "starved"  // a service loses most of its processor
	Slowed   Trouble = "slowed"   // its work takes longer
	Failing  Trouble = "failing"  // its work fails
	Rush     Trouble = "rush"     // users want more
	Lost     Trouble = "lost"     // replicas are gone
	Severed  Trouble = "severed"  // the network to a service loses and delays
	Leak     Trouble = "leak"     // workers are never given back
	Doubled  Trouble = "doubled"  // two of the above at once
	Harmless Trouble = "harmless" // nothing is at fault
	Deployed Trouble = "deployed" // a version that fails or is slow
	Flapping Trouble = "flapping" // a service is well and ill in turns
)

// ordinary are the kinds that a double fault is made of.
var ordinary = []Trouble{Starved, Slowed, Failing, Rush, Lost, Severed}

// DrawIn returns the text of one incident in a fleet that stays, and the services
// at fault: the same fleet number gives the same services and calls, whatever
// befalls them.
func DrawIn(fleet, seed uint64, kind Trouble) (text string, atFault []string) {
	d := &drawing{Dice: incidents.NewDice(fleet*15_485_863 + 17)}
	d.load = d.Between(80, 400)
	d.shape()
	for i := range d.services {
		d.services[i].name = fmt.Sprintf("f%d-%s", fleet, d.services[i].name)
	}
	fmt.Fprintf(&d.text, "title %s in fleet %d, seed %d\nseed %d\ntick 10s\nrun 25m\n", kind, fleet, seed, 1+seed%1_000_000)
	d.writeServices()
	for _, c := range d.calls {
		d.text.WriteString(c.line)
	}
	fmt.Fprintf(&d.text, "client users -> %s rate=%.0f timeout=%s", d.services[0].name, d.load, duration(d.services[0].answer+d.Between(.5, 2)))
	if d.Coin(.4) {
		fmt.Fprintf(&d.text, " retries=%d", 1+d.Below(2))
	}
	d.text.WriteString(" mix=critical:.1,high:.2,normal:.5,low:.2\npeople approve after 30s\n")
	d.Dice = incidents.NewDice(seed)
	atFault = d.befall(kind)
	return d.text.String(), atFault
}

func (d *drawing) befall(kind Trouble) (atFault []string) {
	victim, at, lasts := d.any(), d.at(120, 125), d.at(15, 120)
	faults := []Trouble{Starved, "", Slowed, Failing, Rush, Lost, "", "", Severed} // by the number of faultOf
	switch kind {
	case Harmless:
		d.benign()
		return nil
	case Leak:
		fmt.Fprintf(&d.text, "at %s fault %s leak=%.2f for %s\n", at, victim.name, d.Between(.2, 3), d.at(60, 180))
	case Deployed:
		d.faultOf(6+d.Below(2), victim, at, lasts)
	case Flapping:
		low := d.Between(.05, .4)
		for _, from := range []float64{120, 180, 240, 300} {
			fmt.Fprintf(&d.text, "at %s fault %s capacity=%.2f for 25s\n", d.at(from, from+5), victim.name, low)
		}
	case Doubled:
		for range 2 {
			one, hit := ordinary[d.Below(len(ordinary))], d.any()
			atFault = append(atFault, d.faultOf(slices.Index(faults, one), hit, d.at(120, 180), d.at(15, 120)))
		}
		return atFault
	case Starved, Slowed, Failing, Rush, Lost, Severed:
		return []string{d.faultOf(slices.Index(faults, kind), victim, at, lasts)}
	}
	return []string{victim.name}
}
