package backtest

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

func TestGarwoodAgainstTables(t *testing.T) {
	for _, tc := range []struct {
		n         int
		low, high float64 // of the mean, after Garwood's table
	}{{0, 0, 3.689}, {1, .0253, 5.572}, {2, .2422, 7.225}, {3, .6187, 8.767}, {10, 4.795, 18.39}, {50, 37.11, 65.92}} {
		r := Garwood(tc.n, 2)
		if math.Abs(2*r.Low-tc.low) > .001*(1+tc.low) || math.Abs(2*r.High-tc.high) > .001*(1+tc.high) {
			t.Errorf("%d events: %.4f to %.4f, want %v to %v", tc.n, 2*r.Low, 2*r.High, tc.low, tc.high)
		}
		if r.Value != float64(tc.n)/2 || r.N != tc.n || r.Exposure != 2 {
			t.Errorf("%+v", r)
		}
	}
	if r := Garwood(3, 0); r.Value != 0 || r.High != 0 {
		t.Errorf("without exposure: %+v", r)
	}
}

func TestGarwoodHoldsTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, exposure := rapid.IntRange(0, 500).Draw(t, "n"), rapid.Float64Range(.01, 1000).Draw(t, "exposure")
		r := Garwood(n, exposure)
		if !(r.Low <= r.Value && r.Value < r.High) || r.Low < 0 {
			t.Fatalf("%+v", r)
		}
		if more := Garwood(n+1, exposure); more.Low < r.Low || more.High <= r.High {
			t.Fatalf("one more event, and the interval falls: %+v, %+v", r, more)
		}
	})
}

// met is a fault of the world that users felt, with its room, lead and mechanism.
func met(room, lead *float64, mechanism string, ranking ...string) Fault {
	now := begin
	f := Fault{
		Services: []string{"db"}, Kind: "overload", Mechanism: mechanism, SettledMechanism: "overload", DetectedAt: &now, DelaySeconds: new(10.),
		Ranking: list(ranking...), Harm: &Harm{Felt: true, FeltAt: &now, RoomSeconds: room, LeadSeconds: lead},
	}
	return f
}

func TestForesightByHand(t *testing.T) {
	healed, quiet := met(nil, nil, "", "db"), Fault{Harm: &Harm{}}
	healed.Harm = &Harm{}
	lasting := met(new(100.), new(40.), "overload", "db")
	lasting.Harm.SightSeconds = new(80.)
	lasting.Harm.Lasting, lasting.Harm.NoReturnAt = true, &begin
	f := foresightOf([]Fault{
		lasting,
		met(new(60.), new(20.), "retry_storm", "api", "db"),
		met(new(10.), new(5.), "overload", "api"), // no room for 30 s
		met(new(90.), nil, "overload", "db"),      // never warned
		healed, quiet,
	})
	if f.Felt != 4 || f.Healed != 2 || f.HealedAlarmed != 1 || f.Lasting != 1 {
		t.Errorf("%+v", f)
	}
	if f.Detected.Value != 1 || f.EndToEnd.AC1.Value != .5 || f.EndToEnd.AC3.Value != .75 || f.Mechanism.Value != .75 || f.SettledMech.Value != 1 {
		t.Errorf("%+v", f)
	}
	if f.Warned.Value != .75 || f.WarnedWithRoom.N != 3 || math.Abs(f.WarnedWithRoom.Value-1./3) > 1e-12 {
		t.Errorf("warned %+v, with room %+v", f.Warned, f.WarnedWithRoom)
	}
	if f.WarnedInSight.N != 1 || f.WarnedInSight.Value != 1 || f.SightLead.Median != 40 {
		t.Errorf("in sight %+v, %+v", f.WarnedInSight, f.SightLead)
	}
	if f.LeadSeconds.N != 3 || f.LeadSeconds.Median != 20 || f.NoReturnLead.N != 1 || f.NoReturnLead.Median != 40 || f.HarmLead.Median != (20+never)/2. {
		t.Errorf("leads %+v, %+v, %+v", f.LeadSeconds, f.NoReturnLead, f.HarmLead)
	}
	if foresightOf([]Fault{{}}) != nil {
		t.Error("a recording has foresight")
	}
}

func TestTheWorldIsSummedUpApart(t *testing.T) {
	bundles := []Bundle{
		{ID: "a", Source: "world/overload", FaultFreeSeconds: 3600, FalseAlarms: 1, Services: 500},
		{ID: "b", Source: "world/benign", FaultFreeSeconds: 7200, Services: 1000},
		{ID: "c", Source: "shop", FaultFreeSeconds: 7200, FalseAlarms: 5},
	}
	w := worldOf(bundles)
	if w.Bundles != 2 || w.FalseAlarms != 1 || w.FalseAlarmsPerHour.Value != 1./3 {
		t.Errorf("%+v", w)
	}
	if want := (.5 + 2) / (7 * 24); math.Abs(w.FleetWeeks.Exposure-want) > 1e-12 {
		t.Errorf("%v weeks of 1,000 services, want %v", w.FleetWeeks.Exposure, want)
	}
	if worldOf(bundles[2:]) != nil {
		t.Error("a recording counts as the world")
	}
}

