package detectors

import (
	"time"

	"github.com/sreagent/sreagent/sre"
)

// pulse is what a service shows at this tick; missing where nothing fresh is
// known. Rates are per second, times are seconds, shares are 0 to 1.
type pulse struct {
	traffic, first    float64 // arrivals, and the first attempts among them
	amplification     float64 // arrivals per first attempt
	errors, latency   float64
	tail              float64
	queue, delay      float64
	pool              float64
	members           float64 // occupancy of the pool by itself, where another bound hides it in pool
	before            float64 // occupancy at the tick before
	timeouts          float64 // given up by the caller
	replicas          float64
	cache             float64 // share of lookups that hit
	offered           float64 // arrivals as the callers count them, where all of them do, else traffic
	held              float64 // requests that wait for callees which have slowed down (Little's law)
	slowest           float64 // largest ratio of a callee's latency to its usual
	counted           bool    // amplification comes from a retry counter, not from fan-out
	slowestCallee     int32
	anything, healthy bool
}

// usual is what a service shows while it is healthy.
type usual struct {
	traffic, errors, latency, tail mean
	queue, retryShare, replicas    mean
	pool, cache                    mean
	queueDev                       mean // mean absolute deviation of the queue
	errorDev                       mean // of the error ratio
	latencyDev                     mean // of the logarithm of latency
	poolDev, cacheDev              mean // of the occupancy, and of the share of hits
	capacity                       mean // served per second at full occupancy
	good                           mean // good answers per second over the last half minute
	peak                           float64
	before                         float64 // occupancy at the latest tick, well or not
}

// settings are what the callers of a service are configured to do.
type settings struct {
	timeout  float64 // seconds, smallest of the callers; missing where nobody told
	attempts float64 // at most, per first attempt: mean over the callers; missing where nobody told
}

// vitals keeps pulse and usual of every service. The physics detectors share
// it, so that capacity is learned once.
type vitals struct {
	cfg      Config
	snapshot *sre.Snapshot
	at       time.Time
	dt       float64 // seconds since the snapshot before
	alpha    float64
	svc      columns
	edge     columns

	now      []pulse
	usual    []usual
	settings []settings
	fanout   []mean // calls per request, by edge
	inbound  []edgeSums
	edgeLat  []mean // usual latency, by edge
	edgeDev  []mean // mean absolute deviation of its logarithm, by edge
	start    time.Time
	onset    []float64 // seconds from start until the service's trouble began; missing while it is well
}

// edgeSums adds up what the callers of one service say of it.
type edgeSums struct {
	traffic, retries, timeouts          float64
	expected                            float64 // first attempts that the callers' own traffic explains
	hasTraffic, hasRetries, hasTimeouts bool
	everyFanoutKnown, someFanout        bool
	worst, weight, weightedEr           float64
}

// needed is how many healthy samples a baseline of the physics needs.
const needed = 10

func newVitals(cfg Config) *vitals { return &vitals{cfg: cfg} }

// observe takes in a snapshot, once: detectors that share vitals may all call
// it.
func (v *vitals) observe(s *sre.Snapshot, frozen []bool) {
	if v.snapshot == s {
		return
	}
	v.dt = s.Interval.Seconds()
	if !v.at.IsZero() && s.At.After(v.at) {
		v.dt = s.At.Sub(v.at).Seconds()
	}
	if v.start.IsZero() {
		v.start = s.At
	}
	v.snapshot, v.at = s, s.At
	// Where samples are rare, what is usual still takes as many of them.
	v.alpha = decay(v.dt, max(time.Duration(v.cfg.Memory).Seconds(), float64(v.cfg.MinSamples)*v.dt))
	v.svc, v.edge = findColumns(s.Signals), findColumns(s.EdgeSignals)
	v.grow(len(s.Graph.Services), len(s.Graph.Edges))
	v.forget(s)
	v.readSettings(s.Graph)
	v.sumEdges(s)
	for i := range s.Graph.Services {
		v.take(s, i)
	}
	v.seeCallees(s)
	for i := range s.Graph.Services {
		p, u := &v.now[i], &v.usual[i]
		p.healthy = v.isHealthy(p, u)
		v.markOnset(i)
		if isFrozen(frozen, i) {
			continue
		}
		v.learnErrors(p, u)
		v.learnBounds(p, u)
		if p.healthy {
			v.learn(p, u)
		}
	}
	v.learnEdges(s, frozen)
}

