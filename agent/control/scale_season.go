package control

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const (
	// seasonSlots divide a season; each remembers the highest load of its time.
	seasonSlots = 96
	// seasonKeep is the weight of the past when a slot is passed again.
	seasonKeep = 0.6
)

// foretell is how many replicas will be needed when one that is started now is
// ready, from the load of the same time in seasons before, scaled by how the last
// slot of today compared with them. Traffic is what repeats itself; how many replicas it needs
// is taken from now: ready replicas bear today's traffic at today's use.
func (set ScaleSettings) foretell(s Scene, i int, ready float64, m *recollection) (replicas float64, told bool) {
	traffic := s.Snapshot.Value(i, sre.Traffic, sre.PerSecond)
	if set.Season <= 0 || !traffic.OK() || !(traffic.Value > 0) || math.IsInf(traffic.Value, 0) {
		return 0, false
	}
	slot := set.slotAt(s.Now)
	m.season(slot, traffic.Value)
	each := set.each(s, i, traffic.Value, ready)
	delay := set.StartDelay
	if took, measured := m.Numbers[startTook]; measured {
		delay = time.Duration(took * float64(time.Second))
	}
	lead := delay + set.UpWindow + s.Every // asked for, believed, started
	usual, known := set.remembered(m, s.Now, s.Now.Add(lead))
	if !known || !(each > 0) {
		return 0, false
	}
	today, compared := m.Numbers[todayRatio]
	if !compared {
		today = 1
	}
	ahead := usual * today
	if ahead <= traffic.Value {
		return 0, false
	}
	return math.Ceil(ahead/each - 1e-9), true
}

// each is how much traffic one replica bears on target: what was configured,
// else what the busiest reading says.
func (set ScaleSettings) each(s Scene, i int, traffic, ready float64) float64 {
	if set.RPS > 0 {
		return set.RPS
	}
	most := 0.0
	for _, a := range set.asks(s.Snapshot, i, ready) {
		if a.name != "wait" && a.load > most { // waiting does not grow with the load
			most = a.load
		}
	}
	if most < 0.2 { // too idle to tell
		return 0
	}
	return traffic / ready / most
}

func (set ScaleSettings) slotAt(at time.Time) int {
	into := at.Sub(time.Unix(0, 0)) % set.Season
	return int(into * seasonSlots / set.Season)
}

// remembered is the highest load of the slots from one instant to another.
func (set ScaleSettings) remembered(m *recollection, from, to time.Time) (load float64, known bool) {
	width := set.Season / seasonSlots
	for at := from; ; at = at.Add(width) {
		if at.After(to) {
			at = to
		}
		if v, seen := m.Numbers[slotName(set.slotAt(at))]; seen {
			load, known = max(load, v), true
		}
		if at.Equal(to) {
			return load, known
		}
	}
}

func slotName(slot int) string { return fmt.Sprintf("season_%02d", slot) }

// season notes a load of now. While a slot lasts the highest load of this visit
// is kept aside; when it is left, what it has seen is blended with the past.
func (m *recollection) season(slot int, load float64) {
	last, begun := m.Numbers[slotNow]
	if begun && int(last) == slot {
		m.set(slotPeak, max(m.Numbers[slotPeak], load))
		return
	}
	if begun {
		name := slotName(int(last))
		peak := m.Numbers[slotPeak]
		if old, known := m.Numbers[name]; known {
			m.set(todayRatio, min(max(peak/old, 0.5), 2))
			peak = seasonKeep*old + (1-seasonKeep)*peak
		}
		m.set(name, peak)
	}
	m.set(slotNow, float64(slot))
	m.set(slotPeak, load)
}
