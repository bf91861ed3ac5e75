package control

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

var scaleStart = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// loads are the readings of one service; NaN is none.
type loads struct{ pool, cpu, traffic, wait, ready float64 }

func unread() loads {
	n := math.NaN()
	return loads{n, n, n, n, n}
}

func scaleScene(at time.Time, n float64, l loads) Scene {
	g := sre.NewGraph([]sre.Service{{Name: "shop"}}, nil)
	signals := []sre.Signal{
		{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio}, {Name: "cpu", Kind: sre.Saturation, Unit: sre.Ratio},
		{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "wait", Kind: sre.Queue, Unit: sre.Seconds},
		{Name: "ready", Kind: sre.Replicas, Unit: sre.Count},
	}
	snap := &sre.Snapshot{At: at, Interval: 10 * time.Second, Graph: g, Signals: signals, Service: sre.NewMatrix(len(signals), 1)}
	for row, v := range []float64{l.pool, l.cpu, l.traffic, l.wait, l.ready} {
		if !math.IsNaN(v) {
			snap.Service.Set(row, 0, sre.Reading{Value: v, State: sre.Present})
		}
	}
	return Scene{
		Now: at, Every: 10 * time.Second, Snapshot: snap, Since: scaleStart, Before: sre.Params{paramReplicas: 4.},
		Action: sre.Action{Kind: sre.Scale, Target: sre.Target{Service: "shop"}, Params: sre.Params{paramReplicas: n}},
	}
}

// follow runs the law over a sequence of loads, one tick each.
type follow struct {
	at     time.Time
	n      float64
	memory sre.Control
	change func(*Scene)
}

func begin() *follow { return &follow{at: scaleStart, n: 4} }

func (f *follow) tick(l loads) Move {
	f.at = f.at.Add(10 * time.Second)
	s := scaleScene(f.at, f.n, l)
	if f.change != nil {
		f.change(&s)
	}
	m := Scale{}.Next(f.memory, s)
	f.memory = m.Memory
	if n, moved := m.Params.Float(paramReplicas); moved {
		f.n = n
	}
	return m
}

func (f *follow) ticks(n int, l loads) {
	for range n {
		f.tick(l)
	}
}

func cpu(v float64) loads {
	l := unread()
	l.cpu = v
	return l
}

func TestScaleFollowsTheMostLoaded(t *testing.T) {
	for name, c := range map[string]struct {
		load loads
		tune sre.Params
		want float64
	}{
		"on target":                 {cpu(0.62), nil, 4},
		"one and a half":            {cpu(0.9), nil, 6},
		"the most of several":       {loads{0.3, 0.75, math.NaN(), math.NaN(), 4}, nil, 5},
		"traffic where it is known": {loads{math.NaN(), 0.3, 800, math.NaN(), 4}, sre.Params{"rps_per_replica": 160.}, 5},
		"waiting where it is asked": {loads{math.NaN(), 0.6, math.NaN(), 0.3, 4}, sre.Params{"wait_seconds": 0.2}, 6},
		"never above the bound":     {cpu(1), sre.Params{"target": 0.1}, 12},
		"never above the cost":      {cpu(1), sre.Params{"cost_per_replica": 0.5, "cost_limit": 2.6}, 5},
		"only those that are ready": {loads{math.NaN(), 0.9, math.NaN(), math.NaN(), 2}, nil, 4},
	} {
		t.Run(name, func(t *testing.T) {
			f := begin()
			f.change = func(s *Scene) { s.Action.Tune = c.tune }
			for range 30 {
				f.tick(c.load)
				if c.load.ready != 2 { // as many as were asked for, each with less to do
					break
				}
			}
			f.ticks(3, c.load)
			if f.n != c.want && name != "never above the bound" {
				t.Errorf("%g replicas, want %g: %s", f.n, c.want, f.memory.Why)
			}
			f.ticks(60, c.load)
			if name == "never above the bound" && f.n != c.want {
				t.Errorf("%g replicas, want %g", f.n, c.want)
			}
		})
	}
}

func TestScaleShrinksSlowlyAndLast(t *testing.T) {
	f := begin()
	f.n = 20
	f.change = func(s *Scene) { s.Action.Tune = sre.Params{"max_replicas": 30.} }
	f.ticks(29, cpu(0.1))
	if f.n != 20 {
		t.Fatalf("%g replicas before the window of five minutes is over", f.n)
	}
	f.ticks(6, cpu(0.1))
	if f.n != 18 {
		t.Errorf("%g replicas after a minute of shrinking, want a tenth less than 20", f.n)
	}
	f.tick(cpu(0.9)) // one busy tick holds it for the next five minutes
	held := f.n
	f.ticks(20, cpu(0.1))
	if f.n < held {
		t.Errorf("%g replicas, %g were asked for three minutes ago", f.n, held)
	}
}

