package report

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

var columnsOfShop = []sre.Signal{
	{Name: "rate", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "failures", Kind: sre.Errors, Unit: sre.Ratio},
	{Name: "p99", Kind: sre.Latency, Unit: sre.Seconds}, {Name: "cpu", Kind: sre.Saturation, Unit: sre.Ratio},
}

// tick makes one tick of the shop. value gives the reading of a signal and a
// service; NaN is absent.
func tick(i int, g *sre.Graph, value func(signal, service int) float64) replay.Tick {
	s := &sre.Snapshot{
		At: after(i * 15), Interval: 15 * time.Second, Graph: g, Signals: columnsOfShop,
		EdgeSignals: []sre.Signal{{Name: "repeats", Kind: sre.Retries, Unit: sre.PerSecond, Edge: true}},
		Service:     sre.NewMatrix(len(columnsOfShop), len(g.Services)), Edge: sre.NewMatrix(1, len(g.Edges)),
	}
	for row := range columnsOfShop {
		for v := range g.Services {
			if x := value(row, v); x == x {
				s.Service.Set(row, v, sre.Reading{Value: x, State: sre.Present})
			}
		}
	}
	for e := range g.Edges {
		s.Edge.Set(0, e, sre.Reading{Value: float64(e), State: sre.Present})
	}
	return replay.Tick{At: s.At, Snapshot: s}
}

func watch(t interface{ Fatal(...any) }, r *Recorder, ticks ...replay.Tick) {
	for _, k := range ticks {
		if err := r.Watch(k); err != nil {
			t.Fatal(err)
		}
	}
}

func named(all []Series) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.Service+" "+s.Name+" ("+s.Why+")")
	}
	return out
}

func TestChoose(t *testing.T) {
	g := shop()
	var r Recorder
	for i := range 10 {
		watch(t, &r, tick(i, g, func(signal, service int) float64 {
			if signal == 1 && service == 0 {
				return math.NaN() // the gateway's failures are not measured
			}
			return float64(100 - service)
		}))
	}
	records := storm()
	for i := range records {
		if inc := records[i].Incident; inc != nil {
			inc.Diagnosis.Hypotheses[0].Evidence = []sre.Evidence{
				{Signal: "repeats", Subject: "checkout->payment"}, {Signal: "vulnerability", Subject: "payment"},
				{Signal: "cpu", Subject: "payment"}, {Signal: "p99", Subject: "nobody"},
			}
		}
	}
	want := []string{
		"gateway rate (entry service)", "gateway p99 (entry service)",
		"web rate (entry service)", "web failures (entry service)", "web p99 (entry service)",
		"checkout->payment repeats (suspect, 74 %)", "payment cpu (suspect, 74 %)",
		"postgres rate (suspect, 17 %)", "postgres failures (suspect, 17 %)", "postgres p99 (suspect, 17 %)",
		"bank rate (known to be at fault)", "bank failures (known to be at fault)", "bank p99 (known to be at fault)",
	}
	got := r.Choose(records, "bank", "web", "not-there")
	if d := cmp.Diff(want, named(got)); d != "" {
		t.Errorf("chosen series (-want +got):\n%s", d)
	}
	if got[5].Unit != sre.PerSecond || len(got[5].Values) != 10 || got[5].Values[3] != 5 {
		t.Errorf("edge series is %+v", got[5])
	}
}

func TestRecorderOfNothing(t *testing.T) {
	var r Recorder
	watch(t, &r, replay.Tick{At: noon})
	if got := r.Choose(storm(), "gateway"); got != nil || r.Graph() != nil {
		t.Errorf("chose %v and graph %v from nothing", got, r.Graph())
	}
}

