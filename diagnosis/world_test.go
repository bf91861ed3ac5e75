package diagnosis_test

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// world is a fluid model of a small shop, with queues that serve dead work and
// callers that retry: enough to fall into a retry storm and stay there. It is
// stepped many times a second and read once per interval.
type world struct {
	at       time.Time
	interval time.Duration
	window   float64 // seconds of the rate window
	graph    *sre.Graph
	parts    []part
	load     func(t float64) float64 // requests per second at the entry, t seconds from the start
	cut      func(t float64, service string) float64
	noise    float64
	seed     uint64
	t        float64
	changes  []sre.Change
	only     map[sre.SignalKind]bool // nil for all
	ratio    float64                 // retry budget as a share of first attempts, 0 for none
	bound    float64                 // of the ledger's queue, 0 for none
	dt       float64                 // seconds
}

// part is one service.
type part struct {
	name        string
	workers     float64
	service     float64 // seconds of own work
	queue       float64
	latency     float64
	fail        float64
	in, retried float64 // arrivals per second, and retries among them
	dead        float64
	busy        float64
	avg         map[string]float64 // windowed signals
	attemptsBy  map[int]float64    // by caller
}

type call struct {
	from, to string
	share    float64
	timeout  time.Duration
	retries  int
}

func shopCalls() []call {
	return []call{
		{"gateway", "storefront", .5, 8 * time.Second, 0},
		{"gateway", "checkout", .5, 8 * time.Second, 0},
		{"storefront", "cart", 1, 4 * time.Second, 0},
		{"checkout", "cart", 1, 4 * time.Second, 0},
		{"checkout", "payments", 1, 4 * time.Second, 0},
		{"cart", "ledger", .5, 600 * time.Millisecond, 3},
		{"payments", "ledger", .4, 600 * time.Millisecond, 3},
	}
}

var shopSizes = map[string][2]float64{ // workers, seconds of work
	"gateway": {2000, .002}, "storefront": {1000, .004}, "checkout": {1000, .004},
	"cart": {800, .006}, "payments": {800, .006}, "ledger": {4, .04},
}

func newShop(names []string, calls []call) *world {
	index := map[string]int{}
	var services []sre.Service
	w := &world{at: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), interval: time.Second, window: 15, seed: 1, noise: .03, dt: .1}
	for i, n := range names {
		index[n] = i
		services = append(services, sre.Service{Name: n, Entry: n == "gateway"})
		size := shopSizes[n]
		w.parts = append(w.parts, part{name: n, workers: size[0], service: size[1], latency: size[1], avg: map[string]float64{}, attemptsBy: map[int]float64{}})
	}
	var edges []sre.Edge
	for _, c := range calls {
		edges = append(edges, sre.Edge{From: index[c.from], To: index[c.to], Spec: sre.EdgeSpec{
			CallsPerRequest: c.share, Timeout: c.timeout, Retries: c.retries, HasRetries: true, Hard: true,
		}})
	}
	w.graph = sre.NewGraph(services, edges)
	w.load = func(float64) float64 { return 74 }
	w.cut = func(float64, string) float64 { return 1 }
	return w
}

func shop() *world {
	return newShop([]string{"gateway", "storefront", "checkout", "cart", "payments", "ledger"}, shopCalls())
}

// rand is a small deterministic generator, uniform in -1 to 1.
func (w *world) rand() float64 {
	w.seed = w.seed*6364136223846793005 + 1442695040888963407
	return float64(int64(w.seed>>11))/float64(1<<52) - 1
}

// gauss is near enough to a normal deviate of scale 1.
func (w *world) gauss() float64 {
	var sum float64
	for range 4 {
		sum += w.rand()
	}
	return sum * math.Sqrt(3.0/4)
}

func (w *world) advance() {
	for range int(w.interval.Seconds()/w.dt + .5) {
		w.tick()
	}
	w.at = w.at.Add(w.interval)
}

func (w *world) tick() {
	w.t += w.dt
	for i := range w.parts {
		w.parts[i].in, w.parts[i].retried = 0, 0
	}
	for _, i := range w.order() {
		w.serve(i)
	}
	for i := range w.parts {
		p := &w.parts[i]
		k := min(1, w.dt/w.window)
		set := func(name string, v float64) { p.avg[name] += k * (v - p.avg[name]) }
		if w.t < 1.5*w.dt {
			k = 1
		}
		set("traffic", p.in)
		set("retries", p.retried)
		set("errors", p.fail*p.in)
		set("latency", p.latency)
		set("busy", p.busy)
		set("dead", p.dead)
	}
}

// order is callers before callees.
func (w *world) order() []int {
	var out []int
	seen := map[int]bool{}
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		for _, e := range w.graph.CallersOf(i) {
			visit(w.graph.Edges[e].From)
		}
		seen[i] = true
		out = append(out, i)
	}
	for _, name := range []string{"gateway", "storefront", "checkout", "cart", "payments", "ledger"} {
		if i, ok := w.graph.Index(name); ok {
			visit(i)
		}
	}
	return out
}

