package control

import (
	"maps"
	"math/bits"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

const stagedTick = 10 * time.Second

// stagedSnapshot has one service, which is seen or not.
func stagedSnapshot(fresh bool) *sre.Snapshot {
	s := &sre.Snapshot{
		Graph:   sre.NewGraph([]sre.Service{{Name: "shop"}}, nil),
		Signals: []sre.Signal{{Kind: sre.Traffic, Unit: sre.PerSecond}},
		Service: sre.NewMatrix(1, 1),
		Health:  sre.SourceHealth{Up: true},
	}
	if fresh {
		s.Service.Set(0, 0, sre.Reading{Value: 100, State: sre.Present})
	}
	return s
}

// stagedLever is a switch under the law, as the agent would move it.
type stagedLever struct {
	percent float64
	params  sre.Params
	memory  sre.Control
	now     time.Time
}

func (l *stagedLever) tick(trouble, lifting, fresh bool) Move {
	params := sre.Params{"percent": l.percent}
	maps.Copy(params, l.params)
	l.now = l.now.Add(stagedTick)
	m := DefaultStaged().Next(l.memory, Scene{
		Now: l.now, Every: stagedTick, Snapshot: stagedSnapshot(fresh), Before: sre.Params{"percent": 0.0},
		Action:  sre.Action{Kind: sre.KillSwitch, Target: sre.Target{Service: "shop", Name: "x"}, Params: params},
		Trouble: trouble, Lifting: lifting,
	})
	l.memory = m.Memory
	if p, ok := m.Params.Float("percent"); ok {
		l.percent = p
	}
	return m
}

func TestStagedStory(t *testing.T) {
	law, ok := Named("staged")
	if !ok || law == nil {
		t.Fatal("no runbook can name the law")
	}
	l := &stagedLever{percent: 1, now: time.Unix(1000, 0)}
	var path []float64
	run := func(n int, trouble, lifting, fresh bool) {
		for range n {
			l.tick(trouble, lifting, fresh)
			if len(path) == 0 || path[len(path)-1] != l.percent {
				path = append(path, l.percent)
			}
		}
	}
	run(4, true, false, true)   // two stages up: 5, 25
	run(50, true, false, false) // blind: holds
	run(9, false, false, true)  // trouble is gone: holds
	run(60, false, true, true)  // 600 s clean: 5, 1
	run(1, true, true, true)    // relapse: 5 at once
	run(60, true, true, true)   // and no higher than it has been: 25
	run(400, false, true, false)
	run(90, false, true, true)
	if diff := cmp.Diff([]float64{1, 5, 25, 5, 1, 5, 25, 5, 1, 0}, path); diff != "" {
		t.Errorf("stages:\n%s", diff)
	}
	if !l.memory.Done {
		t.Errorf("not done at %g %%: %s", l.percent, l.memory.Why)
	}
}

func TestStagedImmediate(t *testing.T) {
	l := &stagedLever{percent: 1, params: sre.Params{"immediate": true, "calm_seconds": 20.0}, now: time.Unix(1000, 0)}
	l.tick(true, false, false)
	if l.percent != 1 {
		t.Fatalf("%g %% off without a reading", l.percent)
	}
	if l.tick(true, false, true); l.percent != 100 {
		t.Fatalf("%g %% off, want everything at once", l.percent)
	}
	for range 2 {
		l.tick(false, true, true)
	}
	if l.percent != 25 {
		t.Errorf("%g %% off after 20 clean seconds, want one stage back: 25", l.percent)
	}
}

func TestStagedWithoutPercent(t *testing.T) {
	m := DefaultStaged().Next(sre.Control{}, Scene{Action: sre.Action{Params: sre.Params{"rps": 5.0}}, Trouble: true})
	if m.Params != nil || m.Memory.Why == "" {
		t.Errorf("%+v, want no move and a reason", m)
	}
}

func TestStagedProperties(t *testing.T) {
	stages := append([]float64{0}, DefaultStaged().Stages...)
	rapid.Check(t, func(t *rapid.T) {
		l := &stagedLever{percent: 1, now: time.Unix(1000, 0)}
		lifting, clean, bad := false, 0, 0
		for range rapid.IntRange(1, 200).Draw(t, "ticks") {
			trouble, fresh := rapid.Bool().Draw(t, "trouble"), rapid.IntRange(0, 4).Draw(t, "fresh") > 0
			if rapid.IntRange(0, 30).Draw(t, "turn") == 0 {
				lifting = !lifting
			}
			if rapid.Bool().Draw(t, "long calm") {
				trouble = false
			}
			memory, was, done := l.memory, l.percent, l.memory.Done
			m := l.tick(trouble, lifting, fresh)
			from, to := slices.Index(stages, was), slices.Index(stages, l.percent)
			again := &stagedLever{percent: was, memory: memory, now: l.now.Add(-stagedTick)}
			if diff := cmp.Diff(m, again.tick(trouble, lifting, fresh)); diff != "" {
				t.Fatalf("the same scene moved differently:\n%s", diff)
			}
			if fresh && trouble {
				clean, bad = 0, bad+1
			} else if fresh && lifting {
				clean, bad = clean+1, 0
			} else if fresh {
				clean, bad = 0, 0
			}
			switch {
			case to < 0 || to > from+1 || to < from-1:
				t.Fatalf("from %g to %g %%: a stage was skipped", was, l.percent)
			case !fresh && to != from:
				t.Fatalf("moved from %g to %g %% without a reading", was, l.percent)
			case to < from && (trouble || !lifting):
				t.Fatalf("reactivated from %g to %g %% with trouble %t, lifting %t", was, l.percent, trouble, lifting)
			case to < from && time.Duration(clean)*stagedTick < 5*time.Minute:
				t.Fatalf("reactivated from %g to %g %% after %d clean ticks", was, l.percent, clean)
			case to > from && !trouble:
				t.Fatalf("switched off from %g to %g %% without trouble", was, l.percent)
			case to > from && !lifting && bad < 2:
				t.Fatalf("switched off from %g to %g %% after %d bad ticks", was, l.percent, bad)
			case done && to != from:
				t.Fatalf("moved from %g to %g %% after it was done", was, l.percent)
			}
			if to != from {
				clean, bad = 0, 0
			}
		}
	})
}

func TestChooseTable(t *testing.T) {
	knobs := []Knob{
		{"recommendations", 1, .10}, {"reviews", 1, .05}, {"search", 4, .30},
		{"suggest", 2, .12}, {"banner", 1, 0}, {"history", 3, .20},
	}
	names := func(ks []Knob) (out []string) {
		for _, k := range ks {
			out = append(out, k.Name)
		}
		return out
	}
	cases := map[string]struct {
		excess float64
		want   []string
		covers bool
	}{
		"nothing to cover":            {0, nil, true},
		"one cheap feature":           {.08, []string{"recommendations"}, true},
		"two of level 1 beat level 2": {.14, []string{"recommendations", "reviews"}, true},
		"weight 3, not weight 4":      {.2, []string{"recommendations", "suggest"}, true},
		"more than there is":          {.9, []string{"recommendations", "reviews", "suggest", "history", "search"}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, ok := Choose(knobs, c.excess)
			if diff := cmp.Diff(c.want, names(got)); diff != "" || ok != c.covers {
				t.Errorf("covers %t, want %t\n%s", ok, c.covers, diff)
			}
		})
	}
}

