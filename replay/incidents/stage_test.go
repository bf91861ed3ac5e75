package incidents

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

func config(tb testing.TB) agent.Config {
	tb.Helper()
	library, err := runbooks.Load(runbooks.Shipped(), ".")
	if err != nil {
		tb.Fatal(err)
	}
	c := agent.Config{
		Policy: gate.DefaultPolicy(), Timing: agent.DefaultTiming(), Detection: detectors.DefaultConfig(),
		Diagnosis: diagnosis.DefaultConfig(), Learner: learner.DefaultConfig(), Runbooks: library,
	}
	c.Policy.Mode = sre.Act // must not matter: these cases are watched
	return c
}

func run(tb testing.TB, o Options, jobs int) *backtest.Result {
	tb.Helper()
	r, err := backtest.Run(tb.Context(), Recordings(o, config(tb), nil), backtest.Options{Jobs: jobs})
	if err != nil {
		tb.Fatal(err)
	}
	for _, b := range r.Bundles {
		if b.Error != "" {
			tb.Fatalf("%s: %s", b.ID, b.Error)
		}
	}
	return r
}

var ten = Options{Count: 10, Seed: 3, Least: 40, Most: 70}

// What an agent makes of ten cases is the same for any number of jobs, touches
// nothing, and is told with the truth.
func TestCasesAreScored(t *testing.T) {
	one := run(t, ten, 1)
	var a, b bytes.Buffer
	if err := errors.Join(backtest.WriteResult(&a, one), backtest.WriteResult(&b, run(t, ten, 3))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a.String(), b.String()); diff != "" {
		t.Errorf("one job and three differ: %.2000s", diff)
	}
	if len(one.Summary) != 10 || one.World == nil || one.World.Bundles != 10 || one.World.Actions != 0 {
		t.Fatalf("%d sources, world %+v", len(one.Summary), one.World)
	}
	f := one.World.Foresight
	if f.Felt+f.Healed != 10 || f.Felt < 6 || f.Detected.Value < .8 {
		t.Errorf("foresight: %+v", f)
	}
	for _, b := range one.Bundles {
		x := b.Faults[0]
		if b.Source != SourcePrefix+x.Kind || x.Harm == nil || x.Harm.Story == "" || x.Fault != x.Kind {
			t.Errorf("%s of %s: %+v", b.ID, b.Source, x.Harm)
		}
		if h := x.Harm; h.Felt && (h.RoomSeconds == nil || *h.RoomSeconds < 0 || !x.Trace) {
			t.Errorf("%s: room %v, trace %v", b.ID, h.RoomSeconds, x.Trace)
		}
	}
	var text strings.Builder
	if err := backtest.WriteText(&text, one); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"simulated world: 10 incidents", "pool_exhaustion", "median lead", "per week and 1,000 services", "notifications"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text.String())
		}
	}
	for line := range strings.Lines(text.String()) {
		if len(strings.TrimRight(line, "\n")) > 80 {
			t.Errorf("wider than a terminal: %q", line)
		}
	}
}

// verdict is what is said of a fault, in the terms of the case.
type verdict struct {
	Told     string
	Rank     int
	Mech     string
	Felt     bool
	NoReturn string
}

func verdicts(r *backtest.Result) []verdict {
	var out []verdict
	for _, b := range r.Bundles {
		f := b.Faults[0]
		v := verdict{Rank: f.OwnRank, Mech: f.Mechanism, Felt: f.Harm.Felt}
		if f.DetectedAt != nil {
			v.Told = f.DetectedAt.String()
		}
		if f.Harm.NoReturnAt != nil {
			v.NoReturn = f.Harm.NoReturnAt.String()
		}
		out = append(out, v)
	}
	return out
}

// Verdicts hold when the measurements are worse than they should be: names do not
// matter at all, and late clocks and missing series cost little.
func TestVerdictsHoldUnderDisturbance(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	plain := run(t, ten, 2)
	with := func(d Disturbance) *backtest.Result {
		o := ten
		o.Disturb = d
		return run(t, o, 2)
	}
	if diff := cmp.Diff(verdicts(plain), verdicts(with(Disturbance{Rename: true}))); diff != "" {
		t.Errorf("other names, other verdicts: %s", diff)
	}
	for name, d := range map[string]Disturbance{
		"clocks": {ClockError: time.Minute},
		"gaps":   {Missing: .2},
	} {
		got, want := with(d).World.Foresight, plain.World.Foresight
		if got.Felt != want.Felt {
			t.Fatalf("%s: the world itself changed", name)
		}
		// One case in ten is what chance alone can take.
		if got.Detected.Value < want.Detected.Value-.15 || got.EndToEnd.AC3.Value < want.EndToEnd.AC3.Value-.35 {
			t.Errorf("%s: told of %.2f, before %.2f; AC@3 %.2f, before %.2f", name,
				got.Detected.Value, want.Detected.Value, got.EndToEnd.AC3.Value, want.EndToEnd.AC3.Value)
		}
	}
}

