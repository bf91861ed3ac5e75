package remediators

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

func capsAction() sre.Action {
	return proxyAction(sre.Shed, "", sre.Params{"low": 20.0, "normal": 70.0, "critical": 900.0})
}

func waitAction() sre.Action { return proxyAction(sre.Drain, "s1", sre.Params{paramWait: 30.0}) }

// slowWorld is a world whose servers take a minute to come back.
func slowWorld(t *testing.T) *proxyWorld {
	t.Helper()
	w := newProxyWorld(t, "unix")
	w.cfg.HAProxy[0].Backends["shop"] = HAProxyBackend{Backend: "be_shop", SlowStart: model.Duration(time.Minute)}
	w.reopen(t)
	return w
}

func (w *proxyWorld) weight(server string) (weight, admin int) {
	w.with(func() { weight, admin = w.servers["be_shop/"+server].weight, w.servers["be_shop/"+server].admin })
	return weight, admin
}

// sweepAt moves the time on and sweeps.
func (w *proxyWorld) sweepAt(t *testing.T, at time.Time) {
	t.Helper()
	w.now = at
	must(t, w.lever.Sweep(t.Context(), at))
}

func TestHAProxyServerComesBackSlowly(t *testing.T) {
	for name, a := range map[string]sre.Action{"drain": drainAction(), "weight": proxyAction(sre.TrafficShift, "s1", sre.Params{"weight": 0.0})} {
		t.Run(name, func(t *testing.T) {
			w := slowWorld(t)
			start := w.inForce() + w.file(t)
			must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, 10*time.Minute)))
			must(t, w.lever.Revert(t.Context(), w.directive(a, 5, 2, 10*time.Minute)))
			must(t, w.lever.Revert(t.Context(), w.directive(a, 5, 3, 10*time.Minute)))
			begun := w.now
			for _, c := range []struct {
				after time.Duration
				want  int
			}{{0, 10}, {5 * time.Second, 10}, {15 * time.Second, 25}, {30 * time.Second, 50}, {59 * time.Second, 98}, {time.Minute, 100}} {
				w.reopen(t) // a crash forgets nothing
				w.sweepAt(t, begun.Add(c.after))
				if got, admin := w.weight("s1"); got != c.want || admin != 0 {
					t.Errorf("after %s: weight %d, state %d, want %d and ready", c.after, got, admin, c.want)
				}
				st, err := w.lever.Probe(t.Context(), a)
				if err != nil || st.InEffect || st.Owner != "" || st.Foreign {
					t.Errorf("after %s the action is still in effect: %+v, %v", c.after, st, err)
				}
			}
			if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
				t.Errorf("not what it was:\n%s", diff)
			}
		})
	}
}

// A new action on a server that is coming back, and a hand of somebody else.
func TestHAProxyReturnGivesWay(t *testing.T) {
	w := slowWorld(t)
	start := w.inForce() + w.file(t)
	must(t, w.lever.Apply(t.Context(), w.directive(drainAction(), 5, 1, 10*time.Minute)))
	must(t, w.lever.Revert(t.Context(), w.directive(drainAction(), 5, 2, 10*time.Minute)))
	a := proxyAction(sre.TrafficShift, "s1", sre.Params{"weight": 5.0})
	must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 3, time.Hour)))
	w.sweepAt(t, w.now.Add(5*time.Minute))
	if got, _ := w.weight("s1"); got != 5 {
		t.Errorf("the return went on to %d under another action's lease", got)
	}
	must(t, w.lever.Revert(t.Context(), w.directive(a, 5, 4, time.Hour)))
	w.sweepAt(t, w.now.Add(time.Minute))
	if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
		t.Errorf("not what it was before the drain:\n%s", diff)
	}

	must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 5, time.Hour)))
	must(t, w.lever.Revert(t.Context(), w.directive(a, 5, 6, time.Hour)))
	w.with(func() { w.servers["be_shop/s1"].weight = 33 })
	for range 3 {
		w.sweepAt(t, w.now.Add(40*time.Second))
	}
	if got, _ := w.weight("s1"); got != 33 {
		t.Errorf("somebody's weight of 33 became %d", got)
	}
}

func TestHAProxyReturnCrashPoints(t *testing.T) {
	whole := false
	for n := 0; !whole; n++ {
		if n > 200 {
			t.Fatal("the return never ends")
		}
		w := slowWorld(t)
		start := w.inForce() + w.file(t)
		must(t, w.lever.Apply(t.Context(), w.directive(drainAction(), 5, 1, time.Minute)))
		w.with(func() { w.budget = n })
		err := w.lever.Revert(t.Context(), w.directive(drainAction(), 5, 2, time.Minute))
		w.now = w.now.Add(20 * time.Second)
		sweepErr := w.lever.Sweep(t.Context(), w.now)
		whole = err == nil && sweepErr == nil
		w.with(func() { w.budget = -1 })
		w.reopen(t)
		for range 3 { // what lapses may begin a return, which lapses in turn
			w.sweepAt(t, w.now.Add(2*time.Minute))
		}
		if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
			t.Fatalf("after %d commands (%v, %v):\n%s", n, err, sweepErr, diff)
		}
	}
}

