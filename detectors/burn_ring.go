package detectors

import "time"

// burnCells is how many closed buckets cover the longest window of a rule.
const burnCells = 48

// burnRing counts requests and failures of every watched service for one rule,
// in buckets of a quarter of the short window, or of whole ticks where those
// are longer. All services share the buckets' borders.
type burnRing struct {
	long, short, width int64     // nanoseconds
	bucket             int64     // number of the open bucket since 1970, 0 before the first count
	open               []float64 // by service: requests, failures
	closed             []float32 // by service and bucket number modulo burnCells: requests, failures
}

func newBurnRing(long, short, tick time.Duration) burnRing {
	width := max(1, (short/4+tick-1)/tick) * tick
	return burnRing{long: int64(max(long, width)), short: int64(max(short, width)), width: int64(width)}
}

func (r *burnRing) grow(services int) {
	for len(r.open) < 2*services {
		r.open = append(r.open, 0, 0)
		r.closed = append(r.closed, make([]float32, 2*burnCells)...)
	}
}

// advance opens the bucket of the given time and closes those before it. Time
// without a count leaves empty buckets: they hold neither successes nor
// failures.
func (r *burnRing) advance(at int64, services int) {
	b := at / r.width
	if b <= r.bucket {
		return
	}
	was, first := r.bucket, r.bucket == 0
	r.bucket = b
	if first {
		return
	}
	for k := range services {
		cells := r.closed[2*burnCells*k : 2*burnCells*(k+1)]
		for j := max(was, b-burnCells); j < b; j++ {
			c := 2 * (j % burnCells)
			cells[c], cells[c+1] = 0, 0
			if j == was {
				cells[c], cells[c+1] = float32(r.open[2*k]), float32(r.open[2*k+1])
			}
		}
		r.open[2*k], r.open[2*k+1] = 0, 0
	}
}

func (r *burnRing) add(k int, requests, failed float64) {
	r.open[2*k] += requests
	r.open[2*k+1] += failed
}

// sum returns the requests and failures of the window that ends now. Of the
// bucket in which the window begins it takes the share that lies inside.
func (r *burnRing) sum(k int, now, window int64) (requests, failed float64) {
	requests, failed = r.open[2*k], r.open[2*k+1]
	cells := r.closed[2*burnCells*k : 2*burnCells*(k+1)]
	start := now - window
	for j := r.bucket - 1; j >= r.bucket-burnCells; j-- {
		inside := (j+1)*r.width - start
		if inside <= 0 {
			break
		}
		weight := min(1, float64(inside)/float64(r.width))
		c := 2 * (j % burnCells)
		requests += weight * float64(cells[c])
		failed += weight * float64(cells[c+1])
	}
	return requests, failed
}
