package oncall

import (
	"reflect"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Bounds of what a desk remembers, so that people can ask why the agent did, or
// did not do, something at an instant of the past.
const (
	historyAll   = time.Hour      // every tick
	historyFine  = 6 * time.Hour  // then one a minute
	historyLong  = 48 * time.Hour // then one in ten minutes
	historyBytes = 64 << 20       // of all of it, as estimated
	fineSlot     = time.Minute
	longSlot     = 10 * time.Minute
)

// history is a bounded memory of views. Views of neighbouring ticks share most
// of what they hold; what they do not share is counted. Time is that of the
// views, never the clock's.
type history struct {
	mu    sync.RWMutex
	limit int
	bytes int
	tiers [3]tier // from the newest views to the oldest
	last  *sre.View
}

// tier holds views at one density, oldest first.
type tier struct {
	slot  time.Duration // at most one view per slot; 0 for all
	keep  time.Duration // age at which a view moves on
	views []kept
}

type kept struct {
	view  *sre.View
	bytes int
}

func newHistory(limit int) *history {
	return &history{limit: limit, tiers: [3]tier{{0, historyAll, nil}, {fineSlot, historyFine, nil}, {longSlot, historyLong, nil}}}
}

// add remembers a view. A view that is not later than the one before, as after
// a step of the clock, is not remembered: the order of time must hold.
func (h *history) add(v *sre.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != nil && !v.At.After(h.last.At) {
		return
	}
	v = sharing(v, h.last)
	k := kept{v, weigh(v, h.last)}
	h.last = v
	h.tiers[0].views = append(h.tiers[0].views, k)
	h.bytes += k.bytes
	h.age(v.At)
	h.shrink()
}

// age moves on what has become too old for its tier. Of each slot the first view
// stays.
func (h *history) age(now time.Time) {
	for i := range h.tiers {
		t := &h.tiers[i]
		n := 0
		for n < len(t.views) && now.Sub(t.views[n].view.At) > t.keep {
			k := t.views[n]
			n++
			if i+1 < len(h.tiers) && h.tiers[i+1].wants(k.view.At) {
				h.tiers[i+1].views = append(h.tiers[i+1].views, k)
			} else {
				h.bytes -= k.bytes
			}
		}
		t.views = drop(t.views, n)
	}
}

// wants reports whether a tier has no view yet of the slot that an instant is in.
func (t *tier) wants(at time.Time) bool {
	n := len(t.views)
	return n == 0 || !t.views[n-1].view.At.Truncate(t.slot).Equal(at.Truncate(t.slot))
}

// shrink forgets the oldest views while there is too much; the newest stays.
func (h *history) shrink() {
	for i := len(h.tiers) - 1; i >= 0; i-- {
		t := &h.tiers[i]
		n := 0
		for h.bytes > h.limit && n < len(t.views) && t.views[n].view != h.last {
			h.bytes -= t.views[n].bytes
			n++
		}
		t.views = drop(t.views, n)
	}
}

// drop cuts the first n off, and lets go of them.
func drop(views []kept, n int) []kept {
	clear(views[:n])
	return views[n:]
}

// at returns the latest view that is not younger than an instant; false where
// the instant is outside of what is kept, which is returned too. An instant after
// the newest view belongs to it for one interval.
func (h *history) at(t time.Time) (v *sre.View, from, to time.Time, ok bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.last == nil {
		return nil, from, to, false
	}
	to = h.last.At
	for i := range h.tiers {
		views := h.tiers[i].views
		if len(views) == 0 {
			continue
		}
		from = views[0].view.At
		if v == nil && !from.After(t) {
			n := sort.Search(len(views), func(i int) bool { return views[i].view.At.After(t) })
			v = views[n-1].view
		}
	}
	if v == nil || t.After(to.Add(h.last.Interval)) {
		return nil, from, to, false
	}
	return v, from, to, true
}

// sharing returns v, as a copy that shares the edges of the view before where
// they are the same: a graph is by far the largest part of a quiet view.
func sharing(v, before *sre.View) *sre.View {
	if before == nil || !slices.Equal(v.Edges, before.Edges) {
		return v
	}
	same := *v
	same.Edges = before.Edges
	return &same
}

// weigh estimates the bytes that v holds alone.
func weigh(v, before *sre.View) int {
	n := size[sre.View]()
	if before == nil || len(v.Edges) > 0 && !shared(v.Edges, before.Edges) {
		n += len(v.Edges) * size[sre.ViewEdge]()
	}
	known := map[string]*sre.Incident{}
	if before != nil {
		for i := range before.Incidents {
			known[before.Incidents[i].ID] = &before.Incidents[i]
		}
	}
	for i := range v.Incidents {
		n += weighIncident(&v.Incidents[i], known[v.Incidents[i].ID])
	}
	for _, e := range v.Explain {
		n += size[sre.Explained]() + len(e.Summary)
		for _, r := range e.Reasons {
			n += size[sre.Reason]() + len(r.Text)
		}
	}
	for _, r := range v.Risks {
		n += size[sre.Risk]() + weighEvidence(r.Evidence)
	}
	return n + weighSigns(v.Signs) + len(v.Burns)*size[sre.Burn]() + len(v.Pauses)*size[sre.Pause]() + len(v.Mandate)*size[sre.MandateLine]()
}

func weighIncident(inc, before *sre.Incident) int {
	n := size[sre.Incident]() + len(inc.Mitigations)*size[sre.Mitigation]()
	d := &inc.Diagnosis
	if before != nil && shared(d.Hypotheses, before.Diagnosis.Hypotheses) && shared(d.Precursors, before.Diagnosis.Precursors) {
		return n
	}
	for _, h := range d.Hypotheses {
		n += size[sre.Hypothesis]() + weighEvidence(h.Evidence) + (len(h.Path)+len(h.Callers))*size[string]()
	}
	n += (len(d.Affected)+len(d.Blast.Services)+len(d.Blast.Entries))*size[string]() + len(d.Blast.Impacts)*size[sre.Impact]()
	return n + weighSigns(d.Precursors)
}

func weighSigns(list []sre.Precursor) int {
	n := 0
	for _, p := range list {
		n += size[sre.Precursor]() + weighEvidence(p.Evidence)
	}
	return n
}

func weighEvidence(list []sre.Evidence) int {
	n := 0
	for _, e := range list {
		n += size[sre.Evidence]() + len(e.Meaning)
	}
	return n
}

// shared reports whether two lists are one in memory.
func shared[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func size[T any]() int { return int(reflect.TypeFor[T]().Size()) }
