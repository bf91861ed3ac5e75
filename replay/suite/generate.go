package suite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/replay/incidents"
	"github.com/sreagent/sreagent/replay/scenario"
)

// Generate draws a number of stories from a seed: small worlds of 3 to 40
// services in which one thing goes wrong, sometimes two, sometimes none. The nth
// story of a seed is the same whatever their number. Their text is in the
// scenario language, so that anyone can read and repeat one.
func Generate(n int, seed uint64) ([]*scenario.Scenario, error) {
	out := make([]*scenario.Scenario, n)
	for i := range out {
		name := fmt.Sprintf("drawn-%d-%03d", seed, i)
		text, err := Draw(seed, i)
		if err != nil {
			return nil, err
		}
		s, err := scenario.Parse(name+".scenario", []byte(text))
		if err != nil {
			return nil, fmt.Errorf("story %s: %w", name, err)
		}
		out[i] = s
	}
	return out, nil
}

// drawing is one story being written.
type drawing struct {
	*incidents.Dice
	services []drawnService
	calls    []drawnCall
	load     float64 // of the users
	text     strings.Builder
}

type drawnService struct {
	name     string
	load     float64 // requests per second, without repetitions
	replicas int
	depth    int     // calls between the entry and it
	answer   float64 // seconds that an answer may take, with what lies below
}

type drawnCall struct {
	from, to int
	rate     float64 // calls per request
	hard     bool
	line     string
}

const (
	// mostDraws bounds how often a world is drawn anew because it is not well.
	mostDraws = 20

	// atRest is how long a world is looked at before anything happens in it, and
	// wellAtRest the share of requests that it must answer all that time.
	atRest     = 2 * time.Minute
	wellAtRest = 0.95
)

// Draw returns the text of the nth story of a seed. A world that fails its users
// before anything happens is no story, and is drawn anew.
func Draw(seed uint64, n int) (string, error) {
	for try := range uint64(mostDraws) {
		text := sketch(seed, n, try)
		s, err := scenario.Parse("drawn.scenario", []byte(text))
		if err != nil {
			return "", fmt.Errorf("story %d of seed %d: %w", n, seed, err)
		}
		quiet := *s
		quiet.Length = atRest
		r, err := quiet.Run(context.Background(), scenario.Options{})
		if err != nil {
			return "", fmt.Errorf("story %d of seed %d: %w", n, seed, err)
		}
		if !slices.ContainsFunc(r.Story, func(m scenario.Moment) bool { return m.Goodput < wellAtRest }) {
			return text, nil
		}
	}
	return "", fmt.Errorf("story %d of seed %d: no world of %d is well before anything happens", n, seed, mostDraws)
}

// sketch writes one story, which may be no good.
func sketch(seed uint64, n int, try uint64) string {
	d := &drawing{Dice: incidents.NewDice(seed*1_000_003 + uint64(n)*7919 + try*104_729)}
	d.load = d.Between(80, 400)
	d.shape()
	fmt.Fprintf(&d.text, "title Story %d of seed %d\nseed %d\n", n, seed, 1+d.Below(1_000_000))
	tick := []string{"5s", "10s"}[d.Below(2)]
	fmt.Fprintf(&d.text, "tick %s\nrun 10m\n", tick)
	if d.Coin(.3) {
		d.text.WriteString("noise\n")
	}
	d.writeServices()
	for _, c := range d.calls {
		d.text.WriteString(c.line)
	}
	fmt.Fprintf(&d.text, "client users -> %s rate=%.0f timeout=%s", d.services[0].name, d.load, duration(d.services[0].answer+d.Between(.5, 2)))
	if d.Coin(.4) {
		fmt.Fprintf(&d.text, " retries=%d", 1+d.Below(2))
	}
	d.text.WriteString(" mix=critical:.1,high:.2,normal:.5,low:.2\n")
	d.text.WriteString("people approve after 30s\n")
	d.trouble()
	return d.text.String()
}

// shape draws who calls whom: a chain, a fan with a shared service, or layers.
func (d *drawing) shape() {
	switch d.Below(3) {
	case 0:
		n := 3 + d.Below(5)
		for i := range n {
			d.add(i)
			if i > 0 {
				d.calls = append(d.calls, drawnCall{from: i - 1, to: i, rate: 1, hard: true})
			}
		}
	case 1:
		arms := 2 + d.Below(5)
		for i := range arms + 2 {
			d.add(min(i, 1) + i/(arms+1))
		}
		shared := arms + 1
		for i := 1; i <= arms; i++ {
			d.calls = append(d.calls, drawnCall{from: 0, to: i, rate: 1, hard: d.Coin(.6)}, drawnCall{from: i, to: shared, rate: 1, hard: d.Coin(.8)})
		}
	default:
		n := d.Spread(8, 40)
		layers := 3 + d.Below(3)
		for i := range n {
			d.add(i * layers / n)
		}
		for i := 1; i < n; i++ {
			d.callersOf(i)
		}
	}
	for _, c := range d.calls {
		d.services[c.to].load += d.services[c.from].load * c.rate
	}
}

func (d *drawing) add(depth int) {
	s := drawnService{name: fmt.Sprintf("s%02d", len(d.services)), depth: depth, replicas: 1 + d.Below(4)}
	if len(d.services) == 0 {
		s.name, s.load = "front", d.load
	}
	d.services = append(d.services, s)
}

// callersOf gives a service of a layered world one to three callers above it.
func (d *drawing) callersOf(i int) {
	taken := map[int]bool{}
	for range 1 + d.Below(3) {
		from := d.Below(i)
		if d.services[from].depth >= d.services[i].depth {
			from = 0
		}
		if !taken[from] {
			taken[from] = true
			d.calls = append(d.calls, drawnCall{from: from, to: i, rate: []float64{1, 1, .5}[d.Below(3)], hard: d.Coin(.6)})
		}
	}
}

