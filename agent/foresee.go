package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const (
	// foreseeFor is how far ahead the model is run.
	foreseeFor = 2 * time.Minute
	// foreseeEvery is the least time between two questions to the model, by the
	// ticks' own time: a question is several runs of it.
	foreseeEvery = 30 * time.Second
	// foreseeMost is the largest fleet for which the model is asked. No clock
	// bounds a run, or the same inputs would not give the same decisions; its
	// size does.
	foreseeMost = 2000
	// checkedCauses is how many of the causes are checked by healing each.
	checkedCauses = 3
	// keepImpacts bounds the services listed with what they lose.
	keepImpacts = 20
)

// rememberCalm shows a model that learns a snapshot at which nothing is wrong.
func (a *Agent) rememberCalm(s *sre.Snapshot, signs []sre.Precursor) {
	r, learns := a.ports.Forecaster.(sre.Rememberer)
	if learns && s.Health.Up && !slices.ContainsFunc(signs, serious) {
		r.Remember(s)
	}
}

// foresight is what was foretold about one incident. It is not recorded: after a
// restart the model is asked again.
type foresight struct {
	causes  string // that were checked
	checks  map[string]sre.WhatIf
	impacts []sre.Impact
	basis   string
	root    string // whose impacts they are, where the graph tells
	at      time.Time
}

// foresee completes the tick's diagnoses: with the check of the first causes in
// a model of the system, where there is one, and with who is going to be hit.
// The model is asked about one incident at a time, while nothing is done about
// it yet or when its first cause has changed, and what it said is kept until
// other causes could be checked.
func (a *Agent) foresee(ctx context.Context, t *turn) {
	if !t.seeing {
		return
	}
	open := a.book.open()
	a.forgetForesight(open)
	if len(open) == 0 {
		a.rememberCalm(t.snap, t.signs)
	}
	slices.SortStableFunc(open, func(x, y *sre.Incident) int { return cmp.Compare(y.Severity.Rank(), x.Severity.Rank()) })
	for _, inc := range open {
		if t.news[inc.ID] == nil {
			continue
		}
		causes := firstCauses(inc.Diagnosis)
		if a.mayAsk(t, inc, causes) {
			a.ask(ctx, t, inc, causes)
		}
		a.reweigh(t, inc, a.foresights[inc.ID].checks) // also of causes that are no longer all of the first
		a.spread(t, inc)
	}
}

func (a *Agent) forgetForesight(open []*sre.Incident) {
	for id := range a.foresights {
		if !slices.ContainsFunc(open, func(inc *sre.Incident) bool { return inc.ID == id }) {
			delete(a.foresights, id)
		}
	}
}

// firstCauses names the services of the most probable causes, sorted, each once.
func firstCauses(d sre.Diagnosis) []string {
	var out []string
	for _, h := range d.Hypotheses {
		if h.Service != "" && !slices.Contains(out, h.Service) && len(out) < checkedCauses {
			out = append(out, h.Service)
		}
	}
	slices.Sort(out)
	return out
}

// mayAsk reports whether the model is asked about an incident at this tick.
func (a *Agent) mayAsk(t *turn, inc *sre.Incident, causes []string) bool {
	seen := a.foresights[inc.ID]
	switch {
	case a.ports.Forecaster == nil, len(causes) == 0, len(t.snap.Graph.Services) > foreseeMost:
		return false
	case !a.foretold.IsZero() && t.now.Sub(a.foretold) < foreseeEvery:
		return false
	case seen.causes == strings.Join(causes, ","):
		return false
	}
	switch inc.State {
	case sre.Suspected:
		return t.now.Sub(inc.StateSince) >= a.cfg.Timing.SuspectFor // it may go as quickly as it came
	case sre.Diagnosed, sre.Planned, sre.AwaitingApproval:
		return true
	case sre.Acting, sre.Verifying, sre.Resolved, sre.Lifting, sre.Reverting, sre.Escalated:
		top := inc.Diagnosis.Top().Service
		return top != "" && top != t.before[inc.ID].Service
	case sre.Closed:
	}
	return false
}

// ask runs the model. A model that cannot answer is no model: nothing that it
// said is half used, and the graph's algebra serves.
func (a *Agent) ask(ctx context.Context, t *turn, inc *sre.Incident, causes []string) {
	a.foretold = t.now
	checks, err := a.checked(ctx, t.snap, causes)
	if err != nil {
		delete(a.foresights, inc.ID)
		a.log.Debug("no answer of the model", "incident", inc.ID, "err", err)
		return
	}
	f := foresight{causes: strings.Join(causes, ","), checks: checks, at: t.now}
	impacts, err := a.ports.Forecaster.Spread(ctx, t.snap, foreseeFor)
	if err != nil {
		a.log.Debug("no answer of the model", "incident", inc.ID, "err", err)
	} else {
		f.impacts, f.basis = foremost(impacts), sre.ByModel
	}
	a.foresights[inc.ID] = f
}

