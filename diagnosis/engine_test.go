package diagnosis_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// scene is one tick: "a b" in calls means that a calls b; a name with a star is
// not measured itself.
func scene(calls ...string) *sre.Snapshot {
	index := map[string]int{}
	var services []sre.Service
	var edges []sre.Edge
	add := func(name string) int {
		bare := strings.TrimSuffix(name, "*")
		if i, ok := index[bare]; ok {
			return i
		}
		index[bare] = len(services)
		services = append(services, sre.Service{Name: bare, External: bare != name})
		return index[bare]
	}
	for _, c := range calls {
		names := strings.Fields(c)
		from := add(names[0])
		for _, to := range names[1:] {
			edges = append(edges, sre.Edge{From: from, To: add(to)})
		}
	}
	s := &sre.Snapshot{
		At: noon, Interval: 10 * time.Second, Graph: sre.NewGraph(services, edges),
		Signals: []sre.Signal{{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "errors", Kind: sre.Errors, Unit: sre.Ratio}},
		Service: sre.NewMatrix(2, len(services)),
		Health:  sre.SourceHealth{Up: true},
	}
	for i := range services {
		if !services[i].External {
			s.Service.Set(0, i, sre.Reading{Value: 50, State: sre.Present})
			s.Service.Set(1, i, sre.Reading{State: sre.Present})
		}
	}
	return s
}

// sign makes a precursor that began ago seconds before the tick.
func sign(service string, kind sre.SignalKind, score float64, ago int) sre.Precursor {
	return sre.Precursor{
		Detector: "golden_signal", Mechanism: sre.Unknown, Service: service, Kind: kind, Severity: sre.Warning, Score: score,
		Since:    noon.Add(-time.Duration(ago) * time.Second),
		Evidence: []sre.Evidence{{Signal: string(kind), Subject: service, Now: 2, Normal: 1, Unit: sre.Ratio, Weight: 1, Meaning: "."}},
	}
}

func note(p sre.Precursor) sre.Precursor { p.Severity = sre.Info; return p }

func physics(p sre.Precursor, detector string, m sre.Mechanism, sev sre.Severity) sre.Precursor {
	p.Detector, p.Mechanism, p.Severity = detector, m, sev
	return p
}

func diagnose(s *sre.Snapshot, ps []sre.Precursor, open ...sre.Incident) []sre.Finding {
	return diagnosis.New(diagnosis.DefaultConfig()).Diagnose(s, ps, open)
}

// brief is a finding in one line: incident, top cause, affected services.
func brief(f sre.Finding) string {
	top := f.Diagnosis.Top()
	return fmt.Sprintf("%s|%s %s|%s", f.Incident, top.Service, top.Mechanism, strings.Join(f.Diagnosis.Affected, " "))
}

