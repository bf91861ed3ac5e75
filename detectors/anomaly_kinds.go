package detectors

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// floorForm is how the least scale of a signal follows from its level.
type floorForm uint8

const (
	floorCount floorForm = iota
	floorRate
	floorShare
	floorHundred
	floorLatency
	floorAttempts
	floorReplicas
	floorRatio
	floorPercent
	floorSeconds
	floorBytes
)

// formOf returns the form of a signal by its kind, and by its unit where the kind
// leaves it open.
func formOf(sig sre.Signal) floorForm {
	switch sig.Kind {
	case sre.Traffic:
		return floorRate
	case sre.Errors:
		switch sig.Unit {
		case sre.Ratio:
			return floorShare
		case sre.Percent:
			return floorHundred
		case sre.PerSecond, sre.Seconds, sre.Bytes, sre.Count:
		}
		return floorRate
	case sre.Latency:
		return floorLatency
	case sre.Retries, sre.Timeouts:
		return floorAttempts
	case sre.Replicas:
		return floorReplicas
	case sre.Queue, sre.Pool, sre.Saturation, sre.Cache:
	}
	switch sig.Unit {
	case sre.Ratio:
		return floorRatio
	case sre.Percent:
		return floorPercent
	case sre.Seconds:
		return floorSeconds
	case sre.Bytes:
		return floorBytes
	case sre.Count, sre.PerSecond:
	}
	return floorCount
}

// floor is the least scale of a signal around level p: below it a deviation is
// counting noise or too small to matter, however steady the past was.
func (f floorForm) floor(p float64, sub *subject, t *step) float64 {
	p = math.Abs(p)
	switch f {
	case floorRate:
		return max(.05*p, counting(p, t))
	case floorShare:
		return errorFloor(1, p, sub.traffic*t.window)
	case floorHundred:
		return errorFloor(100, p, sub.traffic*t.window)
	case floorLatency:
		return latencyFloor(p, sub.traffic*t.window, sub.coarse)
	case floorAttempts:
		return max(.05*p, counting(p, t), .01*or(sub.traffic, 0))
	case floorReplicas:
		return max(.5, .05*p)
	case floorRatio:
		return .02
	case floorPercent:
		return 2
	case floorSeconds:
		return max(.05*p, .001)
	case floorBytes:
		return max(.05*p, 1)
	case floorCount:
	}
	return max(1, math.Sqrt(p))
}

func latencyFloor(p, requests float64, coarse bool) float64 {
	f := max(.05*p, .001)
	if coarse {
		f = max(.15*p, .001)
	}
	if known(requests) && requests < fewRequests {
		f *= math.Sqrt(fewRequests / max(requests, .5))
	}
	return f
}

// counting is the standard deviation of a rate whose requests come by chance.
func counting(p float64, t *step) float64 { return math.Sqrt(max(p, 1/t.window) / t.window) }

// errorFloor is that of a share of failures, which is told as a part of hundred.
func errorFloor(hundred, p, requests float64) float64 {
	n := max(or(requests, 400), 1)
	q := (clip(p/hundred)*n + .5) / (n + 1)
	return hundred * max(.005, math.Sqrt(q*(1-q)/n))
}

// directions says which way a kind can be off.
func directions(k sre.SignalKind) (up, down bool) {
	switch k {
	case sre.Traffic:
		return true, true
	case sre.Cache, sre.Replicas:
		return false, true
	case sre.Latency, sre.Errors, sre.Saturation, sre.Retries, sre.Queue, sre.Pool, sre.Timeouts:
	}
	return true, false
}

// pool keeps decayed counts of requests and failures, for services that see
// too few requests in one window.
func (d *anomaly) pool(a *series, sig *sre.Signal, sub *subject, t *step) {
	if !known(sub.traffic) {
		return
	}
	n := sub.traffic * t.dt
	a.asked = a.asked*t.keep + n
	a.failed = a.failed*t.keep + n*errorShare(sig.Unit, *sub)
}