// The first sign that names the true service, on its own or on a call to it,
// counts; a note, another service and a closed incident do not.
func TestTheFirstRightWarning(t *testing.T) {
	sign := func(service string, severity sre.Severity) []sre.Precursor {
		return []sre.Precursor{{Service: service, Caller: "web", Severity: severity}}
	}
	incident := func(state sre.State, p []sre.Precursor) []sre.Incident {
		return []sre.Incident{{State: state, Diagnosis: sre.Diagnosis{Precursors: p}}}
	}
	for _, tc := range []struct {
		name string
		view sre.View
		want bool
	}{
		{"a sign", sre.View{Signs: sign("db", sre.Warning)}, true},
		{"of a suspected incident", sre.View{Incidents: incident(sre.Suspected, sign("db", sre.Critical))}, true},
		{"only a note", sre.View{Signs: sign("db", sre.Info)}, false},
		{"of another", sre.View{Signs: sign("api", sre.Critical)}, false},
		{"closed", sre.View{Incidents: incident(sre.Closed, sign("db", sre.Critical))}, false},
	} {
		p := play{until: 20}
		p.faults = append(p.faults, fault(10, 15, "db"))
		o := p.observer()
		felt := minute(14)
		o.subject.Harm = func(int) Harm { return Harm{Felt: true, FeltAt: &felt} }
		for m := range 20 {
			tick := p.tick(m)
			if m == 2 || m >= 12 {
				tick.View = &tc.view
			}
			if err := o.Watch(tick); err != nil {
				t.Fatal(err)
			}
		}
		b, err := o.Bundle()
		if err != nil {
			t.Fatal(err)
		}
		h := b.Faults[0].Harm
		if got := h.WarnedAt != nil; got != tc.want || *h.RoomSeconds != 240 {
			t.Errorf("%s: %+v", tc.name, h)
		} else if got && (*h.LeadSeconds != 120 || !h.WarnedAt.Equal(minute(12))) {
			t.Errorf("%s: lead %v", tc.name, *h.LeadSeconds)
		}
		if lost := b.Notifications.LostSLO; lost != 1 {
			t.Errorf("%s: %d lost", tc.name, lost)
		}
	}
}

// latencies runs an observer over a series of latencies of the db, one a minute.
func latencies(t *testing.T, p play, db func(m int) float64) Bundle {
	t.Helper()
	o := p.observer()
	for m := range p.until {
		tick := p.tick(m)
		tick.Snapshot.Service.Set(0, 2, sre.Reading{Value: db(m), State: sre.Present})
		if err := o.Watch(tick); err != nil {
			t.Fatal(err)
		}
	}
	b, err := o.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTracesAndAlertsPerSeries(t *testing.T) {
	for _, tc := range []struct {
		name   string
		db     func(m int) float64
		trace  bool
		alerts int
	}{
		{"nothing", func(m int) float64 { return 1 + .01*float64(m%3) }, false, 0},
		{"one sample five off is chance", func(m int) float64 { return pick(m == 42, 1.6, 1) }, false, 0},
		{"two are none", func(m int) float64 { return pick(m == 42 || m == 45, 1.6, 1) }, true, 0},
		{"one that is far off", func(m int) float64 { return pick(m == 42, 3, 1) }, true, 0},
		{"three in a row", func(m int) float64 { return pick(m >= 42 && m < 45, 3, 1) }, true, 1},
		{"outside the fault", func(m int) float64 { return pick(m >= 30 && m < 35, 3, 1) }, false, 1},
		{"twice", func(m int) float64 { return pick(m >= 25 && m < 28 || m >= 42 && m < 45, 3, 1) }, true, 2},
		{"too short a past", func(m int) float64 { return pick(m >= 3 && m < 8, 3, 1) }, false, 0},
	} {
		p := play{until: 60}
		p.faults = append(p.faults, fault(40, 50, "db"))
		b := latencies(t, p, tc.db)
		if b.Faults[0].Trace != tc.trace || b.Notifications.PerSeries != tc.alerts {
			t.Errorf("%s: trace %v, %d alerts; want %v, %d", tc.name, b.Faults[0].Trace, b.Notifications.PerSeries, tc.trace, tc.alerts)
		}
	}
}

func pick(yes bool, a, b float64) float64 {
	if yes {
		return a
	}
	return b
}

func TestOwnSignsAreCountedByEpisode(t *testing.T) {
	p := play{until: 30}
	o := p.observer()
	shown := func(service string) sre.Precursor {
		return sre.Precursor{Detector: goldenSignal, Service: service, Severity: sre.Warning, Evidence: []sre.Evidence{{Signal: "latency"}}}
	}
	for m := range 30 {
		tick := p.tick(m)
		switch {
		case m >= 5 && m < 9: // one episode, in two places at once
			tick.View.Signs = []sre.Precursor{shown("db")}
			tick.View.Incidents = []sre.Incident{{Diagnosis: sre.Diagnosis{At: tick.At, Precursors: []sre.Precursor{shown("db")}}}}
		case m == 11: // within the quiet time
			tick.View.Signs = []sre.Precursor{shown("db"), shown("api")}
		case m == 20:
			note := shown("cart")
			note.Severity = sre.Info
			tick.View.Signs = []sre.Precursor{shown("db"), note}
		}
		if err := o.Watch(tick); err != nil {
			t.Fatal(err)
		}
	}
	b, err := o.Bundle()
	if err != nil || b.Notifications.OwnSigns != 3 {
		t.Errorf("%d signs, %v", b.Notifications.OwnSigns, err)
	}
}

func TestReduction(t *testing.T) {
	var n Notifications
	n.add(Notifications{PerSeries: 30, Incidents: 1, LostSLO: 1})
	n.add(Notifications{PerSeries: 10, Incidents: 1, OwnSigns: 4})
	if n.finish(); n.Reduction != .95 || n.LostSLO != 1 || n.OwnSigns != 4 {
		t.Errorf("%+v", n)
	}
	none := Notifications{Incidents: 2}
	if none.finish(); none.Reduction != 0 {
		t.Errorf("of no alerts: %+v", none)
	}
}

// The median of the ring is that of the readings themselves.
func TestUsualAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(0, 100), fewestKept, 3*usualKept).Draw(t, "values")
		u := newUsual(time.Minute)
		for m, x := range values {
			s := (play{}).tick(m).Snapshot
			s.Service.Set(0, 2, sre.Reading{Value: x, State: sre.Present})
			u.fit(s)
			u.learn(s)
		}
		u.settle(2)
		last := values[max(0, len(values)-usualKept):]
		if want := SpreadOf(last).Median; math.Abs(u.median[2]-want) > 1e-9 {
			t.Fatalf("median %v, want %v", u.median[2], want)
		}
		if !math.IsNaN(u.median[0]) {
			t.Fatal("something is usual of a series that was never there")
		}
	})
}

