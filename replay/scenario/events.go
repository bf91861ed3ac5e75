package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// verb is one kind of event.
type verb struct {
	name  string
	usage string
	help  string
	least int                         // words after the verb
	parse func(*parser, line, *Event) // words begin with the verb
}

const (
	verbFault     = "fault"
	verbDeploy    = "deploy"
	verbCacheLoss = "cache-loss"
	verbLoad      = "load"
	verbNet       = "net"
	verbGap       = "scrape-gap"
	verbBlind     = "blind"
	verbChange    = "change"
	verbOperator  = "operator"

	everyService = -1
)

var verbs = []verb{
	{verbFault, "fault SERVICE OPTION...", "A service is not well.", 2, (*parser).faultEvent},
	{verbDeploy, "deploy SERVICE [OPTION...]", "A new version is rolled out, and told to the agent. The options say what is wrong with it.", 1, (*parser).deployEvent},
	{verbCacheLoss, "cache-loss SERVICE SHARE", "That share of a service's cache is gone at once. Takes no \"for\": the cache fills again by itself.", 2, (*parser).cacheLossEvent},
	{verbLoad, "load CLIENT FACTOR [over=DURATION] | load CLIENT diurnal period=DURATION peak=FACTOR", "A client's rate times a factor, reached within over; or a wave that starts at 1, is at its peak after half a period, and comes back.", 2, (*parser).loadEvent},
	{verbNet, "net CALLER -> CALLEE OPTION...", "The network between two services is not well.", 4, (*parser).netEvent},
	{verbGap, "scrape-gap SERVICE|all", "The measurements of a service, or of all, are missing. The world itself is well.", 1, (*parser).gapEvent},
	{verbBlind, "blind", "The metric store answers nothing. The world itself is well.", 0, (*parser).blindEvent},
	{verbChange, "change KIND SERVICE [OPTION...]", "A change is told to the agent and does nothing at all. Takes no \"for\", and is benign.", 2, (*parser).changeEvent},
	{verbOperator, "operator pause|resume|undo|close", "An operator speaks, unasked: undo and close go to every open incident.", 1, (*parser).operatorEvent},
}

func (p *parser) at(l line) {
	at, problem, allowed := parseDuration(l.words[1], 0, maxLength)
	if problem != "" {
		p.fault(l.no, problem, allowed)
	}
	e := Event{Line: l.no, At: at, Text: spell(l.words[2:]), verb: l.words[2], service: everyService}
	words := l.words[2:]
	if n := len(words); n > 1 && words[n-1] == "benign" {
		e.Benign, words = true, words[:n-1]
	}
	if n := len(words); n > 2 && words[n-2] == "for" {
		d, problem, allowed := parseDuration(words[n-1], time.Second, maxLength)
		if problem != "" {
			p.fault(l.no, problem, allowed)
		}
		e.For, words = d, words[:n-2]
	}
	if i := slices.Index(words, "for"); i >= 0 {
		p.fault(l.no, "\"for\" is not where it belongs", "for DURATION at the end, or before benign")
		return
	}
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == e.verb })
	if i < 0 {
		names := make([]string, len(verbs))
		for i, v := range verbs {
			names[i] = v.name
		}
		p.fault(l.no, fmt.Sprintf("unknown event %q", e.verb), strings.Join(names, ", "))
		return
	}
	if len(words)-1 < verbs[i].least {
		p.fault(l.no, e.verb+" is not complete", verbs[i].usage)
		return
	}
	verbs[i].parse(p, line{no: l.no, text: l.text, words: words}, &e)
}

// happens adds the event of a line when its names are known.
func (p *parser) happens(e Event, known func(*Event) bool) {
	p.later = append(p.later, func() {
		if known(&e) {
			p.s.Events = append(p.s.Events, e)
		}
	})
}

// onService says which service an event is about.
func (p *parser) onService(name string) func(*Event) bool {
	return func(e *Event) bool {
		i, ok := p.service(e.Line, name)
		e.service, e.change.Service = i, name
		return ok
	}
}

var changeKinds = []sre.ChangeKind{sre.Deploy, sre.Flag, sre.ConfigEdit, sre.ScaleChange, sre.OtherChange}