func isFrozen(frozen []bool, i int) bool { return i < len(frozen) && frozen[i] }

func (v *vitals) grow(services, edges int) {
	for len(v.now) < services {
		v.now = append(v.now, pulse{})
		v.usual = append(v.usual, usual{before: missing})
		v.settings = append(v.settings, settings{})
		v.inbound = append(v.inbound, edgeSums{})
		v.onset = append(v.onset, missing)
	}
	for len(v.fanout) < edges {
		v.fanout = append(v.fanout, mean{})
		v.edgeLat, v.edgeDev = append(v.edgeLat, mean{}), append(v.edgeDev, mean{})
	}
}

// forget drops the fan-out of calls whose either end was changed: a new version
// may call more or less often, which is not a retry.
func (v *vitals) forget(s *sre.Snapshot) {
	for _, c := range s.Changes {
		i, ok := s.Graph.Index(c.Service)
		if !ok {
			continue
		}
		for _, e := range s.Graph.CalleesOf(i) {
			v.fanout[e] = mean{}
		}
		for _, e := range s.Graph.CallersOf(i) {
			v.fanout[e] = mean{}
		}
	}
}

func (v *vitals) readSettings(g *sre.Graph) {
	for i := range g.Services {
		set := settings{timeout: missing, attempts: missing}
		var sum, n float64
		for _, e := range g.CallersOf(i) {
			spec := g.Edges[e].Spec
			if spec.Timeout > 0 {
				set.timeout = min(or(set.timeout, spec.Timeout.Seconds()), spec.Timeout.Seconds())
			}
			if spec.HasRetries || spec.Retries > 0 {
				sum += 1 + float64(max(spec.Retries, 0))
				n++
			}
		}
		if n > 0 {
			set.attempts = sum / n
		}
		v.settings[i] = set
	}
}

func (v *vitals) sumEdges(s *sre.Snapshot) {
	for i := range v.inbound {
		v.inbound[i] = edgeSums{everyFanoutKnown: true}
	}
	for e := range s.Graph.Edges {
		edge := &s.Graph.Edges[e]
		in := &v.inbound[edge.To]
		traffic := cell(&s.Edge, v.edge.traffic, e)
		if known(traffic) {
			in.traffic += traffic
			in.hasTraffic = true
			v.expect(s, in, e)
		}
		if x := cell(&s.Edge, v.edge.retries, e); known(x) {
			in.retries += x
			in.hasRetries = true
		}
		if x := cell(&s.Edge, v.edge.timeouts, e); known(x) {
			in.timeouts += x
			in.hasTimeouts = true
		}
		if x := cell(&s.Edge, v.edge.latency, e); known(x) {
			in.worst = max(in.worst, x)
		}
		if x := v.edge.errorRatio(&s.Edge, e, traffic); known(x) {
			w := or(traffic, 1)
			in.weight += w
			in.weightedEr += w * x
		}
	}
}

// expect adds the first attempts that the caller's own load explains.
func (v *vitals) expect(s *sre.Snapshot, in *edgeSums, e int) {
	edge := &s.Graph.Edges[e]
	own := cell(&s.Service, v.svc.traffic, edge.From)
	f := edge.Spec.CallsPerRequest
	if f <= 0 {
		f = v.fanout[e].value(needed)
	}
	if !known(own) || !known(f) {
		in.everyFanoutKnown = false
		return
	}
	in.expected += own * f
	in.someFanout = true
}

