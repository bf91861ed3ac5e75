package detectors

import "github.com/sreagent/sreagent/sre"

// columns holds the rows of the signals that the physics needs; -1 where a
// snapshot has no such signal.
type columns struct {
	traffic, errRatio, errPercent, errRate   int
	latency, tail                            int // the first latency signal, and the last where there are several
	queue, delay, pool, poolPercent, retries int
	timeouts, replicas, cache, cachePercent  int
	members                                  int // the last occupancy, where there are several: of the pool by itself
}

func findColumns(signals []sre.Signal) columns {
	first := func(kind sre.SignalKind, unit sre.Unit) int {
		for i, s := range signals {
			if s.Kind == kind && s.Unit == unit {
				return i
			}
		}
		return -1
	}
	c := columns{
		traffic:     first(sre.Traffic, sre.PerSecond),
		errRatio:    first(sre.Errors, sre.Ratio),
		errPercent:  first(sre.Errors, sre.Percent),
		errRate:     first(sre.Errors, sre.PerSecond),
		latency:     first(sre.Latency, sre.Seconds),
		tail:        -1,
		members:     -1,
		queue:       first(sre.Queue, sre.Count),
		delay:       first(sre.Queue, sre.Seconds),
		pool:        first(sre.Pool, sre.Ratio),
		poolPercent: first(sre.Pool, sre.Percent),
		retries:     first(sre.Retries, sre.PerSecond),
		timeouts:    first(sre.Timeouts, sre.PerSecond),
		replicas:    first(sre.Replicas, sre.Count),

		cache:        first(sre.Cache, sre.Ratio),
		cachePercent: first(sre.Cache, sre.Percent),
	}
	for i, s := range signals {
		if s.Kind == sre.Latency && s.Unit == sre.Seconds && i != c.latency {
			c.tail = i
		}
		if s.Kind == sre.Pool && s.Unit == sre.Ratio && i != c.pool {
			c.members = i
		}
	}
	return c
}

// cell returns a fresh value, or missing.
func cell(m *sre.Matrix, row, subject int) float64 {
	if row < 0 || subject >= m.Subjects {
		return missing
	}
	r := m.At(row, subject)
	if !r.OK() {
		return missing
	}
	return r.Value
}

func (c *columns) errorRatio(m *sre.Matrix, i int, traffic float64) float64 {
	if x := cell(m, c.errRatio, i); known(x) {
		return x
	}
	if x := cell(m, c.errPercent, i); known(x) {
		return x / 100
	}
	failed := cell(m, c.errRate, i)
	if !known(failed) || !known(traffic) {
		return missing
	}
	if traffic <= 0 {
		return 0
	}
	return clip(failed / traffic)
}

func (c *columns) occupancy(m *sre.Matrix, i int) float64 {
	if x := cell(m, c.pool, i); known(x) {
		return x
	}
	return cell(m, c.poolPercent, i) / 100
}

// hits returns the share of cache lookups that hit.
func (c *columns) hits(m *sre.Matrix, i int) float64 {
	if x := cell(m, c.cache, i); known(x) {
		return x
	}
	return cell(m, c.cachePercent, i) / 100
}
