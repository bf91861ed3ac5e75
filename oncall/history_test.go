package oncall

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// TestTheHistoryThins holds every tick for an hour and ever fewer beyond.
func TestTheHistoryThins(t *testing.T) {
	h := newHistory(historyBytes)
	const interval = 15 * time.Second
	total := int(50 * time.Hour / interval)
	for i := range total {
		h.add(&sre.View{At: noon.Add(time.Duration(i) * interval), Tick: uint64(i), Interval: interval})
	}
	now := noon.Add(time.Duration(total-1) * interval)
	for _, c := range []struct{ age, off time.Duration }{
		{0, 0}, {30 * time.Minute, 0}, {time.Hour, 0}, {time.Hour + 17*time.Second, time.Minute}, {5 * time.Hour, time.Minute},
		{7*time.Hour + time.Second, 10 * time.Minute}, {47 * time.Hour, 10 * time.Minute},
	} {
		want := now.Add(-c.age)
		v, _, _, ok := h.at(want)
		if !ok || v.At.After(want) || want.Sub(v.At) > c.off+interval-1 && c.off == 0 || want.Sub(v.At) > c.off+interval {
			t.Errorf("%s ago: %v %+v", c.age, ok, v)
		}
	}
	if _, from, to, ok := h.at(now.Add(-49 * time.Hour)); ok || now.Sub(from) > historyLong || now.Sub(from) < historyLong-2*longSlot || !to.Equal(now) {
		t.Errorf("%v %s %s", ok, from, to)
	}
	sizes := []int{len(h.tiers[0].views), len(h.tiers[1].views), len(h.tiers[2].views)}
	if sizes[0] != 241 || sizes[1] < 299 || sizes[1] > 301 || sizes[2] < 251 || sizes[2] > 253 {
		t.Errorf("kept %v", sizes)
	}
}

func TestTheHistoryIsBounded(t *testing.T) {
	const limit = 1 << 20
	h := newHistory(limit)
	for i := range 500 {
		v := &sre.View{At: noon.Add(time.Duration(i) * time.Second)}
		for e := range 1000 {
			v.Edges = append(v.Edges, sre.ViewEdge{From: fmt.Sprint(i), To: fmt.Sprint(e)})
		}
		h.add(v)
		if h.bytes > limit {
			t.Fatalf("%d bytes", h.bytes)
		}
	}
	if n := len(h.tiers[0].views); n < 10 || n > 40 {
		t.Errorf("%d views of 32 kB in a megabyte", n)
	}
	// One view that is larger than all that is allowed is still the newest.
	huge := &sre.View{At: noon.Add(time.Hour), Edges: make([]sre.ViewEdge, 100_000)}
	h.add(huge)
	if v, from, to, ok := h.at(huge.At); !ok || v != huge || from != to {
		t.Errorf("%v %s %s", ok, from, to)
	}
}

// A quiet fleet of ten thousand edges must not cost a copy of its graph a tick.
func TestTheHistorySharesWhatIsTheSame(t *testing.T) {
	h := newHistory(historyBytes)
	inc := storm()
	for i := range 1000 {
		v := &sre.View{At: noon.Add(time.Duration(i) * time.Second), Incidents: []sre.Incident{inc}}
		for e := range 10_000 {
			v.Edges = append(v.Edges, sre.ViewEdge{From: "a", To: string(rune('a' + e%20))})
		}
		h.add(v)
	}
	if n := len(h.tiers[0].views); n != 1000 || h.bytes > 4<<20 {
		t.Errorf("%d views in %d bytes", n, h.bytes)
	}
}

// The history against a dumb twin that keeps everything: what it finds is never
// younger than what was asked for, and within the hour it is what the twin finds.
func TestTheHistoryFindsWhatWas(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHistory(historyBytes)
		var all []*sre.View
		now := noon
		for range rapid.IntRange(1, 200).Draw(rt, "ticks") {
			now = now.Add(time.Duration(rapid.IntRange(-30, 300).Draw(rt, "step")) * time.Second)
			v := &sre.View{At: now, Interval: 15 * time.Second}
			if len(all) == 0 || now.After(all[len(all)-1].At) {
				all = append(all, v)
			}
			h.add(v)
		}
		newest := all[len(all)-1].At
		ask := newest.Add(-time.Duration(rapid.IntRange(-30, 20_000).Draw(rt, "ago")) * time.Second)
		var want *sre.View
		for _, v := range all {
			if !v.At.After(ask) {
				want = v
			}
		}
		v, from, to, ok := h.at(ask)
		switch {
		case ok && (v.At.After(ask) || v.At.Before(from) || !to.Equal(newest)):
			rt.Fatalf("asked for %s: %s of %s to %s", ask, v.At, from, to)
		case !ok && !ask.Before(from) && !ask.After(newest.Add(15*time.Second)):
			rt.Fatalf("asked for %s, not found in %s to %s", ask, from, to)
		case ok && newest.Sub(want.At) <= historyAll && v.At != want.At:
			rt.Fatalf("asked for %s: %s, want %s", ask, v.At, want.At)
		case ok && v.Tick != want.Tick:
			rt.Fatal("another view")
		}
	})
}

func BenchmarkHistoryOfALargeFleet(b *testing.B) {
	h := newHistory(historyBytes)
	edges := make([]sre.ViewEdge, 30_000)
	for i := range edges {
		edges[i] = sre.ViewEdge{From: fmt.Sprint("service-", i), To: fmt.Sprint("service-", i+1)}
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		h.add(&sre.View{At: noon.Add(time.Duration(i) * time.Second), Edges: append([]sre.ViewEdge(nil), edges...)})
	}
}
