package scenario

import (
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// score reads the figures of a result from what was measured.
func (s *Scenario) score(r *Result, m *meter) {
	s.scoreGoodput(r)
	s.scoreSpread(r, m)
	s.scoreDetection(r)
	r.FalseActions = s.markFalse(r)
}

// mean is the goodput between two instants, the first one excluded; 1 where
// nobody wanted anything.
func mean(story []Moment, from, to time.Time) float64 {
	var good, wanted float64
	for _, m := range story {
		if m.At.After(from) && !m.At.After(to) {
			good += m.good
			wanted += m.wanted
		}
	}
	if wanted <= 0 {
		return 1
	}
	return min(1, good/wanted)
}

func (s *Scenario) scoreGoodput(r *Result) {
	start := r.Start
	end := start.Add(s.Length)
	first, faulty := s.firstFault()
	hit := start.Add(first)
	if first >= time.Minute {
		r.GoodputBefore = mean(r.Story, hit.Add(-time.Minute), hit)
	} else { // the first tick holds the warm-up
		r.GoodputBefore = mean(r.Story, start.Add(-time.Hour), hit)
	}
	if !faulty {
		r.GoodputBefore = mean(r.Story, start, start.Add(time.Minute))
	}
	r.GoodputAfter = mean(r.Story, end.Add(-time.Minute), end)
	r.GoodputMin = 1
	well := hit // since when goodput has been back
	for i := range r.Story {
		at := r.Story[i].At
		if at.Before(hit) {
			continue
		}
		g := mean(r.Story, at.Add(-smooth*s.Tick), at)
		r.GoodputMin = min(r.GoodputMin, g)
		if g < healthy*r.GoodputBefore && i+1 < len(r.Story) {
			well = r.Story[i+1].At
		} else if g < healthy*r.GoodputBefore {
			well = end
		}
	}
	r.Recovered = !well.After(end.Add(-time.Minute))
	if r.Recovered {
		seconds := well.Sub(hit).Seconds()
		r.RecoveredAfterSeconds = &seconds
	}
}

// scoreSpread finds the services in trouble, and whether it is a cascade.
func (s *Scenario) scoreSpread(r *Result, m *meter) {
	away := distances(r.Graph, s.atFault(r.Graph))
	window := max(1, int(troubleWindow/s.Tick))
	for i, a := range m.services {
		if a.ticks == 0 {
			continue
		}
		r.ServicesAffected++
		r.Affected[r.Graph.Services[i].Name] = true
		if away[i] == 0 {
			continue
		}
		if a.late > 0 || away[i] >= farOff && a.longest > window {
			r.Cascade = true
		}
	}
}

// atFault returns the services that are really at fault: what the author says,
// else those that the faults hit.
func (s *Scenario) atFault(g *sre.Graph) []int {
	var out []int
	for _, t := range s.Truths {
		if i, ok := g.Index(t.Service); ok {
			out = append(out, i)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, e := range s.faults() {
		if e.verb == verbLoad {
			out = append(out, s.Blueprint.Clients[e.client].Entry)
		} else if e.service >= 0 {
			out = append(out, e.service)
		}
	}
	return out
}

// distances counts the calls between each service and the nearest of some, in
// either direction; the number of services where there is no way.
func distances(g *sre.Graph, from []int) []int {
	out := make([]int, len(g.Services))
	for i := range out {
		out[i] = len(out)
	}
	queue := make([]int, 0, len(out))
	for _, i := range from {
		if out[i] > 0 {
			out[i] = 0
			queue = append(queue, i)
		}
	}
	for head := 0; head < len(queue); head++ {
		i := queue[head]
		visit := func(j int) {
			if out[j] > out[i]+1 {
				out[j] = out[i] + 1
				queue = append(queue, j)
			}
		}
		for _, e := range g.CallersOf(i) {
			visit(g.Edges[e].From)
		}
		for _, e := range g.CalleesOf(i) {
			visit(g.Edges[e].To)
		}
	}
	return out
}

// scoreDetection finds the first action, and the first word of the agent about an
// incident after the first fault began.
func (s *Scenario) scoreDetection(r *Result) {
	first, faulty := s.firstFault()
	if moved := r.applied(); len(moved) > 0 {
		seconds := moved[0].At.Sub(r.Start.Add(first)).Seconds()
		r.firstAction = &seconds
	}
	if !faulty {
		return
	}
	for i := range r.Records {
		inc := r.Records[i].Incident
		if inc == nil || inc.State == sre.Closed {
			continue
		}
		if after := r.Records[i].At.Sub(r.Start.Add(first)); after >= 0 {
			seconds := after.Seconds()
			r.DetectedAfterSeconds = &seconds
			return
		}
	}
}

// markFalse finds the actions on what had no part in the trouble: all of them
// where nothing is at fault, those before the first fault, and those on a
// service that is neither at fault, nor on a way from an entry to one that is,
// nor ever in trouble itself. A rush of users may rightly be met anywhere below
// the entry that it reaches.
func (s *Scenario) markFalse(r *Result) int {
	g := r.Graph
	fits := map[string]bool{}
	name := func(i int) { fits[g.Services[i].Name] = true }
	for _, i := range s.atFault(g) {
		name(i)
		for _, j := range g.Upstream(i) {
			name(j)
		}
	}
	for _, e := range s.faults() {
		if e.verb == verbLoad {
			for _, j := range g.Downstream(s.Blueprint.Clients[e.client].Entry) {
				name(j)
			}
		}
	}
	for service := range r.Affected {
		fits[service] = true
	}
	first, faulty := s.firstFault()
	n := 0
	for _, a := range r.applied() {
		target, _, _ := strings.Cut(a.Target, "#")
		from, to, call := strings.Cut(target, "->")
		a.False = !faulty || a.At.Before(r.Start.Add(first)) || !fits[from] || call && !fits[to]
		if a.False {
			n++
		}
	}
	return n
}
