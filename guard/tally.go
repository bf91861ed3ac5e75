package guard

import "time"

// tallySlots is into how many parts a breaker's window is cut: what is forgotten
// is forgotten by a tenth of the window at once.
const tallySlots = 10

// tally counts attempts in the present tenth of a window and the nine before
// it. The zero value is empty. Not safe for concurrent use.
type tally struct {
	slot        [tallySlots]int64
	all, failed [tallySlots]int
	last        int64 // a clock that goes back counts into the latest slot
}

func (t *tally) at(now time.Time, window time.Duration) int64 {
	if window < tallySlots {
		return t.last
	}
	t.last = max(t.last, now.UnixNano()/int64(window/tallySlots))
	return t.last
}

func (t *tally) add(now time.Time, window time.Duration, failed bool) {
	s := t.at(now, window)
	i := s % tallySlots
	if t.slot[i] != s {
		t.slot[i], t.all[i], t.failed[i] = s, 0, 0
	}
	t.all[i]++
	if failed {
		t.failed[i]++
	}
}

func (t *tally) sums(now time.Time, window time.Duration) (all, failed int) {
	s := t.at(now, window)
	for i, slot := range t.slot {
		if slot > s-tallySlots {
			all, failed = all+t.all[i], failed+t.failed[i]
		}
	}
	return all, failed
}

// widen goes over to another window: what counted until now counts as of now.
func (t *tally) widen(now time.Time, before, after time.Duration) {
	all, failed := t.sums(now, before)
	*t = tally{}
	if all > 0 {
		s := t.at(now, after)
		t.slot[s%tallySlots], t.all[s%tallySlots], t.failed[s%tallySlots] = s, all, failed
	}
}
