package remediators

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// Two agents on two machines: each has its own ledger, HAProxy's token is all
// that they share.
func TestHAProxyFencesAcrossMachines(t *testing.T) {
	w := newProxyWorld(t, "unix")
	start := w.inForce() + w.file(t)
	old := w.lever
	a := admitAction()
	before, err := old.Probe(t.Context(), a)
	must(t, err)
	must(t, old.Apply(t.Context(), w.directive(a, 5, 1, time.Minute)))

	w.cfg.StateDir = filepath.Join(t.TempDir(), "elsewhere")
	leader := w.reopen(t)
	st, err := leader.Probe(t.Context(), a)
	must(t, err)
	if st.Epoch != 5 || !strings.Contains(st.Detail, "no record") {
		t.Errorf("the new leader sees %+v", st)
	}
	d := w.directive(a, 6, 1, 10*time.Minute)
	d.Restore = before.Current
	must(t, leader.Apply(t.Context(), d))
	wantCode(t, old.Apply(t.Context(), w.directive(a, 5, 2, time.Minute)), sre.CodeRefused)
	wantCode(t, old.Revert(t.Context(), w.directive(a, 5, 3, time.Minute)), sre.CodeRefused)
	// The old leader's lease lapses under the new one's: it must not revert.
	held := w.inForce()
	must(t, old.Sweep(t.Context(), w.now.Add(time.Hour)))
	if diff := cmp.Diff(held, w.inForce()); diff != "" {
		t.Errorf("the old leader reverted the new one's setting:\n%s", diff)
	}
	must(t, leader.Revert(t.Context(), w.directive(a, 6, 2, time.Minute)))
	if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

func TestHAProxyRevertWithoutLedgerUsesRestore(t *testing.T) {
	w := newProxyWorld(t, "unix")
	start := w.inForce() + w.file(t)
	a := weightAction()
	before, err := w.lever.Probe(t.Context(), a)
	must(t, err)
	must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, time.Minute)))
	must(t, os.WriteFile(w.lever.ledger.path, []byte("{ not a ledger"), 0o600))
	wantCode(t, w.lever.Apply(t.Context(), w.directive(a, 5, 2, time.Minute)), sre.CodeFailed)
	d := w.directive(a, 5, 3, time.Minute)
	d.Restore = before.Current
	must(t, w.lever.Revert(t.Context(), d))
	if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
	if b, err := os.ReadFile(w.lever.ledger.path); err != nil || string(b) != "{ not a ledger" {
		t.Errorf("the broken ledger was written over: %q, %v", b, err)
	}
	if _, err := New(w.cfg, Options{}); err == nil {
		t.Error("a lever opened over a broken ledger")
	}
}

// TestHAProxyCrashPoints ends the world after each command in turn: whatever
// was done by then, the lapse of the lease brings the first state back.
func TestHAProxyCrashPoints(t *testing.T) {
	for name, a := range map[string]sre.Action{"admit": admitAction(), "drain": drainAction(), "weight": weightAction(), "maxconn": maxconnAction()} {
		t.Run(name, func(t *testing.T) {
			whole := false
			for n := 0; !whole; n++ {
				if n > 200 {
					t.Fatal("apply and revert never end")
				}
				w := newProxyWorld(t, "unix")
				start := w.inForce() + w.file(t)
				w.with(func() { w.budget = n })
				err := w.lever.Apply(t.Context(), w.directive(a, 5, 1, time.Minute))
				if err == nil {
					err = w.lever.Revert(t.Context(), w.directive(a, 5, 2, time.Minute))
					whole = err == nil
				}
				w.with(func() { w.budget = -1 })
				lever := w.reopen(t)
				st, probeErr := lever.Probe(t.Context(), a)
				must(t, probeErr)
				if st.Foreign {
					t.Fatalf("after %d commands somebody else is blamed: %+v", n, st)
				}
				must(t, lever.Sweep(t.Context(), w.now.Add(time.Hour)))
				if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
					t.Fatalf("after %d commands (%v):\n%s", n, err, diff)
				}
			}
		})
	}
}

// The same, while one action takes over from another.
func TestHAProxyCrashPointsOfTakeover(t *testing.T) {
	for name, a := range map[string]sre.Action{"admit": admitAction(), "weight": weightAction()} {
		t.Run(name, func(t *testing.T) {
			whole := false
			for n := 0; !whole; n++ {
				if n > 200 {
					t.Fatal("the takeover never ends")
				}
				w := newProxyWorld(t, "unix")
				start := w.inForce() + w.file(t)
				must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, time.Minute)))
				w.with(func() { w.budget = n })
				err := w.lever.Apply(t.Context(), w.directive(other(a), 5, 2, time.Minute))
				whole = err == nil
				w.with(func() { w.budget = -1 })
				if err == nil || sre.CodeOf(err) == sre.CodeFailed {
					st, probeErr := w.lever.Probe(t.Context(), other(a))
					must(t, probeErr)
					if st.InEffect != (err == nil) {
						t.Fatalf("after %d commands: %v, but %+v", n, err, st)
					}
				}
				must(t, w.reopen(t).Sweep(t.Context(), w.now.Add(time.Hour)))
				if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
					t.Fatalf("after %d commands (%v):\n%s", n, err, diff)
				}
			}
		})
	}
}

// A person who puts the class back by hand does not know of the file; the
// lapse must not leave a file that sheds again at the next start.
func TestHAProxyLapseCleansTheFile(t *testing.T) {
	w := newProxyWorld(t, "unix")
	start := w.inForce() + w.file(t)
	must(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)))
	w.setMapEntry("be_shop.low", "100")
	must(t, w.lever.Sweep(t.Context(), w.now.Add(time.Hour)))
	if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

func TestHAProxyLockWaitsForItsTurn(t *testing.T) {
	w := newProxyWorld(t, "unix")
	unlock, err := w.lever.ledger.lock(t.Context())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, w.lever.Apply(ctx, w.directive(admitAction(), 5, 1, time.Minute)), sre.CodeFailed)
	done := make(chan error, 1)
	go func() { done <- w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)) }()
	unlock()
	must(t, <-done)
}