func (v *vitals) take(s *sre.Snapshot, i int) {
	m, in := &s.Service, &v.inbound[i]
	p := pulse{
		traffic:  cell(m, v.svc.traffic, i),
		latency:  cell(m, v.svc.latency, i),
		tail:     cell(m, v.svc.tail, i),
		queue:    cell(m, v.svc.queue, i),
		delay:    cell(m, v.svc.delay, i),
		pool:     v.svc.occupancy(m, i),
		timeouts: cell(m, v.svc.timeouts, i),
		replicas: cell(m, v.svc.replicas, i),
		cache:    v.svc.hits(m, i),
		before:   v.usual[i].before,
	}
	v.usual[i].before, p.members = p.pool, or(cell(m, v.svc.members, i), p.pool)
	if !known(p.traffic) && in.hasTraffic {
		p.traffic = in.traffic
	}
	if !known(p.timeouts) && in.hasTimeouts {
		p.timeouts = in.timeouts
	}
	if !known(p.latency) && in.worst > 0 {
		p.latency = in.worst
	}
	p.errors = v.svc.errorRatio(m, i, p.traffic)
	if !known(p.errors) && in.weight > 0 {
		p.errors = in.weightedEr / in.weight
	}
	p.offered = p.traffic
	if in.hasTraffic && in.traffic > or(p.offered, 0) {
		p.offered = in.traffic
	}
	p.anything = known(p.traffic) || known(p.latency) || known(p.queue) || known(p.pool)
	p.amplify(cell(m, v.svc.retries, i), in)
	v.now[i] = p
}

// amplify sets first attempts and amplification: from a retry counter where
// there is one, else from what the callers' own traffic explains.
func (p *pulse) amplify(retries float64, in *edgeSums) {
	p.first, p.amplification = missing, missing
	if !known(p.traffic) {
		return
	}
	if !known(retries) && in.hasRetries {
		retries = in.retries
	}
	switch {
	case p.traffic <= 0:
		p.first = 0
	case known(retries):
		p.counted = true
		p.first = max(p.traffic-retries, p.traffic/maxAmplification)
		p.amplification = p.traffic / p.first
		p.askCallers(in)
	case in.someFanout && in.everyFanoutKnown && in.expected > 0:
		p.amplification = min(max(1, in.traffic/in.expected), maxAmplification)
		p.first = p.traffic / p.amplification
	default:
		p.first = p.traffic
	}
}

// askCallers takes the callers' count of their retries where it is the larger
// one. A service counts most requests when it answers them, so while its queue
// grows it knows of fewer attempts, and of hardly any retry, than its callers.
func (p *pulse) askCallers(in *edgeSums) {
	all := in.hasTraffic && in.hasRetries && in.traffic >= callersAreAll*p.traffic && in.retries < in.traffic
	if !all {
		return
	}
	first := max(in.traffic-in.retries, in.traffic/maxAmplification)
	if a := in.traffic / first; a > p.amplification {
		p.first, p.amplification = first, a
	}
}

// callersAreAll is the share of a service's traffic that measured callers must
// account for to be believed about all of it.
const callersAreAll = 0.9

// maxAmplification bounds what a glitch between two counters can claim: nobody
// retries more than this many times.
const maxAmplification = 64

// seeCallees finds, for every caller, the callee that has slowed down most, and
// how many of its requests are in the hands of slow callees.
func (v *vitals) seeCallees(s *sre.Snapshot) {
	for e := range s.Graph.Edges {
		edge := &s.Graph.Edges[e]
		now, base := v.edgeLatency(s, e)
		if !known(now) || !known(base) || base <= 0 {
			continue
		}
		p := &v.now[edge.From]
		if calls := cell(&s.Edge, v.edge.traffic, e); known(calls) && now > base {
			p.held += calls * (now - base)
		}
		if ratio := now / base; ratio > p.slowest {
			p.slowest, p.slowestCallee = ratio, int32(edge.To)
		}
	}
}

// edgeLatency returns how long a call takes and how long it usually takes, in
// seconds, as the caller measures it, else as the callee does.
func (v *vitals) edgeLatency(s *sre.Snapshot, e int) (now, base float64) {
	now, base = cell(&s.Edge, v.edge.latency, e), v.edgeLat[e].value(needed)
	if known(now) && known(base) {
		return now, base
	}
	to := s.Graph.Edges[e].To
	return v.now[to].latency, v.usual[to].latency.value(needed)
}
