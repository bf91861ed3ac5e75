package guard

import "time"

// delay is how long a leaky bucket holds a request back: until all before it
// have drained. Requests leave at the constant rate, one each window/rate, and
// the bucket's size is how many can be in it. This is the bucket as a queue; as
// a meter it admits exactly what a token bucket of the same size admits, for
// which nothing is held back.
func (b *bucket) delay(before int64) time.Duration {
	if !b.shape {
		return 0
	}
	return time.Duration(b.drained(before))
}
