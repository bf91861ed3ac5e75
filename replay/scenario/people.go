package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

var policyOptions = []option[gate.Policy]{
	numberOption("ask_at", "Lower bound of confidence to ask at all.", 0, 1, func(p *gate.Policy) *float64 { return &p.Thresholds.Ask }),
	numberOption("act_low", "Lower bound of confidence to act alone on a plan of low risk.", 0, 1, func(p *gate.Policy) *float64 { return &p.Thresholds.ActLow }),
	numberOption("act_medium", "The same for a plan of medium risk.", 0, 1, func(p *gate.Policy) *float64 { return &p.Thresholds.ActMedium }),
	policyDuration("evidence_max_age", "How old a diagnosis may be when it is acted on.", func(p *gate.Policy) *model.Duration { return &p.EvidenceMaxAge }),
	policyDuration("approval_timeout", "How long a question waits.", func(p *gate.Policy) *model.Duration { return &p.ApprovalTimeout }),
	numberOption("min_data_quality", "Least share of fresh readings.", 0, 1, func(p *gate.Policy) *float64 { return &p.MinDataQuality }),
	{"blast_radius", "PERCENT%:COUNT", "Entry traffic and services that may stand behind what is moved alone.", func(p *gate.Policy, v string) (string, string) { return setLimit(&p.BlastRadius, v) }},
	{"in_force", "PERCENT%:COUNT", "Services with a mitigation in force at once.", func(p *gate.Policy, v string) (string, string) { return setLimit(&p.InForce, v) }},
	countOption("actions_per_hour", "New mitigations per hour.", 0, 100_000, func(p *gate.Policy) *int { return &p.ActionsPerHour }),
	countOption("max_recurrences", "How often an incident may come back before people are asked.", 0, 100, func(p *gate.Policy) *int { return &p.MaxRecurrences }),
	{"protected", "SERVICE,...", "Services on which the agent always asks.", func(p *gate.Policy, v string) (string, string) {
		p.Protected = strings.Split(v, ",")
		for _, name := range p.Protected {
			if !validName(name) {
				return fmt.Sprintf("%q is not a name", name), nameForm
			}
		}
		return "", ""
	}},
	flagOption("dry_run", "No lever is touched.", func(p *gate.Policy) *bool { return &p.DryRun }),
}

func policyDuration(name, help string, at func(*gate.Policy) *model.Duration) option[gate.Policy] {
	return option[gate.Policy]{name, "DURATION", help, func(p *gate.Policy, v string) (string, string) {
		d, problem, allowed := parseDuration(v, time.Second, 48*time.Hour)
		if problem == "" {
			*at(p) = model.Duration(d)
		}
		return problem, allowed
	}}
}

func setLimit(limit *sre.Limit, v string) (problem, allowed string) {
	percent, number, ok := strings.Cut(v, ":")
	share, wrong, _ := parseNumber(percent, 0, 1)
	n, wrongToo, _ := parseCount(number, 0, 1_000_000)
	if !ok || wrong != "" || wrongToo != "" {
		return fmt.Sprintf("%q is not a limit", v), "a percentage and a number, such as 25%:10; the smaller holds"
	}
	limit.Percent, limit.Number = 100*share, n
	return "", ""
}

func (p *parser) policy(l line) {
	modes := []sre.Stance{sre.Act, sre.Ask, sre.Watch}
	mode := sre.Stance(l.words[1])
	if !slices.Contains(modes, mode) {
		p.fault(l.no, fmt.Sprintf("unknown mode %q", l.words[1]), joined(modes))
		return
	}
	p.s.Policy.Mode = mode
	readOptions(p, l, l.words[2:], policyOptions, &p.s.Policy)
	for _, f := range p.s.Policy.Validate() {
		p.fault(l.no, f.Path+": "+f.Problem, f.Allowed)
	}
	for _, name := range p.s.Policy.Protected {
		p.later = append(p.later, func() { p.service(l.no, name) })
	}
}

func (p *parser) people(l line) {
	if l.words[1] == "nobody" {
		p.only(l, 1)
		return
	}
	const usage = "people nobody, or people approve|reject [RUNBOOK] after DURATION"
	kinds := map[string]sre.InputKind{"approve": sre.InputApprove, "reject": sre.InputReject}
	kind, ok := kinds[l.words[1]]
	words := l.words[2:]
	a := Answer{Kind: kind}
	if len(words) == 3 {
		a.Runbook, words = words[0], words[1:]
	}
	if !ok || len(words) != 2 || words[0] != "after" {
		p.fault(l.no, "what people say is not complete", usage)
		return
	}
	d, problem, allowed := parseDuration(words[1], 0, maxLength)
	if problem != "" {
		p.fault(l.no, problem, allowed)
	}
	a.After = d
	p.s.Answers = append(p.s.Answers, a)
}

// crowd plays the people of a story. It answers each question once.
type crowd struct {
	s        *Scenario
	start    time.Time
	spoken   int // commands
	answered map[string]bool
	asked    int
}

func newCrowd(s *Scenario, start time.Time) *crowd {
	return &crowd{s: s, start: start, answered: map[string]bool{}}
}

// Inputs returns what people say at the tick at now.
func (c *crowd) Inputs(now time.Time, seen *sre.View) []sre.Input {
	var out []sre.Input
	say := func(in sre.Input) {
		c.asked++
		in.ID, in.At, in.By, in.Reason = fmt.Sprintf("script-%d", c.asked), now, "script", "as the story has it"
		out = append(out, in)
	}
	for c.spoken < len(c.s.Commands) && !c.start.Add(c.s.Commands[c.spoken].At).After(now) {
		command := c.s.Commands[c.spoken]
		c.spoken++
		switch command.Kind {
		case sre.InputPause, sre.InputResume:
			say(sre.Input{Kind: command.Kind, Role: sre.Operator, Name: "script"})
		case sre.InputUndo, sre.InputClose, sre.InputApprove, sre.InputReject:
			for _, inc := range open(seen) {
				say(sre.Input{Kind: command.Kind, Role: sre.Operator, Incident: inc.ID})
			}
		case sre.InputSwitch, sre.InputStop, sre.InputStart, sre.InputMandate: // scripts give no orders
		}
	}
	for _, inc := range open(seen) {
		if inc.State != sre.AwaitingApproval || inc.Decision == nil || c.answered[inc.Decision.ID] {
			continue
		}
		i := slices.IndexFunc(c.s.Answers, func(a Answer) bool { return a.Runbook == "" || a.Runbook == inc.Decision.Runbook })
		if i < 0 || now.Sub(inc.StateSince) < c.s.Answers[i].After {
			continue
		}
		c.answered[inc.Decision.ID] = true
		say(sre.Input{Kind: c.s.Answers[i].Kind, Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID})
	}
	return out
}

func open(seen *sre.View) []sre.Incident {
	if seen == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(seen.Incidents), func(i sre.Incident) bool { return i.State == sre.Closed })
}
