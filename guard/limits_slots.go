package guard

import "sync"

// ways is how many keys share one set of slots.
const ways = 8

// slots maps any number of keys to a fixed number of slots, without allocating:
// a set-associative table as caches have it. A key that is new takes the slot
// of its set that is blank soonest. If that slot is not blank yet, the key
// starts with what its former key had used: to push another key out of its slot
// never yields a fresh burst, and all keys together never get more than the
// slots would.
type slots struct {
	one  bool // one lock for all sets, where keys share more than a set
	mask uint64
	sets []slotSet
}

type slotSet struct {
	mu    sync.Mutex
	keys  [ways]uint64
	blank [ways]int64 // when the slot is as if never used
}

// newSlots returns room for keys, plus half as much so that sets seldom fill.
func newSlots(keys int, one bool) *slots {
	sets := 1
	for keys > 1 && sets*ways < keys+keys/2 {
		sets *= 2
	}
	return &slots{one: one, mask: uint64(sets - 1), sets: make([]slotSet, sets)}
}

func (s *slots) len() int { return len(s.sets) * ways }

func (s *slots) mutex(key uint64) *sync.Mutex {
	if s.one {
		return &s.sets[0].mu
	}
	return &s.sets[key&s.mask].mu
}

// find needs the mutex of key. Fresh says that the slot must be made blank for
// it.
func (s *slots) find(key uint64, now int64) (slot int, fresh bool) {
	i := int(key & s.mask)
	set := &s.sets[i]
	victim := 0
	for w := range ways {
		if set.keys[w] == key {
			return i*ways + w, false
		}
		if set.blank[w] < set.blank[victim] {
			victim = w
		}
	}
	set.keys[victim] = key
	return i*ways + victim, set.blank[victim] <= now
}

// holds says whether slot is still that of key.
func (s *slots) holds(key uint64, slot int) bool { return s.sets[slot/ways].keys[slot%ways] == key }

func (s *slots) used(slot int, blank int64) { s.sets[slot/ways].blank[slot%ways] = blank }
