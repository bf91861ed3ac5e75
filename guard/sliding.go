package guard

import "time"

// exactLog is the highest limit of which every request is remembered.
const exactLog = 64

// sliding grants no more than limit requests in any window. Up to exactLog the
// log is exact to the nanosecond. Above it requests are remembered by the 64th
// part of the window in which they came and counted until the last moment of
// that part has left the window: never one too many, and room comes back up to
// a 64th of the window late. (The weighted counter of two windows, which is
// common elsewhere, can admit nearly twice the limit in one window.)
type sliding struct {
	limit, window, part int64
	depth               int
	logs                []slidingLog
	entries             []slidingEntry // depth for each slot, a ring
}

type slidingLog struct {
	first, len int
	used       int64
}

type slidingEntry struct {
	until int64 // the first moment at which count no longer counts
	count int64
}

func newSliding(limit, window int64, keys int) *sliding {
	s := &sliding{limit: limit, window: window, part: 1, depth: int(min(limit, exactLog))}
	if limit > exactLog {
		s.part = (window + exactLog - 1) / exactLog
		s.depth = exactLog + 2
	}
	s.logs = make([]slidingLog, keys)
	s.entries = make([]slidingEntry, keys*s.depth)
	return s
}

func (s *sliding) entry(slot, i int) *slidingEntry {
	return &s.entries[slot*s.depth+(s.logs[slot].first+i)%s.depth]
}

func (s *sliding) until(now int64) int64 { return now/s.part*s.part + s.part - 1 + s.window }

func (s *sliding) forget(slot int, now int64) {
	l := &s.logs[slot]
	for l.len > 0 {
		e := s.entry(slot, 0)
		if e.until > now {
			return
		}
		l.used -= e.count
		l.first, l.len = (l.first+1)%s.depth, l.len-1
	}
}

func (s *sliding) ask(slot int, now, n int64, _ Priority) (bool, time.Duration) {
	if n > s.limit {
		return false, Never
	}
	s.forget(slot, now)
	excess := s.logs[slot].used + n - s.limit
	wait := int64(0)
	for i := 0; excess > 0; i++ {
		e := s.entry(slot, i)
		excess -= e.count
		wait = e.until - now
	}
	return wait == 0, time.Duration(wait)
}

func (s *sliding) take(slot int, now, n int64, _ Priority) (int64, time.Duration) {
	s.forget(slot, now)
	l := &s.logs[slot]
	until := s.until(now)
	if l.len > 0 {
		until = max(until, s.entry(slot, l.len-1).until)
	}
	if l.len == 0 || s.entry(slot, l.len-1).until != until {
		l.len++
		*s.entry(slot, l.len-1) = slidingEntry{until: until}
	}
	s.entry(slot, l.len-1).count += n
	l.used += n
	return until, 0
}

func (s *sliding) giveBack(slot int, since, now, n int64) {
	s.forget(slot, now)
	l := &s.logs[slot]
	until := s.until(since)
	for i := l.len - 1; i >= 0 && n > 0; i-- {
		e := s.entry(slot, i)
		if e.until < until {
			break
		}
		back := min(n, e.count)
		e.count, l.used, n = e.count-back, l.used-back, n-back
		if e.count == 0 {
			s.remove(slot, i)
		}
	}
}

func (s *sliding) remove(slot, i int) {
	l := &s.logs[slot]
	for ; i < l.len-1; i++ {
		*s.entry(slot, i) = *s.entry(slot, i+1)
	}
	l.len--
}

func (s *sliding) reset(slot int) { s.logs[slot] = slidingLog{} }
