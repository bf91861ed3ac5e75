package guard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// waterFill returns the max-min fair allocation of capacity.
func waterFill(capacity float64, demands, weights []float64) []float64 {
	out := make([]float64, len(demands))
	open := make([]bool, len(demands))
	for i := range open {
		open[i] = true
	}
	for {
		total := 0.0
		for i, o := range open {
			if o {
				total += weights[i]
			}
		}
		if total == 0 {
			return out
		}
		level, settled := capacity/total, false
		for i, o := range open {
			if o && demands[i] <= level*weights[i] {
				out[i], open[i], settled = demands[i], false, true
				capacity -= demands[i]
			}
		}
		if settled {
			continue
		}
		for i, o := range open {
			if o {
				out[i] = level * weights[i]
			}
		}
		return out
	}
}

// offerTo sends Poisson arrivals of each client and returns the rates admitted
// after the first settle seconds. A nil weights or classes is 1 and Normal.
func offerTo(t *testing.T, cfg LimitConfig, weights []float64, classes []Priority, demands []float64, settle, seconds float64) []float64 {
	t.Helper()
	cfg.Algorithm, cfg.Name, cfg.Per = Fair, "api", []string{"client"}
	rule := newRule(cfg.WithDefaults(), 1)
	if weights != nil {
		rule.cfg.Weights = map[string]int64{}
		for i, w := range weights {
			rule.cfg.Weights[strconv.Itoa(i)] = int64(w)
		}
		rule.weigh(func(client string) []uint64 {
			i, _ := strconv.ParseUint(client, 10, 64)
			return []uint64{i + 1}
		})
	}
	r := rand.New(rand.NewPCG(1, 2))
	next := make([]float64, len(demands))
	got := make([]float64, len(demands))
	for i, d := range demands {
		next[i] = r.ExpFloat64() / d
	}
	for {
		who := 0
		for i := range next {
			if next[i] < next[who] {
				who = i
			}
		}
		at := next[who]
		if at > settle+seconds {
			return got
		}
		next[who] += r.ExpFloat64() / demands[who]
		class := Normal
		if classes != nil {
			class = classes[who]
		}
		var p tickets
		p.add(rule, uint64(who)+1)
		if _, _, ok := p.takeAll(epochStart, int64(at*1e9), 1, class, nil); ok && at > settle {
			got[who] += 1 / seconds
		}
	}
}

func TestFairApproachesTheMaxMinAllocation(t *testing.T) {
	even := func(n int, d float64) (out []float64) {
		for range n {
			out = append(out, d)
		}
		return out
	}
	cases := []struct {
		name             string
		rate             int64
		demands, weights []float64
	}{
		{"one greedy", 100, []float64{1000, 20, 30, 5}, nil},
		{"all greedy", 100, even(10, 200), nil},
		{"a staircase", 1000, []float64{10, 50, 100, 200, 400, 800, 1600}, nil},
		{"nobody is greedy", 1000, even(10, 50), nil},
		{"one greedy among many small", 1000, append(even(50, 15), 5000), nil},
		{"less than one each round", 100, even(50, 10), nil},
		{"weights", 900, []float64{2000, 2000, 2000, 50}, []float64{1, 2, 4, 1}},
		{"at the edge", 1000, even(10, 101), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			weights := c.weights
			cfg := LimitConfig{Rate: c.rate, Burst: max(10, c.rate/2)}
			if weights == nil {
				weights = even(len(c.demands), 1)
			}
			want := waterFill(float64(c.rate), c.demands, weights)
			got := offerTo(t, cfg, weights, nil, c.demands, 5, 60)
			sum, wanted := 0.0, 0.0
			for i := range want {
				sum, wanted = sum+got[i], wanted+want[i]
				noise := 3 * math.Sqrt(want[i]/60) // of the arrivals themselves
				if math.Abs(got[i]-want[i]) > 0.05*want[i]+noise {
					t.Errorf("client %d asks for %.0f and gets %.1f, want %.1f", i, c.demands[i], got[i], want[i])
				}
			}
			if sum < 0.98*wanted || sum > 1.01*float64(c.rate) {
				t.Errorf("%.1f admitted in all, want %.1f", sum, wanted)
			}
		})
	}
}

func TestFairKeepsHighClassesWhileLowIsShed(t *testing.T) {
	classes := []Priority{Critical, High, High, Low, Low, Low, Normal}
	demands := []float64{100, 100, 100, 1000, 1000, 50, 200}
	got := offerTo(t, LimitConfig{Rate: 1000, Reserve: true}, nil, classes, demands, 5, 60)
	for i, class := range classes {
		t.Logf("%s: %.0f of %.0f", class, got[i], demands[i])
		asked := demands[i]
		if class != Low && got[i] < 0.99*asked-3*math.Sqrt(asked/60) {
			t.Errorf("%s gets %.1f of %.0f, want 99 %%", class, got[i], asked)
		}
	}
	for i, want := range map[int]float64{3: 225, 4: 225, 5: 50} { // what the others leave, shared by those of the class
		if math.Abs(got[i]-want) > 0.1*want {
			t.Errorf("low client %d gets %.1f, want %.0f", i, got[i], want)
		}
	}
}

// When the others fall silent the one that remains gets all at once, not after
// a round.
func TestFairIsWorkConserving(t *testing.T) {
	l, err := NewRateLimit(LimitConfig{Name: "api", Algorithm: Fair, Rate: 100, Per: []string{"client"}}, epochStart)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for ms := range 20_000 {
		now := epochStart.Add(time.Duration(ms) * time.Millisecond)
		if ms < 10_000 {
			for i := range 10 {
				l.Allow(now, fmt.Sprint(i), 1)
			}
			continue
		}
		if ok, _ := l.Allow(now, "0", 1); ok {
			passed++
		}
	}
	if passed < 950 || passed > 1050 { // the bucket may be half empty before, or full after
		t.Errorf("%d of 1000 passed in ten seconds alone", passed)
	}
}
