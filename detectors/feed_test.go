package detectors_test

import (
	"maps"
	"math"
	"time"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sre"
)

// reading is one signal's value at one tick.
type reading map[string]float64

// signals by name, for the feed.
var feedSignals = []sre.Signal{
	{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
	{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "tail", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "queue", Kind: sre.Queue, Unit: sre.Count},
	{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
	{Name: "memory", Kind: sre.Saturation, Unit: sre.Percent},
	{Name: "retries", Kind: sre.Retries, Unit: sre.PerSecond},
	{Name: "timeouts", Kind: sre.Timeouts, Unit: sre.PerSecond},
	{Name: "replicas", Kind: sre.Replicas, Unit: sre.Count},
	{Name: "cache", Kind: sre.Cache, Unit: sre.Ratio},
	{Name: "members", Kind: sre.Pool, Unit: sre.Ratio},
}

// feed drives a bank with the readings of one service, "api", that "web" calls.
type feed struct {
	bank     *detectors.Bank
	graph    *sre.Graph
	at       time.Time
	interval time.Duration
	frozen   []bool
	changes  []sre.Change
}

const (
	web = 0
	api = 1
)

func newFeed(interval time.Duration, spec sre.EdgeSpec) *feed {
	return &feed{
		bank: detectors.New(detectors.DefaultConfig()),
		graph: sre.NewGraph(
			[]sre.Service{{Name: "web", Entry: true}, {Name: "api"}},
			[]sre.Edge{{From: web, To: api, Spec: spec}},
		),
		at:       time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC),
		interval: interval,
	}
}

// put runs one tick with the readings of api; signals that are not given are
// absent.
func (f *feed) put(r reading) []sre.Precursor {
	f.at = f.at.Add(f.interval)
	return f.bank.Detect(f.snapshot(r), f.frozen)
}

func (f *feed) snapshot(r reading) *sre.Snapshot {
	s := &sre.Snapshot{
		At: f.at, Interval: f.interval, Graph: f.graph, Signals: feedSignals,
		Service: sre.NewMatrix(len(feedSignals), len(f.graph.Services)), Changes: f.changes,
		Health: sre.SourceHealth{Up: true},
	}
	f.changes = nil
	for row, sig := range feedSignals {
		if v, ok := r[sig.Name]; ok {
			s.Service.Set(row, api, sre.Reading{Value: v, State: sre.Present})
		}
	}
	return s
}

// times puts the same readings n times and returns what the last tick found.
func (f *feed) times(n int, r reading) []sre.Precursor {
	var last []sre.Precursor
	for range n {
		last = f.put(r)
	}
	return last
}

// healthy is a service at 60 % of a capacity of 100 per second.
func healthy() reading {
	return reading{
		"traffic": 60, "errors": .001, "latency": .02, "tail": .08, "queue": 3, "pool": .6, "memory": 40,
		"retries": .1, "timeouts": 0, "replicas": 4, "cache": .95,
	}
}

// but returns the readings with some of them changed; NaN takes one away.
func (r reading) but(changes reading) reading {
	out := maps.Clone(r)
	maps.Copy(out, changes)
	maps.DeleteFunc(out, func(_ string, v float64) bool { return math.IsNaN(v) })
	return out
}

// of picks the sign of one detector about one kind; ok tells whether there is
// one.
func of(ps []sre.Precursor, detector string, kind sre.SignalKind) (sre.Precursor, bool) {
	for _, p := range ps {
		if p.Detector == detector && (kind == "" || p.Kind == kind) {
			return p, true
		}
	}
	return sre.Precursor{}, false
}

// lcg is a small deterministic generator.
type lcg uint64

func (g *lcg) next() float64 {
	*g = *g*6364136223846793005 + 1442695040888963407
	return float64(*g>>11) / (1 << 53)
}

func (g *lcg) gauss() float64 {
	return math.Sqrt(-2*math.Log(1-g.next())) * math.Cos(2*math.Pi*g.next())
}
