package guard

import "time"

// Clock tells the time and wakes the guard, so that lapse, return, back-off and
// timeouts can be tested without waiting. It is safe for concurrent use.
type Clock interface {
	// Now returns the present moment.
	Now() time.Time
	// AfterFunc runs f once, in a goroutine of its own, after d. Stop prevents
	// that and reports whether it was in time.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}
