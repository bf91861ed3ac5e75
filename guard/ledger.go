package guard

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	maxLeases  = 256  // knobs held at once
	maxDeleted = 1024 // IDs remembered as deleted
	maxFences  = 1024 // knobs of which the last write is remembered
)

// lease is a directive in force or on its way out.
type lease struct {
	directive Directive
	phase     Phase
	step      int
	steps     int
	target    Params // of the return
	stop      func() bool
	turn      uint64 // tells a late timer from the one that is waited for
}

// inForce is the value now, on the way to target.
func (l *lease) inForce(target Params) Params {
	return returnValue(l.directive.Kind, l.directive.Params, target, l.step, l.steps)
}

// fence is the last write that was accepted for one knob.
type fence struct {
	epoch, seq uint64
}

// ledger holds the directives of a guard: it fences writers, lets directives
// lapse and brings settings back. It calls enforce, with mu held, after each
// change of a knob, and target once when a return begins.
type ledger struct {
	clock   Clock
	steps   int
	every   time.Duration
	persist func(epoch uint64) error
	enforce func(knob)
	target  func(Directive) Params

	mu      sync.Mutex
	closed  bool
	epoch   uint64
	leases  map[knob]*lease
	owners  map[string]knob // by directive ID
	fences  map[knob]fence
	deleted map[string]uint64 // the seq at which an ID was deleted in this epoch
	turns   uint64
}

// put accepts a directive, or renews the one with the same ID.
func (l *ledger) put(d Directive) error {
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := d.validate(now); err != nil {
		return l.refuse("invalid", err)
	}
	k := d.knob()
	if other, ok := l.owners[d.ID]; ok && other != k {
		return l.refuse("invalid", fmt.Errorf("id: %q holds another setting", d.ID))
	}
	if _, held := l.leases[k]; !held && len(l.leases) >= maxLeases {
		return l.refuse("invalid", fmt.Errorf("%d directives are held; allowed: %d", len(l.leases), maxLeases))
	}
	if seq, ok := l.deleted[d.ID]; ok && d.Epoch == l.epoch && d.Seq <= seq {
		return l.refuse("stale_seq", fmt.Errorf("seq %d of %q is not above %d, at which it was deleted", d.Seq, d.ID, seq))
	}
	if err := l.pass(d.Epoch, d.Seq, &k); err != nil {
		return err
	}
	delete(l.deleted, d.ID)
	old := l.leases[k]
	if old != nil {
		old.stop()
		delete(l.owners, old.directive.ID)
	}
	d.Params = maps.Clone(d.Params)
	held := &lease{directive: d, phase: PhaseHeld}
	l.leases[k], l.owners[d.ID] = held, k
	l.wake(held, d.Expires.Sub(now))
	l.enforce(k)
	return nil
}

// remove starts the return of the directive with that ID, or ends it at once.
// One that is not there is removed already.
func (l *ledger) remove(id string, epoch, seq uint64, atOnce bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k, ok := l.owners[id]
	if !ok {
		if err := l.pass(epoch, seq, nil); err != nil {
			return err
		}
		l.bury(id, seq)
		return nil
	}
	if err := l.pass(epoch, seq, &k); err != nil {
		return err
	}
	held := l.leases[k]
	switch {
	case atOnce:
		l.drop(held)
	case held.phase == PhaseHeld:
		l.lapse(held)
	}
	return nil
}

// bury remembers that an ID was deleted: a late write of it must not come back.
// Where there are too many the oldest is forgotten, whose writes are the least
// likely to be still under way.
func (l *ledger) bury(id string, seq uint64) {
	l.deleted[id] = max(seq, l.deleted[id])
	if len(l.deleted) <= maxDeleted {
		return
	}
	oldest := id
	for other, at := range l.deleted {
		if first := l.deleted[oldest]; at < first || at == first && other < oldest {
			oldest = other
		}
	}
	delete(l.deleted, oldest)
}

// fence remembers the last write of a knob. Of knobs that no directive holds only
// so many are remembered, the latest ones.
func (l *ledger) fence(k knob, epoch, seq uint64) {
	l.fences[k] = fence{epoch, seq}
	if len(l.fences) <= maxFences {
		return
	}
	oldest, found := knob{}, false
	for other, at := range l.fences {
		_, held := l.leases[other]
		if first := l.fences[oldest]; other != k && !held && (!found || at.seq < first.seq || at.seq == first.seq && other.compare(oldest) < 0) {
			oldest, found = other, true
		}
	}
	if found {
		delete(l.fences, oldest)
	}
}

func (k knob) compare(other knob) int {
	return cmp.Or(cmp.Compare(k.kind, other.kind), cmp.Compare(k.callee, other.callee), cmp.Compare(k.name, other.name))
}

// pass lets a writer through that has not been superseded, and remembers it. A
// new epoch is durable before anything is done in its name.
func (l *ledger) pass(epoch, seq uint64, k *knob) error {
	if l.closed {
		return l.refuse("invalid", errors.New("the guard is closed"))
	}
	if epoch < l.epoch {
		return l.refuse("stale_epoch", fmt.Errorf("epoch %d is below %d", epoch, l.epoch))
	}
	if k != nil {
		if last, ok := l.fences[*k]; ok && last.epoch == epoch && seq < last.seq {
			return l.refuse("stale_seq", fmt.Errorf("seq %d is below %d in epoch %d", seq, last.seq, epoch))
		}
	}
	if epoch > l.epoch {
		if err := l.persist(epoch); err != nil {
			return l.refuse("storage", err)
		}
		l.epoch = epoch
		clear(l.fences)
		clear(l.deleted)
	}
	if k != nil {
		l.fence(*k, epoch, seq)
	}
	return nil
}

func (l *ledger) refuse(reason string, err error) error {
	return &RefusedError{Reason: reason, Epoch: l.epoch, Err: err}
}

// lapse begins the return: the value stays for one interval, so that a renewal
// that is a little late finds it in force, and then goes back step by step.
func (l *ledger) lapse(held *lease) {
	held.stop()
	held.phase = PhaseReturning
	held.steps = returnSteps(held.directive.Kind, held.directive.Params, l.steps)
	if held.steps == 0 {
		l.drop(held)
		return
	}
	held.target = l.target(held.directive)
	l.wake(held, l.every)
	l.enforce(held.directive.knob())
}

func (l *ledger) advance(held *lease) {
	if held.phase == PhaseHeld {
		l.lapse(held)
		return
	}
	held.step++
	if held.step >= held.steps {
		l.drop(held)
		return
	}
	l.wake(held, l.every)
	l.enforce(held.directive.knob())
}

func (l *ledger) drop(held *lease) {
	held.stop()
	k := held.directive.knob()
	delete(l.leases, k)
	delete(l.owners, held.directive.ID)
	l.enforce(k)
}

func (l *ledger) wake(held *lease, after time.Duration) {
	l.turns++
	turn := l.turns
	held.turn = turn
	held.stop = l.clock.AfterFunc(after, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed || held.turn != turn || l.leases[held.directive.knob()] != held {
			return
		}
		l.advance(held)
	})
}

// sorted returns the leases in a fixed order; mu is held.
func (l *ledger) sorted() []*lease {
	return slices.SortedFunc(maps.Values(l.leases), func(a, b *lease) int {
		return a.directive.knob().compare(b.directive.knob())
	})
}

// close stops every timer. What is in force stays so.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, held := range l.leases {
		held.stop()
	}
}
