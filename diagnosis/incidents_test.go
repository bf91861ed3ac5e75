package diagnosis_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

// shelf keeps incidents as the agent does, as far as diagnosis can tell.
type shelf struct {
	engine    *diagnosis.Engine
	incidents []sre.Incident
	next      int
}

func newShelf() *shelf { return &shelf{engine: diagnosis.New(diagnosis.DefaultConfig())} }

// tick diagnoses and files the findings; it returns them.
func (b *shelf) tick(s *sre.Snapshot, ps []sre.Precursor) []sre.Finding {
	fs := b.engine.Diagnose(s, ps, b.incidents)
	for i := range fs {
		f := &fs[i]
		inc := b.get(f.Incident)
		if inc == nil {
			b.next++
			b.incidents = append(b.incidents, sre.Incident{ID: fmt.Sprintf("inc-%d", b.next), OpenedAt: s.At, SplitFrom: f.SplitFrom})
			inc = &b.incidents[len(b.incidents)-1]
		}
		inc.State, inc.Severity, inc.Diagnosis, inc.Storm = sre.Diagnosed, f.Severity, f.Diagnosis, f.Storm
		for _, id := range f.Merges {
			other := b.get(id)
			other.State, other.MergedInto, other.ClosedAt = sre.Closed, inc.ID, s.At
		}
	}
	return fs
}

func (b *shelf) get(id string) *sre.Incident {
	for i := range b.incidents {
		if b.incidents[i].ID == id {
			return &b.incidents[i]
		}
	}
	return nil
}

// open lists the open incidents with their services.
func (b *shelf) open() []string {
	var out []string
	for _, inc := range b.incidents {
		if inc.State != sre.Closed {
			out = append(out, inc.ID+" "+inc.Diagnosis.Top().Service+": "+strings.Join(inc.Diagnosis.Affected, " "))
		}
	}
	return out
}

func (b *shelf) wants(t *testing.T, when string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.open()); diff != "" {
		t.Errorf("%s:\n%s", when, diff)
	}
}

func (b *shelf) close(id string, at time.Time) {
	inc := b.get(id)
	inc.State, inc.ClosedAt = sre.Closed, at
}

func TestAnIncidentComesBack(t *testing.T) {
	s := scene("web shop", "shop db", "shop cache", "web other")
	chain := []sre.Precursor{sign("db", sre.Errors, .9, 30), sign("shop", sre.Errors, .8, 20), sign("web", sre.Errors, .7, 10)}
	for _, c := range []struct {
		name   string
		closed time.Duration
		ps     []sre.Precursor
		want   string
	}{
		{"the same cause, 20 minutes later", 20 * time.Minute, chain, "inc-1"},
		{"the same cause, 40 minutes later", 40 * time.Minute, chain, ""},
		{"the same victims, without the cause", 20 * time.Minute, chain[1:], "inc-1"},
		{"one victim and a cause from outside", 20 * time.Minute, []sre.Precursor{sign("other", sre.Errors, .9, 30), sign("web", sre.Errors, .7, 10)}, ""},
		{"another cause, most victims", 20 * time.Minute, []sre.Precursor{sign("cache", sre.Errors, .99, 30), sign("shop", sre.Errors, .5, 10), sign("web", sre.Errors, .5, 10)}, ""},
	} {
		b := newShelf()
		b.tick(s, chain)
		b.close("inc-1", s.At.Add(-c.closed))
		fs := b.engine.Diagnose(s, c.ps, b.incidents)
		if len(fs) != 1 || fs[0].Incident != c.want {
			t.Errorf("%s: %+v, want %q", c.name, fs, c.want)
		}
	}
}

func TestAMergedIncidentDoesNotComeBack(t *testing.T) {
	s := scene("web shop", "shop db")
	b := newShelf()
	ps := []sre.Precursor{sign("db", sre.Errors, .9, 30)}
	b.tick(s, ps)
	b.close("inc-1", s.At.Add(-time.Minute))
	b.incidents[0].MergedInto = "inc-0"
	if fs := b.engine.Diagnose(s, ps, b.incidents); fs[0].Incident != "" {
		t.Errorf("%+v", fs)
	}
}