func TestScaleWithoutReadingsHolds(t *testing.T) {
	f := begin()
	f.ticks(60, cpu(0.9))
	n := f.n
	f.ticks(100, unread())
	if f.n != n || f.memory.Why != "no reading to scale by" {
		t.Errorf("%g replicas, %g before the readings went: %s", f.n, n, f.memory.Why)
	}
	// Of two loads the larger goes away: the other one alone shrinks nothing.
	f = begin()
	both := loads{0.6, 0.1, math.NaN(), math.NaN(), math.NaN()}
	f.ticks(5, both)
	f.ticks(100, cpu(0.1))
	if f.n < 4 {
		t.Errorf("%g replicas: a gap shrank the service", f.n)
	}
}

func TestScaleIsDoneWhereItBegan(t *testing.T) {
	f := begin()
	f.ticks(60, cpu(0.9))
	f.change = func(s *Scene) { s.Lifting = true }
	if f.tick(cpu(0.6)); f.n <= 4 || f.memory.Done {
		t.Fatalf("done at %g replicas, at once", f.n)
	}
	f.ticks(400, cpu(0.2))
	if f.n > 4 || !f.memory.Done {
		t.Errorf("%g replicas, done %v, want where it began", f.n, f.memory.Done)
	}
}

func TestScaleGivesUpGoingToAndFro(t *testing.T) {
	f := begin()
	f.change = func(s *Scene) { s.Action.Tune = sre.Params{"down_window_seconds": 40., "up_window_seconds": 10.} }
	downs := 0
	for i := range 400 {
		n := f.n
		load := 0.25 * 4 / n
		if i/6%2 == 0 {
			load = 0.9 * 4 / n
		}
		if f.tick(cpu(min(load, 1))); f.n < n {
			downs++
		}
	}
	if downs > 25 { // a wave in which nothing held it would have one each, and more
		t.Errorf("%d moves down in 33 square waves", downs)
	}
}

func TestScaleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := begin()
		set := DefaultScaleSettings(4)
		last := -time.Hour // of trouble
		var text strings.Builder
		for i := range 120 {
			l := unread()
			reading := rapid.OneOf(rapid.Just(math.NaN()), rapid.Float64Range(0, 1.5))
			l.cpu, l.pool, l.traffic = reading.Draw(t, "cpu"), reading.Draw(t, "pool"), 500*reading.Draw(t, "traffic")
			trouble := rapid.IntRange(0, 30).Draw(t, "trouble") == 0
			since := time.Duration(i) * 10 * time.Second
			if trouble {
				last = since
			}
			f.change = func(s *Scene) { s.Trouble = trouble }
			n, memory := f.n, f.memory
			kept := recollect(memory).Control
			move := f.tick(l)
			if len(memory.Numbers) > 0 && !cmp.Equal(kept.Numbers, memory.Numbers) || !slices.Equal(kept.Recent, memory.Recent) {
				t.Fatal("the law wrote to the memory it was given")
			}
			if f.n < set.Min || f.n > set.Max || f.n != math.Trunc(f.n) {
				t.Fatalf("%g replicas", f.n)
			}
			if f.n < n && since-last < set.AfterTrouble {
				t.Fatalf("fewer replicas %s after trouble", since-last)
			}
			if f.n > max(2*n, n+4) {
				t.Fatalf("from %g to %g at once", n, f.n)
			}
			if math.IsNaN(l.cpu) && math.IsNaN(l.pool) && move.Params != nil {
				t.Fatal("moved on no data")
			}
			text.WriteString(move.Memory.Why)
		}
		if size, _ := json.Marshal(f.memory); len(size) > 30_000 {
			t.Fatalf("remembers %d bytes", len(size))
		}
	})
}

func TestScaleIsAFunction(t *testing.T) {
	play := func() sre.Control {
		f := begin()
		for i := range 200 {
			f.tick(cpu(float64(i*7919%100) / 100))
		}
		return f.memory
	}
	if diff := cmp.Diff(play(), play()); diff != "" {
		t.Error(diff)
	}
}
