package guard

import "time"

// windowSlots is the length of every sliding window here, in seconds.
const windowSlots = 10

// window sums what was added in the present second and the nine before it. The
// zero value is empty. Not safe for concurrent use.
type window struct {
	second [windowSlots]int64
	amount [windowSlots]float64
}

func (w *window) add(now time.Time, x float64) {
	s := now.Unix()
	i := s % windowSlots
	if w.second[i] != s {
		w.second[i], w.amount[i] = s, 0
	}
	w.amount[i] += x
}

func (w *window) sum(now time.Time) float64 {
	s := now.Unix()
	total := 0.0
	for i, second := range w.second {
		if second > s-windowSlots && second <= s {
			total += w.amount[i]
		}
	}
	return total
}
