package detectors_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/scenario"
	"github.com/sreagent/sreagent/sre"
)

// past is how long the bank watches before a story begins.
const past = 5 * time.Minute

// sighting is what the bank made of one shipped scenario without the agent.
type sighting struct {
	seen     map[string]time.Duration // first time that a true mechanism led or came second, by "service mechanism"
	warned   time.Duration            // first warning about a service at fault, by whatever mechanism; negative for none
	noReturn time.Duration            // goodput below 0.7; negative for none
	warnings map[string]int           // ticks with a warning or more, by mechanism
	critical map[string]int           // ticks at the action level, by mechanism
	risk     float64                  // highest of all
}

// told plays a scenario, some ticks of another length, to a fresh bank.
func told(t *testing.T, name string, tick time.Duration) sighting {
	t.Helper()
	s, err := scenario.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Events {
		s.Events[i].At += past
	}
	s.Length += past
	if tick > 0 {
		s.Tick, s.Window = tick, max(s.Window, 2*tick)
	}
	cfg := detectors.DefaultConfig()
	bank, out := detectors.New(cfg), sighting{seen: map[string]time.Duration{}, warned: -1, noReturn: -1, warnings: map[string]int{}, critical: map[string]int{}}
	res, err := s.Run(context.Background(), scenario.Options{Watch: func(now replay.Tick) error {
		at := now.At.Sub(scenario.Origin()) - past
		ps := bank.Detect(now.Snapshot, nil)
		for _, r := range detectors.Risks(ps) {
			out.risk = max(out.risk, r.Probability)
		}
		out.note(s, ps, at)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range res.Story {
		if at := m.At.Sub(scenario.Origin()) - past; at > 0 && m.Goodput < .7 {
			out.noReturn = at
			break
		}
	}
	return out
}

func (o *sighting) note(s *scenario.Scenario, ps []sre.Precursor, at time.Duration) {
	byService := map[string][]sre.Mechanism{}
	warned, acted := map[string]bool{}, map[string]bool{}
	for _, p := range ps {
		if p.Detector == "golden_signal" || p.Severity.Rank() <= sre.Info.Rank() {
			continue
		}
		warned[string(p.Mechanism)] = true
		if p.Severity == sre.Critical {
			acted[string(p.Mechanism)] = true
		}
		if !slices.Contains(byService[p.Service], p.Mechanism) {
			byService[p.Service] = append(byService[p.Service], p.Mechanism)
		}
	}
	for m := range warned {
		o.warnings[m]++
	}
	for m := range acted {
		o.critical[m]++
	}
	for _, truth := range s.Truths {
		all := byService[truth.Service]
		if len(all) > 0 && o.warned < 0 && at >= 0 {
			o.warned = at
		}
		key := truth.Service + " " + string(truth.Mechanism)
		if _, ok := o.seen[key]; !ok && slices.Contains(all[:min(2, len(all))], truth.Mechanism) {
			o.seen[key] = at
		}
	}
}

// TestMechanismsOfTheLibrary: every shipped story that names a mechanism shows
// it as the first or second of the service at fault, and nothing that hurts
// nobody reaches the action level.
func TestMechanismsOfTheLibrary(t *testing.T) {
	var table strings.Builder
	fmt.Fprintf(&table, "\n%-24s %-32s %6s %6s %6s %6s  %s\n", "scenario", "truth", "seen", "warned", "noret", "lead", "warnings (action level)")
	truths, seen := 0, 0
	for _, name := range scenario.Names() {
		if strings.HasPrefix(name, "fleet-") || strings.HasPrefix(name, "people-") || strings.HasPrefix(name, "policy-") {
			continue
		}
		s, err := scenario.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		o := told(t, name, 0)
		if strings.HasPrefix(name, "benign-") {
			if len(o.critical) > 0 {
				t.Errorf("%s: at the action level: %v", name, o.critical)
			}
			fmt.Fprintf(&table, "%-24s %-32s %6s %6s %6s %6s  %v\n", name, "-", "", "", "", "", o.warnings)
			continue
		}
		for _, truth := range s.Truths {
			key := truth.Service + " " + string(truth.Mechanism)
			at, ok := o.seen[key]
			lead := ""
			if o.noReturn >= 0 && ok {
				lead = fmt.Sprint((o.noReturn - at).Seconds())
			}
			fmt.Fprintf(&table, "%-24s %-32s %6s %6s %6s %6s  %v (%v)\n", name, key, stamp(at, ok), stamp(o.warned, o.warned >= 0), stamp(o.noReturn, o.noReturn >= 0), lead, o.warnings, o.critical)
			if truth.Mechanism == sre.Unknown || o.noReturn < 0 && !ok {
				continue // the author does not say, or nobody was hurt
			}
			truths++
			if ok {
				seen++
			} else {
				t.Logf("%s: %s is not seen", name, key)
			}
		}
	}
	t.Log(table.String())
	if float64(seen) < .95*float64(truths) {
		t.Errorf("%d of %d mechanisms seen", seen, truths)
	}
}

func stamp(at time.Duration, ok bool) string {
	if !ok {
		return "-"
	}
	return fmt.Sprint(at.Seconds())
}
