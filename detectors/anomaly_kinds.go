package detectors

import (
	"fmt"
	"math"

	"github.com/sreagent/sreagent/sre"
)

// floor is the least scale of a signal around level p: below it a deviation is
// counting noise or too small to matter, however steady the past was.
func (d *anomaly) floor(sig sre.Signal, p float64, sub subject, t step) float64 {
	p = math.Abs(p)
	counting := math.Sqrt(max(p, 1/t.window) / t.window)
	requests := or(sub.traffic, missing) * t.window
	switch sig.Kind {
	case sre.Traffic:
		return max(.05*p, counting)
	case sre.Errors:
		return errorFloor(sig.Unit, p, counting, requests)
	case sre.Latency:
		f := max(.05*p, .001)
		if sub.coarse {
			f = max(.15*p, .001)
		}
		if known(requests) && requests < fewRequests {
			f *= math.Sqrt(fewRequests / max(requests, .5))
		}
		return f
	case sre.Retries, sre.Timeouts:
		return max(.05*p, counting, .01*or(sub.traffic, 0))
	case sre.Replicas:
		return max(.5, .05*p)
	case sre.Queue, sre.Pool, sre.Saturation, sre.Cache:
	}
	switch sig.Unit {
	case sre.Ratio:
		return .02
	case sre.Percent:
		return 2
	case sre.Seconds:
		return max(.05*p, .001)
	case sre.Bytes:
		return max(.05*p, 1)
	case sre.Count, sre.PerSecond:
	}
	return max(1, math.Sqrt(p))
}

func errorFloor(unit sre.Unit, p, counting, requests float64) float64 {
	if unit != sre.Ratio && unit != sre.Percent {
		return max(.05*p, counting)
	}
	hundred := 1.
	if unit == sre.Percent {
		hundred = 100
	}
	n := max(or(requests, 400), 1)
	q := (clip(p/hundred)*n + .5) / (n + 1)
	return hundred * max(.005, math.Sqrt(q*(1-q)/n))
}

// directions says which way a kind can be off.
func directions(k sre.SignalKind) (up, down bool) {
	switch k {
	case sre.Traffic, sre.Latency:
		return true, true
	case sre.Cache, sre.Replicas:
		return false, true
	case sre.Errors, sre.Saturation, sre.Retries, sre.Queue, sre.Pool, sre.Timeouts:
	}
	return true, false
}

// pool keeps decayed counts of requests and failures, for services that see
// too few requests in one window.
func (d *anomaly) pool(a *series, sig sre.Signal, sub subject, t step) {
	if !known(sub.traffic) {
		return
	}
	keep := 1 - decay(t.dt, pooling)
	n := sub.traffic * t.dt
	a.asked = a.asked*keep + n
	a.failed = a.failed*keep + n*errorShare(sig.Unit, sub)
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

// credible refuses a rise of errors that so few requests cannot prove.
func (d *anomaly) credible(a *series, sig sre.Signal, sub subject) bool {
	if sig.Kind != sre.Errors || !known(sub.traffic) {
		return true
	}
	usual := errorShare(sig.Unit, subject{value: a.level.v, traffic: sub.traffic})
	share, n := errorShare(sig.Unit, sub), sub.traffic*d.window
	if n < fewRequests {
		if a.asked < fewPooled {
			return false
		}
		share, n = a.failed/a.asked, a.asked
	}
	return wilson(share, n) > usual+d.cfg.ErrorExcess/2
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

// matters says how much a deviation of a kind means by itself. Load and use
// that rise inside their limits, and anything that gets better, are only noted.
func (d *anomaly) matters(sig sre.Signal, a *series, sub subject, patience float64) sre.Severity {
	now, usual := sub.value, a.level.v
	serious := false
	switch sig.Kind {
	case sre.Errors:
		was := errorShare(sig.Unit, subject{value: usual, traffic: sub.traffic})
		serious = errorShare(sig.Unit, sub) > was+d.cfg.ErrorExcess
	case sre.Latency:
		rise := d.cfg.LatencyRise
		if sub.coarse {
			rise *= 2
		}
		serious = !a.lowing && now > usual*(1+rise) && now > usual+.001 && now > felt*patience
	case sre.Timeouts:
		serious = now-usual > d.cfg.ErrorExcess*or(sub.traffic, 0)
	case sre.Pool, sre.Saturation:
		high := d.cfg.HighUse
		if sig.Unit == sre.Percent {
			high *= 100
		}
		serious = (sig.Unit == sre.Ratio || sig.Unit == sre.Percent) && now >= high
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

func (d *anomaly) precursor(s *sre.Snapshot, sig sre.Signal, a *series, sub subject, service, caller int) sre.Precursor {
	t := d.step(s)
	z := math.Abs(sub.value-a.level.v) / a.scale(d.floor(sig, a.level.v, sub, t), t)
	z = min(max(z, d.cfg.Slack), longest)
	p := sre.Precursor{
		Detector:  d.Name(),
		Mechanism: mechanismOf(sig.Kind),
		Service:   s.Graph.Services[service].Name,
		Kind:      sig.Kind,
		Severity:  d.matters(sig, a, sub, patience(s.Graph, service, caller)),
		Score:     math.Log1p(z) / math.Log1p(longest),
		Since:     a.onset,
	}
	about := p.Service
	if caller >= 0 {
		p.Caller = s.Graph.Services[caller].Name
		about = p.Caller + "->" + p.Service
	}
	a.muted = a.muted && z < 1.2*a.worst
	if a.muted && !sub.frozen {
		p.Severity = sre.Info
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
