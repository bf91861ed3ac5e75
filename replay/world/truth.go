package world

import "github.com/sreagent/sreagent/replay/fluid"

// Harm is what the callers of one service suffered, in requests.
type Harm struct {
	Service string
	Arrived float64
	Harmed  float64 // failed, given up by the caller before the answer, shed or turned away
	Share   float64 // of arrivals, 0 to 1; 0 without any
}

// marks are the counts at which truth was last asked for.
type marks struct {
	good, offered float64
	services      []fluid.ServiceTotals
}

func (m *marks) init(services int) { m.services = make([]fluid.ServiceTotals, services) }

// Goodput returns how many requests users wanted since the last call, and how
// many were answered well and in time. An answer counts when it comes, so good
// may be more than offered while a backlog is worked off.
func (w *World) Goodput() (good, offered float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	nowGood, nowOffered := users(w.model)
	good, offered = nowGood-w.mark.good, nowOffered-w.mark.offered
	w.mark.good, w.mark.offered = nowGood, nowOffered
	return good, offered
}

func users(m *fluid.Model) (good, offered float64) {
	for c := range m.Blueprint().Clients {
		t := m.Client(c)
		good += t.Good
		offered += t.Offered
	}
	return good, offered
}

// PerService returns what the callers of every service suffered since the last
// call, in the order of the blueprint.
func (w *World) PerService() []Harm {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Harm, len(w.mark.services))
	for i := range out {
		now, past := w.model.Service(i), &w.mark.services[i]
		h := Harm{Service: w.plan.Services[i].Name, Arrived: total(&now.Arrived) - total(&past.Arrived)}
		h.Harmed = harmed(&now) - harmed(past)
		if h.Arrived > 0 {
			h.Share = min(1, max(0, h.Harmed/h.Arrived))
		}
		out[i], *past = h, now
	}
	return out
}

// harmed counts each request once: who has given up is not counted again when
// the work for him is done.
func harmed(s *fluid.ServiceTotals) float64 {
	return s.Failed + s.Abandoned + s.Rejected + total(&s.Shed)
}
