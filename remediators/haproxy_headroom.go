package remediators

import (
	"context"
	"encoding/csv"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// headroomShare is how much of a receiver's free capacity a shift may take. The
// rest is for what the forecast leaves out, as traffic that grows meanwhile.
const headroomShare = 0.7

// serverLoad is what one server carries and what it can carry.
type serverLoad struct {
	name     string
	weight   float64 // 0 while it takes no new traffic
	sessions float64
	limit    float64 // most sessions; 0 for no limit
	queued   float64
	rate     float64 // new sessions per second
	peak     float64 // most of them that it has ever had
	capacity float64 // configured, per second; 0 when nobody said
}

// loads reads the servers of a backend; capacity is what the configuration
// knows of them, in requests per second.
func (r runtimeAPI) loads(ctx context.Context, backend string, capacity map[string]float64) ([]serverLoad, error) {
	servers, err := r.servers(ctx, backend)
	if err != nil {
		return nil, err
	}
	reply, err := r.read(ctx, "show stat "+backend+" 4 -1")
	if err != nil {
		return nil, err
	}
	loads, err := parseLoads(reply)
	if err != nil {
		return nil, err
	}
	for i, l := range loads {
		loads[i].capacity = capacity[l.name]
		for _, s := range servers {
			if s.name == l.name && s.alive {
				loads[i].weight, _ = strconv.ParseFloat(s.weight, 64)
			}
		}
	}
	return loads, nil
}

func parseLoads(reply string) ([]serverLoad, error) {
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(reply, "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, sre.Failedf("haproxy's show stat is unreadable: %v", err)
	}
	name := slices.Index(rows[0], "svname")
	if name < 0 {
		return nil, sre.Failedf("haproxy's show stat has no svname column")
	}
	var out []serverLoad
	for _, row := range rows[1:] {
		l := serverLoad{name: row[name]}
		for column, value := range map[string]*float64{
			"scur": &l.sessions, "slim": &l.limit, "qcur": &l.queued, "rate": &l.rate, "rate_max": &l.peak,
		} {
			i := slices.Index(rows[0], column)
			if i < 0 {
				return nil, sre.Failedf("haproxy's show stat has no %s column", column)
			}
			if row[i] == "" {
				continue // no limit, or nothing counted yet
			}
			if *value, err = strconv.ParseFloat(row[i], 64); err != nil {
				return nil, sre.Failedf("haproxy's show stat is unreadable: %s %q", column, row[i])
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// overloaded names the first receiver that could not take its part of the
// present traffic if server had this weight, and why; "" when all can. A
// receiver may be given 0.7 of what it has free, in sessions where HAProxy
// limits them and in requests per second where that is configured. Where
// neither is known it is trusted with the rate that it has had before.
func overloaded(loads []serverLoad, server string, weight float64) (receiver, why string) {
	var rate, sessions, before, after float64
	for _, l := range loads {
		before += l.weight
		after += weightAfter(l, server, weight)
		rate += l.rate
		sessions += l.sessions
	}
	if after == 0 {
		return "", "" // the last server is another check's business
	}
	for _, l := range loads {
		share := weightAfter(l, server, weight) / after
		if share == 0 || before > 0 && share <= l.weight/before {
			continue // not a receiver
		}
		gains, joins := share*rate-l.rate, share*sessions-l.sessions
		capacity := l.capacity
		if capacity == 0 && l.limit == 0 {
			capacity = l.peak
		}
		switch {
		case l.queued > 0:
			return l.name, strconv.FormatFloat(l.queued, 'f', 0, 64) + " requests already wait for it"
		case l.limit > 0 && joins > 0 && joins > headroomShare*(l.limit-l.sessions):
			return l.name, forecast(l.sessions, joins, l.limit, "sessions")
		case capacity > 0 && gains > 0 && gains > headroomShare*(capacity-l.rate):
			return l.name, forecast(l.rate, gains, capacity, "requests per second")
		case capacity == 0 && l.limit == 0 && gains > 0:
			return l.name, "nothing is known of what it can take: set maxconn in HAProxy or server_rps here"
		}
	}
	return "", ""
}

func weightAfter(l serverLoad, server string, weight float64) float64 {
	if l.name == server {
		return weight
	}
	return l.weight
}

func forecast(has, more, limit float64, unit string) string {
	n := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
	return "it has " + n(has) + " of " + n(limit) + " " + unit + " and would get " + n(more) + " more"
}

// fits returns the weight nearest to the wanted one that overloads nobody.
func fits(loads []serverLoad, server string, want float64) (weight float64, ok bool) {
	best := math.Inf(1)
	for w := 0.0; w <= 256; w++ {
		if receiver, _ := overloaded(loads, server, w); receiver == "" && math.Abs(w-want) < best {
			best, weight, ok = math.Abs(w-want), w, true
		}
	}
	return weight, ok
}

// checkHeadroom refuses a change of the server's weight or state that would
// give another more than it has room for.
func (k serverKnob) checkHeadroom(ctx context.Context, write settings) error {
	if k.param == paramMaxconn || write[k.param] == "" {
		return nil
	}
	servers, err := k.api.servers(ctx, k.backend)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(servers, func(s proxyServer) bool { return s.name == k.server })
	if i < 0 || k.param == paramWeight && !servers[i].alive || !servers[i].running {
		return nil // it takes no traffic, whatever its weight is
	}
	text := servers[i].weight
	if k.param == paramWeight {
		text = write[paramWeight]
	}
	weight, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return sre.Failedf("haproxy's show servers state is unreadable: srv_uweight %q", text)
	}
	if k.param == paramState && write[paramState] != "ready" {
		weight = 0
	}
	loads, err := k.api.loads(ctx, k.backend, k.capacity)
	if err != nil {
		return err
	}
	receiver, why := overloaded(loads, k.server, weight)
	if receiver == "" {
		return nil
	}
	if near, ok := fits(loads, k.server, weight); ok {
		return sre.Refusedf("the shift would overload %s/%s: %s; a weight of %v for %s fits", k.backend, receiver, why, near, k.server)
	}
	return sre.Refusedf("the shift would overload %s/%s: %s", k.backend, receiver, why)
}
