package world

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sources"
	"github.com/sreagent/sreagent/sre"
)

// stored is a store that is fed with a world's scrapes, and a source that reads
// it over HTTP as the daemon would.
func stored(t *testing.T, w *World, store *replay.Store) *sources.Source {
	t.Helper()
	server := httptest.NewServer(store.Handler())
	t.Cleanup(server.Close)
	queries, err := sources.ParseSignals(w.SignalsYAML())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "topology.yaml")
	if err := os.WriteFile(file, w.TopologyYAML(), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := sources.DefaultConfig()
	cfg.Prometheus.URL, cfg.Prometheus.Timeout = server.URL, model.Duration(time.Minute)
	cfg.Signals.Custom = queries
	cfg.Topology.File = file
	cfg.Topology.FromMetrics = false
	src, err := sources.New(cfg, sources.Options{Interval: w.o.Interval, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	return src
}

// record returns a hook that stores what is scraped.
func record(t *testing.T, store *replay.Store) func(time.Time, []Sample) {
	return func(at time.Time, samples []Sample) {
		converted := make([]replay.Sample, len(samples))
		for i, s := range samples {
			converted[i] = replay.Sample(s)
		}
		if err := store.Append(at, converted); err != nil {
			t.Error(err)
		}
	}
}

// TestColumnsArePromQL holds the source of the world against the daemon's own
// source, which asks a Prometheus engine that stores the same scrapes: through
// an incident, with scrapes lost, a gap of one service, and a deploy.
func TestColumnsArePromQL(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"spread":  nil,
		"aligned": func(o *Options) { o.Aligned = true },
		"lossy":   func(o *Options) { o.ScrapeLoss, o.Seed = .3, 5 },
		"fleet":   nil,
		"slow":    func(o *Options) { o.Scrape, o.Interval = 15*time.Second, 10*time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			store, err := replay.OpenStore(t.TempDir(), replay.StoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			b := shop()
			if name == "fleet" {
				b = fluid.Fleet(fluid.FleetOptions{Services: 40, Seed: 2, Retries: 2})
				b.Services[ads].Name = "ads"
				b.Services[cart].Name = "cart"
			}
			b.Noise = true
			w := newWorld(t, b, func(o *Options) {
				o.Scraped = record(t, store)
				if change != nil {
					change(o)
				}
			})
			src := stored(t, w, store)
			slowDB(w, 60*time.Second, 120*time.Second)
			w.At(after(100*time.Second), func(*fluid.Model) {
				if err := w.Silence("cart", after(140*time.Second)); err != nil {
					t.Error(err)
				}
			})
			w.Announce(sre.Change{ID: "d1", At: after(90 * time.Second), Kind: sre.Deploy, Service: "ads", From: "v1", To: "v2"})
			for at := after(w.o.Interval); !at.After(after(3 * time.Minute)); at = at.Add(w.o.Interval) {
				ours := observe(t, w, at)
				theirs, err := src.Observe(context.Background(), at)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, ours, theirs)
			}
		})
	}
}

// compare holds two snapshots against each other by names.
func compare(t *testing.T, ours, theirs *sre.Snapshot) {
	t.Helper()
	if !slices.Equal(ours.Signals, theirs.Signals) || !slices.Equal(ours.EdgeSignals, theirs.EdgeSignals) {
		t.Fatalf("columns differ: %v %v, PromQL has %v %v", ours.Signals, ours.EdgeSignals, theirs.Signals, theirs.EdgeSignals)
	}
	if len(theirs.Health.Failed) > 0 || !theirs.Health.Up {
		t.Fatalf("queries failed: %+v", theirs.Health)
	}
	same := func(what string, a, b sre.Reading) {
		t.Helper()
		if a.State != b.State || a.State != sre.Absent && !near(a.Value, b.Value) {
			t.Errorf("at %s: %s is %v %s, PromQL says %v %s", ours.At.Sub(start), what, a.Value, a.State, b.Value, b.State)
		}
	}
	for i, s := range ours.Graph.Services {
		j, ok := theirs.Graph.Index(s.Name)
		if !ok {
			t.Fatalf("PromQL knows no %s", s.Name)
		}
		for row, sig := range ours.Signals {
			same(sig.Name+"("+s.Name+")", ours.Service.At(row, i), theirs.Service.At(row, j))
		}
	}
	for i, e := range ours.Graph.Edges {
		from, to := ours.Graph.Services[e.From].Name, ours.Graph.Services[e.To].Name
		a, _ := theirs.Graph.Index(from)
		b, _ := theirs.Graph.Index(to)
		j, ok := theirs.Graph.EdgeIndex(a, b)
		if !ok {
			t.Fatalf("PromQL knows no %s -> %s", from, to)
		}
		if got := theirs.Graph.Edges[j].Spec; got != e.Spec {
			t.Errorf("%s -> %s is read as %+v from the topology file, want %+v", from, to, got, e.Spec)
		}
		for row, sig := range ours.EdgeSignals {
			same(sig.Name+"("+from+" -> "+to+")", ours.Edge.At(row, i), theirs.Edge.At(row, j))
		}
	}
}
