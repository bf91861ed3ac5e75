package guard

import (
	"math"
	"sync/atomic"
)

// switches holds the share of keys, in percent, for which each feature is off.
// The map is replaced as a whole, never changed.
type switches struct {
	off atomic.Pointer[map[string]float64]
}

func (s *switches) set(off map[string]float64) { s.off.Store(&off) }

// allowed reports whether feature is on for key.
func (s *switches) allowed(feature, key string) bool {
	off := s.off.Load()
	if off == nil {
		return true
	}
	percent, held := (*off)[feature]
	return !held || place(feature, key) >= percent/100
}

// place puts a key at a fixed point in [0, 1): who is off at 5 % is off at 25 %
// too, in every process and after every restart. The feature is part of it, so
// that not the same users lose everything first.
func place(feature, key string) float64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	for i := range len(feature) {
		h = (h ^ uint64(feature[i])) * prime
	}
	h *= prime // a zero byte between the two
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * prime
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd // spread short keys over all bits
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return float64(h>>11) / math.Exp2(53)
}
