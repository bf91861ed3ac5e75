package replay

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func decided(id string, at int, cause string, verdict sre.Stance, rps float64) Digest {
	return Digest{
		ID: id, At: t0.Add(time.Duration(at) * time.Second), Cause: cause, Mechanism: sre.Overload, Verdict: verdict, Runbook: "overload",
		Actions: []Planned{{Kind: sre.Shed, Target: "guard/" + cause, Params: sre.Params{"rps": rps}}},
	}
}

func TestCompare(t *testing.T) {
	a := decided("a", 0, "cart", sre.Act, 10)
	for _, tc := range []struct {
		name               string
		recorded, replayed []Digest
		same               int
		missing, extra     int
		what               []string
	}{
		{"nothing", nil, nil, 0, 0, 0, nil},
		{"equal", []Digest{a}, []Digest{a}, 1, 0, 0, nil},
		{"readings differ in the last bits", []Digest{a}, []Digest{decided("a", 0, "cart", sre.Act, 10.00001)}, 1, 0, 0, nil},
		{"missing", []Digest{a}, nil, 0, 1, 0, nil},
		{"extra", nil, []Digest{a}, 0, 0, 1, nil},
		{"another verdict", []Digest{a}, []Digest{decided("a", 0, "cart", sre.Ask, 10)}, 0, 0, 0, []string{"verdict was act, is ask"}},
		{"another cap", []Digest{a}, []Digest{decided("a", 0, "cart", sre.Act, 20)}, 0, 0, 0,
			[]string{`actions was shed guard/cart {"rps":10}, is shed guard/cart {"rps":20}`}},
		{"a tick later", []Digest{a}, []Digest{decided("a2", 10, "cart", sre.Act, 10)}, 0, 0, 0,
			[]string{"time was 2021-03-04T05:06:00Z, is 2021-03-04T05:06:10Z"}},
		{"much later is another", []Digest{a}, []Digest{decided("a2", 100, "cart", sre.Act, 10)}, 0, 1, 1, nil},
		{"another cause is another", []Digest{a}, []Digest{decided("b", 0, "db", sre.Act, 10)}, 0, 1, 1, nil},
		{"ids are paired first", []Digest{a, decided("b", 10, "cart", sre.Act, 10)}, []Digest{decided("b", 10, "cart", sre.Act, 10)}, 1, 1, 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Compare(tc.recorded, tc.replayed, 30*time.Second)
			var what []string
			for _, ch := range c.Changed {
				what = append(what, ch.What...)
			}
			if c.Same != tc.same || len(c.Missing) != tc.missing || len(c.Extra) != tc.extra {
				t.Errorf("same %d, missing %d, extra %d; want %d, %d, %d", c.Same, len(c.Missing), len(c.Extra), tc.same, tc.missing, tc.extra)
			}
			if diff := cmp.Diff(tc.what, what); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
			if c.Equal() != (tc.missing+tc.extra+len(tc.what) == 0) {
				t.Errorf("Equal is %v", c.Equal())
			}
		})
	}
}

// Every decision of both sides is counted exactly once.
func TestCompareLosesNothing(t *testing.T) {
	draw := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Digest {
		return decided(fmt.Sprint(rapid.IntRange(0, 8).Draw(t, "id")), rapid.IntRange(0, 100).Draw(t, "at"),
			rapid.SampledFrom([]string{"cart", "db"}).Draw(t, "cause"), rapid.SampledFrom([]sre.Stance{sre.Act, sre.Ask}).Draw(t, "verdict"), 10)
	}), 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "recorded"), draw.Draw(t, "replayed")
		c := Compare(a, b, 20*time.Second)
		paired := c.Same + len(c.Changed)
		if paired+len(c.Missing) != len(a) || paired+len(c.Extra) != len(b) {
			t.Fatalf("%d recorded, %d replayed: %d paired, %d missing, %d extra", len(a), len(b), paired, len(c.Missing), len(c.Extra))
		}
		if again := Compare(a, a, 20*time.Second); !again.Equal() {
			t.Fatalf("a trail differs from itself: %+v", again)
		}
	})
}

// A trail that was written and read again has floats where the agent had whole
// numbers.
func TestCompareReadsNumbersByValue(t *testing.T) {
	a, b := decided("a", 0, "cart", sre.Act, 12345), decided("a", 0, "cart", sre.Act, 0)
	b.Actions[0].Params["rps"] = 12345
	if c := Compare([]Digest{a}, []Digest{b}, time.Second); !c.Equal() {
		t.Errorf("12345 is not 12345: %v", c.Changed[0].What)
	}
}

func TestDigestTakesThePlanOfItsTick(t *testing.T) {
	plan := func(service string) *sre.Plan {
		return &sre.Plan{Cause: service, Steps: []sre.Step{
			{Name: "first", Actions: []sre.Action{{Kind: sre.RetryBudget, Target: sre.Target{Lever: "guard", Service: service}}}},
			{Name: "second", Actions: []sre.Action{{Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: service}}}},
		}}
	}
	inc := func(service string, step int) *sre.Incident {
		return &sre.Incident{ID: "i", Plan: plan(service), Step: step}
	}
	records := []sre.Record{
		{At: t0, Incident: inc("old", 0)},
		{At: t0.Add(time.Second), Decision: &sre.Decision{ID: "d1", Incident: "i", At: t0.Add(time.Second), Stance: sre.Ask}},
		{At: t0.Add(time.Second), Incident: inc("cart", 0)},
		{At: t0.Add(2 * time.Second), Incident: inc("cart", 1)},
		{At: t0.Add(2 * time.Second), Decision: &sre.Decision{ID: "d2", Incident: "i", At: t0.Add(2 * time.Second), Stance: sre.Act}},
		{At: t0.Add(3 * time.Second), Decision: &sre.Decision{ID: "d3", Incident: "unheard of"}},
	}
	var got []string
	for _, d := range Digests(records) {
		got = append(got, fmt.Sprint(d.ID, " ", d.Cause, " ", d.Step, " ", len(d.Actions)))
	}
	want := []string{"d1 cart first 1", "d2 cart second 1", "d3   0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
