package demo

import (
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// The numbers that the docs promise: vulnerable at rest, but not overloaded.
func TestPlanIsMetastable(t *testing.T) {
	capacity := leafWorkers / leafWork.Seconds()
	if use := DefaultRate / capacity; use < 0.65 || use > 0.75 {
		t.Errorf("the leaf is used to %.2f, want about 0.7", use)
	}
	if v := DefaultRate * (1 + leafRetries) / capacity; v < 2 {
		t.Errorf("V is %.2f, want above 2", v)
	}
	if cut := capacity * (1 - cutShare); cut >= DefaultRate {
		t.Errorf("the cut leaves %.0f/s, which is enough", cut)
	}
	// Retries come in steps of one timeout. Even if all of them started only two
	// timeouts after the cut, the backlog would outlast a timeout at restored
	// capacity.
	late := (cutFor - 2*leafTimeout).Seconds()
	backlog := late * (2*DefaultRate - capacity*(1-cutShare))
	if m := backlog / (capacity * leafTimeout.Seconds()); m < 2 {
		t.Errorf("M after the trigger is %.2f, want well above 1", m)
	}
	// With a budget of 10 % the bad state has no ground to stand on.
	if v := DefaultRate * 1.1 / capacity; v >= 0.9 {
		t.Errorf("V with a retry budget is %.2f", v)
	}
}

// Each caller waits for longer than all attempts of what it calls can take.
func TestTimeoutsNest(t *testing.T) {
	nodes := map[string]node{}
	for _, n := range plan() {
		nodes[n.name] = n
	}
	longest := func(c call) time.Duration {
		d := c.timeout
		for n := range c.retries {
			d += backoff<<n + c.timeout
		}
		return d
	}
	for _, n := range plan() {
		for _, c := range n.calls {
			inside := nodes[c.callee].work
			for _, next := range nodes[c.callee].calls {
				inside += longest(next)
			}
			if inside > c.timeout {
				t.Errorf("%s waits %v for %s, which may take %v", n.name, c.timeout, c.callee, inside)
			}
		}
	}
	for _, c := range nodes[Entry].calls {
		if c.timeout >= DefaultDeadline {
			t.Errorf("users wait %v, %s waits %v for %s", DefaultDeadline, Entry, c.timeout, c.callee)
		}
	}
}

func TestPlanIsOneGraph(t *testing.T) {
	nodes := plan()
	if len(nodes) < 6 || nodes[0].name != Entry || nodes[len(nodes)-1].name != Leaf {
		t.Fatal("want at least six services, entry first, leaf last")
	}
	place := map[string]int{}
	for i, n := range nodes {
		place[n.name] = i
	}
	called := map[string]bool{Entry: true}
	for i, n := range nodes {
		if n.workers <= 0 || n.work <= 0 || n.weight <= 0 {
			t.Errorf("%s has a zero", n.name)
		}
		for _, c := range n.calls {
			j, known := place[c.callee]
			if !known || j <= i {
				t.Errorf("%s calls %s, which is unknown or comes earlier", n.name, c.callee)
			}
			called[c.callee] = true
		}
	}
	if len(called) != len(nodes) {
		t.Errorf("only %d of %d services are called", len(called), len(nodes))
	}
}

func TestTopologyIsAFileThatOthersRead(t *testing.T) {
	type edge struct {
		From            string  `yaml:"from"`
		To              string  `yaml:"to"`
		CallsPerRequest float64 `yaml:"calls_per_request"`
		Timeout         string  `yaml:"timeout"`
		Retries         int     `yaml:"retries"`
		Hard            bool    `yaml:"hard"`
	}
	var got struct {
		Edges      []edge             `yaml:"edges"`
		Entries    []string           `yaml:"entries"`
		Priorities map[string]float64 `yaml:"priorities"`
	}
	if err := yaml.UnmarshalWithOptions(topologyYAML(plan()), &got, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if len(got.Edges) != 8 || len(got.Entries) != 1 || got.Entries[0] != Entry || len(got.Priorities) != len(plan()) {
		t.Errorf("got %+v", got)
	}
	want := map[edge]bool{
		{"cart", Leaf, 1, "1000ms", 3, true}:                    true,
		{"storefront", "recommendations", 1, "300ms", 3, false}: true,
		{Entry, "storefront", 0.6, "6300ms", 0, true}:           true,
		{"checkout", "payments", 1, "300ms", leafRetries, true}: true,
		{"catalog", Leaf, 1, "1000ms", leafRetries, true}:       true,
	}
	for _, e := range got.Edges {
		delete(want, e)
	}
	if len(want) > 0 {
		t.Errorf("missing edges: %+v", want)
	}
}