// errorShare returns the ratio that a reading of an error signal stands for.
func errorShare(unit sre.Unit, sub subject) float64 {
	switch unit {
	case sre.Ratio:
		return clip(sub.value)
	case sre.Percent:
		return clip(sub.value / 100)
	case sre.PerSecond, sre.Seconds, sre.Bytes, sre.Count:
	}
	if !known(sub.traffic) || sub.traffic <= 0 {
		return 0
	}
	return clip(sub.value / sub.traffic)
}

// credible refuses what so few requests cannot prove: a rise of errors below
// Wilson's bound, and a latency of next to none.
func (d *anomaly) credible(a *series, sig *sre.Signal, sub *subject, window float64) bool {
	if sig.Kind == sre.Latency {
		return !known(sub.traffic) || sub.traffic*window >= fewPooled
	}
	if sig.Kind != sre.Errors || !known(sub.traffic) || uncounted(sig.Unit, *sub) {
		return true
	}
	usual := errorShare(sig.Unit, subject{value: a.level.v, traffic: sub.traffic})
	share, n := errorShare(sig.Unit, *sub), sub.traffic*window
	if n < fewRequests {
		if a.asked < fewPooled {
			return false
		}
		share, n = a.failed/a.asked, a.asked
	}
	return wilson(share, n) > usual+d.cfg.ErrorExcess/2
}

// uncounted reports whether failures are told without the requests among which
// they happened.
func uncounted(unit sre.Unit, sub subject) bool {
	return unit != sre.Ratio && unit != sre.Percent && (unit != sre.PerSecond || !known(sub.traffic))
}

// felt is the share of its callers' timeout from which a service's slowness can
// hurt them: an answer that is slower than usual and still far from anybody's
// patience is worth a note.
const felt = .2

// patience is the shortest known timeout of a service's callers, or of one of
// them, in seconds; 0 where none is known.
func patience(g *sre.Graph, service, caller int) float64 {
	shortest := 0.0
	for _, e := range g.CallersOf(service) {
		edge := &g.Edges[e]
		t := edge.Spec.Timeout.Seconds()
		if t > 0 && (caller < 0 || edge.From == caller) && (shortest <= 0 || t < shortest) {
			shortest = t
		}
	}
	return shortest
}

// feltLoaded is the same for a service that carries more load than usual: what
// queueing takes grows with the use of any server (M/M/c), well before it hurts.
const feltLoaded = .5

// moreLoad is the rise of arrivals that explains slower answers.
const moreLoad = 1.2

// hurts reports whether answers that take so many seconds can hurt the callers
// of a service, whose patience is 0 where it is not known.
func (d *anomaly) hurts(service int, now, patience float64) bool {
	if d.carries(service) {
		return patience > 0 && now > feltLoaded*patience
	}
	return now > felt*patience
}

// carries reports whether a service answers more than usual as well as usual,
// and has room left. Where its use is not measured nobody knows.
func (d *anomaly) carries(service int) bool {
	p, u := &d.v.now[service], &d.v.usual[service]
	return p.traffic > moreLoad*u.traffic.value(needed) && p.pool < d.cfg.HighUse &&
		or(p.errors, 0) < or(u.errors.value(needed), 0)+d.cfg.ErrorExcess
}

