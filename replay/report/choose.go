package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

const (
	maxSeries   = 24
	maxEntries  = 3
	maxSuspects = 4
	perSuspect  = 4
)

// Choose returns the series that tell the story of the records: traffic, errors
// and latency of the entry services (the three with the most traffic), what the
// evidence against each suspect named, and the golden signals of the services
// in also, such as those that are known to be at fault. At most 24.
func (r *Recorder) Choose(records []sre.Record, also ...string) []Series {
	if r.graph == nil {
		return nil
	}
	c := chooser{r: r, taken: map[[2]string]bool{}}
	for _, service := range r.busiestEntries() {
		c.golden(service, "entry service")
	}
	for _, h := range suspects(records) {
		if h.Service == "" {
			continue
		}
		why := "suspect, " + percent(h.Probability)
		n := len(c.out)
		for _, e := range h.Evidence {
			if len(c.out) == n+perSuspect {
				break
			}
			c.named(e.Signal, e.Subject, why)
		}
		if len(c.out) == n {
			c.golden(h.Service, why)
		}
	}
	for _, service := range also {
		c.golden(service, "known to be at fault")
	}
	return c.out
}

func (r *Recorder) busiestEntries() []string {
	type load struct {
		name string
		rate float32
	}
	var entries []load
	for _, i := range r.graph.Entries() {
		l := load{name: r.graph.Services[i].Name}
		if row := slices.IndexFunc(r.signals, func(s sre.Signal) bool { return s.Kind == sre.Traffic }); row >= 0 {
			if col := at(r.service, row, i); col != nil {
				for _, v := range col.hi {
					if v > l.rate { // never true of a gap
						l.rate = v
					}
				}
			}
		}
		entries = append(entries, l)
	}
	slices.SortStableFunc(entries, func(a, b load) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.name, b.name))
	})
	names := make([]string, 0, maxEntries)
	for _, e := range entries[:min(len(entries), maxEntries)] {
		names = append(names, e.name)
	}
	return names
}

// suspects returns the leading hypotheses of every incident, as they stood when
// something was decided, each service once, the most probable first.
func suspects(records []sre.Record) []sre.Hypothesis {
	best := map[string]sre.Hypothesis{}
	for _, d := range tellingDiagnoses(records) {
		for i, h := range d.Hypotheses {
			if i == 2 {
				break
			}
			if b, known := best[h.Service]; !known || h.Probability > b.Probability {
				best[h.Service] = h
			}
		}
	}
	out := make([]sre.Hypothesis, 0, len(best))
	for _, h := range best {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b sre.Hypothesis) int {
		return cmp.Or(cmp.Compare(b.Probability, a.Probability), cmp.Compare(a.Service, b.Service))
	})
	return out[:min(len(out), maxSuspects)]
}

type chooser struct {
	r     *Recorder
	taken map[[2]string]bool
	out   []Series
}

// golden adds traffic, errors and latency of a service: of each kind the first
// signal that was measured.
func (c *chooser) golden(service, why string) {
	subject, ok := c.r.graph.Index(service)
	if !ok {
		return
	}
	for _, kind := range []sre.SignalKind{sre.Traffic, sre.Errors, sre.Latency} {
		for row, sig := range c.r.signals {
			if sig.Kind == kind && at(c.r.service, row, subject) != nil {
				c.add(at(c.r.service, row, subject), sig, service, why)
				break
			}
		}
	}
}

// named adds one signal of a service or of an edge. Derived indices, which are
// no signals, are passed over.
func (c *chooser) named(signal, subject, why string) {
	if i, ok := c.r.graph.Index(subject); ok {
		if row := slices.IndexFunc(c.r.signals, func(s sre.Signal) bool { return s.Name == signal }); row >= 0 {
			c.add(at(c.r.service, row, i), c.r.signals[row], subject, why)
		}
		return
	}
	caller, callee, _ := strings.Cut(subject, "->")
	from, known := c.r.graph.Index(caller)
	to, knownToo := c.r.graph.Index(callee)
	if !known || !knownToo {
		return
	}
	if e, ok := c.r.graph.EdgeIndex(from, to); ok {
		if row := slices.IndexFunc(c.r.edgeSignals, func(s sre.Signal) bool { return s.Name == signal }); row >= 0 {
			c.add(at(c.r.edge, row, e), c.r.edgeSignals[row], subject, why)
		}
	}
}

func (c *chooser) add(col *column, sig sre.Signal, subject, why string) {
	key := [2]string{sig.Name, subject}
	if col == nil || c.taken[key] || len(c.out) == maxSeries {
		return
	}
	c.taken[key] = true
	c.out = append(c.out, c.r.series(col, sig.Name, sig.Unit, subject, why))
}

func at(grid [][]*column, row, subject int) *column {
	if row >= len(grid) || subject >= len(grid[row]) {
		return nil
	}
	return grid[row][subject]
}
