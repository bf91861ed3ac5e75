package report

import (
	"html/template"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/plot/vg/draw"

	"github.com/sreagent/sreagent/sre"
)

// runView is the story of one run of an agent: what replays and scenarios have
// in common.
type runView struct {
	Legend          []phaseView
	HasFaults       bool
	HasBlind        bool
	Overview        template.HTML
	LanesHidden     int
	Groups          []group
	Graph           *graphView
	Incidents       []incidentView
	IncidentsHidden int
	Decisions       []decisionView
	DecisionsHidden int
	Moves           []moveView
	MovesHidden     int
	People          []string
	Changes         []string
}

// run is the input of a runView.
type run struct {
	start, end time.Time
	records    []sre.Record
	faults     []window
	truth      []string
	graph      *sre.Graph
	series     []Series
	changes    []sre.Change
	extra      []group // charts before those of the series
}

// maxLanes bounds the incidents in the overview.
const maxLanes = 12

func (r run) view(c clock, s *story) *runView {
	sc := r.scene(s)
	v := &runView{HasFaults: len(r.faults) > 0, HasBlind: len(s.blind) > 0}
	v.Legend = legend(s)
	rows := sc.rows(s)
	v.LanesHidden = max(0, len(s.incidents)-maxLanes)
	says := overviewWords(s, len(r.faults))
	v.Overview = sc.lanes(wide(0), says, rows) + sc.lanes(narrow(0), says, rows)
	v.Groups = append(slices.Clone(r.extra), sc.groups(r.series)...)
	v.Graph = s.picture(r.records, r.truth).draw(r.graph)
	v.Incidents, v.IncidentsHidden = s.incidentViews(c)
	v.Decisions, v.DecisionsHidden = s.decisionViews(c)
	for _, m := range s.moveViews(c) {
		if m.N == 0 {
			continue
		}
		if len(v.Moves) == maxRows {
			v.MovesHidden++
			continue
		}
		v.Moves = append(v.Moves, m)
	}
	for _, a := range s.answers[:min(len(s.answers), maxRows)] {
		v.People = append(v.People, answer(c, a))
	}
	for _, ch := range r.changes[:min(len(r.changes), maxRows)] {
		v.Changes = append(v.Changes, changeText(c, ch))
	}
	return v
}

func (r run) scene(s *story) *scene {
	return &scene{
		start: r.start, end: r.end, shading: s.shading(), faults: r.faults, blind: s.blind,
		marks: slices.SortedStableFunc(slices.Values(slices.Concat(s.decisionMarks(), s.moveMarks())),
			func(a, b mark) int { return a.at.Compare(b.at) }),
	}
}

func legend(s *story) []phaseView {
	var out []phaseView
	for _, p := range phases() {
		if slices.ContainsFunc(s.incidents, func(c *course) bool {
			return slices.ContainsFunc(c.bands, func(b band) bool { return phaseOf(b.state) == p })
		}) {
			out = append(out, phaseView{Role: p.Role, Name: p.Name, At: p.Letter})
		}
	}
	return out
}

func (s *story) decisionMarks() []mark {
	out := make([]mark, len(s.decisions))
	for i, d := range s.decisions {
		out[i] = mark{at: d.At, shape: ring{}, label: itoa(i + 1)}
		switch d.Stance {
		case sre.Act:
			out[i].shape, out[i].line = draw.PyramidGlyph{}, true
		case sre.Ask:
			out[i].shape, out[i].line = draw.BoxGlyph{}, true
		case sre.Watch:
		}
	}
	return out
}

func (s *story) moveMarks() []mark {
	var out []mark
	for _, m := range s.moves {
		switch m.intent.Permit.Purpose {
		case sre.ToApply:
			out = append(out, mark{at: m.at, shape: draw.CircleGlyph{}, label: itoa(m.number), line: true})
		case sre.ToRevert:
			out = append(out, mark{at: m.at, shape: cross{}, label: itoa(m.number), line: true})
		case sre.ToRenew, sre.ToAdjust:
		}
	}
	return out
}

// rows returns the lanes of the overview. Names are short, since they stand
// beside the axis on a phone.
func (s *scene) rows(t *story) []lane {
	var rows []lane
	if len(s.faults) > 0 {
		rows = append(rows, lane{name: "fault", wins: s.faults})
	}
	if len(s.blind) > 0 {
		rows = append(rows, lane{name: "no sight", bands: s.blind})
	}
	shown := slices.Clone(t.incidents)
	if len(shown) > maxLanes {
		slices.SortStableFunc(shown, func(a, b *course) int { return t.weigh(b) - t.weigh(a) })
		shown = shown[:maxLanes]
		slices.SortFunc(shown, func(a, b *course) int { return a.number - b.number })
	}
	for _, p := range shown {
		rows = append(rows, lane{name: "incident " + itoa(p.number), bands: p.bands})
	}
	if m := t.decisionMarks(); len(m) > 0 {
		rows = append(rows, lane{name: "decided", marks: m})
	}
	if m := t.moveMarks(); len(m) > 0 {
		rows = append(rows, lane{name: "did", marks: m})
	}
	if len(rows) == 0 {
		rows = append(rows, lane{name: "quiet"})
	}
	return rows
}

