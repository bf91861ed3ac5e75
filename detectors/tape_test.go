package detectors

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// TestEveryDetectorKeepsItsState: one that does not would start anew after every
// restart, without a word.
func TestEveryDetectorKeepsItsState(t *testing.T) {
	b := New(DefaultConfig())
	for _, d := range b.detectors {
		if _, ok := d.(keeper); !ok {
			t.Errorf("%s does not keep its state", d.Name())
		}
	}
	if names, _ := b.keepers(); len(names) != 1+len(b.detectors) {
		t.Errorf("kept are %v", names)
	}
}

// fill gives every field that can be reached a value other than zero, each
// another one where its type allows.
func fill(v reflect.Value, next *int64) {
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem() // fields that are not exported are filled too
	*next++
	switch kind := v.Kind(); {
	case kind == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(*next%300 + 1) // a half hour of the week, too
	case v.CanUint():
		v.SetUint(uint64(*next%9 + 1)) // the longest run that is counted, too
	case v.CanFloat():
		v.SetFloat(float64(*next) + .5)
	case kind == reflect.String:
		v.SetString(string(rune('a' + *next%26)))
	case kind == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), next)
	case kind == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), next)
	case kind == reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), next)
		}
	case kind == reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1e9+*next, *next).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), next)
		}
	default:
		panic("no value for a " + v.Type().String())
	}
}

// carried reports what is lost of a filled T on its way to bytes and back.
func carried[T any](t *testing.T, carry func(*T, *tape), notKept ...string) {
	t.Helper()
	var was, is T
	var next int64
	fill(reflect.ValueOf(&was).Elem(), &next)
	r := roll{services: make([]string, 64)}
	w := tape{roll: &r}
	carry(&was, &w)
	back := tape{b: w.b, reads: true, roll: &r}
	carry(&is, &back)
	if back.err != nil || len(back.b) > 0 {
		t.Errorf("%T: error %v, %d bytes left", was, back.err, len(back.b))
	}
	tick := cmp.FilterPath(func(p cmp.Path) bool { return slices.Contains(notKept, p.String()) }, cmp.Ignore())
	if diff := cmp.Diff(was, is, tick, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		t.Errorf("%T is not carried whole:\n%s", was, diff)
	}
	for n := range w.b {
		cut := tape{b: w.b[:n], reads: true, roll: &r}
		var part T
		if carry(&part, &cut); cut.err == nil {
			t.Fatalf("%T: %d of %d bytes are taken for all", was, n, len(w.b))
		}
	}
}

// TestEveryFieldIsCarried: a field that somebody adds to what is remembered
// fails here until it is saved, or is named as one of a single tick.
func TestEveryFieldIsCarried(t *testing.T) {
	carried(t, (*usual).carry)
	carried(t, (*stormState).carry)
	carried(t, (*trend).carry)
	carried(t, (*episode).carry)
	carried(t, (*drain).carry)
	carried(t, (*survival).carry)
	carried(t, (*zigzag).carry)
	carried(t, (*after).carry)
	carried(t, (*trial).carry)
	carried(t, (*heldSign).carry, "seen")
	carried(t, (*surprise).carry)
	carried(t, (*series).carry, "excused", "_")
	carried(t, (*standing).carry, "evidence", "hit", "signs", "dark.fresh")
	carried(t, (*burnService).carry, "name", "stated")
	carried(t, func(x *sre.Burn, t *tape) { t.burn(x) })
	carried(t, func(x *sre.Change, t *tape) { t.change(x) })
	carried(t, func(x *sre.Signal, t *tape) { t.signal(x) })
}

