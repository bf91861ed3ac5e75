package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// directive is one kind of line.
type directive struct {
	name  string
	usage string
	help  string
	once  bool // may stand only once
	least int  // words after the name
	parse func(*parser, line)
}

// directives is the grammar, in the order in which a story is best written. The
// reference in docs/scenarios.md is made from it.
var directives = []directive{
	{"title", "title TEXT", "One sentence that says what the story shows.", true, 1, (*parser).title},
	{"source", "source TEXT", "Where the story comes from, if it was published.", true, 1, (*parser).source},
	{"seed", "seed COUNT", "Seed of all noise: of arrivals, of scrapes, of a generated fleet. Default 1.", true, 1, (*parser).seed},
	{"tick", "tick DURATION", "Interval of the agent and of the time line. Default 5s.", true, 1, (*parser).tick},
	{"warmup", "warmup DURATION", "How long the world runs before the first tick. The agent reads it as history. Default 5m.", true, 1, (*parser).warmup},
	{"run", "run DURATION", "Length of the story from the first tick on. Must be given.", true, 1, (*parser).run},
	{"step", "step DURATION", "Step of the simulation. Default 100ms.", true, 1, (*parser).step},
	{"noise", "noise", "Arrivals are drawn instead of exact.", true, 0, (*parser).noise},
	{"scrape", "scrape OPTION...", "How the world is measured.", true, 1, (*parser).scrape},
	{"service", "service NAME rate=NUMBER OPTION...", "One service. Rates and workers are per replica.", false, 1, (*parser).serviceLine},
	{"call", "call CALLER -> CALLEE OPTION...", "One call relation, with the settings that the caller has for it.", false, 3, (*parser).callLine},
	{"client", "client NAME -> SERVICE rate=NUMBER OPTION...", "One population of users that calls an entry service.", false, 3, (*parser).clientLine},
	{"fleet", "fleet services=COUNT OPTION...", "A generated world of many services. Service, call and client lines after it add to it.", true, 1, (*parser).fleetLine},
	{"truth", "truth SERVICE [MECHANISM]", "A service that is really at fault, and how the trouble feeds itself. Default: what the events hit, without a mechanism.", false, 1, (*parser).truth},
	{"at", "at DURATION VERB ... [for DURATION] [benign]", "Something happens, so long after the first tick. Without \"for\" it lasts to the end. A benign event is meant to hurt nobody and counts as no fault.", false, 2, (*parser).at},
	{"policy", "policy act|ask|watch OPTION...", "The agent's mandate, where the run is not given another. Default act, with thresholds and limits that let it act alone in a small world.", true, 1, (*parser).policy},
	{"people", "people nobody | approve|reject [RUNBOOK] after DURATION", "How people answer questions; the first line that fits the question's runbook holds. Default nobody.", false, 1, (*parser).people},
	{"expect", "expect [on|off] CLAIM", "What must come of a run with the agent (on), without it (off), or of both.", false, 1, (*parser).expect},
}

func directiveNames() string {
	names := make([]string, len(directives))
	for i, d := range directives {
		names[i] = d.name
	}
	return strings.Join(names, ", ")
}

func (p *parser) title(l line) { p.s.Title = rest(l) }

func (p *parser) source(l line) { p.s.Source = rest(l) }

// rest is a line without its first word, as written.
func rest(l line) string { return strings.TrimSpace(strings.TrimPrefix(l.text, l.words[0])) }

// only reports a fault where more words follow than a directive takes.
func (p *parser) only(l line, n int) {
	if len(l.words) > n+1 {
		p.fault(l.no, fmt.Sprintf("%q is too much for %s", spell(l.words[n+1:]), l.words[0]), fmt.Sprintf("nothing after %q", spell(l.words[:n+1])))
	}
}

func (p *parser) seed(l line) {
	p.only(l, 1)
	if n, problem, allowed := parseCount(l.words[1], 1, 1<<40); problem != "" {
		p.fault(l.no, problem, allowed)
	} else {
		p.s.Seed = uint64(n)
	}
}

func (p *parser) single(l line, least, most time.Duration, into *time.Duration) {
	p.only(l, 1)
	if d, problem, allowed := parseDuration(l.words[1], least, most); problem != "" {
		p.fault(l.no, problem, allowed)
	} else {
		*into = d
	}
}

func (p *parser) tick(l line) {
	p.single(l, time.Second, time.Minute, &p.s.Tick)
	p.whole(l.no, "tick", p.s.Tick)
}
func (p *parser) warmup(l line) { p.single(l, 0, 24*time.Hour, &p.s.WarmUp) }
func (p *parser) run(l line)    { p.single(l, time.Minute, maxLength, &p.s.Length) }
func (p *parser) step(l line) {
	p.single(l, 20*time.Millisecond, 100*time.Millisecond, &p.s.Blueprint.Step)
}

// whole asks for full seconds, so that ticks and scrapes meet.
func (p *parser) whole(no int, what string, d time.Duration) {
	if d%time.Second != 0 {
		p.fault(no, fmt.Sprintf("%s of %s is not a whole number of seconds", what, short(d)), "1s, 2s, 5s, ...")
	}
}

func (p *parser) noise(l line) {
	p.only(l, 0)
	p.s.Blueprint.Noise = true
}

var scrapeOptions = []option[Scenario]{
	durationOption("every", "Time between two scrapes of a service. Default 5s.", time.Second, time.Minute, func(s *Scenario) *time.Duration { return &s.Scrape }),
	numberOption("loss", "Share of scrapes that are lost. Default 0.", 0, 1, func(s *Scenario) *float64 { return &s.ScrapeLoss }),
	durationOption("window", "Window over which rates are taken. Default 15s.", 2*time.Second, 10*time.Minute, func(s *Scenario) *time.Duration { return &s.Window }),
}

func (p *parser) scrape(l line) {
	readOptions(p, l, l.words[1:], scrapeOptions, p.s)
	p.whole(l.no, "scrape interval", p.s.Scrape)
	if p.s.Window < 2*p.s.Scrape {
		p.fault(l.no, fmt.Sprintf("a window of %s holds less than two scrapes", short(p.s.Window)), "twice the scrape interval or more")
	}
}

func (p *parser) truth(l line) {
	p.only(l, 2)
	m := sre.Unknown
	if len(l.words) > 2 {
		m = sre.Mechanism(l.words[2])
		if !m.Valid() {
			p.fault(l.no, fmt.Sprintf("unknown mechanism %q", l.words[2]), joined(sre.Mechanisms()))
		}
	}
	p.later = append(p.later, func() {
		if _, ok := p.service(l.no, l.words[1]); !ok {
			return
		}
		if slices.ContainsFunc(p.s.Truths, func(t Truth) bool { return t.Service == l.words[1] }) {
			p.fault(l.no, l.words[1]+" is named as a truth twice", "each service once")
			return
		}
		p.s.Truths = append(p.s.Truths, Truth{Service: l.words[1], Mechanism: m})
	})
}

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}