func (w *world) serve(i int) {
	p := &w.parts[i]
	if p.name == "gateway" {
		p.in = w.load(w.t)
	}
	hold, good := p.service/w.cut(w.t, p.name), 1.
	type out struct{ e, to, first, all float64 }
	var outs []out
	for _, e := range w.graph.CalleesOf(i) {
		spec := w.graph.Edges[e].Spec
		callee := &w.parts[w.graph.Edges[e].To]
		timeout := spec.Timeout.Seconds()
		late := 1 / (1 + math.Exp(-(callee.latency-timeout)/(.04*timeout)))
		fails := 1 - (1-late)*(1-callee.fail)
		all, power := 0., 1.
		for range spec.Retries + 1 {
			all += power
			power *= fails
		}
		if w.ratio > 0 {
			all = min(all, 1+w.ratio)
		}
		hold += spec.CallsPerRequest * all * min(callee.latency, timeout)
		good *= 1 - min(1, spec.CallsPerRequest)*power
		outs = append(outs, out{float64(e), float64(w.graph.Edges[e].To), spec.CallsPerRequest, all})
	}
	capacity := p.workers / hold
	had := p.queue/w.dt + p.in
	p.queue += (p.in - min(capacity, had)) * w.dt
	limit := 5000.
	if p.name == "ledger" && w.bound > 0 {
		limit = w.bound
	}
	lost := max(0, p.queue-limit)
	p.queue = max(0, min(p.queue, limit))
	done := min(capacity, had)
	p.busy = min(1, done/capacity)
	p.latency = hold + p.queue/capacity
	p.fail = 1 - good*(1-min(1, lost/max(1e-9, p.in*w.dt)))
	for _, o := range outs {
		callee := &w.parts[int(o.to)]
		callee.in += done * o.first * o.all
		callee.retried += done * o.first * (o.all - 1)
		p.attemptsBy[int(o.e)] = done * o.first * o.all
	}
	p.dead = 0
	for _, e := range w.graph.CallersOf(i) {
		timeout := w.graph.Edges[e].Spec.Timeout.Seconds()
		p.dead = max(p.dead, p.in/(1+math.Exp(-(p.latency-timeout)/(.04*timeout))))
	}
}

var worldSignals = []sre.Signal{
	{Name: "requests", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "error_ratio", Kind: sre.Errors, Unit: sre.Ratio},
	{Name: "latency_mean", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "queue_length", Kind: sre.Queue, Unit: sre.Count},
	{Name: "occupancy", Kind: sre.Pool, Unit: sre.Ratio},
	{Name: "retries", Kind: sre.Retries, Unit: sre.PerSecond},
	{Name: "abandoned", Kind: sre.Timeouts, Unit: sre.PerSecond},
}

func (w *world) snapshot() *sre.Snapshot {
	s := &sre.Snapshot{
		At: w.at, Interval: w.interval, Graph: w.graph, Signals: worldSignals,
		EdgeSignals: []sre.Signal{{Name: "edge_requests", Kind: sre.Traffic, Unit: sre.PerSecond}},
		Service:     sre.NewMatrix(len(worldSignals), len(w.parts)),
		Edge:        sre.NewMatrix(1, len(w.graph.Edges)),
		Changes:     w.changes,
		Health:      sre.SourceHealth{Up: true},
	}
	w.changes = nil
	for _, i := range w.order() {
		p := &w.parts[i]
		traffic := p.avg["traffic"]
		ratio := 0.
		if traffic > 0 {
			ratio = p.avg["errors"] / traffic
		}
		for row, v := range []float64{
			traffic * (1 + w.noise*w.gauss()),
			math.Max(0, ratio+.002*w.noise*w.gauss()),
			p.avg["latency"] * (1 + w.noise*w.gauss()),
			math.Max(0, math.Round(p.queue+p.busy*p.workers+w.gauss())),
			clamp(p.avg["busy"] * (1 + w.noise*w.gauss())),
			math.Max(0, p.avg["retries"]*(1+w.noise*w.gauss())),
			math.Max(0, p.avg["dead"]*(1+w.noise*w.gauss())),
		} {
			if w.only == nil || w.only[worldSignals[row].Kind] {
				s.Service.Set(row, i, sre.Reading{Value: v, State: sre.Present})
			}
		}
		for _, e := range w.graph.CalleesOf(i) {
			s.Edge.Set(0, e, sre.Reading{Value: p.attemptsBy[e], State: sre.Present})
		}
	}
	return s
}

func clamp(x float64) float64 { return math.Max(0, math.Min(1, x)) }

// entryFailures is the share of requests that fail at the entry now.
func (w *world) entryFailures() float64 {
	i, _ := w.graph.Index("gateway")
	return w.parts[i].fail
}