// writeServices writes services with room of 1.25 to 2.5 times their load, and
// calls whose timeouts are nested, mostly, from the leaves up.
func (d *drawing) writeServices() {
	retries := []int{0, 1, 2, 3, 3}[d.Below(5)]
	bounded := d.Coin(.3)
	for i := len(d.services) - 1; i >= 0; i-- {
		s := &d.services[i]
		work := d.Between(.002, .02)
		below := 0.
		for k := range d.calls {
			if c := &d.calls[k]; c.from == i {
				below += d.call(c, retries)
			}
		}
		s.answer = min(10, 4*work+below)
		rate := max(10, s.load*d.Between(1.25, 2.5)/float64(s.replicas))
		line := fmt.Sprintf("service %s work=%s rate=%.0f workers=%d replicas=%d start_delay=%s", s.name, duration(work), rate,
			int(max(8, rate*(work*d.Between(1.5, 3)+min(below, 2)*d.Between(.3, 1)))), s.replicas, duration(d.Between(10, 40)))
		if bounded {
			line += fmt.Sprintf(" queue=%d", int(max(20, rate*float64(s.replicas)*d.Between(.3, 2))))
		}
		if d.Coin(.15) {
			line += " deadlines"
		}
		d.text.WriteString(line + "\n")
	}
}

// call writes one call and returns how long it may take with all its attempts.
func (d *drawing) call(c *drawnCall, retries int) float64 {
	timeout := min(10, max(.2, d.services[c.to].answer*d.Between(1, 3)))
	if d.Coin(.1) {
		timeout = max(.1, timeout*.4) // shorter than what the callee may take
	}
	tries := max(0, retries-d.Below(2))
	c.line = fmt.Sprintf("call %s -> %s calls=%g timeout=%s retries=%d", d.services[c.from].name, d.services[c.to].name, c.rate, duration(timeout), tries)
	if c.hard {
		c.line += " hard"
	}
	c.line += "\n"
	return timeout * float64(tries+1) * c.rate
}

// trouble writes what happens: to one service, or to two, or to none.
func (d *drawing) trouble() {
	if d.Coin(.3) {
		fmt.Fprintf(&d.text, "at %s change config %s\n", d.at(60, 115), d.any().name)
	}
	if d.Coin(.15) {
		d.benign()
		return
	}
	d.fault(d.at(120, 125))
	if d.Coin(.15) {
		d.fault(d.at(125, 200))
	}
}

// benign writes what must hurt nobody: a rush that is small, a good version,
// measurements that are missing.
func (d *drawing) benign() {
	switch d.Below(4) {
	case 0:
		fmt.Fprintf(&d.text, "at 2m load users %.2f over=%s for 3m\n", d.Between(1.02, 1.08), d.at(20, 60))
	case 1:
		fmt.Fprintf(&d.text, "at 2m deploy %s version=v2 share=100%% over=60s benign\n", d.any().name)
	case 2:
		fmt.Fprintf(&d.text, "at 2m scrape-gap %s for 2m benign\n", d.any().name)
	default:
		fmt.Fprintf(&d.text, "at 2m blind for 60s benign\n")
	}
}

// any is a service behind the entry.
func (d *drawing) any() *drawnService { return &d.services[1+d.Below(len(d.services)-1)] }

func (d *drawing) fault(at string) {
	victim := d.any()
	lasts := d.at(15, 120)
	d.faultOf(d.Below(9), victim, at, lasts)
}

// faultOf writes a fault of a kind, from 0 to 8, and names the service at fault.
func (d *drawing) faultOf(kind int, victim *drawnService, at, lasts string) string {
	w := func(format string, args ...any) { fmt.Fprintf(&d.text, "at "+at+" "+format+"\n", args...) }
	switch kind {
	case 0, 1:
		w("fault %s capacity=%.2f for %s", victim.name, d.Between(.05, .6), lasts)
	case 2:
		w("fault %s slow=%s for %s", victim.name, duration(d.Between(.1, 2)), lasts)
	case 3:
		w("fault %s errors=%.2f for %s", victim.name, d.Between(.2, .9), lasts)
	case 4:
		w("load users %.2f over=%s for %s", d.Between(1.5, 4), d.at(5, 40), lasts)
		return d.services[0].name
	case 5:
		if victim.replicas > 1 {
			w("fault %s lost=%d for %s", victim.name, 1+d.Below(victim.replicas-1), lasts)
			return victim.name
		}
		w("fault %s capacity=0.1 for %s", victim.name, lasts)
	case 6:
		w("deploy %s version=v2 share=100%% over=%s errors=%.2f", victim.name, d.at(20, 60), d.Between(.2, .8))
	case 7:
		w("deploy %s version=v2 share=100%% over=%s slow=%s", victim.name, d.at(20, 60), duration(d.Between(.05, 1)))
	default:
		c := d.calls[d.Below(len(d.calls))]
		w("net %s -> %s delay=%s loss=%.2f for %s", d.services[c.from].name, d.services[c.to].name, duration(d.Between(.05, .5)), d.Between(.2, .8), lasts)
		return d.services[c.to].name
	}
	return victim.name
}

func (d *drawing) at(low, high float64) string {
	return (time.Duration(d.Between(low, high)) * time.Second).String()
}

// duration writes seconds to the millisecond, as the language takes them.
func duration(seconds float64) string {
	return (time.Duration(max(1, seconds*1000)) * time.Millisecond).String()
}
