package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
)

// maxRate bounds every rate and length of a story.
const maxRate = 1e7

var serviceOptions = []option[fluid.ServiceSpec]{
	durationOption("work", "Time of one request in a worker, without its calls. Default 5ms.", time.Microsecond, time.Hour, func(s *fluid.ServiceSpec) *time.Duration { return &s.Work }),
	numberOption("rate", "Requests per second that one replica's processor can finish. Must be given.", .001, maxRate, func(s *fluid.ServiceSpec) *float64 { return &s.Rate }),
	countOption("workers", "Requests that one replica works on at once. Default 64.", 1, 1_000_000, func(s *fluid.ServiceSpec) *int { return &s.Workers }),
	countOption("queue", "Requests that may wait, for the service. Default 0, which is unbounded.", 0, 100_000_000, func(s *fluid.ServiceSpec) *int { return &s.QueueBound }),
	countOption("replicas", "Replicas at the start. Default 1.", 1, 10_000, func(s *fluid.ServiceSpec) *int { return &s.Replicas }),
	durationOption("start_delay", "From asking for a replica to its being ready. Default 0s.", 0, time.Hour, func(s *fluid.ServiceSpec) *time.Duration { return &s.StartDelay }),
	numberOption("decay", "Share of capacity that is left under a long backlog, as garbage collection and locks leave it. Default no decay.", 0, 1, func(s *fluid.ServiceSpec) *float64 { return &s.Decay.Floor }),
	numberOption("onset", "Backlog in requests at which only the decay share is left.", 0, maxRate, func(s *fluid.ServiceSpec) *float64 { return &s.Decay.Onset }),
	numberOption("cache", "Hit ratio of the cache before the calls that are marked cached. Default no cache.", 0, .9999, func(s *fluid.ServiceSpec) *float64 { return &s.Cache.HitRatio }),
	numberOption("keys", "Good misses that fill the cache from nothing.", 1, 1e12, func(s *fluid.ServiceSpec) *float64 { return &s.Cache.Keys }),
	numberOption("heap", "Waiting requests per replica at which a replica crashes. Default never.", 0, maxRate, func(s *fluid.ServiceSpec) *float64 { return &s.HeapLimit }),
	durationOption("restart", "Time in which a crashed replica comes back.", 0, time.Hour, func(s *fluid.ServiceSpec) *time.Duration { return &s.Restart }),
	flagOption("deadlines", "Work whose caller has given up is dropped at no cost.", func(s *fluid.ServiceSpec) *bool { return &s.Deadlines }),
}

func (p *parser) serviceLine(l line) {
	p.mark(l)
	spec := fluid.ServiceSpec{Name: l.words[1], Work: 5 * time.Millisecond, Workers: 64, Replicas: 1}
	if !validName(spec.Name) || spec.Name == "all" {
		p.fault(l.no, fmt.Sprintf("%q is not a name for a service", spec.Name), nameForm+", and not \"all\"")
	}
	readOptions(p, l, l.words[2:], serviceOptions, &spec)
	if spec.Rate == 0 && !mentions(l, "rate") {
		p.fault(l.no, "the service has no rate", "rate=NUMBER")
	}
	if (spec.Decay.Floor > 0) != (spec.Decay.Onset > 0) {
		p.fault(l.no, "decay and onset go together", "both, or neither")
	}
	if (spec.Cache.HitRatio > 0) != (spec.Cache.Keys > 0) {
		p.fault(l.no, "cache and keys go together", "both, or neither")
	}
	if spec.HeapLimit > 0 && spec.Restart == 0 {
		p.fault(l.no, "heap needs restart", "restart=DURATION")
	}
	p.addService(l.no, spec)
}

func mentions(l line, option string) bool {
	return slices.ContainsFunc(l.words, func(w string) bool { return strings.HasPrefix(w, option+"=") })
}

func (p *parser) addService(no int, spec fluid.ServiceSpec) {
	if _, taken := p.services[spec.Name]; taken {
		p.fault(no, fmt.Sprintf("a service is called %q already", spec.Name), "another name")
		return
	}
	if len(p.s.Blueprint.Services) >= maxServices {
		p.fault(no, "too many services", fmt.Sprintf("at most %d", maxServices))
		return
	}
	p.services[spec.Name] = len(p.s.Blueprint.Services)
	p.s.Blueprint.Services = append(p.s.Blueprint.Services, spec)
}

var callOptions = []option[fluid.EdgeSpec]{
	numberOption("calls", "Calls per request of the caller. Default 1.", .0001, 1000, func(e *fluid.EdgeSpec) *float64 { return &e.Calls }),
	durationOption("timeout", "Of one attempt. Default 1s.", time.Millisecond, 10*time.Minute, func(e *fluid.EdgeSpec) *time.Duration { return &e.Timeout }),
	countOption("retries", "Attempts after the first. Default 0.", 0, fluid.MaxRetries, func(e *fluid.EdgeSpec) *int { return &e.Retries }),
	durationOption("backoff", "Before an attempt is repeated. Default 50ms.", 0, time.Minute, func(e *fluid.EdgeSpec) *time.Duration { return &e.Backoff }),
	numberOption("budget", "Retries as a share of first attempts. Default 0, which is no limit.", 0, 100, func(e *fluid.EdgeSpec) *float64 { return &e.Budget }),
	flagOption("hard", "The caller fails when the callee does.", func(e *fluid.EdgeSpec) *bool { return &e.Hard }),
	flagOption("parallel", "Made beside the other parallel calls, not after them.", func(e *fluid.EdgeSpec) *bool { return &e.Parallel }),
	flagOption("cached", "Only requests that miss the caller's cache make the call.", func(e *fluid.EdgeSpec) *bool { return &e.Cached }),
	nameOption("feature", "Optional feature of the caller that makes the call; a kill switch ends it.", func(e *fluid.EdgeSpec) *string { return &e.Feature }),
	numberOption("breaker", "Share of failed calls at which the caller's breaker opens. Default no breaker.", 0, 1, func(e *fluid.EdgeSpec) *float64 { return &e.Breaker.FailureRatio }),
	numberOption("breaker_calls", "Fewest calls that the breaker judges by. Default 20.", 1, maxRate, func(e *fluid.EdgeSpec) *float64 { return &e.Breaker.MinRequests }),
	durationOption("breaker_open", "How long it stays open before trial calls. Default 10s.", 100*time.Millisecond, time.Hour, func(e *fluid.EdgeSpec) *time.Duration { return &e.Breaker.Open }),
}

