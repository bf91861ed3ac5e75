package detectors

import (
	"fmt"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func (d *retryStorm) precursor(s *sre.Snapshot, x *storm, st *stormState, level stormLevel) sre.Precursor {
	name := s.Graph.Services[x.index].Name
	p := sre.Precursor{
		Detector:  d.Name(),
		Mechanism: sre.RetryStorm,
		Service:   name,
		Kind:      sre.Retries,
		Since:     st.since,
	}
	if d.v.usual[x.index].retryShare.n == 0 && x.share == 0 {
		p.Kind = sre.Queue
	}
	switch level {
	case stormAct:
		p.Severity = sre.Critical
	case stormWarn:
		p.Severity = sre.Warning
	case vulnerable, calm:
		// Fragile settings are a fact about the system, not an event: shown,
		// but never enough to open an incident.
		p.Severity, p.Since = sre.Info, s.At
	}
	return conclude(p, d.terms(x, name))
}

func (d *retryStorm) terms(x *storm, name string) []term {
	p, u := &d.v.now[x.index], &d.v.usual[x.index]
	usualShare := or(u.retryShare.value(needed), 0)
	var terms []term
	if known(p.amplification) {
		terms = append(terms, term{ramp(x.amp, d.cfg.WarnAmplification, d.cfg.ActAmplification), sre.Evidence{
			Signal: "retry_share", Subject: name, Now: x.share, Normal: usualShare, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("retries are %s of calls to %s (usual %s)%s", percent(x.share), name, percent(usualShare), guessed(!p.counted)),
		}})
	}
	if known(x.v) {
		terms = append(terms, term{ramp(x.v, 1, 1.5), sre.Evidence{
			Signal: "vulnerability", Subject: name, Now: x.v, Normal: 1, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("if every call were retried, %s would be offered %.1f times what it can serve (%.0f per second)%s",
				name, x.v, x.capacity, guessed(x.assumed)),
		}})
	}
	if known(x.m) {
		terms = append(terms, d.marginTerm(x, u, name))
	}
	if known(p.errors) || known(p.timeouts) {
		terms = append(terms, d.harmTerm(x, p, u, name))
	}
	return terms
}

func (d *retryStorm) marginTerm(x *storm, u *usual, name string) term {
	t := term{x: ramp(x.m, d.cfg.WarnMargin, d.cfg.ActMargin)}
	meaning := fmt.Sprintf("the backlog of %s is %s of the level of no return", name, percent(x.m))
	switch {
	case x.m >= 1:
		meaning = fmt.Sprintf("the backlog of %s is %.1f times the level of no return: its answers come too late to be used", name, x.m)
	case known(x.ttm) && x.ttm < 600:
		t.x = max(t.x, ramp(-x.ttm, -2*time.Duration(d.cfg.ActWithin).Seconds(), -time.Duration(d.cfg.ActWithin).Seconds()))
		meaning += fmt.Sprintf(", about %.0f s left", x.ttm)
	}
	normal := or(u.queue.value(needed), 0) / (x.capacity * x.timeout)
	t.ev = sre.Evidence{
		Signal: "margin", Subject: name, Now: x.m, Normal: normal, Unit: sre.Ratio,
		Meaning: meaning + guessed(x.assumed),
	}
	return t
}

func (d *retryStorm) harmTerm(x *storm, p *pulse, u *usual, name string) term {
	usualErrors := or(u.errors.value(needed), 0)
	byErrors, byDead := ramp(x.errors, 0, d.cfg.ErrorExcess), ramp(x.dead, 0, d.cfg.DeadShare)
	if byErrors >= byDead {
		return term{byErrors, sre.Evidence{
			Signal: "error_ratio", Subject: name, Now: or(p.errors, 0), Normal: usualErrors, Unit: sre.Ratio,
			Meaning: fmt.Sprintf("%s of requests to %s fail (usual %s)", percent(or(p.errors, 0)), name, percent(usualErrors)),
		}}
	}
	return term{byDead, sre.Evidence{
		Signal: "dead_work", Subject: name, Now: x.dead, Unit: sre.Ratio,
		Meaning: fmt.Sprintf("%s of requests to %s are given up by their callers", percent(x.dead), name),
	}}
}

// percent writes a share for people, with a decimal where it is small.
func percent(share float64) string {
	if share > 0 && share < .0095 {
		return fmt.Sprintf("%.1f %%", 100*share)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

func guessed(assumed bool) string {
	if assumed {
		return " (assumed: not all of it is measured)"
	}
	return ""
}
