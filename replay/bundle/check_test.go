package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func check(t *testing.T, changed map[string]string, g Grammar) Report {
	t.Helper()
	r, err := Check(t.Context(), broken(changed), Limits{}, g)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// steady writes one sample of a per minute of the good recording.
func steady(minutes ...int) string {
	var out strings.Builder
	for _, m := range minutes {
		fmt.Fprintf(&out, "a{service=\"cart\"} 1 %d\n", instant("2026-01-01T00:00:00Z").Unix()+int64(m)*60)
	}
	return out.String() + "# EOF\n"
}

func TestCheckGood(t *testing.T) {
	signals := "signals:\n  - {query: latency_seconds}\n"
	r := check(t, map[string]string{SignalsFile: signals}, Grammar{Signals: queriesOf, Topology: func(name string, content []byte) error {
		if name != TopologyFile || !strings.Contains(string(content), "shop") {
			t.Errorf("the topology came as %s: %q", name, content)
		}
		return nil
	}})
	want := Report{
		ID: "shop-1", Series: 2, Samples: 3, From: instant("2026-01-01T00:00:00Z"), To: instant("2026-01-01T00:01:00Z").Add(time.Second / 2),
		Faults: 1, Changes: 2, Records: 2,
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	if !r.OK() {
		t.Error("not OK")
	}
	text, err := json.Marshal(r)
	if err != nil || string(text) != `{"id":"shop-1","series":2,"samples":3,"from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:01:00.5Z","faults":1,"changes":2,"records":2}` {
		t.Errorf("%s, %v", text, err)
	}
}

func TestCheckWarns(t *testing.T) {
	signals := func(queries ...string) string {
		var out strings.Builder
		out.WriteString("signals:\n")
		for _, q := range queries {
			fmt.Fprintf(&out, "  - {query: %q}\n", q)
		}
		return out.String()
	}
	long := strings.Replace(goodIncident, "end: 2026-01-01T00:10:00Z", "end: 2026-01-01T01:00:00Z", 1)
	cases := []struct {
		name    string
		changed map[string]string
		want    []string
	}{
		{"one selector of a signal", map[string]string{SignalsFile: signals(`latency_seconds or gone{x="1"}`, "7")}, []string{`signals.yaml: signal 1: no series of the recording matches gone{x="1"}`}},
		{"stranger", map[string]string{IncidentFile: strings.Replace(goodIncident, "services: [cart]", "services: [cart, Cart, shop]", 1)},
			[]string{`incident.yaml: the service "Cart" of the truth stands neither in topology.yaml nor in any label`}},
		{"known by a label only", map[string]string{TopologyFile: "edges: []"}, nil},
		{"late", map[string]string{MetricsFile: steady(0, 5, 10, 11, 12)}, []string{"metrics.om: 2 of 5 samples are later than the end of the recording, 2026-01-01T00:10:00Z"}},
		{"late changes", map[string]string{ChangesFile: `{"id":"a","at":"2026-01-01T00:10:01Z","kind":"deploy","service":"cart"}` + "\n" + `{"id":"b","at":"2026-01-01T00:10:00Z","kind":"deploy","service":"cart"}`},
			[]string{"changes.jsonl: 1 of 2 changes are later than the end of the recording, 2026-01-01T00:10:00Z"}},
		{"trail of another incident", map[string]string{TrailFile: `{"seq":0,"at":"2025-12-31T23:59:00Z","kind":"stop"}` + "\n" + `{"seq":1,"at":"2026-01-01T00:11:00Z","kind":"stop"}`},
			[]string{"trail.jsonl: no record lies within the recording, they span 2025-12-31T23:59:00Z to 2026-01-01T00:11:00Z: is this the trail of another incident?"}},
		{"trail with a record at the end", map[string]string{TrailFile: `{"seq":0,"at":"2025-12-31T23:59:00Z","kind":"stop"}` + "\n" + `{"seq":1,"at":"2026-01-01T00:10:00Z","kind":"stop"}`}, nil},
		{"no gap", map[string]string{IncidentFile: long, MetricsFile: steady(0, 11, 22, 33, 44, 55)}, nil},
		{"gap", map[string]string{IncidentFile: long, MetricsFile: steady(0, 12, 23, 34, 45, 56)}, []string{"metrics.om: no series has a sample from 2026-01-01T00:01:00Z to 2026-01-01T00:12:00Z"}},
		{"gaps at the ends", map[string]string{IncidentFile: long, MetricsFile: steady(-30, 20, 30, 40)}, []string{
			"metrics.om: no series has a sample from 2026-01-01T00:00:00Z to 2026-01-01T00:20:00Z",
			"metrics.om: no series has a sample from 2026-01-01T00:41:00Z to 2026-01-01T01:00:00Z",
		}},
		{"beside", map[string]string{IncidentFile: strings.NewReplacer("at: 2026-01-01T00:06", "at: 2026-01-01T00:16", "injected_at: 2026-01-01T00:05", "injected_at: 2025-12-31T23:59").Replace(goodIncident)}, []string{
			"incident.yaml: alerts[0]: 2026-01-01T00:16:00Z lies outside the recording",
			"incident.yaml: truth.faults[0]: injected_at, 2025-12-31T23:59:00Z, lies outside the recording",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, own := c.changed[SignalsFile]; !own {
				c.changed[SignalsFile] = signals("{service=~\".+\"}")
			}
			r := check(t, c.changed, Grammar{Signals: queriesOf})
			if diff := cmp.Diff(c.want, r.Warnings); diff != "" || !r.OK() {
				t.Errorf("%v\n%s", r.Problems, diff)
			}
		})
	}
}

// TestCheckReportsAll wants what is wrong with every file at once.
func TestCheckReportsAll(t *testing.T) {
	r := check(t, map[string]string{
		IncidentFile: strings.Replace(goodIncident, "interval: 60s", "interval: 60", 1),
		TopologyFile: "",
		SignalsFile:  "signals:\n  - {query: a, unit: furlongs}\n",
		ChangesFile:  "{}\n",
		TrailFile:    "[]\n",
		MetricsFile:  "a 1\n",
	}, Grammar{Signals: queriesOf})
	want := []string{
		`incident.yaml:7:11: interval: this is "60"; allowed: a duration with its unit, such as 60s or 5m`,
		`topology.yaml: the file is missing; allowed: edges: [{from, to}], or edges: [] where none are known`,
		`changes.jsonl:1: at: is missing; allowed: a time with its zone, such as 2022-08-22T03:51:19Z`,
		`trail.jsonl:1: the line has the wrong type, array in "[]"; allowed: one JSON object per line`,
		`signals.yaml:2:5: signals[0].unit: unknown unit "furlongs"; allowed: seconds, ratio`,
		`metrics.om:1: the sample has no timestamp in "a 1"; allowed: name{label="value"} 1.5 1661140280`,
	}
	if diff := cmp.Diff(want, r.Errors); diff != "" {
		t.Error(diff)
	}
}

func TestCheckForeignErrors(t *testing.T) {
	first := errors.New("first")
	r := check(t, nil, Grammar{Topology: func(string, []byte) error { return fmt.Errorf("topology.yaml:1:2: %w\nsecond", first) }})
	if diff := cmp.Diff([]string{"topology.yaml:1:2: first", "topology.yaml: second"}, r.Errors); diff != "" {
		t.Error(diff)
	}
	if !errors.Is(r.Problems, first) {
		t.Error("the error beneath is lost")
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := Check(ctx, memory(goodFiles()), Limits{}, Grammar{}); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

// TestGaps holds the sparse search for gaps against one that looks at every
// slot.
func TestGaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Int64Range(-500, 500).Draw(t, "from")
		to := from + rapid.Int64Range(1, 600).Draw(t, "length")
		width := rapid.Int64Range(1, 7).Draw(t, "width")
		s := &slots{width: width, words: map[int64]uint64{}}
		taken := map[int64]bool{}
		for _, at := range rapid.SliceOfN(rapid.Int64Range(-800, 1500), 0, 30).Draw(t, "samples") {
			s.add(at)
			taken[floorDiv(at, width)] = true
		}
		held := 0
		for _, w := range s.words {
			held += bits.OnesCount64(w)
		}
		if held != len(taken) {
			t.Fatalf("%d slots are held of %d", held, len(taken))
		}
		var want [][2]int64
		free := int64(0)
		for slot := floorDiv(from, width); slot <= floorDiv(to, width)+1; slot++ {
			if !taken[slot] && slot <= floorDiv(to, width) {
				free++
				continue
			}
			if free > gapTicks {
				want = append(want, [2]int64{max(from, (slot-free)*width), min(to, slot*width)})
			}
			free = 0
		}
		if len(want) > maxGaps {
			want = want[:maxGaps]
		}
		if diff := cmp.Diff(want, s.gaps(from, to)); diff != "" {
			t.Fatal(diff)
		}
	})
}
