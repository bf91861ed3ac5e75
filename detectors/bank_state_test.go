package detectors_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// TestStateOfLongLivedBank: calendars are part of the state.
func TestStateOfLongLivedBank(t *testing.T) {
	f, g := newFeed(10*time.Minute, threeRetries), lcg(3)
	for range 9 * 24 * 6 {
		f.put(healthy().but(reading{"traffic": 60 + 5*g.gauss()}))
	}
	state := f.bank.State()
	other := detectors.New(detectors.DefaultConfig())
	if err := other.Restore(state); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(state, other.State()) {
		t.Error("the restored bank saves another state")
	}
	for range 300 {
		f.at = f.at.Add(f.interval)
		s := f.snapshot(healthy().but(reading{"traffic": 60 * g.next(), "latency": .1 * g.next()}))
		if diff := cmp.Diff(f.bank.Detect(s, nil), other.Detect(s, nil)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestRestoreRefusesWhatStateDidNotWrite(t *testing.T) {
	f := newFeed(10*time.Second, threeRetries)
	f.times(40, healthy())
	f.times(4, healthy().but(reading{"errors": .4}))
	state := f.bank.State()
	was := bytes.Clone(state)
	for name, bad := range map[string][]byte{
		"nothing":         nil,
		"foreign":         []byte("a stranger's file, long enough to be one"),
		"only the header": state[:8],
		"cut":             state[:len(state)-7],
		"longer":          append(bytes.Clone(state), 0),
	} {
		if err := f.bank.Restore(bad); !errors.Is(err, detectors.ErrBankState) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 0; i < len(state); i += 13 {
		bad := bytes.Clone(state)
		bad[i] ^= 4
		if err := f.bank.Restore(bad); !errors.Is(err, detectors.ErrBankState) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	if !bytes.Equal(was, f.bank.State()) {
		t.Error("a refused state has changed the bank")
	}
}

// TestStateOfAnotherGraphIsNotTaken: what was learned of one service is not
// laid at the door of another.
func TestStateOfAnotherGraphIsNotTaken(t *testing.T) {
	f := newFeed(10*time.Second, threeRetries)
	f.times(60, healthy())
	turned := newFeed(10*time.Second, threeRetries)
	turned.graph = sre.NewGraph([]sre.Service{{Name: "api"}, {Name: "web", Entry: true}}, []sre.Edge{{From: 1, To: 0}})
	turned.at = f.at
	if err := turned.bank.Restore(f.bank.State()); err != nil {
		t.Fatal(err)
	}
	turned.put(healthy())
	if w := turned.bank.WarmUp(); w != .05 {
		t.Errorf("warm-up is %v, want that of one sample", w)
	}
	grown := newFeed(10*time.Second, threeRetries)
	grown.graph = sre.NewGraph(append(f.graph.Services, sre.Service{Name: "late"}), f.graph.Edges)
	grown.at = f.at
	if err := grown.bank.Restore(f.bank.State()); err != nil {
		t.Fatal(err)
	}
	grown.put(healthy())
	if w := grown.bank.WarmUp(); w != 1 {
		t.Errorf("warm-up is %v over a graph that has only grown", w)
	}
}