func overviewWords(s *story, faults int) string {
	acts := 0
	for _, d := range s.decisions {
		if d.Stance == sre.Act {
			acts++
		}
	}
	return strings.Join([]string{
		count(faults, "known fault"), count(len(s.incidents), "incident"),
		count(len(s.decisions), "decision") + " of which " + itoa(acts) + " to act", count(len(s.moveMarks()), "move") + " of a lever",
	}, ", ") + ". The tables below say the same in words."
}

// detected says when and what was first told about the chief incident.
func (s *story) detected(c clock) string {
	p := s.chief()
	if p == nil {
		return "The agent saw nothing that it took for an incident."
	}
	top := p.last.Diagnosis.Top()
	conf := p.last.Confidence
	for _, d := range s.decisions {
		if d.Incident == p.last.ID && d.incident != nil {
			top, conf = d.incident.Diagnosis.Top(), d.Confidence
			if d.Stance != sre.Watch {
				break
			}
		}
	}
	where := c.at(p.bands[0].from) + ", " + c.rel(p.bands[0].from) + ", and suspected " + suspectName(top.Service) + " (" + words(top.Mechanism) + ")"
	text := "The agent opened an incident at " + where
	if n := len(s.incidents); n > 1 {
		text = "The agent opened " + itoa(n) + " incidents; number " + itoa(p.number) + " matters most: it was opened at " + where
	}
	if conf.Known() {
		text += " with " + percent(conf.P) + " confidence, at least " + percent(conf.Lower)
	}
	return text + "."
}

// did says what was decided and done, and how it ended.
func (s *story) did(pretended bool) string {
	acts, asks := 0, 0
	var watched *decided
	for i, d := range s.decisions {
		switch d.Stance {
		case sre.Act:
			acts++
		case sre.Ask:
			asks++
		case sre.Watch:
			watched = &s.decisions[i]
		default: // files of strangers know other stances; none lets the agent do more than watch
			watched = &s.decisions[i]
		}
	}
	var text string
	switch {
	case len(s.decisions) == 0:
		return "It decided nothing and moved no lever." + s.ended()
	case acts == 0 && asks == 0:
		text = "It only watched"
		if r, ok := strongest(watched.Reasons); ok {
			text += ", because of " + words(r.Guard) + ": " + strings.TrimRight(clean(r.Text, nameLength), ".")
		}
		return text + "." + s.ended()
	case acts > 0 && asks > 0:
		text = "It decided to act " + times(acts) + " and asked a human " + times(asks)
	case acts > 0:
		text = "It decided to act " + times(acts)
	default:
		text = "It asked a human " + times(asks)
	}
	var applied []string
	moves := 0
	for _, m := range s.moves {
		if m.intent.Permit.Purpose != sre.ToApply {
			continue
		}
		moves++
		if what := words(m.intent.Action.Kind) + " on " + target(m.intent.Action.Target); !slices.Contains(applied, what) {
			applied = append(applied, what)
		}
	}
	switch {
	case len(applied) == 0:
		text += ", and no lever was moved"
	case pretended:
		text += "; it would have moved " + levers(moves, len(applied)) + ": " + list(applied, 3)
	default:
		text += "; it moved " + levers(moves, len(applied)) + ": " + list(applied, 3)
	}
	return text + "." + s.ended()
}

// levers counts what was moved, and how often where that is more.
func levers(moves, different int) string {
	if moves > different {
		return count(different, "lever") + ", " + times(moves) + " in all"
	}
	return count(different, "lever")
}

// strongest returns the reason that allowed least.
func strongest(reasons []sre.Reason) (sre.Reason, bool) {
	var out sre.Reason
	found := false
	for _, r := range reasons {
		if r.Allows != sre.Act && (!found || r.Allows.Rank() < out.Allows.Rank()) {
			out, found = r, true
		}
	}
	return out, found
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return itoa(n) + " times"
}

func (s *story) ended() string {
	p := s.chief()
	if p == nil {
		return ""
	}
	if len(s.incidents) > 1 {
		open, held := 0, 0
		for _, q := range s.incidents {
			if q.last.State != sre.Closed {
				open++
			}
			held += len(q.last.InForce())
		}
		return " At the end " + itoa(open) + " of the " + itoa(len(s.incidents)) + " incidents were open, with " + count(held, "mitigation") + " in force."
	}
	text := " At the end the incident was " + words(p.last.State)
	if p.last.State == sre.Closed && p.last.Outcome != "" {
		text += " with the outcome “" + words(p.last.Outcome) + "”"
	}
	if p.last.Escalation != "" && p.last.State == sre.Escalated {
		text += " (" + strings.TrimRight(clean(p.last.Escalation, nameLength), ".") + ")"
	}
	if n := len(p.last.InForce()); n > 0 {
		text += ", with " + count(n, "mitigation") + " still in force"
	}
	return text + "."
}