// TestChooseAgainstEverySubset holds the choice against trying all of them.
func TestChooseAgainstEverySubset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		knobs := make([]Knob, rapid.IntRange(0, 9).Draw(t, "n"))
		for i := range knobs { // quarters add up without rounding
			knobs[i] = Knob{string(rune('a' + i)), rapid.IntRange(1, 4).Draw(t, "level"), float64(rapid.IntRange(0, 8).Draw(t, "cost")) / 4}
		}
		excess := float64(rapid.IntRange(1, 40).Draw(t, "excess")) / 4
		least := -1
		for set := range 1 << len(knobs) {
			weight, cost := 0, 0.0
			for rest := set; rest != 0; rest &= rest - 1 {
				k := knobs[bits.TrailingZeros(uint(rest))]
				weight, cost = weight+k.Level, cost+k.Cost
			}
			if cost >= excess && (least < 0 || weight < least) {
				least = weight
			}
		}
		got, ok := Choose(knobs, excess)
		weight, cost := 0, 0.0
		for _, k := range got {
			weight, cost = weight+k.Level, cost+k.Cost
		}
		if ok != (least >= 0) || ok && (weight != least || cost < excess) {
			t.Fatalf("chose %v (%t), weight %d, cost %g for %g; the least weight is %d", got, ok, weight, cost, excess, least)
		}
	})
}
