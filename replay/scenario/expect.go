package scenario

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

// claim is one form of what an expect line can say.
type claim struct {
	word  string // that it begins with, after "no" or "not"
	usage string
	help  string
	parse func(p *parser, l line, words []string, negated bool) func(*Result) (bool, string)
}

// measure is a number of a result that can be compared.
type measure struct {
	name string
	help string
	read func(*Result) float64
}

var measures = []measure{
	{"goodput_before", "Share of users' requests answered well and in time in the minute before the first fault.", func(r *Result) float64 { return r.GoodputBefore }},
	{"goodput_min", "The same at its worst, over three ticks, from the first fault on.", func(r *Result) float64 { return r.GoodputMin }},
	{"goodput_after", "The same in the last minute.", func(r *Result) float64 { return r.GoodputAfter }},
	{"services_affected", "Services that were in trouble.", func(r *Result) float64 { return float64(r.ServicesAffected) }},
	{"actions", "Levers moved to help; renewals and reverts do not count.", func(r *Result) float64 { return float64(len(r.applied())) }},
	{"harmful", "Actions for which goodput was worse.", func(r *Result) float64 { return float64(r.HarmfulActions) }},
	{"false", "Actions on what was not at fault.", func(r *Result) float64 { return float64(r.FalseActions) }},
	{"recovered_after", "Seconds from the first fault until goodput was back for good; without limit where it did not come back.", func(r *Result) float64 { return secondsOr(r.RecoveredAfterSeconds) }},
	{"detected_after", "Seconds from the first fault to the agent's first word about an incident; without limit where there is none.", func(r *Result) float64 { return secondsOr(r.DetectedAfterSeconds) }},
	{"first_action_after", "Seconds from the first fault, or the first tick where there is none, to the first lever that was moved; without limit where none was.", func(r *Result) float64 { return secondsOr(r.firstAction) }},
	{"incidents", "Incidents that the agent opened.", func(r *Result) float64 { return float64(len(r.incidents())) }},
}

func secondsOr(s *float64) float64 {
	if s == nil {
		return math.Inf(1)
	}
	return *s
}

var claims = []claim{
	{"recovered", "[not] recovered [within DURATION]", "Goodput came back to 95 % of what it was before and stayed; within so long of the first fault.", claimRecovered},
	{"cascade", "[no] cascade", "Trouble spread beyond what was at fault.", claimCascade},
	{"detected", "[not] detected [within DURATION]", "The agent spoke of an incident after the first fault; within so long of it.", claimDetected},
	{"action", "[no] action [KIND] [on SERVICE|CALLER->CALLEE]", "A lever was moved to help: of that kind, there.", claimAction},
	{"cause", "cause SERVICE [MECHANISM]", "What the agent believed when it first chose to act or to ask; without such a decision, what it believed last.", claimCause},
	{"verdict", "verdict act|ask|watch", "The most that any decision allowed.", claimVerdict},
	{"escalated", "[not] escalated", "An incident was handed to people.", claimEscalated},
	{"lifted", "lifted", "At the end nothing that the agent moved is in effect.", claimLifted},
}

func (p *parser) expect(l line) {
	words := l.words[1:]
	e := Expectation{Line: l.no, Text: spell(words)}
	if arm := Arm(words[0]); arm == On || arm == Off {
		e.Arm, words = arm, words[1:]
		e.Text = spell(words)
	}
	negated := len(words) > 1 && (words[0] == "no" || words[0] == "not")
	if negated {
		words = words[1:]
	}
	if len(words) == 0 {
		p.fault(l.no, "nothing is claimed", claimForms())
		return
	}
	if words[0] == "actions" && negated {
		words[0] = "action"
	}
	if i := slices.IndexFunc(claims, func(c claim) bool { return c.word == words[0] }); i >= 0 {
		if negated && !strings.HasPrefix(claims[i].usage, "[no") {
			p.fault(l.no, words[0]+" cannot be denied", claims[i].usage)
			return
		}
		e.judge = claims[i].parse(p, l, words[1:], negated)
	} else {
		e.judge = p.comparison(l, words, negated)
	}
	if e.judge != nil {
		p.s.Expect = append(p.s.Expect, e)
	}
}

