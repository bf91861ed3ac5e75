package runbooktest

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/runbooks"
)

const storm = `interval: 10s
tests:
  - name: what waits at the stock is bounded
    topology:
      entries: [web]
      edges:
        - {from: web, to: stock, timeout: 1s, retries: 3}
    input_series:
      - {series: 'traffic{service="stock"}', values: '200+0x6 100+0x6'}
      - {series: 'errors{service="stock"}', values: '0.3+0x6 0+0x6'}
      - {series: 'errors{service="web"}', values: '0.1+0x6 0+0x6'}
      - {series: 'latency{service="stock"}', values: '0.9+0x6 0.1+0x6'}
      - {series: 'queue{service="stock"}', values: '500+0x6 2+0x4 _ stale'}
    given: {root: stock, mechanism: retry_storm}
    expect:
      - at: 30s
        runbook: retry-storm
        actions: ["queue_bound guard/stock length=70"]
        verify: fail
        relapse: pass
        rejected: {overload: made for overload}
      - {at: 2m, runbook: ""}
`

func shipped(t *testing.T) *runbooks.Library {
	t.Helper()
	l, err := runbooks.Load(runbooks.Shipped(), ".")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func all(string) bool { return true }

func failures(t *testing.T, text string) []string {
	t.Helper()
	f, err := Parse("t.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	results, err := f.Run(t.Context(), Bench{Library: shipped(t), Levers: world.Capabilities(), Keep: all})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range results {
		for _, x := range r.Failures {
			out = append(out, x.What+": expected "+x.Expected+", found "+x.Found)
		}
	}
	return out
}

func TestWhatIsExpectedHolds(t *testing.T) {
	if got := failures(t, storm); len(got) > 0 {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

func TestWhatDoesNotHoldIsTold(t *testing.T) {
	text := strings.NewReplacer("length=70", "length=71", "verify: fail", "verify: pass", "relapse: pass", "relapse: no_data",
		"runbook: retry-storm", "runbook: overload", "made for overload", "made for tea").Replace(storm)
	want := []string{
		"at 30s: runbook: expected overload, found retry-storm",
		"at 30s: rejection of overload: expected made for tea, found made for overload, capacity_decay, survivor_overload, cache_loss, not for retry_storm",
		`at 30s: actions of "bound the queues": expected queue_bound guard/stock length=71, found queue_bound guard/stock length=70`,
		`at 30s: verify of "bound the queues": expected pass, found fail`,
		`at 30s: relapse of "bound the queues": expected no_data, found pass`,
	}
	if diff := cmp.Diff(want, failures(t, text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMistakesAreTold(t *testing.T) {
	for change, want := range map[string]string{
		"given:/give:": `t.yaml:14: unknown field "give"; allowed: approvals, changes, expect, experience, given, input_series, levers, name, policy, topology, world`,
		"mechanism: retry_storm/mechanism: storm": "t.yaml:3: mechanism is \"storm\"; allowed: retry_storm,",
		"verify: fail/verify: bad":                `t.yaml:16: verdict is "bad"; allowed: pass, fail, no_data`,
		"tests:/test:":                            "t.yaml:2: ",
	} {
		from, to, _ := strings.Cut(change, "/")
		_, err := Parse("t.yaml", []byte(strings.Replace(storm, from, to, 1)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", to, err, want)
		}
	}
	for change, want := range map[string]string{
		`errors{service="web"}/error{service="web"}`:  `t.yaml:11: no signal is called "error"; allowed: traffic, errors`,
		`errors{service="web"}/errors{service="wob"}`: `t.yaml:11: errors is of service "wob"`,
		"'0.1+0x6 0+0x6'/'0.1+0x6 zero'":              "t.yaml:11: ",
	} {
		from, to, _ := strings.Cut(change, "/")
		f, err := Parse("t.yaml", []byte(strings.Replace(storm, from, to, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Run(t.Context(), Bench{Library: shipped(t), Levers: world.Capabilities(), Keep: all}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", to, err, want)
		}
	}
}

// Every shipped runbook has a test beside it: what it is chosen for and plans, and
// that it leaves other trouble alone.
func TestTheShippedRunbooksHoldTheirTests(t *testing.T) {
	const beside = "../../runbooks/shipped/tests/"
	library := shipped(t)
	for _, rb := range library.List() {
		t.Run(rb.Name, func(t *testing.T) {
			path := beside + rb.Name + ".test.yaml"
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Parse(path, text)
			if err != nil {
				t.Fatal(err)
			}
			results, err := f.Run(t.Context(), Bench{Library: library, Levers: world.Capabilities(), Keep: all})
			if err != nil {
				t.Fatal(err)
			}
			if len(results) < 2 || !strings.Contains(string(text), "runbook: "+rb.Name) || !strings.Contains(string(text), "rejected: {"+rb.Name) {
				t.Errorf("%d tests, which do not both choose and reject it", len(results))
			}
			for _, r := range results {
				for _, x := range r.Failures {
					t.Errorf("%s: %s: expected %s, found %s", r.Test, x.What, x.Expected, x.Found)
				}
			}
		})
	}
}
