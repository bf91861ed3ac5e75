package scenario

import (
	"github.com/sreagent/sreagent/replay/fluid"
)

var fleetOptions = []option[fluid.FleetOptions]{
	countOption("services", "How many. Must be given. They are called s0-0000, s0-0001, ...: layer and number.", 10, maxServices, func(o *fluid.FleetOptions) *int { return &o.Services }),
	{"seed", "COUNT", "Of the topology, rates and times. Default 1.", func(o *fluid.FleetOptions, v string) (string, string) {
		n, problem, allowed := parseCount(v, 1, 1<<40)
		o.Seed = uint64(n)
		return problem, allowed
	}},
	countOption("layers", "Of the call graph. Default 6.", 2, 50, func(o *fluid.FleetOptions) *int { return &o.Layers }),
	countOption("clients", "Populations of users, each with an entry service of its own: users-of-s0-0000, ... Default an even share of the services.", 1, maxServices, func(o *fluid.FleetOptions) *int { return &o.Clients }),
	numberOption("headroom", "Capacity over load. Default 1.4.", 1.01, 100, func(o *fluid.FleetOptions) *float64 { return &o.Headroom }),
	numberOption("pools", "Workers over those that are busy on average. Default 4.", 1, 1000, func(o *fluid.FleetOptions) *float64 { return &o.Pools }),
	numberOption("queue", "Bound of the queues in seconds of capacity. Default 0, which is unbounded.", 0, 3600, func(o *fluid.FleetOptions) *float64 { return &o.QueueSeconds }),
	countOption("retries", "Of every call between services. Default 0.", 0, fluid.MaxRetries, func(o *fluid.FleetOptions) *int { return &o.Retries }),
	countOption("client_retries", "Of every client. Default 0.", 0, fluid.MaxRetries, func(o *fluid.FleetOptions) *int { return &o.ClientRetries }),
	numberOption("budget", "Retries of every call as a share of first attempts. Default 0, which is no limit.", 0, 100, func(o *fluid.FleetOptions) *float64 { return &o.Budget }),
	numberOption("optional", "Share of the second and further callees that a service can do without. Default 0.", 0, 1, func(o *fluid.FleetOptions) *float64 { return &o.Optional }),
	flagOption("nested", "Timeouts outlast all that the callee may try.", func(o *fluid.FleetOptions) *bool { return &o.Nested }),
	flagOption("deadlines", "Every service drops work whose caller has given up.", func(o *fluid.FleetOptions) *bool { return &o.Deadlines }),
}

// fleetLine generates a world. It comes before all lines that add to it, so
// that the services of the generator keep their numbers.
func (p *parser) fleetLine(l line) {
	o := fluid.FleetOptions{Seed: 1}
	before := len(p.faults)
	readOptions(p, l, l.words[1:], fleetOptions, &o)
	if o.Services == 0 && !mentions(l, "services") {
		p.fault(l.no, "the fleet has no size", "services=COUNT")
	}
	if p.saw("service") || p.saw("client") {
		p.fault(l.no, "the fleet comes too late", "before every service and client line")
	}
	if len(p.faults) > before {
		return
	}
	b := fluid.Fleet(o)
	p.s.Blueprint.Services, p.s.Blueprint.Edges, p.s.Blueprint.Clients = b.Services, b.Edges, b.Clients
	for i := range b.Services {
		p.services[b.Services[i].Name] = i
	}
	for i, e := range b.Edges {
		p.edges[[2]int{e.From, e.To}] = i
	}
	for i := range b.Clients {
		p.clients[b.Clients[i].Name] = i
	}
}
