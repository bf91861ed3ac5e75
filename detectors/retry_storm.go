package detectors

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// retryStorm watches for overload that feeds on retries. Two indices say how
// near a service is to a state that it cannot leave by itself:
//
//	vulnerability V = first attempts * attempts per request / capacity
//	margin        M = backlog / (capacity * callers' timeout)
//
// Above V = 1 the retries alone fill the service once every answer is late;
// at M = 1 every answer is late. Both together last after the trigger is gone.
type retryStorm struct {
	cfg    RetryStormConfig
	window float64 // seconds
	v      *vitals
	alpha  float64 // weight of a sample in the backlog's slope at this tick
	state  []stormState
}

type stormState struct {
	warnAmp, actAmp  recent
	margin, marginUp recent
	soon             recent
	queue            float64 // at the tick before; missing where unknown
	slope            mean    // of the backlog, per second
	jitter           mean    // variance of the slope's samples
	worstAmp         float64 // highest amplification ever seen
	since            time.Time
	calm             int
	acted            int // ticks for which the action level is held
}

// storm is what is known of one service at one tick.
type storm struct {
	index                int
	amp, share           float64 // attempts per first attempt; retries as a share of arrivals
	capacity             float64 // per second
	timeout, attempts    float64
	backlog              float64
	v, m, ttm            float64
	errors, dead         float64
	assumed              bool // capacity, timeout, retries or backlog had to be guessed
	lowCapacity          bool // capacity is only the best rate that was seen
	measured             bool // capacity and attempts are both known: V can be trusted
	full                 bool // no room left: occupancy or backlog is high
	warnMargin, noReturn bool
}

type stormLevel int

const (
	calm stormLevel = iota
	vulnerable
	stormWarn
	stormAct
)

// slopeSpan is the time constant of the backlog's slope, seconds.
const slopeSpan = 5

func newRetryStorm(cfg Config, v *vitals) *retryStorm {
	return &retryStorm{cfg: cfg.RetryStorm, window: time.Duration(cfg.Window).Seconds(), v: v}
}

// Name returns the name of the detector.
func (*retryStorm) Name() string { return "retry_storm" }

// Detect appends one precursor per service that is vulnerable or worse.
func (d *retryStorm) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	d.alpha = decay(d.v.dt, max(slopeSpan, 3*d.v.dt))
	for len(d.state) < len(s.Graph.Services) {
		d.state = append(d.state, stormState{queue: missing})
	}
	for i := range s.Graph.Services {
		st := &d.state[i]
		x, ok := d.assess(i, st)
		if !ok {
			continue
		}
		level := st.settle(d.judge(&x, st))
		st.mark(level >= stormWarn || x.warnMargin || x.amp > d.cfg.WarnAmplification, s.At)
		if level > calm {
			found = append(found, d.precursor(s, &x, st, level))
		}
	}
	return found
}

// settle holds the action level for calmTicks after it was last reached, while
// there is any warning left: the readings of a storm come and go with it.
func (st *stormState) settle(level stormLevel) stormLevel {
	switch {
	case level == stormAct:
		st.acted = calmTicks
	case st.acted > 0:
		st.acted--
		if level == stormWarn {
			return stormAct
		}
	}
	return level
}

// mark keeps the onset: the first tick with any sign since the last calm.
func (st *stormState) mark(sign bool, at time.Time) {
	if sign {
		if st.since.IsZero() {
			st.since = at
		}
		st.calm = 0
		return
	}
	if st.calm++; st.calm >= calmTicks {
		st.since = time.Time{}
	}
}

func (d *retryStorm) assess(i int, st *stormState) (storm, bool) {
	p, u, set := &d.v.now[i], &d.v.usual[i], &d.v.settings[i]
	if !known(p.traffic) {
		st.queue = missing
		return storm{}, false
	}
	x := storm{index: i, amp: or(p.amplification, 1), dead: p.dead()}
	if p.traffic*max(d.window, d.v.dt) < fewRequests {
		x.amp = 1
	}
	x.share = 1 - 1/x.amp
	x.errors = max(0, or(p.errors, 0)-or(u.errors.value(needed), 0))
	st.worstAmp = max(st.worstAmp, x.amp)
	capacity, guessed := d.v.capacity(i)
	x.capacity, x.assumed, x.lowCapacity = capacity, guessed, guessed
	x.timeout, x.attempts = set.timeout, set.attempts
	x.measured = !guessed && known(set.attempts)
	if !known(x.timeout) {
		x.assumed = true
		x.timeout = d.guessTimeout(u)
	}
	if !known(x.attempts) {
		x.assumed = true
		x.attempts = max(1, st.worstAmp)
	}
	x.backlog = p.queue
	if !known(x.backlog) {
		x.assumed = true
		x.backlog = p.traffic * or(p.latency, missing) // Little's law
	}
	d.derive(&x, p, u, st)
	return x, true
}

