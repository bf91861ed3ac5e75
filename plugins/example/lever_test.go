package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/plugins/sdk"
	"github.com/sreagent/sreagent/sre"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newLever(t *testing.T) *lever {
	t.Helper()
	l := &lever{dir: t.TempDir(), now: func() time.Time { return start }}
	put(t, l, `{"reviews": 0, "search": 10}`)
	return l
}

func put(t *testing.T, l *lever, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, "shop.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flagsOf(t *testing.T, l *lever) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, "shop.json"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), "")
}

func off(id string, value float64, epoch, seq uint64) sre.Directive {
	return sre.Directive{
		Action: sre.Action{ID: id, Kind: sre.KillSwitch, Params: sre.Params{percent: value}, Target: sre.Target{Lever: name, Service: "shop", Name: "search"}},
		Epoch:  epoch, Seq: seq, Expires: start.Add(time.Minute),
	}
}

// Everything is tried directly and through the protocol.
func both(t *testing.T, run func(t *testing.T, l *lever, r sre.Remediator)) {
	t.Run("direct", func(t *testing.T) { l := newLever(t); run(t, l, l) })
	t.Run("over grpc", func(t *testing.T) {
		l := newLever(t)
		r, stop, err := sdk.InProcess(l)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		run(t, l, r)
	})
}

func want(t *testing.T, err error, code sre.Code) {
	t.Helper()
	if got := sre.CodeOf(err); got != code {
		t.Fatalf("code is %q, want %q: %v", got, code, err)
	}
}

const (
	before = `{"reviews":0,"search":10}`
	after  = `{"reviews":0,"search":50}`
)

func holds(t *testing.T, l *lever, text string) {
	t.Helper()
	if got := flagsOf(t, l); got != text {
		t.Fatalf("the file holds %s, want %s", got, text)
	}
}

func TestAFlagIsSetMovedAndGivenBack(t *testing.T) {
	both(t, func(t *testing.T, l *lever, r sre.Remediator) {
		ctx := context.Background()
		want(t, r.Apply(ctx, off("a", 50, 3, 1)), "")
		want(t, r.Apply(ctx, off("a", 50, 3, 1)), "") // idempotent
		holds(t, l, after)
		st, err := r.Probe(ctx, off("a", 50, 0, 0).Action)
		wanted := sre.TargetState{InEffect: true, Current: sre.Params{percent: 50.0}, Owner: "a", Epoch: 3, Expires: start.Add(time.Minute)}
		if diff := cmp.Diff(wanted, st); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		want(t, r.Apply(ctx, off("a", 100, 3, 2)), "") // moved
		holds(t, l, `{"reviews":0,"search":100}`)
		want(t, r.Apply(ctx, off("a", 1, 3, 1)), sre.CodeRefused)
		want(t, r.Apply(ctx, off("a", 1, 2, 9)), sre.CodeRefused)
		want(t, r.Revert(ctx, off("other", 0, 3, 3)), "")
		holds(t, l, `{"reviews":0,"search":100}`)
		want(t, r.Revert(ctx, off("a", 0, 3, 3)), "")
		want(t, r.Revert(ctx, off("a", 0, 3, 3)), "")
		holds(t, l, before)
		want(t, r.Apply(ctx, off("a", 1, 2, 9)), sre.CodeRefused) // the token outlives the lease
	})
}

func TestNonsenseIsInvalidAndTouchesNothing(t *testing.T) {
	both(t, func(t *testing.T, l *lever, r sre.Remediator) {
		for label, spoil := range map[string]func(*sre.Directive){
			"kind":     func(d *sre.Directive) { d.Action.Kind = sre.Drain },
			"id":       func(d *sre.Directive) { d.Action.ID = "" },
			"path":     func(d *sre.Directive) { d.Action.Target.Service = "../shop" },
			"service":  func(d *sre.Directive) { d.Action.Target.Service = "none" },
			"flag":     func(d *sre.Directive) { d.Action.Target.Name = "none" },
			"callee":   func(d *sre.Directive) { d.Action.Target.Callee = "cart" },
			"range":    func(d *sre.Directive) { d.Action.Params = sre.Params{percent: 101.0} },
			"type":     func(d *sre.Directive) { d.Action.Params = sre.Params{percent: "all"} },
			"missing":  func(d *sre.Directive) { d.Action.Params = sre.Params{} },
			"no lease": func(d *sre.Directive) { d.Expires = time.Time{} },
		} {
			d := off("a", 50, 1, 1)
			spoil(&d)
			err := r.Apply(context.Background(), d)
			if sre.CodeOf(err) != sre.CodeInvalid {
				t.Errorf("%s: %v, want invalid", label, err)
			}
		}
		holds(t, l, before)
	})
}

func TestWhatHasLapsedIsTakenBack(t *testing.T) {
	l := newLever(t)
	ctx := context.Background()
	want(t, l.Apply(ctx, off("a", 50, 1, 1)), "")
	l = &lever{dir: l.dir, now: l.now} // another process
	if err := l.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	holds(t, l, after)
	l.now = func() time.Time { return start.Add(time.Minute) }
	if err := l.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	holds(t, l, before)
	st, err := l.Probe(ctx, off("a", 50, 0, 0).Action)
	if err != nil || st.InEffect || st.Owner != "" {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestWhatSomebodyElseSetIsLeftAlone(t *testing.T) {
	both(t, func(t *testing.T, l *lever, r sre.Remediator) {
		const theirs = `{"reviews":0,"search":77}`
		ctx := context.Background()
		want(t, r.Apply(ctx, off("a", 50, 1, 1)), "")
		put(t, l, theirs)
		if st, err := r.Probe(ctx, off("a", 50, 0, 0).Action); err != nil || !st.Foreign || st.InEffect {
			t.Errorf("%+v, %v", st, err)
		}
		want(t, r.Apply(ctx, off("a", 50, 1, 2)), sre.CodeRefused)
		want(t, r.Revert(ctx, off("a", 50, 1, 3)), sre.CodeRefused)
		want(t, r.Revert(ctx, off("a", 50, 1, 3)), "") // released
		holds(t, l, theirs)
	})
}

// A process that is killed between its two writes leaves files from which the
// next one finds the way back.
func TestEveryCrashLeadsBack(t *testing.T) {
	ctx := context.Background()
	for label, crash := range map[string]func(l *lever){
		"ledger written, flag not": func(l *lever) { put(t, l, before) },
		"nothing lost":             func(*lever) {},
	} {
		l := newLever(t)
		want(t, l.Apply(ctx, off("a", 50, 1, 1)), "")
		crash(l)
		want(t, l.Apply(ctx, off("a", 50, 1, 2)), "")
		holds(t, l, after)
		crash(l)
		want(t, l.Revert(ctx, off("a", 50, 1, 3)), "")
		if got := flagsOf(t, l); got != before {
			t.Errorf("%s: the file holds %s", label, got)
		}
	}
}

func TestUnreadableFilesAreSaid(t *testing.T) {
	l := newLever(t)
	put(t, l, `{"search": "off"}`)
	err := l.Apply(context.Background(), off("a", 50, 1, 1))
	want(t, err, sre.CodeFailed)
	if !strings.Contains(err.Error(), "shop.json") {
		t.Error(err)
	}
}