func setChangeKind(e *Event, v string) (problem, allowed string) {
	if k := sre.ChangeKind(v); slices.Contains(changeKinds, k) {
		e.change.Kind = k
		return "", ""
	}
	return fmt.Sprintf("unknown kind of change %q", v), joined(changeKinds)
}

var faultOptions = []option[Event]{
	numberOption("capacity", "Factor on the processor's rate; 1 is well.", 0, 10, func(e *Event) *float64 { return &e.shape.condition.Capacity }),
	durationOption("slow", "Added to the work of every request.", 0, time.Hour, func(e *Event) *time.Duration { return &e.shape.condition.Slow }),
	numberOption("errors", "Share of finished work that fails by itself.", 0, 1, func(e *Event) *float64 { return &e.shape.condition.Errors }),
	countOption("lost", "Replicas that are down.", 0, 10_000, func(e *Event) *int { return &e.shape.condition.Lost }),
	{"leak", "NUMBER", "Workers that are lost per second and never given back. \"/s\" may follow.", func(e *Event, v string) (string, string) {
		f, problem, allowed := parseNumber(strings.TrimSuffix(v, "/s"), 0, maxRate)
		e.shape.condition.Leak = f
		return problem, allowed
	}},
	{"change", "KIND", "The fault is the doing of a change, which the agent is told: deploy, flag, config, scale or other.", setChangeKind},
}

func (p *parser) faultEvent(l line, e *Event) {
	e.shape.condition = fluid.Condition{Capacity: 1}
	readOptions(p, l, l.words[2:], faultOptions, e)
	p.happens(*e, p.onService(l.words[1]))
}

var deployOptions = []option[Event]{
	{"version", "NAME", "Name of the version. Default v2.", func(e *Event, v string) (string, string) {
		if !validName(v) {
			return fmt.Sprintf("%q is not a name", v), nameForm
		}
		e.change.To = v
		return "", ""
	}},
	numberOption("share", "Share of the replicas that it reaches. Default 100%.", 0, 1, func(e *Event) *float64 { return &e.shape.condition.Bad.Share }),
	durationOption("over", "Time in which it reaches them. Default 0s.", 0, time.Hour, func(e *Event) *time.Duration { return &e.shape.ramp }),
	numberOption("capacity", "Factor on the rate of the replicas that run it.", 0, 10, func(e *Event) *float64 { return &e.shape.condition.Bad.Capacity }),
	durationOption("slow", "Added to their work.", 0, time.Hour, func(e *Event) *time.Duration { return &e.shape.condition.Bad.Slow }),
	numberOption("errors", "Share of their work that fails.", 0, 1, func(e *Event) *float64 { return &e.shape.condition.Bad.Errors }),
}

func (p *parser) deployEvent(l line, e *Event) {
	e.shape.condition = fluid.Condition{Capacity: 1, Bad: &fluid.BadVersion{Share: 1, Capacity: 1}}
	e.change = sre.Change{Kind: sre.Deploy, From: "v1", To: "v2"}
	readOptions(p, l, l.words[2:], deployOptions, e)
	p.happens(*e, p.onService(l.words[1]))
}

func (p *parser) cacheLossEvent(l line, e *Event) {
	p.words(l, 3)
	share, problem, allowed := parseNumber(l.words[2], 0, 1)
	if problem != "" {
		p.fault(l.no, problem, allowed)
	}
	p.moment(e)
	e.shape.evict = share
	p.happens(*e, func(e *Event) bool {
		if !p.onService(l.words[1])(e) {
			return false
		}
		if p.s.Blueprint.Services[e.service].Cache.HitRatio == 0 {
			p.fault(e.Line, l.words[1]+" has no cache", "cache=SHARE keys=NUMBER in its service line")
			return false
		}
		return true
	})
}

// moment refuses a duration for what has none.
func (p *parser) moment(e *Event) {
	if e.For > 0 {
		p.fault(e.Line, e.verb+" has no duration", "no \"for\"")
	}
}

// words refuses what follows after n words.
func (p *parser) words(l line, n int) {
	if len(l.words) > n {
		p.fault(l.no, fmt.Sprintf("%q is too much for %s", spell(l.words[n:]), l.words[0]), fmt.Sprintf("nothing after %q", spell(l.words[:n])))
	}
}