// TestNewsOfTheSameFault: the incident stays the same while it grows, while its
// cause is found, and while its cause recovers before its victims.
func TestNewsOfTheSameFault(t *testing.T) {
	s := scene("web shop", "shop db")
	b := newShelf()
	db, shop, web := sign("db", sre.Errors, .9, 30), sign("shop", sre.Errors, .8, 20), sign("web", sre.Errors, .7, 10)
	for _, ps := range [][]sre.Precursor{{web}, {shop, web}, {db, shop, web}, {db, shop, web}, {shop, web}, {web}, {web, db}} {
		b.tick(s, ps)
	}
	b.wants(t, "after seven ticks", "inc-1 db: db web")
}

func TestTwoIncidentsOfOneFaultAreMerged(t *testing.T) {
	// The cause is far below, and its victims are first seen apart.
	s := scene("web a", "a b", "b shop", "shop db", "admin db")
	b := newShelf()
	shop, admin := sign("shop", sre.Errors, .6, 30), sign("admin", sre.Errors, .6, 30)
	b.tick(s, []sre.Precursor{shop, admin})
	b.wants(t, "at first", "inc-1 admin: admin", "inc-2 shop: shop")
	all := []sre.Precursor{shop, admin, physics(sign("db", sre.Pool, .99, 40), "overload", sre.PoolExhaustion, sre.Critical)}
	b.tick(s, all)
	if n := len(b.open()); n != 2 {
		t.Errorf("%d incidents after one tick, want 2: a single tick decides nothing", n)
	}
	for range 3 {
		b.tick(s, all)
	}
	b.wants(t, "in the end", "inc-1 db: admin db shop")
	if b.incidents[1].MergedInto != "inc-1" {
		t.Errorf("the other is %+v", b.incidents[1])
	}
}

func TestWhoSurvivesAMerge(t *testing.T) {
	s := scene("web shop", "shop db")
	cause := sre.Diagnosis{Hypotheses: []sre.Hypothesis{{Service: "db", Probability: 1}}, Affected: []string{"db"}}
	old := sre.Incident{ID: "old", State: sre.Diagnosed, Severity: sre.Warning, OpenedAt: noon.Add(-time.Hour), Diagnosis: cause}
	grave := sre.Incident{ID: "grave", State: sre.Diagnosed, Severity: sre.Critical, OpenedAt: noon.Add(-time.Minute), Diagnosis: cause}
	holder := sre.Incident{ID: "holder", State: sre.Acting, Severity: sre.Warning, OpenedAt: noon, Diagnosis: cause, Mitigations: []sre.Mitigation{{Phase: sre.InEffect}}}
	young := old
	young.ID, young.OpenedAt = "young", noon.Add(-time.Minute)
	for _, c := range []struct {
		a, b sre.Incident
		want string
	}{{old, young, "old"}, {old, grave, "grave"}, {grave, holder, "holder"}} {
		e := diagnosis.New(diagnosis.DefaultConfig())
		var fs []sre.Finding
		for range 2 {
			fs = e.Diagnose(s, []sre.Precursor{sign("db", sre.Errors, .9, 30)}, []sre.Incident{c.b, c.a})
		}
		loser := c.a.ID
		if c.want == c.a.ID {
			loser = c.b.ID
		}
		if len(fs) != 1 || fs[0].Incident != c.want || !slices.Equal(fs[0].Merges, []string{loser}) {
			t.Errorf("%s and %s: %+v, want %s", c.a.ID, c.b.ID, fs, c.want)
		}
	}
}

// TestAPartWithACauseOfItsOwnIsSplitOff: once the victim that linked them has
// recovered, the second fault is an incident of its own.
func TestAPartWithACauseOfItsOwnIsSplitOff(t *testing.T) {
	s := scene("web shop", "shop db", "web search", "search index")
	db, shop, web := sign("db", sre.Errors, .95, 200), sign("shop", sre.Errors, .8, 190), sign("web", sre.Errors, .5, 180)
	index, search := sign("index", sre.Errors, .7, 50), sign("search", sre.Errors, .6, 40)
	b := newShelf()
	b.tick(s, []sre.Precursor{db, shop, web, index, search})
	b.wants(t, "linked", "inc-1 db: db index search shop web")
	apart := []sre.Precursor{db, shop, index, search}
	b.tick(s, apart)
	b.wants(t, "one tick apart", "inc-1 db: db index search shop")
	fs := b.tick(s, apart)
	b.wants(t, "two ticks apart", "inc-1 db: db shop", "inc-2 index: index search")
	if !slices.ContainsFunc(fs, func(f sre.Finding) bool { return f.SplitFrom == "inc-1" && f.Incident == "" }) {
		t.Errorf("%+v", fs)
	}
	for range 5 {
		b.tick(s, apart)
	}
	b.wants(t, "later", "inc-1 db: db shop", "inc-2 index: index search")
	b.tick(s, append(apart, web))
	b.tick(s, append(apart, web))
	if n := len(b.open()); n != 2 {
		t.Errorf("they are joined again by their victim: %v", b.open())
	}
}