// matters says how much a deviation of a kind means by itself. Load and use
// that rise inside their limits, and anything that gets better, are only noted.
func (d *anomaly) matters(sig sre.Signal, a *series, sub subject, service int, patience float64) sre.Severity {
	now, usual := sub.value, a.level.v
	serious := false
	switch sig.Kind {
	case sre.Errors:
		was := errorShare(sig.Unit, subject{value: usual, traffic: sub.traffic})
		serious = errorShare(sig.Unit, sub) > was+d.cfg.ErrorExcess || uncounted(sig.Unit, sub) && now > 4*usual+1
	case sre.Latency:
		rise := d.cfg.LatencyRise
		if sub.coarse {
			rise *= 2
		}
		serious = !a.lowing && now > usual*(1+rise) && now > usual+.001 && d.hurts(service, now, patience)
	case sre.Timeouts:
		serious = now-usual > d.cfg.ErrorExcess*or(sub.traffic, 0)
	case sre.Pool, sre.Saturation:
		high := d.cfg.HighUse
		if sig.Unit == sre.Percent {
			high *= 100
		}
		serious = (sig.Unit == sre.Ratio || sig.Unit == sre.Percent) && now >= high && now-usual >= .1*high
	case sre.Queue:
		serious = sig.Unit == sre.Count && now > 4*usual+10 || sig.Unit == sre.Seconds && now > 4*usual+.1
	case sre.Cache:
		serious = sig.Unit == sre.Ratio && 1-now > 2*(1-usual) && usual-now > .05
	case sre.Replicas:
		serious = now < 1 && usual >= 1
	case sre.Traffic, sre.Retries:
		// More or less load is a fact; the physics detectors say when it hurts.
	}
	if serious {
		return sre.Warning
	}
	return sre.Info
}

// mechanisms of a lone golden signal: a first guess that the physics detectors
// and diagnosis refine.
func mechanismOf(k sre.SignalKind) sre.Mechanism {
	switch k {
	case sre.Latency, sre.Timeouts:
		return sre.SlowDependency
	case sre.Saturation:
		return sre.CapacityDecay
	case sre.Pool:
		return sre.PoolExhaustion
	case sre.Queue, sre.Traffic:
		return sre.Overload
	case sre.Cache:
		return sre.CacheLoss
	case sre.Replicas:
		return sre.SurvivorOverload
	case sre.Retries:
		return sre.RetryStorm
	case sre.Errors:
	}
	return sre.Unknown
}

func (d *anomaly) precursor(s *sre.Snapshot, row *gridRow, a *series, sub subject, service, caller int, t *step) sre.Precursor {
	sig := row.sig
	z := math.Abs(sub.value-a.usual(sub.value)) / (a.scale(row.form.floor(a.level.v, &sub, t), t) * sub.wide)
	z = max(z, 1)
	p := sre.Precursor{
		Detector:  d.Name(),
		Mechanism: mechanismOf(sig.Kind),
		Service:   s.Graph.Services[service].Name,
		Kind:      sig.Kind,
		Severity:  sre.Info,
		Score:     math.Log1p(min(z, longest)) / math.Log1p(longest),
		Since:     time.Unix(0, a.onset).UTC(),
	}
	about := p.Service
	if caller >= 0 {
		p.Caller = s.Graph.Services[caller].Name
		about = p.Caller + "->" + p.Service
	}
	a.muted = a.muted && z < 1.2*a.worst
	if d.svcs[service].on && (!a.muted || sub.frozen) {
		p.Severity = d.matters(sig, a, sub, service, patience(s.Graph, service, caller))
	}
	a.worst = max(a.worst, z)
	p.Evidence = []sre.Evidence{{
		Signal: sig.Name, Subject: about, Now: sub.value, Normal: a.level.v, Unit: sig.Unit, Weight: 1,
		Meaning: fmt.Sprintf("%s of %s is %s (usual %s)", sig.Kind, about, amount(sub.value, sig.Unit), amount(a.level.v, sig.Unit)),
	}}
	return p
}

// amount writes a value with its unit for people.
func amount(v float64, unit sre.Unit) string {
	switch unit {
	case sre.Ratio:
		return percent(v)
	case sre.Percent:
		return percent(v / 100)
	case sre.Seconds:
		if math.Abs(v) < 1 {
			return fmt.Sprintf("%.0f ms", 1000*v)
		}
		return fmt.Sprintf("%.1f s", v)
	case sre.PerSecond:
		return fmt.Sprintf("%.1f per second", v)
	case sre.Bytes:
		return fmt.Sprintf("%.0f MB", v/1e6)
	case sre.Count:
	}
	return fmt.Sprintf("%.0f", v)
}
