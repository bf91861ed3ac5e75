package world

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func hits(all []sre.Impact) string {
	out := make([]string, len(all))
	for i, x := range all {
		out[i] = x.Service
		if x.Entry {
			out[i] += " entry"
		}
	}
	return strings.Join(out, ", ")
}

// TestSpreadOfShop asks who is hit when the database has just become slow: those
// above it, the database first, and not the advertisements beside it.
func TestSpreadOfShop(t *testing.T) {
	w := newWorld(t, shop(), nil)
	slowDB(w, 60*time.Second, time.Hour)
	truth := func(at time.Duration) []sre.Impact {
		got, err := w.Forecaster().Spread(context.Background(), observe(t, w, after(at)), 2*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := truth(50 * time.Second); len(got) != 0 {
		t.Errorf("in calm: %v", got)
	}
	early := truth(62 * time.Second)
	if hits(early) != "gateway entry, cart, db" {
		t.Errorf("two seconds into the fault: %v", early)
	}
	byName := func(all []sre.Impact, name string) sre.Impact {
		return all[slices.IndexFunc(all, func(x sre.Impact) bool { return x.Service == name })]
	}
	if db, top := byName(early, "db"), byName(early, "gateway"); db.After > top.After || top.After == 0 || top.After > 30*time.Second {
		t.Errorf("the database is hit after %s, the gateway after %s", db.After, top.After)
	}
	late := truth(100 * time.Second)
	for _, x := range late {
		if x.After != 0 || x.Lost < .5 {
			t.Errorf("in the outage: %+v, want it hit now", x)
		}
	}
	got, err := NewForecaster(LiveConfig{}).Spread(context.Background(), observe(t, w, after(100*time.Second)), 2*time.Minute)
	if err != nil || hits(got) != hits(late) {
		t.Errorf("live: %v, %v; in truth %v", got, err, late)
	}
}

// TestSpreadOfFleets holds the forecast from snapshots against the truth in fleets
// in an outage: most of those hit first are the same.
func TestSpreadOfFleets(t *testing.T) {
	same, all := 0, 0
	for seed := range uint64(4) {
		p := patientOf(t, ills[1], seed, 60, '4')
		f := NewForecaster(LiveConfig{})
		for _, s := range p.before {
			f.(sre.Rememberer).Remember(s)
		}
		truth, err := p.w.Forecaster().Spread(context.Background(), p.s, 2*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Spread(context.Background(), p.s, 2*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		names := hits(got)
		for _, x := range truth {
			all++
			if strings.Contains(names, x.Service) {
				same++
			}
		}
	}
	t.Logf("%d of %d of the worst hit are the same", same, all)
	if same < all*3/4 {
		t.Errorf("only %d of %d of the worst hit are the same", same, all)
	}
}

func TestSpreadRefuses(t *testing.T) {
	w, s := stuck(t)
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for name, f := range map[string]sre.Forecaster{"world": w.Forecaster(), "live": NewForecaster(LiveConfig{})} {
		if got, err := f.Spread(context.Background(), nil, time.Minute); err == nil {
			t.Errorf("%s, no snapshot: %v", name, got)
		}
		if got, err := f.Spread(context.Background(), s, 0); err == nil || !strings.Contains(err.Error(), "horizon") {
			t.Errorf("%s, no horizon: %v, %v", name, got, err)
		}
		if _, err := f.Spread(done, s, time.Minute); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", name, err)
		}
	}
	calm := observe(t, newWorld(t, shop(), nil), after(time.Minute))
	if got, err := NewForecaster(LiveConfig{}).Spread(context.Background(), calm, time.Minute); err != nil || len(got) != 0 {
		t.Errorf("in calm: %v, %v", got, err)
	}
}

// TestCut takes the part around db out of the shop and keeps its numbers.
func TestCut(t *testing.T) {
	w, s := stuck(t)
	_ = w
	part, inside := cut(s, []int{cart})
	if inside != 1 || len(part.Graph.Services) != 2 || len(part.Graph.Edges) != 1 {
		t.Fatalf("%d inside, %+v", inside, part.Graph)
	}
	if g := part.Graph.Services; g[0].Name != "cart" || !g[0].Entry || g[1].Name != "db" || g[1].Entry {
		t.Errorf("services %+v: want cart as an entry, as gateway calls it from outside", g)
	}
	for row := range s.Signals {
		if part.Service.At(row, 1) != s.Service.At(row, db) {
			t.Errorf("%s of db: %v, was %v", s.Signals[row].Name, part.Service.At(row, 1), s.Service.At(row, db))
		}
	}
	e, _ := s.Graph.EdgeIndex(cart, db)
	for row := range s.EdgeSignals {
		if part.Edge.At(row, 0) != s.Edge.At(row, e) {
			t.Errorf("%s of the call: %v, was %v", s.EdgeSignals[row].Name, part.Edge.At(row, 0), s.Edge.At(row, e))
		}
	}
}

// TestRegion follows callers up and callees down, ring by ring, and no further
// than it must: not from a caller down to its other callees.
func TestRegion(t *testing.T) {
	edges := []sre.Edge{{From: 0, To: 1}, {From: 1, To: 2}, {From: 0, To: 3}, {From: 2, To: 4}, {From: 5, To: 4}}
	g := sre.NewGraph(make([]sre.Service, 6), edges)
	if got := region(g, []int{2}); cmp.Diff(got, []int{2, 1, 4, 0}) != "" {
		t.Errorf("got %v", got)
	}
	var chain []sre.Edge
	for i := range 2 * widest {
		chain = append(chain, sre.Edge{From: i, To: i + 1})
	}
	long := sre.NewGraph(make([]sre.Service, 2*widest+1), chain)
	if got := region(long, []int{widest}); len(got) != widest {
		t.Errorf("%d services, want %d", len(got), widest)
	}
}

// BenchmarkAhead is two minutes ahead in a fleet in an outage.
func BenchmarkAhead(b *testing.B) {
	p := patientOf(b, ills[1], 1, 1000, '4')
	live := NewForecaster(LiveConfig{})
	for _, s := range p.before {
		live.(sre.Rememberer).Remember(s)
	}
	for _, x := range []struct {
		name string
		f    sre.Forecaster
	}{{"world", p.w.Forecaster()}, {"live", live}} {
		b.Run(fmt.Sprint("Healed/", x.name), func(b *testing.B) {
			for b.Loop() {
				if _, err := x.f.Healed(context.Background(), p.s, p.cause, 2*time.Minute); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("Spread/", x.name), func(b *testing.B) {
			for b.Loop() {
				if _, err := x.f.Spread(context.Background(), p.s, 2*time.Minute); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