// fewRequests is the number of requests in a window below which shares of it
// say nothing.
const fewRequests = 20

// guessTimeout takes three times the usual tail latency: few callers wait less.
func (d *retryStorm) guessTimeout(u *usual) float64 {
	if tail := u.tail.value(needed); known(tail) && tail > 0 {
		return max(3*tail, .05)
	}
	if l := u.latency.value(needed); known(l) && l > 0 {
		return max(6*l, .05)
	}
	return time.Duration(d.cfg.AssumedTimeout).Seconds()
}

func (d *retryStorm) derive(x *storm, p *pulse, u *usual, st *stormState) {
	x.v, x.m, x.ttm = missing, missing, missing
	if known(x.capacity) && x.capacity > 0 {
		if x.attempts > 1 {
			x.v = or(p.first, p.traffic) * x.attempts / x.capacity
		}
		x.m = x.backlog / (x.capacity * x.timeout)
	}
	slope, certain := st.follow(p.queue, d.v.dt, d.alpha)
	if known(x.m) && certain && slope > 0 {
		x.ttm = max(0, x.capacity*x.timeout-x.backlog) / slope
	}
	if known(x.m) && x.m >= 1 {
		x.ttm = 0
	}
	raised := u.backlogged(x.backlog)
	busy := known(p.pool) && p.pool >= d.cfg.Busy
	x.warnMargin = known(x.m) && x.m > d.cfg.WarnMargin && raised
	x.noReturn = known(x.m) && x.m > d.cfg.ActMargin && raised
	x.full = busy || x.warnMargin
	// A backlog that grows while workers are free is a burst, not an overload.
	soon := known(x.ttm) && x.ttm < time.Duration(d.cfg.ActWithin).Seconds() && x.warnMargin && (busy || !known(p.pool))
	st.soon.push(soon)
	st.margin.push(x.noReturn)
	st.marginUp.push(x.warnMargin)
	st.actAmp.push(x.amp > d.cfg.ActAmplification)
	st.warnAmp.push(x.amp > d.cfg.WarnAmplification)
}

// follow updates the slope of the backlog and says whether it stands out of its
// own noise.
func (st *stormState) follow(queue, dt, alpha float64) (slope float64, certain bool) {
	before := st.queue
	st.queue = queue
	if !known(queue) || !known(before) || dt <= 0 {
		return 0, false
	}
	now := (queue - before) / dt
	e := now - st.slope.v
	st.slope.add(now, alpha)
	st.jitter.add(e*e, alpha)
	return st.slope.v, st.slope.n >= 3 && st.slope.v > 2*math.Sqrt(st.jitter.v*alpha)
}

// judge applies the rules. Where V is measured and below 1 the retries cannot
// keep the overload alive, so amplification alone is at most a warning. Where
// the capacity is only the best rate seen, V and M are too high, and retries
// must be seen before either counts.
func (d *retryStorm) judge(x *storm, st *stormState) stormLevel {
	fragile := known(x.v) && x.v > 1 && (!x.lowCapacity || st.warnAmp.of(2, 2))
	unproven := !x.measured
	roomy := x.measured && known(x.v) && x.v < 1 && !x.full // the retries fit into the room that is left
	harm := x.errors > d.cfg.ErrorExcess || x.dead > d.cfg.DeadShare
	switch {
	case fragile && (st.margin.of(2, 3) || st.soon.of(2, 3)):
		return stormAct
	case st.actAmp.of(2, 2) && harm && x.full:
		return stormAct
	case st.actAmp.of(2, 2) && harm && (fragile || unproven):
		return stormAct
	case fragile && st.marginUp.of(2, 3):
		return stormWarn
	case roomy && st.warnAmp.of(2, 2) && harm:
		return vulnerable
	case st.warnAmp.of(2, 2) && (harm || x.full):
		return stormWarn
	case fragile && x.measured && x.attempts > 1:
		return vulnerable
	}
	return calm
}