func TestGroupsAndCauses(t *testing.T) {
	incident := func(id string, state sre.State, root string, affected, blast []string) sre.Incident {
		return sre.Incident{ID: id, State: state, OpenedAt: noon.Add(-time.Hour), Diagnosis: sre.Diagnosis{
			Hypotheses: []sre.Hypothesis{{Service: root, Probability: 1}}, Affected: affected, Blast: sre.BlastRadius{Services: blast},
		}}
	}
	chain := scene("web shop", "shop db", "admin ledger")
	for _, c := range []struct {
		name string
		s    *sre.Snapshot
		ps   []sre.Precursor
		open []sre.Incident
		want []string
	}{
		{"nothing", chain, nil, nil, nil},
		{"notes alone", chain, []sre.Precursor{note(sign("web", sre.Traffic, 1, 10))}, nil, nil},
		{"unknown service", chain, []sre.Precursor{sign("ghost", sre.Errors, 1, 10)}, nil, nil},
		{
			"the callee explains its callers", chain,
			[]sre.Precursor{sign("web", sre.Errors, .9, 20), sign("shop", sre.Errors, .9, 20), sign("db", sre.Errors, .9, 20)},
			nil, []string{"|db unknown|db shop web"},
		},
		{
			"through a callee that shows nothing", chain,
			[]sre.Precursor{sign("web", sre.Latency, .9, 20), sign("db", sre.Latency, .9, 20)},
			nil, []string{"|db unknown|db web"},
		},
		{
			"the caller alone is to blame", chain,
			[]sre.Precursor{sign("web", sre.Errors, .9, 20)}, nil, []string{"|web unknown|web"},
		},
		{
			"two faults far apart in the graph", chain,
			[]sre.Precursor{sign("db", sre.Errors, .9, 20), sign("ledger", sre.Errors, .9, 20)},
			nil, []string{"|db unknown|db", "|ledger unknown|ledger"},
		},
		{
			"two faults far apart in time", chain,
			[]sre.Precursor{sign("shop", sre.Errors, .9, 900), sign("db", sre.Errors, .9, 20)},
			nil, []string{"|db unknown|db", "|shop unknown|shop"},
		},
		{
			"news of an open incident", chain,
			[]sre.Precursor{sign("db", sre.Errors, .9, 20)},
			[]sre.Incident{incident("inc-1", sre.Acting, "db", []string{"db", "shop"}, nil)}, []string{"inc-1|db unknown|db"},
		},
		{
			"a closed incident owns nothing", chain,
			[]sre.Precursor{sign("db", sre.Errors, .9, 20)},
			[]sre.Incident{incident("inc-1", sre.Closed, "db", []string{"db"}, nil)}, []string{"|db unknown|db"},
		},
		{
			"an incident that spreads upwards", chain,
			[]sre.Precursor{sign("web", sre.Errors, .9, 20)},
			[]sre.Incident{incident("inc-1", sre.Acting, "db", []string{"db"}, []string{"db", "shop", "web"})}, []string{"inc-1|web unknown|web"},
		},
		{
			"behind an incident that is nearly over", chain,
			[]sre.Precursor{sign("web", sre.Errors, .9, 20)},
			[]sre.Incident{incident("inc-1", sre.Lifting, "db", []string{"db"}, []string{"db", "shop", "web"})}, []string{"|web unknown|web"},
		},
		{
			"two groups of one incident are one finding, and what was believed holds", chain,
			[]sre.Precursor{sign("shop", sre.Errors, .9, 900), sign("db", sre.Errors, .9, 20)},
			[]sre.Incident{incident("inc-1", sre.Acting, "db", []string{"db", "shop"}, nil)}, []string{"inc-1|db unknown|db shop"},
		},
		{
			"the incident with more in common", chain,
			[]sre.Precursor{sign("shop", sre.Errors, .9, 20), sign("db", sre.Errors, .9, 20)},
			[]sre.Incident{
				incident("inc-1", sre.Acting, "shop", []string{"shop"}, nil),
				incident("inc-2", sre.Acting, "db", []string{"db", "shop"}, nil),
			},
			[]string{"inc-2|db unknown|db shop"},
		},
		{
			"the overloaded callee is the root, whatever its callers show", chain,
			[]sre.Precursor{
				sign("web", sre.Errors, 1, 20), sign("web", sre.Latency, 1, 20), sign("shop", sre.Errors, 1, 20), sign("shop", sre.Timeouts, 1, 20),
				physics(sign("db", sre.Retries, .8, 20), "retry_storm", sre.RetryStorm, sre.Critical),
			},
			nil, []string{"|db retry_storm|db shop web"},
		},
		{
			"resource of its own outranks symptoms", scene("web shop db"),
			[]sre.Precursor{sign("shop", sre.Latency, .9, 20), physics(sign("db", sre.Saturation, .8, 20), "exhaustion", sre.CapacityDecay, sre.Warning), sign("web", sre.Latency, .9, 20)},
			nil, []string{"|db capacity_decay|db shop web"},
		},
		{
			"callers of a service that nobody measures are one fault", scene("web bank*", "app bank*"),
			[]sre.Precursor{sign("web", sre.Errors, .6, 20), sign("app", sre.Errors, .6, 20)},
			nil, []string{"| unknown|app web"},
		},
		{
			"a weak sign is not enough to name anybody", chain,
			[]sre.Precursor{sign("web", sre.Latency, .2, 20)}, nil, []string{"| unknown|web"},
		},
		{
			"load from above", scene("web shop", "shop db"),
			[]sre.Precursor{
				note(sign("web", sre.Traffic, 1, 40)), note(sign("shop", sre.Traffic, 1, 40)), note(sign("db", sre.Traffic, 1, 40)),
				physics(sign("db", sre.Pool, .6, 20), "overload", sre.Overload, sre.Warning),
			},
			nil, []string{"|web overload|db"},
		},
		{
			"load from above in a retry storm is its echo", scene("web shop", "shop db"),
			[]sre.Precursor{
				note(sign("web", sre.Traffic, 1, 40)), note(sign("shop", sre.Traffic, 1, 40)), note(sign("db", sre.Traffic, 1, 40)),
				physics(sign("shop", sre.Pool, .6, 20), "overload", sre.Overload, sre.Warning),
				physics(sign("db", sre.Retries, .9, 20), "retry_storm", sre.RetryStorm, sre.Critical),
			},
			nil, []string{"|db retry_storm|db shop"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, f := range diagnose(c.s, c.ps, c.open...) {
				got = append(got, brief(f))
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChangesAreSuspects(t *testing.T) {
	deploy := func(service string, ago time.Duration) sre.Change {
		return sre.Change{ID: service, At: noon.Add(-ago), Kind: sre.Deploy, Service: service, From: "v1", To: "v2", By: "ann"}
	}
	for _, c := range []struct {
		name    string
		ps      []sre.Precursor
		changes []sre.Change
		top     string
		m       sre.Mechanism
		change  string
	}{
		{"at the onset", []sre.Precursor{sign("shop", sre.Errors, .8, 30)}, []sre.Change{deploy("shop", 40*time.Second)}, "shop", sre.BadChange, "shop"},
		{"an hour ago", []sre.Precursor{sign("shop", sre.Errors, .8, 30)}, []sre.Change{deploy("shop", 50*time.Minute)}, "shop", sre.Unknown, "shop"},
		{"too long ago", []sre.Precursor{sign("shop", sre.Errors, .8, 30)}, []sre.Change{deploy("shop", 62*time.Minute)}, "shop", sre.Unknown, ""},
		{"after the onset", []sre.Precursor{sign("shop", sre.Errors, .8, 60)}, []sre.Change{deploy("shop", 10*time.Second)}, "shop", sre.Unknown, ""},
		{"of a bystander", []sre.Precursor{sign("shop", sre.Errors, .8, 30)}, []sre.Change{deploy("ledger", 40*time.Second)}, "shop", sre.Unknown, ""},
		{"of a callee that shows nothing", []sre.Precursor{sign("shop", sre.Errors, .2, 30), sign("web", sre.Errors, .1, 30)}, []sre.Change{deploy("db", 40*time.Second)}, "db", sre.BadChange, "db"},
		{
			"does not rename a storm",
			[]sre.Precursor{physics(sign("db", sre.Retries, .9, 30), "retry_storm", sre.RetryStorm, sre.Critical)},
			[]sre.Change{deploy("db", 40*time.Second)}, "db", sre.RetryStorm, "db",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := diagnosis.New(diagnosis.DefaultConfig())
			s := scene("web shop", "shop db", "admin ledger")
			s.Changes = c.changes
			e.Diagnose(s, nil, nil) // changes are told once, before the trouble
			s.Changes = nil
			fs := e.Diagnose(s, c.ps, nil)
			if len(fs) != 1 {
				t.Fatalf("%d findings", len(fs))
			}
			top := fs[0].Diagnosis.Top()
			got := ""
			if top.Change != nil {
				got = top.Change.Service
			}
			if top.Service != c.top || top.Mechanism != c.m || got != c.change {
				t.Errorf("top is %s (%s) with change %q, want %s (%s) with %q: %+v", top.Service, top.Mechanism, got, c.top, c.m, c.change, fs[0].Diagnosis.Hypotheses)
			}
			said := slices.ContainsFunc(top.Evidence, func(ev sre.Evidence) bool {
				return ev.Signal == "change" && strings.HasPrefix(ev.Meaning, "deploy (v1 to v2) by ann of "+c.change)
			})
			if said != (c.change != "") {
				t.Errorf("evidence is %+v", top.Evidence)
			}
		})
	}
}

func TestSeverity(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*sre.Snapshot)
		ps   []sre.Precursor
		want sre.Severity
	}{
		{"latency below", nil, []sre.Precursor{sign("db", sre.Latency, .8, 20)}, sre.Warning},
		{"errors at the entry", nil, []sre.Precursor{sign("web", sre.Errors, .8, 20)}, sre.Critical},
		{"action level anywhere", nil, []sre.Precursor{physics(sign("db", sre.Queue, .8, 20), "retry_storm", sre.RetryStorm, sre.Critical)}, sre.Critical},
		{
			"the entry fails before its own detector says so",
			func(s *sre.Snapshot) { s.Service.Set(1, 0, sre.Reading{Value: .2, State: sre.Present}) },
			[]sre.Precursor{sign("db", sre.Latency, .8, 20)}, sre.Critical,
		},
		{
			"the entry failed when it was last seen",
			func(s *sre.Snapshot) { s.Service.Set(1, 0, sre.Reading{Value: .2, State: sre.Stale}) },
			[]sre.Precursor{sign("db", sre.Latency, .8, 20)}, sre.Warning,
		},
	} {
		s := scene("web shop", "shop db")
		if c.edit != nil {
			c.edit(s)
		}
		fs := diagnose(s, c.ps)
		if len(fs) != 1 || fs[0].Severity != c.want {
			t.Errorf("%s: %+v, want %s", c.name, fs, c.want)
		}
	}
}

func TestDataQuality(t *testing.T) {
	ps := []sre.Precursor{sign("db", sre.Errors, .9, 20), sign("shop", sre.Errors, .9, 20)}
	quality := func(edit func(*sre.Snapshot)) float64 {
		s := scene("web shop", "shop db")
		edit(s)
		return diagnose(s, ps)[0].Diagnosis.DataQuality
	}
	stale := func(s *sre.Snapshot, name string) {
		i, _ := s.Graph.Index(name)
		s.Service.Set(0, i, sre.Reading{Value: 50, State: sre.Stale})
	}
	for _, c := range []struct {
		name string
		want float64
		edit func(*sre.Snapshot)
	}{
		{"all fresh", 1, func(*sre.Snapshot) {}},
		{"a bystander is stale", 1, func(s *sre.Snapshot) { stale(s, "web") }},
		{"half of the caller is stale", .875, func(s *sre.Snapshot) { stale(s, "shop") }},
		{"half of the root is stale", .625, func(s *sre.Snapshot) { stale(s, "db") }},
		{"the store is down", .5, func(s *sre.Snapshot) { s.Health.Up = false }},
	} {
		if got := quality(c.edit); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestFingerprintFollowsCauseAndMechanism(t *testing.T) {
	mark := func(service string, m sre.Mechanism, ago int) string {
		p := physics(sign(service, sre.Retries, .9, ago), "x", m, sre.Critical)
		return diagnose(scene("web shop", "shop db"), []sre.Precursor{p})[0].Fingerprint
	}
	base := mark("db", sre.RetryStorm, 20)
	if len(base) != 12 || base != mark("db", sre.RetryStorm, 90) {
		t.Errorf("fingerprint %q depends on more than the cause", base)
	}
	if base == mark("shop", sre.RetryStorm, 20) || base == mark("db", sre.Overload, 20) {
		t.Error("different causes have one fingerprint")
	}
}

func TestTroubleAboveAStormIsOfIt(t *testing.T) {
	// web is three calls above db, and the services between show nothing.
	s := scene("web a", "a b", "b db")
	ps := []sre.Precursor{sign("web", sre.Errors, .9, 20), physics(sign("db", sre.Retries, .9, 20), "retry_storm", sre.RetryStorm, sre.Warning)}
	fs := diagnose(s, ps)
	if len(fs) != 1 || fs[0].Diagnosis.Top().Service != "db" {
		t.Fatalf("%+v", fs)
	}
	if diff := cmp.Diff([]string{"db", "b", "a", "web"}, fs[0].Diagnosis.Top().Path); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultConfigIsValid(t *testing.T) {
	if f := diagnosis.DefaultConfig().Validate(); len(f) > 0 {
		t.Error(f)
	}
	f := diagnosis.Config{}.Validate()
	var paths []string
	for _, fault := range f {
		paths = append(paths, fault.Path)
	}
	want := []string{"merge_window", "max_distance", "change_window", "change_decay", "max_causes", "entry_errors", "weights.temperature"}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
	bad := diagnosis.DefaultConfig()
	bad.ExplainAway, bad.Weights.Unknown = math.NaN(), -1
	if f := bad.Validate(); len(f) != 2 {
		t.Errorf("faults are %v", f)
	}
}

// TestAnyGraphAnySigns: whatever comes in, each suffering service is in exactly
// one finding, probabilities sum to one, and the order of the signs is nothing.
func TestAnyGraphAnySigns(t *testing.T) {
	kinds := sre.SignalKinds()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "services")
		var calls []string
		for i := range n {
			calls = append(calls, fmt.Sprintf("s%02d", i))
		}
		for range rapid.IntRange(0, 20).Draw(t, "edges") {
			a, b := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
			calls = append(calls, fmt.Sprintf("s%02d s%02d", a, b))
		}
		s := scene(calls...)
		var ps []sre.Precursor
		suffering := map[string]bool{}
		for range rapid.IntRange(0, 12).Draw(t, "signs") {
			p := sign(fmt.Sprintf("s%02d", rapid.IntRange(0, n-1).Draw(t, "service")), rapid.SampledFrom(kinds).Draw(t, "kind"),
				rapid.Float64Range(0, 1).Draw(t, "score"), rapid.IntRange(0, 1000).Draw(t, "ago"))
			p = physics(p, rapid.SampledFrom([]string{"golden_signal", "overload", "retry_storm"}).Draw(t, "detector"),
				rapid.SampledFrom(sre.Mechanisms()).Draw(t, "mechanism"), rapid.SampledFrom([]sre.Severity{sre.Info, sre.Warning, sre.Critical}).Draw(t, "severity"))
			ps = append(ps, p)
			suffering[p.Service] = suffering[p.Service] || p.Severity != sre.Info
		}
		fs := diagnose(s, ps)
		seen := map[string]int{}
		for _, f := range fs {
			checkFinding(t, s, f)
			for _, name := range f.Diagnosis.Affected {
				seen[name]++
			}
		}
		for name, bad := range suffering {
			if bad != (seen[name] == 1) || seen[name] > 1 {
				t.Fatalf("%s suffers: %v, and is in %d findings", name, bad, seen[name])
			}
		}
		if diff := cmp.Diff(fs, diagnose(s, ps)); diff != "" {
			t.Fatalf("not deterministic:\n%s", diff)
		}
	})
}

func checkFinding(t *rapid.T, s *sre.Snapshot, f sre.Finding) {
	var sum float64
	d := f.Diagnosis
	for i, h := range d.Hypotheses {
		sum += h.Probability
		if h.Probability < 0 || i > 0 && h.Probability > d.Hypotheses[i-1].Probability {
			t.Fatalf("probabilities are out of order: %+v", d.Hypotheses)
		}
		if !h.Mechanism.Valid() || len(h.Evidence) > 5 {
			t.Fatalf("hypothesis is %+v", h)
		}
		if h.Service == "" {
			continue
		}
		if h.Path[0] != h.Service {
			t.Fatalf("path of %s is %v", h.Service, h.Path)
		}
		for k := 1; k < len(h.Path); k++ {
			a, _ := s.Graph.Index(h.Path[k-1])
			b, _ := s.Graph.Index(h.Path[k])
			_, up := s.Graph.EdgeIndex(b, a)
			_, down := s.Graph.EdgeIndex(a, b)
			if !up && !down {
				t.Fatalf("path %v leaves the graph", h.Path)
			}
		}
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Fatalf("probabilities sum to %v", sum)
	}
	if f.Fingerprint == "" || f.Severity.Rank() < sre.Warning.Rank() || len(d.Affected) == 0 || d.Onset.IsZero() || len(d.Precursors) == 0 {
		t.Fatalf("finding is %+v", f)
	}
}

func BenchmarkDiagnose(b *testing.B) {
	// A thousand services in a tree, fifty of them in trouble behind one leaf.
	var calls []string
	for i := 1; i < 1000; i++ {
		calls = append(calls, fmt.Sprintf("s%04d s%04d", (i-1)/3, i))
	}
	s := scene(calls...)
	var ps []sre.Precursor
	for i := 999; i > 0; i = (i - 1) / 3 {
		ps = append(ps, sign(fmt.Sprintf("s%04d", i), sre.Latency, .9, 20), sign(fmt.Sprintf("s%04d", i), sre.Errors, .9, 20))
	}
	for i := 900; i < 945; i++ {
		ps = append(ps, sign(fmt.Sprintf("s%04d", i), sre.Latency, .7, 20))
	}
	e := diagnosis.New(diagnosis.DefaultConfig())
	b.ReportAllocs()
	for b.Loop() {
		e.Diagnose(s, ps, nil)
	}
}