// TestWhatIsLeftIsTheIncident: a part is not split off where nothing else is left
// but notes.
func TestWhatIsLeftIsTheIncident(t *testing.T) {
	s := scene("web jobs", "web other")
	b := newShelf()
	b.tick(s, []sre.Precursor{sign("web", sre.Latency, .99, 40), sign("jobs", sre.Latency, .1, 20)})
	jobs := physics(sign("jobs", sre.Pool, .9, 20), "overload", sre.Overload, sre.Warning)
	far := note(sign("web", sre.Traffic, .5, 2000))
	for range 4 {
		b.tick(s, []sre.Precursor{jobs, far})
	}
	b.wants(t, "later", "inc-1 jobs: jobs")
}

// TestFaultsThatMeetInOneVictim: two services that are short of something of
// their own, minutes apart, are two faults though both harm the entry.
func TestFaultsThatMeetInOneVictim(t *testing.T) {
	pool := func(service string, ago int) sre.Precursor {
		return physics(sign(service, sre.Pool, .95, ago), "exhaustion", sre.PoolExhaustion, sre.Critical)
	}
	for _, c := range []struct {
		name  string
		calls []string
		ps    []sre.Precursor
		want  int
	}{
		{"apart", []string{"web db", "web index"}, []sre.Precursor{pool("db", 200), pool("index", 60), sign("web", sre.Errors, .8, 180)}, 2},
		{"at once", []string{"web db", "web index"}, []sre.Precursor{pool("db", 70), pool("index", 60), sign("web", sre.Errors, .8, 50)}, 1},
		{"on one store that nobody measures", []string{"web db", "web index", "db store*", "index store"}, []sre.Precursor{pool("db", 200), pool("index", 60), sign("web", sre.Errors, .8, 180)}, 1},
		{"one below the other", []string{"web db", "db index"}, []sre.Precursor{pool("db", 200), pool("index", 60), sign("web", sre.Errors, .8, 180)}, 1},
		{"only one of its own", []string{"web db", "web index"}, []sre.Precursor{pool("db", 200), sign("index", sre.Errors, .9, 60), sign("web", sre.Errors, .8, 180)}, 1},
	} {
		s := scene(c.calls...)
		b := newShelf()
		for range 4 {
			b.tick(s, c.ps)
		}
		if got := b.open(); len(got) != c.want {
			t.Errorf("%s: %q, want %d", c.name, got, c.want)
		}
	}
}

func TestOneChangeIsOneIncident(t *testing.T) {
	s := scene("web shop", "admin ledger", "batch store")
	s.Changes = []sre.Change{
		{ID: "config-7", At: noon.Add(-2 * time.Minute), Kind: sre.ConfigEdit, Service: "shop"},
		{ID: "config-7", At: noon.Add(-2 * time.Minute), Kind: sre.ConfigEdit, Service: "ledger"},
		{ID: "deploy-8", At: noon.Add(-2 * time.Minute), Kind: sre.Deploy, Service: "store"},
	}
	b := newShelf()
	b.tick(s, []sre.Precursor{sign("shop", sre.Errors, .9, 100), sign("ledger", sre.Errors, .8, 90), sign("store", sre.Errors, .8, 90)})
	if got := b.open(); len(got) != 2 {
		t.Errorf("%q, want shop and ledger in one, and store in another", got)
	}
}