var loadOptions = []option[Event]{
	durationOption("over", "Time in which the factor is reached. Default 0s.", 0, 24*time.Hour, func(e *Event) *time.Duration { return &e.shape.ramp }),
}

var diurnalOptions = []option[Event]{
	durationOption("period", "Length of the wave.", time.Minute, 48*time.Hour, func(e *Event) *time.Duration { return &e.shape.period }),
	numberOption("peak", "Factor at its top.", 0, 1000, func(e *Event) *float64 { return &e.shape.factor }),
}

func (p *parser) loadEvent(l line, e *Event) {
	if l.words[2] == "diurnal" {
		readOptions(p, l, l.words[3:], diurnalOptions, e)
		if !mentions(l, "period") || !mentions(l, "peak") {
			p.fault(l.no, "the wave is not complete", "diurnal period=DURATION peak=FACTOR")
		}
	} else {
		factor, problem, allowed := parseNumber(l.words[2], 0, 1000)
		if problem != "" {
			p.fault(l.no, problem, allowed)
		}
		e.shape.factor = factor
		readOptions(p, l, l.words[3:], loadOptions, e)
	}
	p.happens(*e, func(e *Event) bool {
		i, ok := p.client(e.Line, l.words[1])
		e.client = i
		return ok
	})
}

var netOptions = []option[Event]{
	durationOption("delay", "Added to every call.", 0, time.Hour, func(e *Event) *time.Duration { return &e.shape.edge.Delay }),
	numberOption("loss", "Share of calls that are never answered.", 0, 1, func(e *Event) *float64 { return &e.shape.edge.Loss }),
}

func (p *parser) netEvent(l line, e *Event) {
	if l.words[2] != "->" {
		p.fault(l.no, "the arrow is missing", "net CALLER -> CALLEE OPTION...")
		return
	}
	readOptions(p, l, l.words[4:], netOptions, e)
	p.happens(*e, func(e *Event) bool {
		i, ok := p.edge(e.Line, l.words[1], l.words[3])
		e.edge = i
		if ok {
			e.service = p.s.Blueprint.Edges[i].To
		}
		return ok
	})
}

func (p *parser) gapEvent(l line, e *Event) {
	p.words(l, 2)
	e.Benign = true // the world is well: no fault, whatever else is
	if l.words[1] == "all" {
		p.happens(*e, func(*Event) bool { return true })
		return
	}
	p.happens(*e, p.onService(l.words[1]))
}

func (p *parser) blindEvent(l line, e *Event) {
	p.words(l, 1)
	e.Benign = true
	p.happens(*e, func(*Event) bool { return true })
}

var changeOptions = []option[Event]{
	{"id", "NAME", "Name of the change. Default made from its line.", func(e *Event, v string) (string, string) {
		if !validName(v) {
			return fmt.Sprintf("%q is not a name", v), nameForm
		}
		e.change.ID = v
		return "", ""
	}},
	nameOption("from", "What was there before.", func(e *Event) *string { return &e.change.From }),
	nameOption("to", "What is there now.", func(e *Event) *string { return &e.change.To }),
	nameOption("by", "Who did it.", func(e *Event) *string { return &e.change.By }),
}

func (p *parser) changeEvent(l line, e *Event) {
	if problem, allowed := setChangeKind(e, l.words[1]); problem != "" {
		p.fault(l.no, problem, allowed)
	}
	p.moment(e)
	e.Benign = true
	readOptions(p, l, l.words[3:], changeOptions, e)
	p.happens(*e, p.onService(l.words[2]))
}

func (p *parser) operatorEvent(l line, e *Event) {
	p.words(l, 2)
	p.moment(e)
	kinds := []sre.InputKind{sre.InputPause, sre.InputResume, sre.InputUndo, sre.InputClose}
	kind := sre.InputKind(l.words[1])
	if !slices.Contains(kinds, kind) {
		p.fault(l.no, fmt.Sprintf("unknown command %q", l.words[1]), joined(kinds))
		return
	}
	p.s.Commands = append(p.s.Commands, Command{At: e.At, Kind: kind})
}
