package detectors

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// survivor watches for replicas that must carry the load of those that are gone
// (SRE book, chapter 22: resource exhaustion of the survivors). The load of the
// rest is known as soon as the replicas are, before any worker is busy.
type survivor struct {
	cfg   SurvivorConfig
	v     *vitals
	state []survival
}

type survival struct {
	episode
	last    float64 // replicas at the tick before
	crashes float64 // drops in the number of replicas, halved every crashMemory
}

// crashMemory is the time constant, in seconds, after which a crash counts less.
const crashMemory = 300

func newSurvivor(cfg Config, v *vitals) *survivor { return &survivor{cfg: cfg.Survivor, v: v} }

// Name returns the name of the detector.
func (*survivor) Name() string { return "survivor_overload" }

// Detect appends one precursor per service whose remaining replicas carry too
// much.
func (d *survivor) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	d.v.observe(s, frozen)
	for len(d.state) < len(s.Graph.Services) {
		d.state = append(d.state, survival{last: missing})
	}
	for i := range s.Graph.Services {
		st, n := &d.state[i], d.v.now[i].replicas
		st.crashes *= 1 - decay(d.v.dt, crashMemory)
		if n < st.last {
			st.crashes++
		}
		if known(n) {
			st.last = n
		}
		lost, load := d.load(i)
		st.push(lost >= d.cfg.Lost && load >= d.cfg.WarnLoad, s.At)
		if st.on(2, 3) || st.on(1, 1) && lost >= 2*d.cfg.Lost && load >= d.cfg.ActLoad {
			found = append(found, d.precursor(s, i, lost, load))
		}
	}
	return found
}

// most bounds a load that has nobody left to carry it.
const most = 10

// load returns the share of the replicas that is gone, and what is asked of the
// rest over what it can serve.
func (d *survivor) load(i int) (lost, load float64) {
	p, u := &d.v.now[i], &d.v.usual[i]
	usual := u.replicas.value(needed)
	capacity, assumed := d.v.capacity(i)
	if !known(p.replicas) || !known(usual) || usual < 1.5 || !known(p.offered) || !known(capacity) || capacity <= 0 {
		return 0, 0
	}
	lost = clip(1 - p.replicas/usual)
	if assumed && !d.v.waiting(i) {
		return lost, 0 // the best rate that was seen is no limit
	}
	if p.replicas <= 0 {
		return lost, most
	}
	return lost, min(most, p.offered/(p.replicas*capacity/usual))
}

func (d *survivor) precursor(s *sre.Snapshot, i int, lost, load float64) sre.Precursor {
	p, u, st := &d.v.now[i], &d.v.usual[i], &d.state[i]
	name := s.Graph.Services[i].Name
	out := sre.Precursor{
		Detector: d.Name(), Mechanism: sre.SurvivorOverload, Service: name, Kind: sre.Replicas,
		Severity: sre.Warning, Since: st.since,
	}
	if load >= d.cfg.ActLoad && (d.v.waiting(i) || p.replicas <= 0) {
		out.Severity = sre.Critical
	}
	capacity, assumed := d.v.capacity(i)
	meaning := fmt.Sprintf("the replicas of %s that are left are asked for %.1f times what they can serve%s", name, load, guessed(assumed))
	if p.replicas <= 0 {
		meaning = fmt.Sprintf("no replica of %s is left", name)
	}
	terms := []term{
		{ramp(load, d.cfg.WarnLoad, d.cfg.ActLoad), sre.Evidence{
			Signal: "survivor_load", Subject: name, Now: load, Normal: or(u.traffic.value(needed), 0) / capacity, Unit: sre.Ratio, Meaning: meaning,
		}},
		{ramp(lost, d.cfg.Lost, .5), sre.Evidence{
			Signal: "replicas", Subject: name, Now: p.replicas, Normal: u.replicas.v, Unit: sre.Count,
			Meaning: fmt.Sprintf("%.0f replicas of %s are ready (usual %.0f)", p.replicas, name, u.replicas.v),
		}},
		{ramp(st.crashes, .5, 2), sre.Evidence{
			Signal: "crashes", Subject: name, Now: st.crashes, Unit: sre.Count,
			Meaning: fmt.Sprintf("replicas of %s were lost about %.0f times in the last %s", name, max(1, st.crashes), span(crashMemory)),
		}},
	}
	if t, ok := d.v.harmTerm(i, name, harmless); ok {
		terms = append(terms, t)
	}
	return conclude(out, terms)
}
