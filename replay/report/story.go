package report

import (
	"cmp"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// phase groups the states of the lifecycle by what they mean to a reader; each
// has a colour, a letter and a name.
type phase struct {
	Role, Letter, Name string
	rank               int // which one shows where incidents overlap
}

func phaseOf(s sre.State) phase {
	switch s {
	case sre.Suspected, sre.Diagnosed, sre.Planned:
		return phase{"look", "s", "suspected, diagnosed or planned", 2}
	case sre.AwaitingApproval:
		return phase{"ask", "?", "awaiting approval", 5}
	case sre.Acting:
		return phase{"act", "a", "acting", 7}
	case sre.Verifying:
		return phase{"verify", "v", "verifying", 4}
	case sre.Resolved:
		return phase{"calm", "r", "resolved, still watched", 1}
	case sre.Lifting:
		return phase{"lift", "l", "lifting mitigations", 3}
	case sre.Reverting, sre.Escalated:
		return phase{"alarm", "!", "reverting or escalated to a human", 6}
	case sre.Closed:
	}
	return phase{}
}

// phases lists every phase that is drawn, in the order of a legend.
func phases() []phase {
	var out []phase
	for _, s := range sre.States() {
		if p := phaseOf(s); p.Role != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// band is a span of time in one state.
type band struct {
	from, to time.Time
	state    sre.State
}

// story is what the records of one run tell.
type story struct {
	incidents []*course // in the order of opening
	decisions []decided
	moves     []moved
	answers   []sre.Record // approvals and commands of operators
	blind     []band       // the sources were down
	notices   int
}

// course is the course of one incident.
type course struct {
	number int
	last   *sre.Incident
	bands  []band
	told   bool // a human was told
}

type decided struct {
	*sre.Decision
	incident *sre.Incident // as it stood then; nil where the trail does not say
}

// moved is one touch of a lever: the intent and what came of it.
type moved struct {
	number int // from 1; 0 for renewals, which say nothing new
	at     time.Time
	inc    string
	intent *sre.IntentRecord
	result *sre.ResultRecord // the last one; nil where none was recorded
}

// tell reads a story from records, up to end.
func tell(records []sre.Record, end time.Time) *story {
	s := &story{}
	byID := map[string]*course{}
	touches := 0
	open := map[string]int{} // index of the latest move, by action and purpose
	for i := range records {
		r := &records[i]
		switch {
		case r.Incident != nil:
			s.follow(byID, r)
		case r.Decision != nil:
			s.decisions = append(s.decisions, decided{r.Decision, beside(records, i)})
		case r.Intent != nil:
			open[key(r.Intent.Action.ID, r.Intent.Permit.Purpose)] = len(s.moves)
			m := moved{at: r.At, inc: r.IncidentID, intent: r.Intent}
			if p := r.Intent.Permit.Purpose; p != sre.ToRenew && p != sre.ToAdjust {
				touches++
				m.number = touches
			}
			s.moves = append(s.moves, m)
		case r.Result != nil:
			if m, ok := open[key(r.Result.Action, r.Result.Purpose)]; ok {
				s.moves[m].result = r.Result
			}
		case r.Approval != nil, r.Operator != nil:
			s.answers = append(s.answers, *r)
		case r.Notice != nil:
			s.notices++
			if p := byID[r.IncidentID]; p != nil {
				p.told = true
			}
		case r.Source != nil:
			s.sight(r)
		}
	}
	for _, p := range s.incidents {
		if b := &p.bands[len(p.bands)-1]; b.state != sre.Closed {
			b.to = end
		}
	}
	if n := len(s.blind); n > 0 && s.blind[n-1].to.IsZero() {
		s.blind[n-1].to = end
	}
	return s
}

func key(action string, p sre.Purpose) string { return string(p) + " " + action }

func (s *story) follow(byID map[string]*course, r *sre.Record) {
	p := byID[r.Incident.ID]
	if p == nil {
		p = &course{number: len(s.incidents) + 1}
		byID[r.Incident.ID] = p
		s.incidents = append(s.incidents, p)
	}
	p.last = r.Incident
	if n := len(p.bands); n > 0 {
		b := &p.bands[n-1]
		if b.state == r.Incident.State {
			return
		}
		b.to = r.At
	}
	p.bands = append(p.bands, band{from: r.At, to: r.At, state: r.Incident.State})
}

func (s *story) sight(r *sre.Record) {
	n := len(s.blind)
	open := n > 0 && s.blind[n-1].to.IsZero()
	switch {
	case !r.Source.Up && !open:
		s.blind = append(s.blind, band{from: r.At})
	case r.Source.Up && open:
		s.blind[n-1].to = r.At
	}
}

// beside returns the incident of the decision at i as it stood when the tick was
// over, preferably with the plan that was decided on; where the tick says
// nothing of it, as it stood before.
func beside(records []sre.Record, i int) *sre.Incident {
	d := records[i].Decision
	last := i
	for last+1 < len(records) && records[last+1].At.Equal(records[i].At) {
		last++
	}
	planned := func(inc *sre.Incident) bool { return inc.Plan != nil && inc.Plan.Runbook == d.Runbook }
	var found *sre.Incident
	for j := last; j >= 0 && (found == nil || records[j].At.Equal(records[i].At)); j-- {
		inc := records[j].Incident
		if inc != nil && inc.ID == d.Incident && (found == nil || !planned(found) && planned(inc)) {
			found = inc
		}
	}
	return found
}

// number returns the number of an incident, 0 where it is not known.
func (s *story) number(id string) int {
	for _, p := range s.incidents {
		if p.last.ID == id {
			return p.number
		}
	}
	return 0
}

// chief returns the incident that matters most: one for which a lever was
// moved, else one that was decided on, else told, else the most severe; nil
// where there is none.
func (s *story) chief() *course {
	var best *course
	for _, p := range s.incidents {
		if best == nil || s.weigh(p) > s.weigh(best) {
			best = p
		}
	}
	return best
}

// weigh orders incidents by how much they matter.
func (s *story) weigh(p *course) int {
	w := p.last.Severity.Rank()
	for _, d := range s.decisions {
		if d.Incident == p.last.ID {
			w = max(w, 10*(d.Stance.Rank()+1))
		}
	}
	for _, m := range s.moves {
		if m.inc == p.last.ID {
			w = 100
		}
	}
	if p.told {
		w += 5
	}
	return w
}

// shading returns one phase per span of time: the most active one of all open
// incidents.
func (s *story) shading() []band {
	var cuts []time.Time
	for _, p := range s.incidents {
		for _, b := range p.bands {
			cuts = append(cuts, b.from, b.to)
		}
	}
	slices.SortFunc(cuts, time.Time.Compare)
	cuts = slices.CompactFunc(cuts, time.Time.Equal)
	var out []band
	for i := 1; i < len(cuts); i++ {
		top := band{from: cuts[i-1], to: cuts[i]}
		for _, p := range s.incidents {
			if j := slices.IndexFunc(p.bands, func(b band) bool {
				return !b.from.After(top.from) && !b.to.Before(top.to)
			}); j >= 0 && phaseOf(p.bands[j].state).rank > phaseOf(top.state).rank {
				top.state = p.bands[j].state
			}
		}
		if top.state == "" || phaseOf(top.state).Role == "" {
			continue
		}
		if n := len(out); n > 0 && out[n-1].to.Equal(top.from) && phaseOf(out[n-1].state) == phaseOf(top.state) {
			out[n-1].to = top.to
			continue
		}
		out = append(out, top)
	}
	return out
}

// tellingDiagnoses returns one diagnosis per incident: the one that the first
// decision other than to watch rested on, else the first one with a cause that
// was decided on, else the last one.
func tellingDiagnoses(records []sre.Record) []sre.Diagnosis {
	var order []string
	pick := map[string]sre.Diagnosis{}
	rank := map[string]int{}
	offer := func(inc *sre.Incident, weight int) {
		if inc == nil {
			return
		}
		if _, known := rank[inc.ID]; !known {
			order = append(order, inc.ID)
			rank[inc.ID] = -1
		}
		if weight > rank[inc.ID] || weight == 0 && rank[inc.ID] == 0 {
			rank[inc.ID], pick[inc.ID] = weight, inc.Diagnosis
		}
	}
	for i := range records {
		offer(records[i].Incident, 0)
		if d := records[i].Decision; d != nil {
			offer(beside(records, i), cmp.Or(10*d.Stance.Rank(), 1))
		}
	}
	out := make([]sre.Diagnosis, len(order))
	for i, id := range order {
		out[i] = pick[id]
	}
	return out
}
