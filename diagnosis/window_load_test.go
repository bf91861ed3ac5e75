package diagnosis

import (
	"math"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

var slotSignals = []sre.Signal{
	{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "queue", Kind: sre.Queue, Unit: sre.Count},
	{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
	{Name: "cache", Kind: sre.Cache, Unit: sre.Ratio},
	{Name: "restarts", Kind: sre.Errors, Unit: sre.Count},
}

var slotUsual = []float64{100, .1, 4, .6, .9, 0}

// slots makes snapshots of services with pools; value gives what a series is at a
// tick, NaN where it is as usual.
func slots(g *sre.Graph, from, n int, value func(tick int, service, signal string) float64) []*sre.Snapshot {
	var out []*sre.Snapshot
	for k := from; k < from+n; k++ {
		s := &sre.Snapshot{
			At: windowStart.Add(time.Duration(k) * time.Minute), Interval: time.Minute, Graph: g, Signals: slotSignals,
			Service: sre.NewMatrix(len(slotSignals), len(g.Services)), Edge: sre.NewMatrix(0, len(g.Edges)),
			Health: sre.SourceHealth{Up: true},
		}
		wobble := 1 + float64((k*7)%5-2)/100
		for i, svc := range g.Services {
			for r, sig := range slotSignals {
				v := value(k, svc.Name, sig.Name)
				if math.IsNaN(v) {
					v = slotUsual[r]
				}
				s.Service.Set(r, i, sre.Reading{Value: v * wobble, State: sre.Present})
			}
		}
		out = append(out, s)
	}
	return out
}

func rankSlots(m moved) []sre.Hypothesis {
	g := sre.NewGraph(windowServices, windowEdges)
	usual := func(int, string, string) float64 { return math.NaN() }
	return RankWindow(slots(g, 0, 30, usual), slots(g, 30, 6, func(_ int, service, signal string) float64 {
		if v, ok := m[signal+" "+service]; ok {
			return v
		}
		return math.NaN()
	}), nil)
}

func TestWhoFilledThePoolIsToBlame(t *testing.T) {
	for _, c := range []struct {
		name  string
		moved moved
		want  string
	}{
		{"a queue above a slow service is longer than its own", moved{
			"latency db": .5, "queue db": 40, "pool db": 1,
			"latency api": 9, "queue api": 900, "pool api": 1, "latency web": 60, "queue web": 9000, "pool web": 1,
		}, "db"},
		{"a queue above a service that is well", moved{"latency api": 9, "queue api": 900, "pool api": 1}, "api"},
		{"a cache that has lost what it held floods what is behind it", moved{
			"cache api": .2, "traffic db": 600, "latency db": 3, "queue db": 600, "pool db": 1, "latency api": 3.1, "latency web": 3.1,
		}, "api"},
		{"when all the world asks for more, the narrowest", moved{
			"traffic web": 200, "traffic batch": 200, "traffic api": 200, "traffic cart": 200, "traffic db": 200,
			"latency db": 2, "queue db": 300, "pool db": 1, "latency api": 2, "latency web": 2, "latency batch": 2,
		}, "db"},
	} {
		hs := rankSlots(c.moved)
		if hs[0].Service != c.want {
			for _, h := range hs {
				t.Logf("%-6s %.3f %+v", h.Service, h.Probability, h.Evidence)
			}
			t.Errorf("%s: %q first, want %q", c.name, hs[0].Service, c.want)
		}
	}
}

// At first api is slow; two ticks later all wait for all, and web most of all.
func TestTheOriginOfACascadeIsRemembered(t *testing.T) {
	g := sre.NewGraph(windowServices, windowEdges)
	calm := func(int, string, string) float64 { return math.NaN() }
	cascade := func(k int, service, signal string) float64 {
		switch {
		case signal == "latency" && service == "api":
			return .6
		case k >= 32 && (signal == "latency" || signal == "queue") && service != "api":
			return 90
		}
		return math.NaN()
	}
	early, late := slots(g, 30, 2, cascade), slots(g, 32, 30, cascade)
	with := at(RankWindow(slots(g, 0, 30, calm), append(early, late...), nil), "api")
	without := at(RankWindow(slots(g, 0, 30, calm), late, nil), "api")
	if with <= 2*without {
		t.Errorf("%.3f with the beginning, %.3f without", with, without)
	}
}

func TestAHoldIsAShare(t *testing.T) {
	g := sre.NewGraph(windowServices, windowEdges)
	calm := func(int, string, string) float64 { return math.NaN() }
	for _, x := range []float64{-5, 0, .3, .999, 1, 2, 1e90} {
		wild := func(_ int, service, _ string) float64 {
			if service == "api" {
				return x
			}
			return x / 3
		}
		w := newWindow(slots(g, 0, 30, calm), slots(g, 30, 4, wild), nil)
		v := newWindow(slots(g, 0, 30, wild), slots(g, 30, 4, calm), nil)
		for i, h := range append(w.hold, v.hold...) {
			if !(h.blocked >= 0 && h.blocked <= 1 && h.flooded >= 0 && h.flooded <= 1) {
				t.Errorf("%v: %+v of %d", x, h, i)
			}
		}
	}
}

// firstNamed is the most probable service.
func firstNamed(hs []sre.Hypothesis) string {
	for _, h := range hs {
		if h.Service != "" {
			return h.Service
		}
	}
	return ""
}

// coefficientFields names every coefficient.
func coefficientFields() map[string]func(*coefficients) *float64 {
	return map[string]func(*coefficients) *float64{
		"resource": func(c *coefficients) *float64 { return &c.resource }, "traffic": func(c *coefficients) *float64 { return &c.traffic },
		"second": func(c *coefficients) *float64 { return &c.second }, "support": func(c *coefficients) *float64 { return &c.support },
		"cover": func(c *coefficients) *float64 { return &c.cover }, "change": func(c *coefficients) *float64 { return &c.change },
		"silent": func(c *coefficients) *float64 { return &c.silent }, "mute": func(c *coefficients) *float64 { return &c.mute },
		"noteworthy": func(c *coefficients) *float64 { return &c.noteworthy }, "entryHurts": func(c *coefficients) *float64 { return &c.entryHurts },
		"several": func(c *coefficients) *float64 { return &c.several }, "likeness": func(c *coefficients) *float64 { return &c.likeness },
	}
}

// A coefficient that matters sharply would be a fit: moving any of them by a
// third changes few first answers over faults of every size at every service.
func TestNoCoefficientMattersSharply(t *testing.T) {
	g := sre.NewGraph(windowServices, windowEdges)
	before := days(g, 0, 30, nil)
	var worlds [][]*sre.Snapshot
	for _, cause := range windowServices[1:] {
		for _, by := range []float64{1.2, 1.5, 2, 4, 8} {
			for _, kind := range []string{"latency", "errors", "cpu"} {
				m := moved{}
				switch kind {
				case "latency":
					m["latency "+cause.Name], m["latency web"] = .1*by, .1*by
				case "errors":
					m["errors "+cause.Name], m["errors web"] = by/20, by/40
				case "cpu":
					m["cpu "+cause.Name], m["latency "+cause.Name], m["latency web"] = min(100, 30*by), .1*math.Sqrt(by), .1*math.Sqrt(by)
				}
				worlds = append(worlds, days(g, 30, 4, m))
			}
		}
	}
	for name, field := range coefficientFields() {
		for _, by := range []float64{2. / 3, 4. / 3} {
			c := plainCoefficients()
			*field(&c) *= by
			changed := 0
			for _, after := range worlds {
				if firstNamed(rankWindow(c, before, after, nil)) != firstNamed(RankWindow(before, after, nil)) {
					changed++
				}
			}
			t.Logf("%s by %.2f: %d of %d first answers change", name, by, changed, len(worlds))
			if float64(changed) > .15*float64(len(worlds)) {
				t.Errorf("%s by %.2f: %d of %d first answers change", name, by, changed, len(worlds))
			}
		}
	}
}