func TestHAProxyHoldsOnAfterARestart(t *testing.T) {
	for name, a := range map[string]sre.Action{"admit": admitAction(), "drain": drainAction(), "weight": weightAction(), "maxconn": maxconnAction()} {
		t.Run(name, func(t *testing.T) {
			w := newProxyWorld(t, "unix")
			w.cfg.HAProxy[0].RuntimeOnly = true // so that the map is lost too
			w.reopen(t)
			start := w.inForce()
			must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, 10*time.Minute)))
			held := w.inForce()
			w.restartProxy(t)
			if diff := cmp.Diff(start, w.inForce()); diff != "" {
				t.Fatalf("the restart lost nothing:\n%s", diff)
			}
			w.sweepAt(t, w.now.Add(time.Second))
			if diff := cmp.Diff(held, w.inForce()); diff != "" {
				t.Errorf("not held on:\n%s", diff)
			}
			st, err := w.lever.Probe(t.Context(), a)
			if err != nil || !st.InEffect || st.Foreign || strings.Contains(st.Detail, "restarted") {
				t.Errorf("after the sweep: %+v, %v", st, err)
			}
			wrote := w.wrote()
			w.sweepAt(t, w.now.Add(time.Second))
			if n := w.wrote() - wrote; n != 0 {
				t.Errorf("the next sweep wrote %d times", n)
			}
			w.restartProxy(t) // and this time the lease lapses before anybody looks
			w.sweepAt(t, w.now.Add(time.Hour))
			if diff := cmp.Diff(start, w.inForce()); diff != "" {
				t.Errorf("not what it was:\n%s", diff)
			}
		})
	}
}

func TestHAProxyDrainWaitsAndThenCloses(t *testing.T) {
	for name, wait := range map[string]any{"with a deadline": 60.0, "without": nil} {
		t.Run(name, func(t *testing.T) {
			w := newProxyWorld(t, "unix")
			a := drainAction()
			a.Params = sre.Params{}
			if wait != nil {
				a.Params[paramWait] = wait
			}
			w.with(func() { w.servers["be_shop/s1"].sessions = 7 })
			left := func() (n int) {
				w.with(func() { n = w.servers["be_shop/s1"].sessions })
				return n
			}
			must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, time.Hour)))
			w.sweepAt(t, w.now.Add(59*time.Second))
			// A renewal does not give them more time.
			must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 2, time.Hour)))
			st, err := w.lever.Probe(t.Context(), a)
			if err != nil || !st.InEffect || !strings.Contains(st.Detail, "7 sessions are left") || left() != 7 {
				t.Errorf("before the deadline: %+v, %v, %d left", st, err, left())
			}
			w.sweepAt(t, w.now.Add(time.Second))
			if want := map[bool]int{true: 0, false: 7}[wait != nil]; left() != want {
				t.Errorf("after the deadline %d sessions are left, want %d", left(), want)
			}
			w.sweepAt(t, w.now.Add(time.Second)) // sees that they are gone
			w.with(func() { w.servers["be_shop/s1"].sessions = 2 })
			w.sweepAt(t, w.now.Add(time.Second))
			if wait != nil && left() != 2 {
				t.Error("sessions are closed after the wait was over")
			}
		})
	}
}

func TestHAProxyWritesTheStateFile(t *testing.T) {
	w := newProxyWorld(t, "unix")
	w.cfg.HAProxy[0].StateFile = filepath.Join(t.TempDir(), "servers.state")
	w.reopen(t)
	must(t, w.lever.Apply(t.Context(), w.directive(weightAction(), 5, 1, time.Minute)))
	b, err := os.ReadFile(w.cfg.HAProxy[0].StateFile)
	must(t, err)
	servers, err := parseServers(string(b))
	must(t, err)
	if len(servers) != 2 || servers[0].weight != "10" || !strings.HasSuffix(string(b), "\n") {
		t.Errorf("the state file holds %q", b)
	}
}

func TestHAProxySweepRevertsWhatLapsed(t *testing.T) {
	for name, a := range map[string]sre.Action{"admit": admitAction(), "drain": drainAction(), "weight": weightAction(), "maxconn": maxconnAction()} {
		t.Run(name, func(t *testing.T) {
			w := newProxyWorld(t, "unix")
			start, file := w.inForce(), w.file(t)
			must(t, w.lever.Apply(t.Context(), w.directive(a, 5, 1, time.Minute)))
			held := w.inForce()
			must(t, w.lever.Sweep(t.Context(), w.now.Add(time.Minute-1)))
			if diff := cmp.Diff(held, w.inForce()); diff != "" {
				t.Errorf("swept before it lapsed:\n%s", diff)
			}
			lever := w.reopen(t) // as after a crash
			must(t, lever.Sweep(t.Context(), w.now.Add(time.Minute)))
			if diff := cmp.Diff(start+file, w.inForce()+w.file(t)); diff != "" {
				t.Errorf("not what it was:\n%s", diff)
			}
			if st, err := lever.Probe(t.Context(), a); err != nil || st.InEffect || st.Owner != "" {
				t.Errorf("after the sweep: %+v, %v", st, err)
			}
		})
	}
}

func TestHAProxySweepTriesAgain(t *testing.T) {
	w := newProxyWorld(t, "unix")
	start := w.inForce()
	must(t, w.lever.Apply(t.Context(), w.directive(weightAction(), 5, 1, time.Minute)))
	var log strings.Builder
	w.lever.log = slog.New(slog.NewTextHandler(&log, nil))
	w.with(func() { w.budget = 0 })
	if err := w.lever.Sweep(t.Context(), w.now.Add(time.Hour)); err == nil || !strings.Contains(log.String(), "lapsed settings could not be reverted") {
		t.Errorf("a sweep without HAProxy: %v, logged %q", err, &log)
	}
	w.with(func() { w.budget = -1 })
	must(t, w.lever.Sweep(t.Context(), w.now.Add(time.Hour)))
	if diff := cmp.Diff(start, w.inForce()); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}
