package replay

import (
	"strconv"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// RecordedPeople ask again what people asked in a trail, at the ticks at which
// the agent heard them.
type RecordedPeople struct {
	inputs []sre.Input
}

// NewRecordedPeople reads approvals, rejections and operator commands out of a
// trail.
func NewRecordedPeople(trail []sre.Record) *RecordedPeople {
	p := &RecordedPeople{}
	for i := range trail {
		if in, ok := inputOf(&trail[i]); ok {
			in.ID = "recorded-" + strconv.Itoa(len(p.inputs)+1)
			p.inputs = append(p.inputs, in)
		}
	}
	return p
}

func inputOf(r *sre.Record) (sre.Input, bool) {
	switch {
	case r.Approval != nil && r.Approval.Response != sre.Expired:
		a := r.Approval
		in := sre.Input{Kind: sre.InputApprove, At: r.At, By: a.By, Role: a.Role, Incident: r.IncidentID, Decision: a.Decision, Reason: a.Comment}
		if a.Response == sre.Rejected {
			in.Kind = sre.InputReject
		}
		return in, true
	case r.Operator != nil:
		o := r.Operator
		return sre.Input{Kind: o.Command, At: r.At, By: o.By, Role: o.Role, Incident: r.IncidentID, Name: o.Name, Reason: o.Reason}, true
	}
	return sre.Input{}, false
}

// Inputs returns what was asked up to now and not returned yet.
func (p *RecordedPeople) Inputs(now time.Time, _ *sre.View) []sre.Input {
	n := 0
	for n < len(p.inputs) && !p.inputs[n].At.After(now) {
		n++
	}
	due := p.inputs[:n]
	p.inputs = p.inputs[n:]
	return due
}