// TestFieldsOfTheKeepers names the fields of everything that holds such
// elements: those that are saved, and those that are settings, shared or of a
// single tick. A new one belongs into one of the two lists, and into carry.
func TestFieldsOfTheKeepers(t *testing.T) {
	for _, c := range []struct {
		of    any
		saved []string
		other []string
	}{
		{Bank{}, []string{"samples", "at", "held", "roll", "vitals", "detectors"}, []string{"cfg", "burn", "heldNext", "order", "graph", "restored"}},
		{
			vitals{},
			[]string{"at", "usual", "fanout", "edgeLat", "edgeDev", "start", "onset"},
			[]string{"cfg", "snapshot", "dt", "alpha", "svc", "edge", "now", "settings", "inbound"},
		},
		{anomaly{}, []string{"svc", "edge", "svcs", "now"}, []string{"brief", "cfg", "need", "memory", "window", "v"}},
		{gridRow{}, []string{"sig", "coarse", "common", "series"}, []string{"called", "errors", "form", "up", "down", "kin"}},
		{retryStorm{}, []string{"state"}, []string{"alpha", "cfg", "window", "v"}},
		{overload{}, []string{"state", "rest"}, []string{"cfg", "quiet", "v"}},
		{unrest{}, []string{"mean", "dev", "lag", "last", "usual"}, nil},
		{exhaustion{}, []string{"start", "last", "rows"}, []string{"cfg", "v", "need"}},
		{slow{}, []string{"state", "callee"}, []string{"cfg", "quiet", "v", "worst", "late", "hurt"}},
		{pool{}, []string{"state"}, []string{"cfg", "v"}},
		{leak{}, []string{"state"}, []string{"cfg", "need", "v"}},
		{decaying{}, []string{"state"}, []string{"cfg", "full", "lost", "slow", "v"}},
		{cacheLoss{}, []string{"state", "herd"}, []string{"cfg", "busy", "v", "worst"}},
		{survivor{}, []string{"state"}, []string{"cfg", "v"}},
		{oscillation{}, []string{"swing", "calls", "quiet"}, []string{"cfg", "v"}},
		{inversion{}, []string{"state"}, []string{"cfg", "slow", "v", "index", "graph"}},
		{divergence{}, []string{"state", "good"}, []string{"cfg", "room", "v"}},
		{badChange{}, []string{"watch", "recent", "until"}, []string{"cfg", "slow", "v"}},
		{burnRate{}, []string{"tracked", "rings", "since", "at", "tick", "burns"}, []string{"cfg", "stated", "graph", "slot"}},
		{burnRing{}, []string{"bucket", "open", "closed"}, []string{"long", "short", "width"}},
	} {
		kind := reflect.TypeOf(c.of)
		var have []string
		for i := range kind.NumField() {
			have = append(have, kind.Field(i).Name)
		}
		want := append(slices.Clone(c.saved), c.other...)
		slices.Sort(have)
		slices.Sort(want)
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%v: is the new field saved?\n%s", kind, diff)
		}
	}
}

// worn returns a bank in the middle of trouble, its graph and its latest time.
func worn() (*Bank, *sre.Graph, time.Time) {
	g := sre.NewGraph(
		[]sre.Service{{Name: "web", Entry: true}, {Name: "api"}},
		[]sre.Edge{{To: 1, Spec: sre.EdgeSpec{Timeout: time.Second, Retries: 2}}},
	)
	b, at := New(DefaultConfig()), time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for k := range 60 {
		at = at.Add(10 * time.Second)
		b.Detect(busyTick(g, at, k), nil)
	}
	return b, g, at
}