// TestRecorderKeepsExtremes holds the recorder to a twin that keeps everything.
func TestRecorderKeepsExtremes(t *testing.T) {
	g := sre.NewGraph([]sre.Service{{Name: "a", Entry: true}}, nil)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3000).Draw(t, "ticks")
		seed := rapid.Uint64().Draw(t, "seed")
		holes := rapid.IntRange(0, 9).Draw(t, "holes")
		all := make([]float64, n)
		var r Recorder
		for i := range all {
			seed = seed*6364136223846793005 + 1442695040888963407
			all[i] = float64(seed>>40) / 16
			if int(seed>>33)%10 < holes {
				all[i] = math.NaN()
			}
			if holes == 9 && i%7 == 0 {
				watch(t, &r, replay.Tick{At: after(i * 15)}) // the source failed
				all[i] = math.NaN()
				continue
			}
			watch(t, &r, tick(i, g, func(int, int) float64 { return all[i] }))
		}
		got := r.Choose(nil)
		if extremes(all) == ([2]float64{}) {
			if len(got) != 0 {
				t.Fatalf("%d series of nothing", len(got))
			}
			return
		}
		s := got[0]
		if len(s.Values) > maxPoints || len(s.Values) != len(s.Times) {
			t.Fatalf("%d values and %d times, want at most %d", len(s.Values), len(s.Times), maxPoints)
		}
		if !slices.IsSortedFunc(s.Times, time.Time.Compare) {
			t.Fatal("times do not ascend")
		}
		a, b := extremes(all), extremes(s.Values)
		if float32(a[0]) != float32(b[0]) || float32(a[1]) != float32(b[1]) {
			t.Fatalf("extremes %v became %v", a, b)
		}
		span := time.Duration(r.stride) * 15 * time.Second
		for i, v := range s.Values {
			if v != v {
				continue
			}
			// A drawn value was read within the span that it stands for.
			k := slices.IndexFunc(all, func(x float64) bool { return float32(x) == float32(v) })
			found := false
			for ; k < n && k >= 0; k++ {
				if at := after(k * 15); float32(all[k]) == float32(v) && !at.Before(s.Times[i].Add(-span)) && at.Before(s.Times[i].Add(span)) {
					found = true
					break
				}
			}
			if !found {
				t.Fatalf("value %v at %s was never read near it", v, s.Times[i])
			}
		}
		if n <= maxPoints-2 && r.stride != 1 {
			t.Fatalf("%d ticks were thinned though they fit", n)
		}
	})
}

func extremes(values []float64) [2]float64 {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if v == v {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if lo > hi {
		return [2]float64{}
	}
	return [2]float64{lo, hi}
}

func TestThinned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(-1e6, 1e6), rapid.Just(math.NaN())), 0, 900).Draw(t, "values")
		s := Series{Name: "x", Values: values, Times: make([]time.Time, len(values))}
		for i := range s.Times {
			s.Times[i] = after(i)
		}
		got := thinned(s, 200)
		if len(got.Values) > 200 || len(got.Times) != len(got.Values) {
			t.Fatalf("%d values, %d times", len(got.Values), len(got.Times))
		}
		if !slices.IsSortedFunc(got.Times, time.Time.Compare) {
			t.Fatal("times do not ascend")
		}
		if extremes(values) != extremes(got.Values) {
			t.Fatalf("extremes %v became %v", extremes(values), extremes(got.Values))
		}
	})
}

func TestRecorderBoundsItsMemory(t *testing.T) {
	many := make([]sre.Service, maxColumns/2)
	for i := range many {
		many[i].Name = fmt.Sprint("s", i)
	}
	many[len(many)-1].Entry = true
	g := sre.NewGraph(many, nil)
	var r Recorder
	watch(t, &r, tick(0, g, func(int, int) float64 { return 1 }), tick(1, g, func(int, int) float64 { return 2 }))
	if want := maxColumns + 2; r.columns != want { // two signals of all, the third and the fourth of the entry
		t.Errorf("%d series are kept, want %d", r.columns, want)
	}
	if got := named(r.Choose(nil)); len(got) != 3 {
		t.Errorf("of the entry there are %v", got)
	}
}

func BenchmarkRecorder(b *testing.B) {
	g := shop()
	var r Recorder
	ticks := make([]replay.Tick, 256)
	for i := range ticks {
		ticks[i] = tick(i, g, func(_, service int) float64 { return float64(i * service) })
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		watch(b, &r, ticks[i%len(ticks)])
		i++
	}
}
