package guard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// breakerOrder is what an operator wants of a circuit. It is not a directive: it
// has no epoch, because a person with the token decides over any writer.
type breakerOrder struct {
	State string         `json:"state"` // open or closed
	For   model.Duration `json:"for"`   // how long it is kept open at least
}

// putBreaker opens or closes the circuits of a callee, or of callee/backend, by
// hand. An open one is a lease too: after its time probes decide.
func (g *Guard) putBreaker(w http.ResponseWriter, r *http.Request) {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	var o breakerOrder
	if err := dec.Decode(&o); err != nil {
		g.refuse(w, &RefusedError{Reason: "invalid", Err: fmt.Errorf("decode order: %w", err)})
		return
	}
	if err := o.validate(); err != nil {
		g.refuse(w, &RefusedError{Reason: "invalid", Err: err})
		return
	}
	name := r.PathValue("callee")
	found := g.endpointsOf(name)
	if len(found) == 0 {
		g.answer(w, http.StatusNotFound, Refusal{Error: fmt.Sprintf("no callee or backend %q", name)})
		return
	}
	now := g.clock.Now()
	stats := make(map[string]BreakerStats, len(found))
	for _, e := range found {
		if o.State == string(circuitOpen) {
			e.breaker.force(now, now.Add(time.Duration(o.For)))
		} else {
			e.breaker.reset(now)
		}
		stats[e.label], _ = e.breaker.stats(now)
	}
	g.log.Warn("circuit set by hand", "callee", name, "state", o.State, "for", o.For.String())
	g.answer(w, http.StatusOK, stats)
}

func (o breakerOrder) validate() error {
	var f faults
	switch o.State {
	case string(circuitOpen):
		f.check(o.For > 0 && time.Duration(o.For) <= MaxTTL, "for", "is %s; allowed: more than 0s, at most %s", o.For, model.Duration(MaxTTL))
	case string(circuitClosed):
		f.check(o.For == 0, "for", "is %s; allowed: none beside closed", o.For)
	default:
		f.check(false, "state", "is %q; allowed: open, closed", o.State)
	}
	if len(f) > 0 {
		return f[0]
	}
	return nil
}

// endpointsOf finds a callee's endpoints, or the one that callee/backend names.
func (g *Guard) endpointsOf(name string) []*endpoint {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	if u, ok := g.upstreams[name]; ok {
		return u.all()
	}
	callee, _, _ := strings.Cut(name, "/")
	if u, ok := g.upstreams[callee]; ok {
		return choose(u.all(), func(e *endpoint) bool { return e.label == name })
	}
	return nil
}