// busyTick is one snapshot of any graph, with every kind of signal.
func busyTick(g *sre.Graph, at time.Time, k int) *sre.Snapshot {
	s := &sre.Snapshot{
		At: at, Interval: 10 * time.Second, Graph: g,
		Signals: []sre.Signal{
			{Name: "t", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "e", Kind: sre.Errors, Unit: sre.Ratio},
			{Name: "l", Kind: sre.Latency, Unit: sre.Seconds}, {Name: "q", Kind: sre.Queue, Unit: sre.Count},
			{Name: "p", Kind: sre.Pool, Unit: sre.Ratio}, {Name: "r", Kind: sre.Replicas, Unit: sre.Count},
			{Name: "c", Kind: sre.Cache, Unit: sre.Ratio},
		},
		EdgeSignals: []sre.Signal{
			{Name: "ct", Kind: sre.Traffic, Unit: sre.PerSecond, Edge: true}, {Name: "cl", Kind: sre.Latency, Unit: sre.Seconds, Edge: true},
		},
	}
	s.Service, s.Edge = sre.NewMatrix(len(s.Signals), len(g.Services)), sre.NewMatrix(len(s.EdgeSignals), len(g.Edges))
	values := []float64{60, .001, .02, 3, .6, 4, .9}
	if k > 50 {
		values = []float64{90, .6, .8, 200, 1, float64(2 + k/3%2*3), .1}
	}
	for i := range s.Service.Values {
		s.Service.Values[i], s.Service.States[i] = values[i/max(1, len(g.Services))], sre.Present
	}
	for i := range s.Edge.Values {
		s.Edge.Values[i], s.Edge.States[i] = []float64{values[0], values[2]}[i/max(1, len(g.Edges))], sre.Present
	}
	if k == 45 && len(g.Services) > 0 {
		s.Changes = []sre.Change{{ID: "v2", Kind: sre.Deploy, Service: g.Services[len(g.Services)-1].Name, At: at}}
	}
	return s
}

// sealed gives a body the header and the checksum of a saved state.
func sealed(body []byte) []byte {
	state := append([]byte(bankMagic), body...)
	return binary.LittleEndian.AppendUint32(state, crc32.ChecksumIEEE(state))
}

// graphOf is the graph that a roll was taken of, where there is one.
func graphOf(r *roll) *sre.Graph {
	var services []sre.Service
	for _, name := range r.services {
		services = append(services, sre.Service{Name: name, Entry: true})
	}
	var edges []sre.Edge
	for _, c := range r.calls {
		edges = append(edges, sre.Edge{From: slices.Index(r.services, c.from), To: slices.Index(r.services, c.to)})
	}
	return sre.NewGraph(services, edges)
}

// hostile takes in a state and, where it is not refused, goes on with it: no
// length and no index in it may lead out of a list.
func hostile(t *testing.T, body []byte) {
	t.Helper()
	state, b := sealed(body), New(DefaultConfig())
	if b.Restore(state) != nil {
		return
	}
	if string(b.State()) != string(state) {
		t.Fatal("what was taken is written in another way")
	}
	g, at := graphOf(&b.roll), b.at
	if at.Year() < 1980 || at.Year() > 2200 {
		at = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	}
	for k := range 20 {
		at = at.Add(10 * time.Second)
		b.Detect(busyTick(g, at, 40+k), nil)
	}
	b.State()
}

// TestRestoreOfChangedNumbers: a good checksum over a wrong number. Numbers that
// are only values may be taken; whatever is taken can be gone on with.
func TestRestoreOfChangedNumbers(t *testing.T) {
	b, _, _ := worn()
	state := b.State()
	body := state[len(bankMagic) : len(state)-4]
	for i := 0; i < len(body)-8; i += 7 {
		bad := slices.Clone(body)
		switch i % 3 {
		case 0:
			bad[i] ^= 0x41
		case 1:
			binary.LittleEndian.PutUint64(bad[i:], math.MaxUint64)
		case 2:
			binary.LittleEndian.PutUint64(bad[i:], math.MaxInt32)
		}
		hostile(t, bad)
	}
}

// FuzzRestore: whatever the bytes, even with a good checksum, Restore ends, and
// what it takes it writes again.
func FuzzRestore(f *testing.F) {
	empty := New(DefaultConfig()).State()
	f.Add(empty[len(bankMagic) : len(empty)-4])
	b, _, _ := worn()
	full := b.State()
	f.Add(full[len(bankMagic) : len(full)-4])
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 127, 1, 2, 3})
	f.Fuzz(hostile)
}
