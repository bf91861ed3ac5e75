package report

import (
	"cmp"
	"html/template"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const (
	// maxDecisions bounds the decisions that a page writes out in full; it says
	// how many it left out.
	maxDecisions = 120
	maxRows      = 300 // of any other table
)

// fact is one line of the box beside the headline.
type fact struct{ Name, Value string }

type reasonView struct{ Guard, Allows, Text string }

type suspectView struct {
	Rank                  int
	Service, Mechanism, P string
	Width                 int // of the bar, 0 to 100
	Evidence              []string
	Path, Change          string
}

type stepView struct {
	Name, Check, Lease, OnFail string
	Actions                    []string
	Now                        bool // the step that was decided on
}

type planView struct {
	Runbook, Version, Risk, Reason string
	Steps                          []stepView
	Rejected                       []reasonView // Guard is the runbook
}

type moveView struct {
	N                                       int
	At, Why, Kind, Target, Params, Came, By string
	Bad                                     bool
	Decision                                int
}

type decisionView struct {
	N                                int
	At, Rel, Verdict, Word           string
	Incident                         int
	Runbook                          string
	P, Lower, Basis                  string
	PWidth, LowerWidth               int
	For, Against                     []reasonView
	Blast, Valid, Expires            string
	Suspects                         []suspectView
	Plan                             *planView
	Answers                          []string
	Moves                            []moveView
	Open, Repeated, HasConfidence    bool
	Affected, Quality, Note, Service string
	SameAs                           int // an earlier decision with the same suspects and plan; 0 for none
}

// verdict says in words what a stance meant.
func verdict(s sre.Stance) string {
	switch s {
	case sre.Act:
		return "act"
	case sre.Ask:
		return "ask a human"
	case sre.Watch:
	}
	return "watch only"
}

func (s *story) decisionViews(c clock) (shown []decisionView, hidden int) {
	moves := s.moveViews(c)
	for i, d := range s.decisions {
		if i == maxDecisions {
			return shown, len(s.decisions) - i
		}
		v := s.decisionView(c, i, d)
		v.SameAs = sameGrounds(shown, v)
		for j, m := range s.moves {
			if m.intent.Permit.Decision == d.ID && m.number > 0 {
				v.Moves = append(v.Moves, moves[j])
			}
		}
		for _, a := range s.answers {
			if a.Approval != nil && a.Approval.Decision == d.ID {
				v.Answers = append(v.Answers, answer(c, a))
			}
		}
		shown = append(shown, v)
	}
	return shown, 0
}

// sameGrounds returns the latest decision that rested on the same suspects and
// was about the same plan, to which the page refers rather than repeat it.
func sameGrounds(before []decisionView, v decisionView) int {
	for i := len(before) - 1; i >= 0 && len(v.Suspects) > 0; i-- {
		b := before[i]
		if b.Incident == v.Incident && b.SameAs == 0 && reflect.DeepEqual(b.Suspects, v.Suspects) && reflect.DeepEqual(b.Plan, v.Plan) {
			return b.N
		}
	}
	return 0
}

func (s *story) decisionView(c clock, i int, d decided) decisionView {
	v := decisionView{
		N: i + 1, At: c.at(d.At), Rel: c.rel(d.At), Verdict: stance(d.Stance), Word: verdict(d.Stance),
		Incident: s.number(d.Incident), Runbook: name(d.Runbook),
		P: percent(d.Confidence.P), Lower: percent(d.Confidence.Lower), Basis: sentence(d.Confidence.Basis),
		PWidth: bar(d.Confidence.P), LowerWidth: bar(d.Confidence.Lower),
		HasConfidence: d.Confidence.Known(),
		Valid:         c.at(d.ValidUntil), Expires: c.at(d.ExpiresAt), Blast: blast(d.Blast),
		Open: d.Stance != sre.Watch,
	}
	for _, r := range d.Reasons {
		view := reasonView{words(r.Guard), verdict(r.Allows), sentence(r.Text)}
		if r.Allows == sre.Act {
			v.For = append(v.For, view)
		} else {
			v.Against = append(v.Against, view)
		}
	}
	if d.incident == nil {
		return v
	}
	diagnosis := d.incident.Diagnosis
	v.Service = name(diagnosis.Top().Service)
	v.Suspects = suspectViews(c, diagnosis)
	v.Affected, v.Note = list(diagnosis.Affected, 8), sentence(diagnosis.Note)
	v.Quality = percent(diagnosis.DataQuality)
	if p := d.incident.Plan; p != nil && (p.Runbook == d.Runbook || d.Runbook == "") {
		v.Plan = planOf(p, d.incident.Step)
	}
	return v
}

// stance guards a class name of the page against anything but the closed set.
func stance(s sre.Stance) string {
	if s == sre.Act || s == sre.Ask {
		return string(s)
	}
	return string(sre.Watch)
}

func bar(p float64) int { return int(clamp(p)*100 + 0.5) }

func blast(b sre.BlastRadius) string {
	if len(b.Services) == 0 {
		return ""
	}
	text := count(len(b.Services), "service") + ": " + list(b.Services, 6)
	if b.EntryShare > 0 {
		text += "; " + percent(b.EntryShare) + " of the traffic at the entries"
	}
	return text
}

func suspectViews(c clock, d sre.Diagnosis) []suspectView {
	var out []suspectView
	for i, h := range d.Hypotheses {
		if i == 5 {
			break
		}
		v := suspectView{
			Rank: i + 1, Service: suspectName(h.Service), Mechanism: words(h.Mechanism),
			P: percent(h.Probability), Width: bar(h.Probability),
		}
		for _, e := range h.Evidence[:min(len(h.Evidence), 5)] {
			v.Evidence = append(v.Evidence, evidence(e))
		}
		if len(h.Path) > 1 {
			hops := make([]string, 0, len(h.Path))
			for _, p := range h.Path[:min(len(h.Path), 8)] {
				hops = append(hops, name(p))
			}
			v.Path = strings.Join(hops, " → ")
		}
		if ch := h.Change; ch != nil {
			v.Change = changeText(c, *ch)
		}
		out = append(out, v)
	}
	return out
}

func suspectName(service string) string {
	if service == "" {
		return "none of the services seen"
	}
	return name(service)
}

func evidence(e sre.Evidence) string {
	text := words(e.Signal) + " of " + subject(e.Subject) + " is " + quantity(e.Now, e.Unit) + ", normally " + quantity(e.Normal, e.Unit)
	if e.Meaning != "" {
		return sentence(e.Meaning) + " (" + text + ")"
	}
	return text
}

func changeText(c clock, ch sre.Change) string {
	text := c.at(ch.At) + " " + words(ch.Kind) + " of " + name(ch.Service)
	if ch.From != "" || ch.To != "" {
		text += " from " + name(cmp.Or(ch.From, "?")) + " to " + name(cmp.Or(ch.To, "?"))
	}
	if ch.By != "" {
		text += " by " + name(ch.By)
	}
	if ch.Note != "" {
		text += ": " + sentence(ch.Note)
	}
	return text
}

func planOf(p *sre.Plan, current int) *planView {
	risk := string(p.Risk)
	if p.Risk == sre.HighRisk {
		risk = "high"
	}
	v := &planView{Runbook: name(p.Runbook), Version: clean(p.Version, 19), Risk: name(risk), Reason: sentence(p.Reason)}
	for i, st := range p.Steps[:min(len(p.Steps), 20)] {
		step := stepView{Name: name(st.Name), Now: i == current, Check: sentence(st.Verify.Expr), Lease: span(st.Lease)}
		if st.Verify.Within > 0 {
			step.Check += " within " + span(st.Verify.Within)
		}
		if st.Verify.HeldFor > 0 {
			step.Check += ", held for " + span(st.Verify.HeldFor)
		}
		step.OnFail = "undo all and call a human"
		if st.OnFail == sre.NextStep {
			step.OnFail = "keep it and go on with the next step"
		}
		if st.OnFail == sre.KeepAndEscalate {
			step.OnFail = "keep all and call a human"
		}
		for _, a := range st.Actions[:min(len(st.Actions), 20)] {
			step.Actions = append(step.Actions, actionText(a.Kind, target(a.Target), a.Params))
		}
		v.Steps = append(v.Steps, step)
	}
	for _, r := range p.Rejected[:min(len(p.Rejected), 20)] {
		v.Rejected = append(v.Rejected, reasonView{Guard: name(r.Runbook), Text: sentence(r.Reason)})
	}
	return v
}

func actionText(kind sre.ActionKind, target string, p sre.Params) string {
	text := words(kind) + " on " + target
	if len(p) > 0 {
		text += ": " + params(p)
	}
	return text
}

// moveViews writes every touch of a lever, as long as s.moves.
func (s *story) moveViews(c clock) []moveView {
	decision := map[string]int{}
	for i, d := range s.decisions {
		decision[d.ID] = i + 1
	}
	out := make([]moveView, len(s.moves))
	for i, m := range s.moves {
		a := m.intent.Action
		v := moveView{
			N: m.number, At: c.at(m.at), Why: words(m.intent.Permit.Purpose), Kind: words(a.Kind),
			Target: target(a.Target), Params: params(a.Params), By: name(m.intent.Permit.By),
			Came: "no answer is recorded", Decision: decision[m.intent.Permit.Decision], Bad: true,
		}
		if m.intent.Permit.Purpose == sre.ToRevert {
			v.Params = params(m.intent.Before)
		}
		if r := m.result; r != nil {
			v.Came = words(cmp.Or(string(r.Phase), "not started"))
			v.Bad = r.Err != "" || r.Phase == sre.Failed || r.Phase == sre.Lost
			if r.Err != "" {
				v.Came += ": " + sentence(r.Err)
			}
			if r.Probed {
				v.Came += " (found by a probe)"
			}
		}
		out[i] = v
	}
	return out
}

func answer(c clock, r sre.Record) string {
	if a := r.Approval; a != nil {
		text := c.at(r.At) + " " + words(a.Response)
		if a.By != "" {
			text += " by " + name(a.By)
		}
		if a.Comment != "" {
			text += ": “" + sentence(a.Comment) + "”"
		}
		return text
	}
	o := r.Operator
	text := c.at(r.At) + " " + words(o.Command)
	if o.Name != "" {
		text += " " + name(o.Name)
	}
	if o.By != "" {
		text += " by " + name(o.By)
	}
	if o.Reason != "" {
		text += ": “" + sentence(o.Reason) + "”"
	}
	return text
}

type phaseView struct{ Role, Name, At, For string }

type incidentView struct {
	N                                       int
	Severity, What, Opened, Lasted, Outcome string
	Phases                                  []phaseView
	InForce                                 []string
	Escalation                              string
}

func (s *story) incidentViews(c clock) (shown []incidentView, hidden int) {
	for i, p := range s.incidents {
		if i == maxRows {
			return shown, len(s.incidents) - i
		}
		top := p.last.Diagnosis.Top()
		v := incidentView{
			N: p.number, Severity: words(p.last.Severity), What: suspectName(top.Service) + ", " + words(top.Mechanism),
			Opened: c.at(p.bands[0].from), Lasted: span(p.bands[len(p.bands)-1].from.Sub(p.bands[0].from)),
			Outcome: words(p.last.Outcome), Escalation: sentence(p.last.Escalation),
		}
		if p.last.State != sre.Closed {
			v.Lasted = "open at the end"
		}
		for _, b := range p.bands[:min(len(p.bands), 40)] {
			ph := phaseView{Role: phaseOf(b.state).Role, Name: words(b.state), At: c.at(b.from)}
			if b.state != sre.Closed {
				ph.For = span(b.to.Sub(b.from))
			}
			v.Phases = append(v.Phases, ph)
		}
		for _, m := range p.last.InForce() {
			v.InForce = append(v.InForce, actionText(m.Action.Kind, target(m.Action.Target), m.Action.Params)+" ("+words(m.Phase)+")")
		}
		shown = append(shown, v)
	}
	return shown, 0
}

// figure is one chart with its caption.
type figure struct {
	Name, Note string
	Picture    template.HTML
}

type group struct {
	Service, Why string
	Figures      []figure
}

// groups draws the series of each service below each other, in the order in
// which services first appear.
func (s *scene) groups(series []Series) []group {
	var out []group
	for _, line := range series {
		i := slices.IndexFunc(out, func(g group) bool { return g.Service == subject(line.Service) })
		if i < 0 {
			i = len(out)
			out = append(out, group{Service: subject(line.Service), Why: name(line.Why)})
		}
		says := name(line.Name) + " of " + subject(line.Service) + ", " + unitName(line.Unit) + ". " + inWords(line)
		f := figure{Name: words(line.Name), Note: unitName(line.Unit)}
		f.Picture = s.panel(wide(126), says, line) + s.panel(narrow(132), says, thinned(line, maxPoints/3))
		out[i].Figures = append(out[i].Figures, f)
	}
	return out
}

// inWords says what a chart shows to those who hear it.
func inWords(s Series) string {
	lo, hi, seen := 0.0, 0.0, false
	var top time.Time
	for i, v := range s.Values {
		if !drawable(v) {
			continue
		}
		if !seen || v < lo {
			lo = v
		}
		if !seen || v > hi {
			hi, top = v, s.Times[i]
		}
		seen = true
	}
	if !seen {
		return "No data."
	}
	return "From " + quantity(lo, s.Unit) + " to " + quantity(hi, s.Unit) + ", highest at " + top.UTC().Format("15:04:05") + "."
}

// thinned keeps the first least and greatest of each span, so that at most n
// points are left.
func thinned(s Series, n int) Series {
	if len(s.Values) <= n {
		return s
	}
	out := Series{Name: s.Name, Unit: s.Unit, Service: s.Service, Why: s.Why}
	spans := n / 2
	for k := range spans {
		from, to := k*len(s.Values)/spans, (k+1)*len(s.Values)/spans
		lo, hi := -1, -1
		for i := from; i < to; i++ {
			if !drawable(s.Values[i]) {
				continue
			}
			if lo < 0 || s.Values[i] < s.Values[lo] {
				lo = i
			}
			if hi < 0 || s.Values[i] > s.Values[hi] {
				hi = i
			}
		}
		if lo < 0 {
			lo, hi = from, from // a span without data stays a gap
		}
		for _, i := range slices.Compact([]int{min(lo, hi), max(lo, hi)}) {
			out.Times, out.Values = append(out.Times, s.Times[i]), append(out.Values, s.Values[i])
		}
	}
	return out
}

func itoa(n int) string { return strconv.Itoa(n) }