func TestDisturbanceIsWhatItSays(t *testing.T) {
	o := ten.withDefaults()
	o.Disturb = Disturbance{ClockError: time.Minute, Missing: .2}
	c := Draw(o, 0)
	clean, err := open(t.Context(), ten.withDefaults(), c, config(t))
	if err != nil {
		t.Fatal(err)
	}
	bad, err := open(t.Context(), o, c, config(t))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[time.Time]*sre.Snapshot{}
	absent, late, all, fresh := 0, 0, 0, 0
	for at := origin(); at.Before(origin().Add(10 * time.Minute)); at = at.Add(o.Tick) {
		a, err1 := clean.Rehearsal.Source.Observe(context.Background(), at)
		b, err2 := bad.Rehearsal.Source.Observe(context.Background(), at)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		seen[at] = a
		if at.Before(origin().Add(2 * time.Minute)) {
			continue
		}
		for i := range a.Graph.Services { // traffic, which moves with every reading
			is, want := b.Service.At(0, i), a.Service.At(0, i)
			all++
			switch {
			case is.State == sre.Absent && want.State != sre.Absent:
				absent++
			case is == want:
				fresh++
			default:
				late++
				found := false
				for back := time.Duration(0); back <= time.Minute; back += o.Tick {
					found = found || seen[at.Add(-back)].Service.At(0, i) == is
				}
				if !found {
					t.Fatalf("%s at %s reads %v, which it never was in a minute", a.Graph.Services[i].Name, at, is)
				}
			}
		}
	}
	n := float64(all)
	if x := float64(absent) / n; x < .05 || x > .4 {
		t.Errorf("%.2f of the series are missing", x)
	}
	if x := float64(late) / n; x < .2 || x > .6 {
		t.Errorf("%.2f of the readings are late", x)
	}
}

func TestHistoryIsTheWarmUp(t *testing.T) {
	o := ten.withDefaults()
	s, err := open(t.Context(), o, Draw(o, 1), config(t))
	if err != nil {
		t.Fatal(err)
	}
	n, last := 0, time.Time{}
	for snap, err := range s.Rehearsal.Source.History(t.Context(), origin().Add(-o.WarmUp), origin(), o.Tick) {
		if err != nil || !snap.At.After(last) || !snap.Health.Up {
			t.Fatalf("snapshot %d at %s: %v", n, snap.At, err)
		}
		n, last = n+1, snap.At
	}
	if n != int(o.WarmUp/o.Tick) || !last.Before(origin()) {
		t.Errorf("%d snapshots until %s", n, last)
	}
	for range s.Rehearsal.Source.History(t.Context(), origin().Add(-o.WarmUp), origin(), o.Tick) {
		break // who has enough may stop
	}
}

func TestStoppedBeforeTheFirstTick(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(ctx, ten.withDefaults(), Draw(ten, 0), config(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("warming up without end: %v", err)
	}
}

func TestBenignDaysAreCounted(t *testing.T) {
	r := run(t, Options{Count: 2, Seed: 5, Least: 40, Most: 50, Benign: true, Day: 30 * time.Minute}, 2)
	s := r.Summary[BenignSource]
	if s.Bundles != 2 || s.Faults != 0 || s.Foresight != nil || s.FaultFreeSeconds < 3600 {
		t.Errorf("%+v", s)
	}
	week := 7 * 24 * 3600.
	var exposure float64
	for _, b := range r.Bundles {
		exposure += b.FaultFreeSeconds * float64(b.Services) / 1000 / week
	}
	if diff := s.FleetWeeks.Exposure - exposure; diff > 1e-12 || diff < -1e-12 || s.FleetWeeks.High <= 0 {
		t.Errorf("fleet weeks %+v, want an exposure of %v", s.FleetWeeks, exposure)
	}
}
