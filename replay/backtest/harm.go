package backtest

import (
	"slices"
	"time"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

// Harm is what a fault did in truth. Only a simulated world can say it.
type Harm struct {
	Felt       bool       `json:"felt"`                   // some users got less than they must; else the system healed by itself
	FeltAt     *time.Time `json:"felt_at,omitempty"`      // since when
	Lasting    bool       `json:"lasting,omitempty"`      // the trouble outlives what set it off
	NoReturnAt *time.Time `json:"no_return_at,omitempty"` // the last instant at which taking the trigger away would have healed it, to a tick
	Story      string     `json:"story,omitempty"`        // what was done, in one sentence
	// WarnedAt is the first sign of at least the severity warning that names a
	// true service, from the injection on.
	WarnedAt *time.Time `json:"warned_at,omitempty"`
	// RoomSeconds is from the injection to the point of no return, or to the
	// harm where there is none: all that a precursor could be early by.
	RoomSeconds *float64 `json:"room_seconds,omitempty"`
	// SightSeconds is what is left of the room two ticks after the injection: at
	// the first tick, rates still cover the time before it, and one sample is no
	// slope.
	SightSeconds *float64 `json:"sight_seconds,omitempty"`
	// LeadSeconds is from the first right warning to that point; negative is too
	// late. Without a warning it is nil.
	LeadSeconds *float64 `json:"lead_seconds,omitempty"`
}

// fewestLead is the lead in seconds that a precursor is to have.
const fewestLead = 30

// warn looks for the first sign that names a true service of a fault: among all
// that was suspicious at the tick where the agent tells it, and among the signs
// of its incidents, whoever knows of them.
func (o *Observer) warn(t replay.Tick) {
	if t.View == nil || o.subject.Harm == nil {
		return
	}
	for _, f := range o.faults {
		if f.warned.IsZero() && !t.At.Before(f.InjectedAt) && (f.signed(t.View.Signs) || slices.ContainsFunc(t.View.Incidents, func(inc sre.Incident) bool {
			return inc.State != sre.Closed && f.signed(inc.Diagnosis.Precursors)
		})) {
			f.warned = t.At
		}
	}
}

func (f *span) signed(signs []sre.Precursor) bool {
	return slices.ContainsFunc(signs, func(p sre.Precursor) bool {
		return p.Severity.Rank() >= sre.Warning.Rank() && slices.Contains(f.Services, p.Service)
	})
}

// harm is the truth of a fault with what the agent made of it.
func (o *Observer) harm(f *span) *Harm {
	if o.subject.Harm == nil {
		return nil
	}
	h := o.subject.Harm(f.order)
	until := h.NoReturnAt
	if until == nil {
		until = h.FeltAt
	}
	if !f.warned.IsZero() {
		at := f.warned.UTC()
		h.WarnedAt = &at
	}
	if until != nil {
		room := until.Sub(f.InjectedAt).Seconds()
		sight := room - 2*o.subject.Interval.Seconds()
		h.RoomSeconds, h.SightSeconds = &room, &sight
		if h.WarnedAt != nil {
			lead := until.Sub(*h.WarnedAt).Seconds()
			h.LeadSeconds = &lead
		}
	}
	return &h
}
