package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// manner is how a lever answers for one tick.
type manner string

const (
	fine    manner = "fine"
	refuses manner = "refuses"
	fails   manner = "fails"    // says so, and touches nothing
	drops   manner = "drops"    // the request is lost, the answer is unknown
	mute    manner = "mute"     // the request works, the answer is lost
	late    manner = "late"     // the answer is lost, the request arrives some ticks later
	unseen  manner = "unseen"   // cannot be probed
	dead    manner = "dead"     // neither answers nor works
	ownerOf        = "somebody" // the foreign writer
)

// write is one request on its way.
type write struct {
	d      sre.Directive
	revert bool
	due    time.Time
}

// knob is one setting: the last writer holds it.
type knob struct {
	owner      string // action ID, ownerOf, or empty for the default
	value      sre.Params
	since      time.Time
	expires    time.Time
	epoch, seq uint64 // highest accepted
}

// knobs is a lever as enforcers are: one value per setting, a fence per
// setting, leases, and an unreliable road to it. It notes what should never
// have been asked of it.
type knobs struct {
	mu      sync.Mutex
	now     time.Time
	stays   bool // holds no leases
	exact   bool // an action holds with its own settings only
	manners map[string]manner
	set     map[string]*knob
	road    []write
	fresh   map[string]int // arrivals of an action that was not in effect, in this run
	allowed map[string]int // touches with a durable intent, by action and purpose
	touched int
	wrong   []string
}

func newKnobs() *knobs {
	return &knobs{set: map[string]*knob{}, manners: map[string]manner{}, fresh: map[string]int{}, allowed: map[string]int{}}
}

func (k *knobs) Describe(ctx context.Context) (sre.Capability, error) {
	return (&fakeLever{}).Describe(ctx)
}

func knobOf(a sre.Action) string { return string(a.Kind) + " " + a.Target.String() }

func (k *knobs) at(a sre.Action) *knob {
	if k.set[knobOf(a)] == nil {
		k.set[knobOf(a)] = &knob{}
	}
	return k.set[knobOf(a)]
}

// turn moves time on: leases lapse, what is late arrives.
func (k *knobs) turn(now time.Time) {
	k.now = now
	for _, s := range k.set {
		if !k.stays && s.owner != "" && s.owner != ownerOf && !now.Before(s.expires) {
			s.owner = ""
		}
	}
	var rest []write
	for _, w := range k.road {
		if now.Before(w.due) {
			rest = append(rest, w)
			continue
		}
		fresh := k.fresh[w.d.Action.ID]
		_ = k.take(w)
		if fresh > 0 { // a renewal that comes after the lapse is none of the agent's doing
			k.fresh[w.d.Action.ID] = fresh
		}
	}
	k.road = rest
}

// take lets a write in, or refuses it by the fence.
func (k *knobs) take(w write) error {
	s, a := k.at(w.d.Action), w.d.Action
	if w.d.Epoch < s.epoch || w.d.Epoch == s.epoch && w.d.Seq < s.seq {
		return sre.Refusedf("stale: %d.%d after %d.%d", w.d.Epoch, w.d.Seq, s.epoch, s.seq)
	}
	if w.d.Epoch == s.epoch && w.d.Seq == s.seq {
		k.wrong = append(k.wrong, fmt.Sprintf("%s was carried out twice as %d.%d", a.ID, w.d.Epoch, w.d.Seq))
	}
	s.epoch, s.seq = w.d.Epoch, w.d.Seq
	if w.revert {
		if s.owner == a.ID {
			s.owner = ""
		}
		return nil
	}
	if !k.now.Before(w.d.Expires) {
		return sre.Refusedf("lapsed on its way")
	}
	if s.owner == ownerOf {
		k.wrong = append(k.wrong, a.ID+" was fought over")
	}
	if s.owner != a.ID {
		k.fresh[a.ID]++
		s.owner, s.since = a.ID, k.now
	}
	s.expires, s.value = w.d.Expires, a.Params
	return nil
}

func (k *knobs) Probe(_ context.Context, a sre.Action) (sre.TargetState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.manners[a.Target.Service]; m == unseen || m == dead {
		return sre.TargetState{}, errCut
	}
	s := k.at(a)
	state := sre.TargetState{
		InEffect: s.owner == a.ID, Owner: s.owner, Foreign: s.owner != "" && s.owner != a.ID, Epoch: s.epoch,
		Current: sre.Params{"ratio": 3.0},
	}
	if state.InEffect {
		state.Current = s.value
		state.InEffect = !k.exact || a.Params.Near(s.value)
	}
	if state.InEffect && !k.stays {
		state.Expires = s.expires
	}
	return state, nil
}

func (k *knobs) Apply(_ context.Context, d sre.Directive) error { return k.send(write{d: d}) }
func (k *knobs) Revert(_ context.Context, d sre.Directive) error {
	return k.send(write{d: d, revert: true})
}

func (k *knobs) send(w write) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.touched++
	key := fmt.Sprint(w.d.Action.ID, w.revert, w.d.Epoch)
	if k.allowed[key]--; k.allowed[key] < 0 {
		k.wrong = append(k.wrong, "touched without a durable intent: "+key)
	}
	switch k.manners[w.d.Action.Target.Service] {
	case refuses:
		return sre.Refusedf("403")
	case fails:
		return sre.Failedf("500")
	case drops, dead:
		return errCut
	case mute:
		_ = k.take(w)
		return errCut
	case late:
		w.due = k.now.Add(4 * time.Second)
		k.road = append(k.road, w)
		return errors.New("timeout")
	case fine, unseen:
	}
	return k.take(w)
}

// permit notes the intents that have become durable.
func (k *knobs) permit(rs []sre.Record) {
	for _, r := range rs {
		if r.Intent != nil && !r.Intent.DryRun && r.Intent.Permit.ID != "" {
			k.allowed[fmt.Sprint(r.Intent.Action.ID, r.Intent.Permit.Purpose == sre.ToRevert, r.Intent.Epoch)]++
		}
	}
}

// ours lists the settings that the agent's actions hold.
func (k *knobs) ours() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(k.set)) {
		if o := k.set[name].owner; o != "" && o != ownerOf {
			out = append(out, name+" by "+o)
		}
	}
	return out
}
