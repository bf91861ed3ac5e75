package agent

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/sre"
)

// telling is what a lever says of a setting that somebody else has moved.
type telling string

const (
	byName telling = "by name" // foreign, and whose it is
	broken telling = "broken"  // foreign, under the name of the action whose lease it breaks
	silent telling = "silent"  // only that the setting is another
)

// written is one setting that a knob got.
type written struct {
	by string // an action's ID, or a name without a dot
	to float64
	at time.Time
}

// dial is one knob of a board.
type dial struct {
	writer     string // of what holds now; empty for nobody in particular
	value      float64
	beneath    float64 // to which the lease of the agent's action goes back
	lease      string  // the action that took it last and was not taken back
	expires    time.Time
	epoch, seq uint64
	history    []written
}

// board is a lever whose knobs an agent, autoscalers and people write, each value
// but once. It notes what the agent should never have done.
type board struct {
	mu     sync.Mutex
	now    time.Time
	tells  telling
	unseen bool // cannot be read
	dials  map[arbiter.Knob]*dial
	calls  map[arbiter.Knob]int // of this tick
	fresh  float64              // the last value that somebody else wrote
	wrong  []string
}

func newBoard() *board {
	return &board{dials: map[arbiter.Knob]*dial{}, calls: map[arbiter.Knob]int{}, fresh: 4}
}

func (b *board) at(k arbiter.Knob) *dial {
	if b.dials[k] == nil {
		b.dials[k] = &dial{value: 3}
	}
	return b.dials[k]
}

func (d *dial) set(by string, to float64, at time.Time) {
	d.writer, d.value = by, to
	d.history = append(d.history, written{by, to, at})
}

// theirs reports whether the setting was written by somebody else after the agent
// had first moved the knob.
func (d *dial) theirs() bool {
	touched := false
	for _, w := range d.history {
		touched = touched || isAction(w.by)
	}
	return touched && d.writer != "" && !isAction(d.writer)
}

func isAction(by string) bool { return strings.Contains(by, ".") }

func incidentOf(action string) string { return action[:strings.IndexByte(action, '.')] }

// write is what somebody else does: a value that was never there.
func (b *board) write(by string, k arbiter.Knob) {
	b.fresh *= 1.05
	b.at(k).set(by, b.fresh, b.now)
}

// turn moves time on: leases end.
func (b *board) turn(now time.Time) {
	b.now = now
	clear(b.calls)
	for _, d := range b.dials {
		if d.lease != "" && !now.Before(d.expires) {
			d.giveBack()
		}
	}
}

// giveBack ends the lease; what somebody else has written stays.
func (d *dial) giveBack() {
	if d.writer == d.lease {
		d.writer, d.value = "", d.beneath
	}
	d.lease = ""
}

func (b *board) Describe(ctx context.Context) (sre.Capability, error) {
	return (&fakeLever{}).Describe(ctx)
}

func (b *board) Probe(_ context.Context, a sre.Action) (sre.TargetState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unseen {
		return sre.TargetState{}, errCut
	}
	d := b.at(arbiter.KnobOf(a))
	s := sre.TargetState{Current: sre.Params{"ratio": d.value}, Epoch: d.epoch}
	if d.lease == "" {
		return s, nil
	}
	if d.writer == d.lease || b.tells != silent {
		s.Owner, s.Expires, s.Default = d.lease, d.expires, sre.Params{"ratio": d.beneath}
	}
	switch {
	case d.writer == d.lease:
		s.InEffect, s.Foreign = d.lease == a.ID && a.Params.Near(s.Current), d.lease != a.ID
	case b.tells == byName:
		s.Owner, s.Foreign = d.writer, true
	case b.tells == broken:
		s.Foreign = true
	}
	return s, nil
}

// takes refuses a stale writer, and counts the calls of a tick.
func (b *board) takes(d sre.Directive) (*dial, error) {
	k := arbiter.KnobOf(d.Action)
	if b.calls[k]++; b.calls[k] > 1 {
		b.wrong = append(b.wrong, fmt.Sprintf("%s on %s was written twice in a tick, the second time by %s", k.Kind, k.Target, d.Action.ID))
	}
	x := b.at(k)
	if d.Epoch < x.epoch || d.Epoch == x.epoch && d.Seq <= x.seq {
		return nil, sre.Refusedf("stale")
	}
	x.epoch, x.seq = d.Epoch, d.Seq
	return x, nil
}

func (b *board) Apply(_ context.Context, d sre.Directive) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, err := b.takes(d)
	if err != nil {
		return err
	}
	id := d.Action.ID
	switch {
	case x.theirs():
		b.wrong = append(b.wrong, fmt.Sprintf("%s overwrote what %s had set", id, x.writer))
	case x.lease != "" && x.writer == x.lease && incidentOf(x.lease) != incidentOf(id):
		b.wrong = append(b.wrong, fmt.Sprintf("%s overwrote %s", id, x.lease))
	}
	if x.lease == "" {
		x.beneath = x.value
	}
	ratio, _ := d.Action.Params.Float("ratio")
	x.lease, x.expires = id, d.Expires
	if x.writer != id || x.value != ratio {
		x.set(id, ratio, b.now)
	}
	return nil
}

func (b *board) Revert(_ context.Context, d sre.Directive) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, err := b.takes(d)
	if err != nil {
		return err
	}
	if x.lease == d.Action.ID {
		x.giveBack()
	}
	return nil
}

// ours are the actions of an incident that are in force, of any where it is empty.
func (b *board) ours(incident string) (out []string) {
	for _, d := range b.dials {
		if d.lease != "" && d.writer == d.lease && (incident == "" || incidentOf(d.lease) == incident) {
			out = append(out, d.lease)
		}
	}
	return out
}