// TestAHubGluesNothing: a service that everybody calls lies between any two
// faults, and joins them only where it was in trouble first.
func TestAHubGluesNothing(t *testing.T) {
	var calls []string
	for i := range 30 {
		calls = append(calls, fmt.Sprintf("s%02d config", i), fmt.Sprintf("s%02d t%02d", i, i))
	}
	for i := range 100 {
		calls = append(calls, fmt.Sprintf("x%03d y%03d", i/2, i))
	}
	calls = append(calls, "config s05") // a way through it
	for i := range 50 {
		calls = append(calls, fmt.Sprintf("x%03d config", i))
	}
	s := scene(calls...)
	far := []sre.Precursor{sign("s00", sre.Errors, .8, 100), sign("s05", sre.Errors, .8, 95), sign("s09", sre.Errors, .8, 90)}
	if fs := diagnose(s, far); len(fs) != 3 {
		t.Errorf("through a healthy hub: %d findings, want 3", len(fs))
	}
	if fs := diagnose(s, append(far[:3:3], sign("config", sre.Latency, .5, 10))); len(fs) != 3 {
		t.Errorf("through a hub that suffers later: %d findings, want 3 (it suffers from s05)", len(fs))
	}
	if fs := diagnose(s, append(far[:3:3], sign("config", sre.Latency, .9, 110))); len(fs) != 1 {
		t.Errorf("through a hub that suffered first: %d findings, want 1", len(fs))
	}
}

// TestASlowCascadeIsOneIncident: the next service falls long after the first,
// which has been getting worse all the time.
func TestASlowCascadeIsOneIncident(t *testing.T) {
	s := scene("web shop", "shop db", "other")
	run := func(growing bool) int {
		b := newShelf()
		tick := *s
		for k := range 90 { // a quarter of an hour
			score := .4
			if growing {
				score = .4 + .006*float64(k)
			}
			db := physics(sign("db", sre.Saturation, score, 0), "exhaustion", sre.CapacityDecay, sre.Warning)
			db.Since = noon
			ps := []sre.Precursor{db}
			tick.At = noon.Add(time.Duration(k) * 10 * time.Second)
			if k == 89 {
				web := sign("web", sre.Errors, .8, 0)
				web.Since = tick.At
				ps = append(ps, web)
			}
			if k < 88 {
				b.engine.Diagnose(&tick, ps, nil)
				continue
			}
			return len(b.engine.Diagnose(&tick, append(ps, func() sre.Precursor {
				p := sign("web", sre.Errors, .8, 0)
				p.Since = tick.At
				return p
			}()), nil))
		}
		return -1
	}
	if got := run(true); got != 1 {
		t.Errorf("while it grows: %d findings, want 1", got)
	}
	if got := run(false); got != 2 {
		t.Errorf("while it stands still: %d findings, want 2", got)
	}
}

func TestStormIsOneIncident(t *testing.T) {
	var calls []string
	for i := range 100 {
		calls = append(calls, fmt.Sprintf("s%02d t%02d", i, i)) // pairs that know nothing of each other
	}
	s := scene(calls...)
	trouble := func(n int) []sre.Precursor {
		var ps []sre.Precursor
		for i := range n {
			ps = append(ps, sign(fmt.Sprintf("s%02d", i), sre.Errors, .8, 20+i))
		}
		return ps
	}
	b := newShelf()
	b.tick(s, trouble(20))
	if n := len(b.open()); n != 20 {
		t.Fatalf("%d incidents in a tenth of the fleet, want 20", n)
	}
	fs := b.tick(s, trouble(21))
	if len(fs) != 1 || !fs[0].Storm || len(fs[0].Merges) != 19 || len(fs[0].Diagnosis.Affected) != 21 {
		t.Fatalf("in more than that: %d findings, the first %+v", len(fs), fs[0].Merges)
	}
	if n := len(b.open()); n != 1 {
		t.Errorf("%d incidents, want 1", n)
	}
	// It does not flap at the border, and ends at half of it.
	if fs = b.tick(s, trouble(15)); len(fs) != 1 || !fs[0].Storm {
		t.Errorf("it ended with 15 still in trouble: %d findings", len(fs))
	}
	if fs = b.tick(s, trouble(10)); fs[0].Storm {
		t.Error("it goes on with 10 in trouble")
	}
}

// rename maps every service to another name, in another order of the graph.
func rename(s *sre.Snapshot, ps []sre.Precursor, to func(string) string, order []int) (*sre.Snapshot, []sre.Precursor) {
	services := make([]sre.Service, len(order))
	place := make([]int, len(order))
	for k, i := range order {
		services[k] = s.Graph.Services[i]
		services[k].Name = to(services[k].Name)
		place[i] = k
	}
	var edges []sre.Edge
	for _, e := range slices.Backward(s.Graph.Edges) {
		e.From, e.To = place[e.From], place[e.To]
		edges = append(edges, e)
	}
	other := *s
	other.Graph = sre.NewGraph(services, edges)
	other.Service = sre.NewMatrix(len(s.Signals), len(order))
	for row := range s.Signals {
		for k, i := range order {
			other.Service.Set(row, k, s.Service.At(row, i))
		}
	}
	renamed := slices.Clone(ps)
	for i := range renamed {
		renamed[i].Service = to(renamed[i].Service)
		renamed[i].Evidence = slices.Clone(renamed[i].Evidence)
		for j := range renamed[i].Evidence {
			renamed[i].Evidence[j].Subject = to(renamed[i].Evidence[j].Subject)
		}
	}
	return &other, renamed
}