// checked runs the model as things are and with each cause well again.
func (a *Agent) checked(ctx context.Context, s *sre.Snapshot, causes []string) (map[string]sre.WhatIf, error) {
	healed := make([]float64, len(causes))
	for i, service := range causes {
		answer, err := a.ports.Forecaster.Healed(ctx, s, service, foreseeFor)
		if err != nil {
			return nil, fmt.Errorf("heal %s: %w", service, err)
		}
		if healed[i], err = goodput(s, answer); err != nil {
			return nil, fmt.Errorf("heal %s: %w", service, err)
		}
	}
	answer, err := a.ports.Forecaster.Forecast(ctx, s, nil, foreseeFor)
	if err != nil {
		return nil, fmt.Errorf("as it is: %w", err)
	}
	asIs, err := goodput(s, answer)
	if err != nil {
		return nil, fmt.Errorf("as it is: %w", err)
	}
	checks := make(map[string]sre.WhatIf, len(causes))
	for i, service := range causes {
		checks[service] = sre.WhatIf{AsIs: asIs, Healed: healed[i]}
	}
	return checks, nil
}

// goodput is the mean of the entries' goodput ratios, weighted by their traffic;
// one of unknown traffic counts as 1, as in sre.Graph.BlastRadius.
func goodput(s *sre.Snapshot, byEntry map[string]float64) (float64, error) {
	var good, all float64
	for _, i := range s.Graph.Entries() {
		name := s.Graph.Services[i].Name
		ratio, told := byEntry[name]
		if !told || !isFinite(ratio) {
			return 0, fmt.Errorf("the model says nothing of entry %s", name)
		}
		weight := 1.0
		if r := s.Value(i, sre.Traffic, sre.PerSecond); r.OK() && isFinite(r.Value) && r.Value >= 0 {
			weight = r.Value
		}
		good += weight * min(max(ratio, 0), 1)
		all += weight
	}
	if all <= 0 || !isFinite(good/all) {
		return 0, fmt.Errorf("no entry has traffic")
	}
	return good / all, nil
}

// spread puts down who is going to be hit: as the model has it while its run is
// not past its own end, else by the algebra on the graph, which is worked out
// again when the cause is another one or what it said is old.
func (a *Agent) spread(t *turn, inc *sre.Incident) {
	root := inc.Diagnosis.Top().Service
	f := a.foresights[inc.ID]
	fresh := f.basis == sre.ByModel && t.now.Sub(f.at) <= foreseeFor ||
		f.basis == sre.ByGraph && t.now.Sub(f.at) < foreseeEvery && f.root == root
	if !fresh {
		f.impacts, f.basis = nil, ""
		if i, known := t.snap.Graph.Index(root); known && a.mind.spread != nil {
			f.impacts, f.basis = foremost(a.mind.spread(t.snap, i)), sre.ByGraph
		}
		f.root, f.at = root, t.now
		a.foresights[inc.ID] = f
	}
	if f.basis != "" {
		inc.Diagnosis.Blast.Impacts, inc.Diagnosis.Blast.Basis = f.impacts, f.basis
	}
}

func foremost(impacts []sre.Impact) []sre.Impact {
	return recordableImpacts(impacts[:min(len(impacts), keepImpacts)])
}

// reweigh lets the checks speak on the causes. What stands behind another first
// cause is another part of the fleet.
func (a *Agent) reweigh(t *turn, inc *sre.Incident, checks map[string]sre.WhatIf) {
	if a.mind.reweigh == nil || len(checks) == 0 {
		return
	}
	d := &inc.Diagnosis
	before := d.Top().Service
	a.mind.reweigh(d, checks)
	if d.Top().Service == before {
		return
	}
	d.Blast = sre.BlastRadius{}
	if i, known := t.snap.Graph.Index(d.Top().Service); known {
		d.Blast = t.snap.Graph.BlastRadius(i, func(service int) sre.Reading {
			return t.snap.Value(service, sre.Traffic, sre.PerSecond)
		})
	}
	*d = recordable(*d)
}

// serious reports whether a sign is more than a note.
func serious(p sre.Precursor) bool { return p.Severity.Rank() > sre.Info.Rank() }