func claimForms() string {
	var forms []string
	for _, c := range claims {
		forms = append(forms, c.usage)
	}
	names := make([]string, len(measures))
	for i, m := range measures {
		names[i] = m.name
	}
	return strings.Join(forms, "; ") + "; or one of " + strings.Join(names, ", ") + " with < <= = >= > and a number"
}

func (p *parser) comparison(l line, words []string, negated bool) func(*Result) (bool, string) {
	i := slices.IndexFunc(measures, func(m measure) bool { return m.name == words[0] })
	if i < 0 || negated || len(words) != 3 {
		p.fault(l.no, fmt.Sprintf("unknown claim %q", spell(words)), claimForms())
		return nil
	}
	compare, ok := map[string]func(a, b float64) bool{
		"<": func(a, b float64) bool { return a < b }, "<=": func(a, b float64) bool { return a <= b },
		"=":  func(a, b float64) bool { return a == b },
		">=": func(a, b float64) bool { return a >= b }, ">": func(a, b float64) bool { return a > b },
	}[words[1]]
	if !ok {
		p.fault(l.no, fmt.Sprintf("unknown comparison %q", words[1]), "<, <=, =, >=, >")
		return nil
	}
	want, problem, allowed := parseNumber(words[2], 0, maxRate)
	if problem != "" {
		p.fault(l.no, problem, allowed)
		return nil
	}
	read := measures[i].read
	return func(r *Result) (bool, string) {
		got := read(r)
		return compare(got, want), strconv.FormatFloat(got, 'g', 4, 64)
	}
}

// within reads an optional "within DURATION".
func (p *parser) within(l line, words []string, negated bool, usage string) (time.Duration, bool) {
	switch {
	case len(words) == 0:
		return 0, true
	case negated || len(words) != 2 || words[0] != "within":
		p.fault(l.no, fmt.Sprintf("%q is too much", spell(words)), usage)
		return 0, false
	}
	d, problem, allowed := parseDuration(words[1], time.Second, maxLength)
	if problem != "" {
		p.fault(l.no, problem, allowed)
	}
	return d, problem == ""
}

func claimRecovered(p *parser, l line, words []string, negated bool) func(*Result) (bool, string) {
	limit, ok := p.within(l, words, negated, "[not] recovered, or recovered within DURATION")
	if !ok {
		return nil
	}
	return func(r *Result) (bool, string) {
		found := fmt.Sprintf("a goodput of %.3f at the end after %.3f before", r.GoodputAfter, r.GoodputBefore)
		if r.Recovered {
			found = fmt.Sprintf("recovery after %.0f s", *r.RecoveredAfterSeconds)
		}
		return r.Recovered != negated && (limit == 0 || *r.RecoveredAfterSeconds <= limit.Seconds()), found
	}
}

func claimCascade(p *parser, l line, words []string, negated bool) func(*Result) (bool, string) {
	if len(words) > 0 {
		p.fault(l.no, fmt.Sprintf("%q is too much", spell(words)), "[no] cascade")
		return nil
	}
	return func(r *Result) (bool, string) {
		found := fmt.Sprintf("no cascade, %d services in trouble", r.ServicesAffected)
		if r.Cascade {
			found = fmt.Sprintf("a cascade, %d services in trouble", r.ServicesAffected)
		}
		return r.Cascade != negated, found
	}
}

func claimDetected(p *parser, l line, words []string, negated bool) func(*Result) (bool, string) {
	limit, ok := p.within(l, words, negated, "[not] detected, or detected within DURATION")
	if !ok {
		return nil
	}
	return func(r *Result) (bool, string) {
		seen := r.DetectedAfterSeconds
		if seen == nil {
			return negated, "no detection"
		}
		return !negated && (limit == 0 || *seen <= limit.Seconds()), fmt.Sprintf("detection after %.0f s", *seen)
	}
}