func (p *parser) callLine(l line) {
	if l.words[2] != "->" {
		p.fault(l.no, "the arrow is missing", "call CALLER -> CALLEE OPTION...")
		return
	}
	edge := fluid.EdgeSpec{Calls: 1, Timeout: time.Second, Backoff: 50 * time.Millisecond, Breaker: fluid.Breaker{MinRequests: 20, Open: 10 * time.Second}}
	readOptions(p, l, l.words[4:], callOptions, &edge)
	if edge.Breaker.FailureRatio == 0 {
		edge.Breaker = fluid.Breaker{}
	}
	from, to := l.words[1], l.words[3]
	p.resolve(func() {
		i, okFrom := p.service(l.no, from)
		j, okTo := p.service(l.no, to)
		if !okFrom || !okTo {
			return
		}
		edge.From, edge.To = i, j
		switch _, taken := p.edges[[2]int{i, j}]; {
		case i == j:
			p.fault(l.no, from+" calls itself", "another callee")
		case taken:
			p.fault(l.no, fmt.Sprintf("%s -> %s is there already", from, to), "one line for each pair")
		case edge.Cached && p.s.Blueprint.Services[i].Cache.HitRatio == 0:
			p.fault(l.no, from+" has no cache", "cache=SHARE keys=NUMBER in its service line")
		default:
			p.edges[[2]int{i, j}] = len(p.s.Blueprint.Edges)
			p.s.Blueprint.Edges = append(p.s.Blueprint.Edges, edge)
		}
	})
}

// resolve runs f when all lines are read, before what names calls.
func (p *parser) resolve(f func()) {
	p.joins = append(p.joins, f)
}

var classNames = [fluid.Classes]string{"critical", "high", "normal", "low"}

var clientOptions = []option[fluid.ClientSpec]{
	numberOption("rate", "Requests per second that users want. Must be given.", .001, maxRate, func(c *fluid.ClientSpec) *float64 { return &c.Rate }),
	durationOption("timeout", "After which they give up an attempt. Default 3s.", time.Millisecond, 10*time.Minute, func(c *fluid.ClientSpec) *time.Duration { return &c.Timeout }),
	countOption("retries", "Attempts after the first. Default 0.", 0, fluid.MaxRetries, func(c *fluid.ClientSpec) *int { return &c.Retries }),
	durationOption("backoff", "Before they try again. Default 100ms.", 0, time.Minute, func(c *fluid.ClientSpec) *time.Duration { return &c.Backoff }),
	numberOption("concurrency", "Requests that they have outstanding at once; the others wait outside. Default 0, which is no cap.", 0, maxRate, func(c *fluid.ClientSpec) *float64 { return &c.Concurrency }),
	{"mix", "CLASS:SHARE,...", "Shares of the classes critical, high, normal and low. Default all normal.", setMix},
}

func setMix(c *fluid.ClientSpec, v string) (problem, allowed string) {
	allowed = "shares that add up to 1, such as critical:.1,normal:.6,low:.3"
	var sum float64
	c.Mix = [fluid.Classes]float64{}
	for part := range strings.SplitSeq(v, ",") {
		name, text, _ := strings.Cut(part, ":")
		i := slices.Index(classNames[:], name)
		if i < 0 {
			return fmt.Sprintf("unknown class %q", name), strings.Join(classNames[:], ", ")
		}
		f, problem, _ := parseNumber(text, 0, 1)
		if problem != "" {
			return problem, allowed
		}
		if c.Mix[i] != 0 {
			return fmt.Sprintf("class %q is given twice", name), allowed
		}
		c.Mix[i] = f
		sum += f
	}
	if sum < .999 || sum > 1.001 {
		return fmt.Sprintf("the shares add up to %.3g", sum), allowed
	}
	return "", ""
}

func (p *parser) clientLine(l line) {
	p.mark(l)
	if l.words[2] != "->" {
		p.fault(l.no, "the arrow is missing", "client NAME -> SERVICE rate=NUMBER OPTION...")
		return
	}
	c := fluid.ClientSpec{Name: l.words[1], Timeout: 3 * time.Second, Backoff: 100 * time.Millisecond}
	if !validName(c.Name) {
		p.fault(l.no, fmt.Sprintf("%q is not a name", c.Name), nameForm)
	}
	readOptions(p, l, l.words[4:], clientOptions, &c)
	if c.Rate == 0 && !mentions(l, "rate") {
		p.fault(l.no, "the client has no rate", "rate=NUMBER")
	}
	if _, taken := p.clients[c.Name]; taken {
		p.fault(l.no, fmt.Sprintf("a client is called %q already", c.Name), "another name")
		return
	}
	n := len(p.s.Blueprint.Clients)
	p.clients[c.Name] = n
	p.s.Blueprint.Clients = append(p.s.Blueprint.Clients, c)
	p.resolve(func() {
		if i, ok := p.service(l.no, l.words[3]); ok {
			p.s.Blueprint.Clients[n].Entry = i
		}
	})
}