// shape is a finding without names: how grave, and its services mapped back.
func shape(fs []sre.Finding, back func(string) string) []string {
	var out []string
	for _, f := range fs {
		var names []string
		for _, n := range f.Diagnosis.Affected {
			names = append(names, back(n))
		}
		slices.Sort(names)
		out = append(out, fmt.Sprintf("%s %v %.6f %v", f.Severity, f.Storm, f.Diagnosis.Top().Probability, names))
	}
	slices.Sort(out)
	return out
}

// TestNamesAndOrderAreNothing: findings do not depend on the order of the signs,
// on the names of the services, nor on their places in the graph.
func TestNamesAndOrderAreNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 14).Draw(t, "services")
		var calls []string
		for i := range n {
			calls = append(calls, fmt.Sprintf("s%02d", i))
		}
		for range rapid.IntRange(0, 20).Draw(t, "edges") {
			a, b := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
			if a < b {
				calls = append(calls, fmt.Sprintf("s%02d s%02d", a, b))
			}
		}
		s := scene(calls...)
		var ps []sre.Precursor
		for k := range rapid.IntRange(0, 12).Draw(t, "signs") {
			p := sign(fmt.Sprintf("s%02d", rapid.IntRange(0, n-1).Draw(t, "service")), rapid.SampledFrom(sre.SignalKinds()).Draw(t, "kind"),
				.3+.05*float64(k), rapid.IntRange(0, 1000).Draw(t, "ago"))
			p.Detector = rapid.SampledFrom([]string{"golden_signal", "overload", "burn_rate"}).Draw(t, "detector")
			p.Severity = rapid.SampledFrom([]sre.Severity{sre.Info, sre.Warning, sre.Critical}).Draw(t, "severity")
			ps = append(ps, p)
		}
		want := diagnose(s, ps)
		shuffled := rapid.Permutation(ps).Draw(t, "order")
		if diff := cmp.Diff(want, diagnose(s, shuffled)); diff != "" {
			t.Fatalf("the order of the signs changes the findings:\n%s", diff)
		}
		order := rapid.Permutation(seq(n)).Draw(t, "places")
		to := func(name string) string { return "z" + fmt.Sprint(99-(int(name[1]-'0')*10+int(name[2]-'0'))) }
		back := func(name string) string {
			var k int
			_, _ = fmt.Sscanf(name, "z%d", &k)
			return fmt.Sprintf("s%02d", 99-k)
		}
		other, renamed := rename(s, ps, to, order)
		same := func(name string) string { return name }
		if diff := cmp.Diff(shape(want, same), shape(diagnose(other, renamed), back)); diff != "" {
			t.Fatalf("names change the findings:\n%s", diff)
		}
	})
}

func seq(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// TestJoiningIsTransitive: with a chain of neighbours in trouble, however long,
// there is one finding, and without one link there are two.
func TestJoiningIsTransitive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(8, 40).Draw(t, "length")
		calls := []string{}
		for i := range n - 1 {
			calls = append(calls, fmt.Sprintf("s%02d s%02d", i, i+1))
		}
		for i := range 300 { // the rest of the fleet
			calls = append(calls, fmt.Sprintf("x%03d y%03d", i, i))
		}
		s := scene(calls...)
		gap := rapid.IntRange(2, n-4).Draw(t, "gap")
		var all, broken []sre.Precursor
		for i := range n {
			p := sign(fmt.Sprintf("s%02d", i), sre.Errors, .8, 20+3*(n-i))
			all = append(all, p)
			if i != gap && i != gap+1 {
				broken = append(broken, p)
			}
		}
		if fs := diagnose(s, all); len(fs) != 1 {
			t.Fatalf("%d findings for one chain", len(fs))
		}
		if fs := diagnose(s, broken); len(fs) != 2 {
			t.Fatalf("%d findings for a chain with a gap of two silent services", len(fs))
		}
	})
}
