package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// target is the thing that the lever in memory moves. It outlives the lever.
type target struct {
	mu      sync.Mutex
	value   sre.Params
	before  sre.Params
	owner   string
	expires time.Time
	epoch   uint64
	seq     uint64
	now     time.Time
	writes  int
	cut     bool
	stalled chan struct{} // closed when the stall ends; nil without one
}

// memory is a lever that conforms, but for the planted fault.
type memory struct {
	*target
	fault string
	kinds []sre.KindSpec
	fixed bool // it takes no parameters
}

func newMemory(tgt *target, fault string) *memory {
	percent := sre.ParamSpec{Name: "percent", Type: "number", Required: true, Max: 100, Unit: "percent"}
	if fault == "describe" {
		percent.Max = 0
	}
	return &memory{target: tgt, fault: fault, kinds: []sre.KindSpec{{Kind: sre.KillSwitch, Reversible: true, Params: []sre.ParamSpec{percent}}}}
}

func (m *memory) Describe(context.Context) (sre.Capability, error) {
	return sre.Capability{Name: "memory", Version: "1", Kinds: m.kinds}, nil
}

// enter waits for the target like a request does.
func (m *memory) enter(ctx context.Context) error {
	m.mu.Lock()
	stalled := m.stalled
	m.mu.Unlock()
	if stalled != nil {
		if m.fault == "deadline" {
			ctx = context.WithoutCancel(ctx)
		}
		select {
		case <-stalled:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil && m.fault != "cancel" {
		return &sre.ActionError{Code: sre.CodeFailed, Err: err}
	}
	return nil
}

func (m *memory) Probe(ctx context.Context, a sre.Action) (sre.TargetState, error) {
	if err := m.enter(ctx); err != nil {
		return sre.TargetState{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == "dry run" {
		m.writes++
	}
	st := sre.TargetState{Current: maps.Clone(m.value), Owner: m.owner, Epoch: m.epoch}
	if m.owner != "" {
		st.Expires, st.Default = m.expires, maps.Clone(m.before)
		st.Foreign = m.owner != a.ID && m.fault != "takeover"
		st.InEffect = m.owner == a.ID && (covers(m.value, a.Params) || m.fault == "probe")
	}
	return st, nil
}

func (m *memory) fence(d sre.Directive) error {
	if d.Epoch < m.epoch && m.fault != "epoch" || d.Epoch == m.epoch && d.Seq < m.seq && m.fault != "seq" {
		return sre.Refusedf("stale")
	}
	m.epoch, m.seq = d.Epoch, d.Seq
	return nil
}

func (m *memory) Apply(ctx context.Context, d sre.Directive) error {
	if err := m.kinds[0].Check(d.Action.Params); err != nil && m.fault != "nonsense" {
		return err
	}
	if d.Expires.IsZero() && m.fault != "needs expiry" {
		return sre.Invalidf("no expiry")
	}
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fence(d); err != nil {
		return err
	}
	return m.set(d)
}

func (m *memory) set(d sre.Directive) error {
	again := m.owner == d.Action.ID
	if m.owner == "" || m.fault == "move" && again && (m.fixed || !covers(m.value, d.Action.Params)) {
		m.before = m.value
	}
	m.owner, m.value = d.Action.ID, maps.Clone(d.Action.Params)
	if m.fixed {
		m.value = sre.Params{"percent": 100.0}
	}
	m.writes++
	if !again || m.fault != "renew" {
		m.expires = d.Expires
	}
	if again && m.fault == "idempotent" {
		m.value["percent"] = 99.0
	}
	switch {
	case m.cut && m.fault == "cut":
		return errFailed("closed")
	case m.cut:
		return sre.Unknownf(errors.New("closed"), "no answer")
	}
	return nil
}

func errFailed(why string) error { return sre.Failedf("%s", why) }

func (m *memory) Revert(ctx context.Context, d sre.Directive) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fence(d); err != nil {
		return err
	}
	switch {
	case m.owner == "" && m.fault == "revert twice" && m.writes > 1:
		return errFailed("nothing to revert")
	case m.owner == "" && m.fault == "revert nothing":
		m.value = sre.Params{"percent": 50.0}
	case m.owner == "" && m.fault == "revert late" && m.now.After(start):
		return errFailed("it has lapsed")
	case m.owner == "" || m.owner != d.Action.ID && m.fault != "revert others":
		return nil
	case m.fault == "revert":
		m.owner = ""
		return nil
	}
	m.back()
	return nil
}

func (m *memory) back() {
	m.value, m.before, m.owner = m.before, nil, ""
	m.writes++
}

func (m *memory) Manual(a sre.Action, _ sre.Params) string {
	if a.Target.Service != "shop" && m.fault != "manual" {
		return ""
	}
	return "echo back"
}

// restarted is the lever of the next process; a planted fault loses the owner.
func (m *memory) restarted() *memory {
	if m.fault == "restart" {
		m.mu.Lock()
		m.owner, m.epoch = "", 0
		m.mu.Unlock()
	}
	next := newMemory(m.target, m.fault)
	next.kinds, next.fixed = m.kinds, m.fixed
	return next
}

// racy is a lever that mixes up who asked once many have.
type racy struct {
	*memory
	calls atomic.Int64
}

func (r *racy) Apply(ctx context.Context, d sre.Directive) error {
	r.calls.Add(1)
	return r.memory.Apply(ctx, d)
}

func (r *racy) Probe(ctx context.Context, a sre.Action) (sre.TargetState, error) {
	st, err := r.memory.Probe(ctx, a)
	if r.calls.Load() > 4 {
		st.Owner = "somebody"
	}
	return st, err
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func killAction(id string, percent float64) sre.Action {
	return sre.Action{ID: id, Kind: sre.KillSwitch, Target: sre.Target{Lever: "memory", Service: "shop"}, Params: sre.Params{"percent": percent}}
}

func memorySubject(fault string) Subject {
	m := newMemory(&target{value: sre.Params{"percent": 0.0}, now: start}, fault)
	with := func(f func()) func() { return func() { m.mu.Lock(); defer m.mu.Unlock(); f() } }
	s := Subject{
		Lever: m, Action: killAction("a", 5), Other: killAction("b", 25),
		Bad: []sre.Action{killAction("c", 101), {ID: "d", Kind: sre.KillSwitch}},
		Now: func() time.Time { m.mu.Lock(); defer m.mu.Unlock(); return m.now },
		InForce: func() string {
			m.mu.Lock()
			defer m.mu.Unlock()
			b, err := json.Marshal(m.value)
			return fmt.Sprint(string(b), err)
		},
		Writes: func() int { m.mu.Lock(); defer m.mu.Unlock(); return m.writes },
		Cut:    with(func() { m.cut = true }),
		Stall:  with(func() { m.stalled = make(chan struct{}) }),
		Mend: with(func() {
			m.cut = false
			if m.stalled != nil {
				close(m.stalled)
			}
			m.stalled = nil
		}),
		Restart: func() sre.Remediator { return m.restarted() },
		Advance: func(d time.Duration) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.now = m.now.Add(d)
			if m.owner != "" && !m.now.Before(m.expires) && m.fault != "expiry" {
				m.back()
			}
		},
		Manual: m.Manual,
	}
	if fault == "race" {
		s.Lever = &racy{memory: m}
	}
	return s
}

func TestAConformingLeverPasses(t *testing.T) {
	Run(t, func(*testing.T) Subject { return memorySubject("") })
}

func TestWrapped(t *testing.T) {
	wraps := 0
	Run(t, Wrapped(func(*testing.T) Subject { return memorySubject("") }, func(_ *testing.T, r sre.Remediator) sre.Remediator {
		wraps++
		return struct{ sre.Remediator }{r}
	}))
	if want := len(Cases()) + 1; wraps != want { // and once more after the restart
		t.Errorf("wrapped %d times, want %d", wraps, want)
	}
}
