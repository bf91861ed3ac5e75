package executor_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sreagent/sreagent/agent/executor"
	"github.com/sreagent/sreagent/sre"
)

// deaf is a lever that does not honour its deadline.
type deaf struct {
	mu    sync.Mutex
	calls int
	wake  chan struct{}
}

func (d *deaf) hang() error {
	d.mu.Lock()
	d.calls++
	d.mu.Unlock()
	<-d.wake
	return nil
}

func (d *deaf) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

func (d *deaf) Describe(context.Context) (sre.Capability, error) { return sre.Capability{}, d.hang() }
func (d *deaf) Probe(context.Context, sre.Action) (sre.TargetState, error) {
	return sre.TargetState{}, d.hang()
}
func (d *deaf) Apply(context.Context, sre.Directive) error  { return d.hang() }
func (d *deaf) Revert(context.Context, sre.Directive) error { return d.hang() }

func TestALeverThatHangsIsLeftBehindAndThenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deaf{wake: make(chan struct{})}
		e := executor.New(executor.Config{Timeout: 2 * time.Second}, map[string]sre.Remediator{"l": d})
		const longest = 5 * time.Second / 2 // the deadline and a little grace
		for n := range 6 {
			began := time.Now()
			found := e.Probe(t.Context(), []sre.Action{action(nil)})[0]
			took := time.Since(began)
			switch {
			case took > longest:
				t.Errorf("call %d took %s", n, took)
			case n < 4 && sre.CodeOf(found.Err) != sre.CodeUnknown:
				t.Errorf("call %d: %v, want unknown", n, found.Err)
			case n >= 4 && (sre.CodeOf(found.Err) != sre.CodeRefused || !strings.Contains(found.Err.Error(), "hangs") || took != 0):
				t.Errorf("call %d: %v after %s, want refused at once", n, found.Err, took)
			}
		}
		if n := d.count(); n != 4 {
			t.Errorf("%d calls, want 4", n)
		}
		next := e.With(executor.Config{Timeout: time.Second}) // a reload does not forget it
		if err := next.Probe(t.Context(), []sre.Action{action(nil)})[0].Err; sre.CodeOf(err) != sre.CodeRefused {
			t.Errorf("after a reload: %v", err)
		}
		close(d.wake)
		synctest.Wait()
		if err := e.Probe(t.Context(), []sre.Action{action(nil)})[0].Err; err != nil {
			t.Errorf("it came back, and is refused: %v", err)
		}
	})
}

func TestAHungLeverCostsATickNoMoreThanItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deaf{wake: make(chan struct{})}
		fine := &lever{}
		e := executor.New(executor.Config{Timeout: 2 * time.Second, Width: 8}, map[string]sre.Remediator{"l": d, "fine": fine})
		began := time.Now()
		if caps := e.Describe(t.Context()); len(caps) != 1 || caps[0].Name != "fine" {
			t.Errorf("described: %v", caps)
		}
		e.Probe(t.Context(), []sre.Action{action(nil), action(nil), action(nil)})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		close(d.wake)
	})
}

// broken is a lever that panics.
type broken struct{ deaf }

func (b *broken) Probe(context.Context, sre.Action) (sre.TargetState, error) { panic("nil map") }

func TestALeverThatPanicsHasAnUnknownOutcome(t *testing.T) {
	e := executor.New(executor.Config{Timeout: time.Minute}, map[string]sre.Remediator{"l": &broken{}})
	err := e.Probe(t.Context(), []sre.Action{action(nil)})[0].Err
	if sre.CodeOf(err) != sre.CodeUnknown || !strings.Contains(err.Error(), "nil map") {
		t.Errorf("error %v", err)
	}
}