func TestLeastScales(t *testing.T) {
	for _, tc := range []struct {
		sig             sre.Signal
		level, requests float64
		want            float64
	}{
		{sre.Signal{Kind: sre.Errors, Unit: sre.Ratio}, 0, 0, .01},
		{sre.Signal{Kind: sre.Errors, Unit: sre.Ratio}, .25, 25, .1},
		{sre.Signal{Kind: sre.Errors, Unit: sre.Ratio}, 0, 10, .1},
		{sre.Signal{Kind: sre.Pool, Unit: sre.Ratio}, .5, 0, .05},
		{sre.Signal{Kind: sre.Saturation, Unit: sre.Percent}, 50, 0, 5},
		{sre.Signal{Kind: sre.Latency, Unit: sre.Seconds}, .2, 0, .02},
		{sre.Signal{Kind: sre.Latency, Unit: sre.Seconds}, .001, 0, .001},
		{sre.Signal{Kind: sre.Traffic, Unit: sre.PerSecond}, 50, 0, 5},
		{sre.Signal{Kind: sre.Queue, Unit: sre.Count}, 2, 0, 1},
		{sre.Signal{Kind: sre.Saturation, Unit: sre.Bytes}, 1000, 0, 100},
	} {
		if got := leastScale(tc.sig, tc.level, tc.requests); math.Abs(got-tc.want) > 1e-12 {
			t.Errorf("%+v around %v of %v requests: %v, want %v", tc.sig, tc.level, tc.requests, got, tc.want)
		}
	}
}

func BenchmarkClerk(b *testing.B) {
	services := make([]sre.Service, 1000)
	for i := range services {
		services[i].Name = string(rune('a'+i%26)) + time.Duration(i).String()
	}
	g := sre.NewGraph(services, nil)
	signals := make([]sre.Signal, 13)
	for i := range signals {
		signals[i] = sre.Signal{Kind: sre.Latency, Unit: sre.Seconds}
	}
	c := newClerk(10 * time.Second)
	s := &sre.Snapshot{Interval: 10 * time.Second, Graph: g, Signals: signals, Service: sre.NewMatrix(13, 1000), Health: sre.SourceHealth{Up: true}}
	for i := range s.Service.States {
		s.Service.States[i], s.Service.Values[i] = sre.Present, float64(i%7)
	}
	b.ReportAllocs()
	at := begin
	for b.Loop() {
		at = at.Add(10 * time.Second)
		s.At = at
		c.watch(replay.Tick{At: at, Snapshot: s}, nil)
	}
}
