package world

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/guard"
	"github.com/sreagent/sreagent/remediators"
	"github.com/sreagent/sreagent/sre"
)

// timers is a clock that stands still until it is advanced.
type timers struct {
	mu  sync.Mutex
	now time.Time
	due []*timer
}

type timer struct {
	at time.Time
	f  func()
}

func (c *timers) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *timers) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := &timer{c.now.Add(d), f}
	c.due = append(c.due, x)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.due, x)
		if i >= 0 {
			c.due = slices.Delete(c.due, i, i+1)
		}
		return i >= 0
	}
}

func (c *timers) advanceTo(end time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		slices.SortStableFunc(c.due, func(a, b *timer) int { return a.at.Compare(b.at) })
		if len(c.due) == 0 || c.due[0].at.After(end) {
			break
		}
		next := c.due[0]
		c.due = c.due[1:]
		c.now = next.at
		c.mu.Unlock()
		next.f()
		c.mu.Lock()
	}
	c.now = end
}

// realGuard is a guard of the gateway, with the settings that the blueprint
// gives it, behind the lever that the daemon uses.
func realGuard(t *testing.T, dir string, done func(func())) (sre.Remediator, *timers) {
	const token = "let-me-in"
	clock := &timers{now: start}
	cfg := guard.DefaultConfig()
	cfg.Service, cfg.Token, cfg.Queue = "gateway", token, 500
	cfg.Upstreams = map[string]guard.Upstream{
		"cart": {Timeout: model.Duration(time.Second), Retries: 2, RetryBudget: -1},
		"ads":  {Timeout: model.Duration(200 * time.Millisecond), RetryBudget: -1},
	}
	g, err := guard.New(cfg, guard.WithClock(clock), guard.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	done(g.Close)
	server := httptest.NewServer(g.Control())
	done(server.Close)
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	rc := remediators.DefaultConfig()
	rc.Guard.TokenFile = file
	rc.Guard.Targets = []remediators.GuardTarget{{Service: "gateway", URL: server.URL}}
	levers, err := remediators.New(rc, remediators.Options{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	return levers[0], clock
}

// TestLeverIsTheGuards drives the world's lever and the real one, in front of a
// real guard, with the same calls: the answers and all that probes read are the
// same. No load is offered, because a guard measures demand in its own way.
func TestLeverIsTheGuards(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		var cleanups []func()
		defer func() {
			for _, f := range slices.Backward(cleanups) {
				f()
			}
		}()
		served, clock := realGuard(t, dir, func(f func()) { cleanups = append(cleanups, f) })
		b := shop()
		b.Clients[0].Rate = 0
		w := newWorld(t, b, nil)
		ours := w.Lever()
		actions := guardActions()
		now := start
		calls := rapid.IntRange(1, 14).Draw(rt, "calls")
		for range calls {
			a := rapid.SampledFrom(actions).Draw(rt, "action")
			a.ID = rapid.SampledFrom([]string{"x", "y", "z"}).Draw(rt, "id")
			d := sre.Directive{
				Action: a, Epoch: rapid.Uint64Range(1, 3).Draw(rt, "epoch"), Seq: rapid.Uint64Range(1, 9).Draw(rt, "seq"),
				Expires: now.Add(time.Duration(rapid.IntRange(-10, 900).Draw(rt, "ttl")) * 100 * time.Millisecond),
			}
			what := rapid.SampledFrom([]string{"apply", "apply", "apply", "revert", "wait"}).Draw(rt, "call")
			switch what {
			case "wait":
				now = now.Add(time.Duration(rapid.IntRange(1, 600).Draw(rt, "wait")) * 100 * time.Millisecond)
				clock.advanceTo(now)
				w.AdvanceTo(now)
			case "apply":
				sameCode(rt, what, d, served.Apply(context.Background(), d), ours.Apply(context.Background(), d))
			case "revert":
				sameCode(rt, what, d, served.Revert(context.Background(), d), ours.Revert(context.Background(), d))
			}
			sameState(rt, served, ours, rapid.SampledFrom(actions).Draw(rt, "probe"))
		}
		for _, a := range actions {
			sameState(rt, served, ours, a)
		}
	})
}

func sameState(t *rapid.T, served, ours sre.Remediator, a sre.Action) {
	t.Helper()
	a.ID = "x"
	theirs, err := served.Probe(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ours.Probe(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain(theirs), plain(own)); diff != "" {
		t.Fatalf("a probe of %s %s differs (-guard +world):\n%s", a.Kind, a.Target, diff)
	}
}

func sameCode(t *rapid.T, what string, d sre.Directive, served, ours error) {
	t.Helper()
	if sre.CodeOf(served) != sre.CodeOf(ours) {
		t.Fatalf("%s %s %s: the guard says %v, the world says %v", what, d.Action.Kind, d.Action.Target, served, ours)
	}
}

// plain makes two states comparable: numbers as such, and no words.
func plain(s sre.TargetState) sre.TargetState {
	s.Detail, s.Expires = "", s.Expires.UTC()
	s.Current, s.Default = floats(s.Current), floats(s.Default)
	return s
}

func floats(p sre.Params) sre.Params {
	out := sre.Params{}
	for name := range p {
		v, ok := p.Float(name)
		if !ok {
			panic(fmt.Sprintf("%s is %v", name, p[name]))
		}
		out[name] = v
	}
	return out
}

// guardActions are good and bad ones over all knobs of a guard.
func guardActions() []sre.Action {
	a := func(k sre.ActionKind, callee, name string, p sre.Params) sre.Action {
		return guardAction(k, "gateway", callee, name, p)
	}
	return []sre.Action{
		a(sre.Shed, "", "", sre.Params{"rps": 50., "low": 5.}),
		a(sre.Shed, "", "", sre.Params{"critical": 7.}),
		a(sre.RetryBudget, "cart", "", sre.Params{"ratio": .1}),
		a(sre.RetryBudget, "ads", "", sre.Params{"ratio": .3}),
		a(sre.RetryBudget, "", "", sre.Params{"ratio": .2}),
		a(sre.QueueBound, "", "", sre.Params{"length": 20.}),
		a(sre.Breaker, "cart", "", sre.Params{"failure_ratio": .5, "min_requests": 20., "open_seconds": 10.}),
		a(sre.Breaker, "ads", "", sre.Params{"failure_ratio": .5, "consecutive": 3.}),
		a(sre.Timeout, "cart", "", sre.Params{"seconds": .3}),
		a(sre.Timeout, "", "", sre.Params{"seconds": 2.}),
		a(sre.KillSwitch, "", "ads", sre.Params{"percent": 100.}),
		a(sre.KillSwitch, "", "other", sre.Params{"percent": 3.}),
	}
}

// TestDescribesTheGuardsKinds holds the schema against the real lever's.
func TestDescribesTheGuardsKinds(t *testing.T) {
	served, _ := realGuard(t, t.TempDir(), t.Cleanup)
	theirs, err := served.Describe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := newWorld(t, shop(), nil).Lever().Describe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if theirs.Name != ours.Name || theirs.Version != ours.Version {
		t.Errorf("called %s %s, the real one is %s %s", ours.Name, ours.Version, theirs.Name, theirs.Version)
	}
	if diff := cmp.Diff(theirs.Kinds, ours.Kinds); diff != "" {
		t.Errorf("kinds differ (-guard +world):\n%s", diff)
	}
}
