package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

// The bounds of what one story may ask for.
const (
	maxServices = 10_000
	maxLength   = 48 * time.Hour
	maxLines    = 50_000
	maxFaults   = 1000 // that are told
)

// Parse reads a story. Name is that of the file; it stands in the faults and,
// without folder and ending, names the story. The error is an sre.Faults that
// lists every mistake, up to a thousand, as file:line.
func Parse(name string, text []byte) (*Scenario, error) {
	p := &parser{
		file: name, services: map[string]int{}, edges: map[[2]int]int{}, clients: map[string]int{}, once: map[string]int{},
		s: &Scenario{
			Name: baseName(name), Seed: 1, Tick: 5 * time.Second, Scrape: 5 * time.Second,
			Window: 15 * time.Second, WarmUp: 5 * time.Minute, Policy: Mandate(),
		},
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) > maxLines {
		p.fault(maxLines, "the file is too long", fmt.Sprintf("at most %d lines", maxLines))
		lines = lines[:maxLines]
	}
	for i, raw := range lines {
		if l := splitLine(i+1, strings.TrimSuffix(raw, "\r")); len(l.words) > 0 {
			p.directive(l)
		}
	}
	p.finish(len(lines))
	if len(p.faults) > 0 {
		slices.SortStableFunc(p.faults, func(a, b lineFault) int { return cmp.Compare(a.line, b.line) })
		var out sre.Faults
		for _, f := range p.faults {
			out.Add(fmt.Sprintf("%s:%d", name, f.line), f.problem, f.allowed)
		}
		return nil, out
	}
	return p.s, nil
}

// Mandate is the policy of a story that names none, the default one raised: a
// story is about whether acting helps, so the agent may act, also where its whole
// small world stands behind a service.
func Mandate() gate.Policy {
	p := gate.DefaultPolicy()
	p.Mode = sre.Act
	p.Thresholds = gate.Thresholds{Ask: 0.05, ActLow: 0.1, ActMedium: 0.1}
	p.BlastRadius = sre.Limit{Percent: 100, Number: maxServices}
	p.InForce = sre.Limit{Percent: 100, Number: 50}
	p.Arbitration.Touched = p.InForce
	p.ActionsPerHour = 100
	p.ApprovalTimeout = model.Duration(15 * time.Minute)
	return p
}

func baseName(file string) string {
	if i := strings.LastIndexByte(file, '/'); i >= 0 {
		file = file[i+1:]
	}
	return strings.TrimSuffix(file, ".scenario")
}

type lineFault struct {
	line             int
	problem, allowed string
}

// parser gathers a story line by line. Names may be used before the line that
// declares them, so what refers to them waits until all lines are read.
type parser struct {
	file   string
	s      *Scenario
	faults []lineFault

	once     map[string]int // line of a directive that may stand only once
	services map[string]int
	edges    map[[2]int]int
	clients  map[string]int
	joins    []func() // what joins services, when all lines are read
	later    []func() // what names services and calls, after that
}

func (p *parser) fault(line int, problem, allowed string) {
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, lineFault{line, problem, allowed})
	}
}

func (p *parser) directive(l line) {
	i := slices.IndexFunc(directives, func(d directive) bool { return d.name == l.words[0] })
	if i < 0 {
		p.fault(l.no, fmt.Sprintf("unknown directive %q", l.words[0]), directiveNames())
		return
	}
	d := directives[i]
	if d.once {
		if first, again := p.once[d.name]; again {
			p.fault(l.no, fmt.Sprintf("%s is given again", d.name), fmt.Sprintf("once; it stands in line %d", first))
			return
		}
		p.once[d.name] = l.no
	}
	if n := len(l.words) - 1; n < d.least {
		p.fault(l.no, d.name+" is not complete", d.usage)
		return
	}
	d.parse(p, l)
}

// finish resolves names and checks what concerns the whole.
func (p *parser) finish(last int) {
	s := p.s
	for _, f := range slices.Concat(p.joins, p.later) {
		f()
	}
	if s.Length == 0 && !p.saw("run") {
		p.fault(last, "the length is missing", "run DURATION")
	}
	if s.Title == "" && !p.saw("title") {
		p.fault(last, "the title is missing", "title TEXT")
	}
	if len(s.Blueprint.Services) == 0 && !p.saw("service") && !p.saw("fleet") {
		p.fault(last, "the world is empty", "service lines, or a fleet")
	}
	if len(s.Blueprint.Clients) == 0 && !p.saw("client") && !p.saw("fleet") {
		p.fault(last, "nobody calls the world", "client NAME -> SERVICE rate=NUMBER, or a fleet")
	}
	for i := range s.Events {
		e := &s.Events[i]
		if s.Length > 0 && e.At > s.Length {
			p.fault(e.Line, fmt.Sprintf("%s is after the end of the run", short(e.At)), "0s to "+short(s.Length))
		}
	}
	slices.SortStableFunc(s.Events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Line, b.Line))
	})
	slices.SortStableFunc(s.Commands, func(a, b Command) int { return cmp.Compare(a.At, b.At) })
	if len(p.faults) > 0 {
		return
	}
	s.Blueprint.Seed = s.Seed
	for _, f := range s.Blueprint.Validate() {
		p.fault(last, "the world cannot be built: "+f.Path+" is "+f.Problem, f.Allowed)
	}
}

// saw reports whether a directive stands in the file, right or wrong.
func (p *parser) saw(name string) bool { return p.once["*"+name] > 0 || p.once[name] > 0 }

// mark remembers that a directive that may be repeated stands in the file.
func (p *parser) mark(l line) { p.once["*"+l.words[0]] = l.no }

// service looks a name up, with a fault where there is none.
func (p *parser) service(line int, name string) (int, bool) {
	i, ok := p.services[name]
	if !ok {
		p.fault(line, fmt.Sprintf("no service is called %q", name), p.near(name))
	}
	return i, ok
}

// near lists names to choose from: all of a few, else those that begin alike.
func (p *parser) near(name string) string {
	var names []string
	for _, s := range p.s.Blueprint.Services {
		if len(p.s.Blueprint.Services) <= 12 || name != "" && strings.HasPrefix(s.Name, name[:1]) {
			names = append(names, s.Name)
		}
	}
	if len(names) > 12 {
		names = append(names[:12], "...")
	}
	return strings.Join(names, ", ")
}

func (p *parser) edge(line int, from, to string) (int, bool) {
	i, okFrom := p.service(line, from)
	j, okTo := p.service(line, to)
	if !okFrom || !okTo {
		return 0, false
	}
	e, ok := p.edges[[2]int{i, j}]
	if !ok {
		p.fault(line, fmt.Sprintf("%s does not call %s", from, to), "a pair that a call line joins")
	}
	return e, ok
}

func (p *parser) client(line int, name string) (int, bool) {
	i, ok := p.clients[name]
	if !ok {
		var names []string
		for _, c := range p.s.Blueprint.Clients {
			names = append(names, c.Name)
		}
		p.fault(line, fmt.Sprintf("no client is called %q", name), strings.Join(names, ", "))
	}
	return i, ok
}
