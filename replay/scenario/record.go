package scenario

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sre"
)

// Record runs a scenario and returns it as a bundle beside its result. Every
// scrape of the world, from its warm-up on, goes to add, whose error ends the
// run: bundle.MetricsWriter's Add is made for it. With the agent, the bundle
// holds its trail.
func (s *Scenario) Record(ctx context.Context, o Options, add func(bundle.Sample) error) (*bundle.Bundle, *Result, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	scraped := o.Scraped
	o.Scraped = func(at time.Time, samples []world.Sample) {
		for _, m := range samples {
			if m.Stale || ctx.Err() != nil {
				continue
			}
			if err := add(bundle.Sample{Metric: m.Metric, At: at, Value: m.Value}); err != nil {
				stop(err)
			}
		}
		if scraped != nil {
			scraped(at, samples)
		}
	}
	r, w, err := s.run(ctx, o)
	if err != nil {
		return nil, r, err
	}
	b := &bundle.Bundle{
		Incident: s.incident(r), Topology: w.TopologyYAML(), Signals: w.SignalsYAML(), Changes: s.changes(r.Start),
		Trail: r.Records, HasTrail: o.Agent,
	}
	return b, r, nil
}

// incident describes a run as a recording, with the truth as the author has it.
// The recording begins with the first tick; samples before it are its past.
func (s *Scenario) incident(r *Result) bundle.Incident {
	inc := bundle.Incident{
		ID: s.Name, Title: s.Title, Source: cmp.Or(s.Source, "simulated"), Licence: "Apache-2.0",
		Start: r.Start, End: r.Start.Add(s.Length), Interval: model.Duration(s.Tick),
		Notes: "simulated, agent " + r.Agent,
	}
	for _, e := range s.faults() {
		services, mechanism := s.blamed(e, r.Graph)
		blame := e.change.ID
		if e.change.Kind != "" {
			blame = e.changeID()
		}
		f := bundle.Fault{
			Services: services, Mechanism: mechanism, Fault: e.Text, Change: &blame, InjectedAt: r.Start.Add(e.At),
		}
		if e.For > 0 && e.Ends(s.Length) > e.At {
			f.EndsAt = r.Start.Add(e.Ends(s.Length))
		}
		inc.Truth.Faults = append(inc.Truth.Faults, f)
	}
	return inc
}

// blamed says what one fault is really the fault of: the service that it hits,
// where the author names that one, else all that he names.
func (s *Scenario) blamed(e *Event, g *sre.Graph) ([]string, sre.Mechanism) {
	hit := ""
	if e.service >= 0 && e.verb != verbLoad {
		hit = s.Blueprint.Services[e.service].Name
	}
	if i := slices.IndexFunc(s.Truths, func(t Truth) bool { return t.Service == hit }); i >= 0 {
		return []string{hit}, s.Truths[i].Mechanism
	}
	mechanism := sre.Unknown
	if len(s.Truths) > 0 {
		mechanism = s.Truths[0].Mechanism
	}
	var names []string
	for _, i := range s.atFault(g) {
		names = append(names, g.Services[i].Name)
	}
	return names, mechanism
}

// changes lists what the agent is told of the story's changes.
func (s *Scenario) changes(start time.Time) []sre.Change {
	var out []sre.Change
	for i := range s.Events {
		if e := &s.Events[i]; e.change.Kind != "" {
			out = append(out, e.told(start))
		}
	}
	return out
}