func claimAction(p *parser, l line, words []string, negated bool) func(*Result) (bool, string) {
	var kind sre.ActionKind
	if len(words) > 0 && words[0] != "on" {
		kind, words = sre.ActionKind(words[0]), words[1:]
		if !kind.Valid() {
			p.fault(l.no, fmt.Sprintf("unknown kind of action %q", kind), joined(sre.ActionKinds()))
			return nil
		}
	}
	target := spell(words)
	switch {
	case target == "":
	case len(words) != 2 && len(words) != 4 || words[0] != "on" || len(words) == 4 && words[2] != "->":
		p.fault(l.no, fmt.Sprintf("%q is not a target", target), "on SERVICE, or on CALLER->CALLEE")
		return nil
	default:
		target = strings.TrimPrefix(target, "on ")
		for name := range strings.SplitSeq(target, "->") {
			p.later = append(p.later, func() { p.service(l.no, name) })
		}
	}
	return func(r *Result) (bool, string) {
		var found []string
		hit := false
		for _, a := range r.applied() {
			found = append(found, string(a.Kind)+" on "+a.Target)
			hit = hit || (kind == "" || a.Kind == kind) && (target == "" || a.Target == target)
		}
		if len(found) == 0 {
			found = []string{"no action"}
		}
		return hit != negated, strings.Join(found, ", ")
	}
}

func claimCause(p *parser, l line, words []string, _ bool) func(*Result) (bool, string) {
	if len(words) < 1 || len(words) > 2 {
		p.fault(l.no, "the cause is not complete", "cause SERVICE [MECHANISM]")
		return nil
	}
	var m sre.Mechanism
	if len(words) == 2 {
		if m = sre.Mechanism(words[1]); !m.Valid() {
			p.fault(l.no, fmt.Sprintf("unknown mechanism %q", m), joined(sre.Mechanisms()))
			return nil
		}
	}
	p.later = append(p.later, func() { p.service(l.no, words[0]) })
	return func(r *Result) (bool, string) {
		service, mechanism := r.belief()
		found := string(mechanism) + " at " + service
		if service == "" {
			found = "no cause"
		}
		return service == words[0] && (m == "" || m == mechanism), found
	}
}

func claimVerdict(p *parser, l line, words []string, _ bool) func(*Result) (bool, string) {
	verdicts := []sre.Stance{sre.Act, sre.Ask, sre.Watch}
	if len(words) != 1 || !slices.Contains(verdicts, sre.Stance(words[0])) {
		p.fault(l.no, fmt.Sprintf("unknown verdict %q", spell(words)), joined(verdicts))
		return nil
	}
	return func(r *Result) (bool, string) {
		most := sre.Stance("")
		for _, d := range replay.Digests(r.Records) {
			if most == "" || d.Verdict.Rank() > most.Rank() {
				most = d.Verdict
			}
		}
		if most == "" {
			return false, "no decision"
		}
		return most == sre.Stance(words[0]), "verdict " + string(most)
	}
}

func claimEscalated(p *parser, l line, words []string, negated bool) func(*Result) (bool, string) {
	if len(words) > 0 {
		p.fault(l.no, fmt.Sprintf("%q is too much", spell(words)), "[not] escalated")
		return nil
	}
	return func(r *Result) (bool, string) {
		for i := range r.Records {
			if inc := r.Records[i].Incident; inc != nil && inc.State == sre.Escalated {
				return !negated, "an escalation: " + inc.Escalation
			}
		}
		return negated, "no escalation"
	}
}

func claimLifted(p *parser, l line, words []string, _ bool) func(*Result) (bool, string) {
	if len(words) > 0 {
		p.fault(l.no, fmt.Sprintf("%q is too much", spell(words)), "lifted")
		return nil
	}
	return func(r *Result) (bool, string) {
		for _, inc := range r.incidents() {
			if live := inc.InForce(); len(live) > 0 {
				return false, fmt.Sprintf("%s on %s is %s", live[0].Action.Kind, live[0].Action.Target, live[0].Phase)
			}
		}
		return true, "all lifted"
	}
}
