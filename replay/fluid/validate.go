package fluid

import (
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Validate lists everything that keeps the blueprint from being a model. Calls
// in a circle are allowed.
func (b Blueprint) Validate() sre.Faults {
	var f sre.Faults
	if b.Step != 0 && (b.Step < time.Millisecond || b.Step > time.Second) {
		f.Add("step", "out of range", "1ms to 1s, or 0 for 100ms")
	}
	if len(b.Services) == 0 {
		f.Add("services", "empty", "at least one service")
	}
	for i, s := range b.Services {
		f.Under(sre.Item("services", i), s.faults())
	}
	names := make(map[string]int, len(b.Services))
	for i, s := range b.Services {
		if first, taken := names[s.Name]; taken && s.Name != "" {
			f.Add(sre.Item("services", i)+".name", "already the name of "+sre.Item("services", first), "a name of its own")
		}
		names[s.Name] = i
	}
	for i, e := range b.Edges {
		f.Under(sre.Item("edges", i), e.faults(len(b.Services)))
	}
	for i, c := range b.Clients {
		f.Under(sre.Item("clients", i), c.faults(len(b.Services)))
	}
	return f
}

func (s ServiceSpec) faults() sre.Faults {
	var f sre.Faults
	if s.Name == "" {
		f.Add("name", "missing", "a name")
	}
	if s.Work <= 0 {
		f.Add("work", "out of range", "above 0")
	}
	if !positive(s.Rate) {
		f.Add("rate", "out of range", "above 0 and finite")
	}
	if s.Workers < 1 {
		f.Add("workers", "out of range", "at least 1")
	}
	if s.QueueBound < 0 {
		f.Add("queue_bound", "negative", "0 (unbounded) or more")
	}
	if s.Replicas < 0 {
		f.Add("replicas", "negative", "0 (one) or more")
	}
	if s.StartDelay < 0 {
		f.Add("start_delay", "negative", "0 or more")
	}
	if !share(s.Decay.Floor) {
		f.Add("decay.floor", "out of range", "0 to 1")
	}
	if s.Decay.Floor > 0 && !positive(s.Decay.Onset) {
		f.Add("decay.onset", "out of range", "above 0 and finite where there is a floor")
	}
	if !share(s.Cache.HitRatio) {
		f.Add("cache.hit_ratio", "out of range", "0 to 1")
	}
	if s.Cache.HitRatio > 0 && !positive(s.Cache.Keys) {
		f.Add("cache.keys", "out of range", "above 0 and finite where there is a hit ratio")
	}
	if !atLeastZero(s.HeapLimit) {
		f.Add("heap_limit", "out of range", "0 (never) or more, finite")
	}
	if s.Restart < 0 {
		f.Add("restart", "negative", "0 or more")
	}
	return f
}

func (e EdgeSpec) faults(services int) sre.Faults {
	var f sre.Faults
	if e.From < 0 || e.From >= services {
		f.Add("from", "no such service", "the index of a service")
	}
	if e.To < 0 || e.To >= services {
		f.Add("to", "no such service", "the index of a service")
	}
	if !atLeastZero(e.Calls) {
		f.Add("calls", "out of range", "0 or more, finite")
	}
	f.Under("", patience(e.Timeout, e.Retries, e.Backoff))
	if !atLeastZero(e.Budget) {
		f.Add("budget", "out of range", "0 (no limit) or more, finite")
	}
	if !share(e.Breaker.FailureRatio) {
		f.Add("breaker.failure_ratio", "out of range", "0 (no breaker) to 1")
	}
	if !atLeastZero(e.Breaker.MinRequests) {
		f.Add("breaker.min_requests", "out of range", "0 or more, finite")
	}
	if !atLeastZero(e.Breaker.Consecutive) {
		f.Add("breaker.consecutive", "out of range", "0 (off) or more, finite")
	}
	if e.Breaker.FailureRatio > 0 && e.Breaker.Open <= 0 {
		f.Add("breaker.open", "out of range", "above 0 where there is a breaker")
	}
	return f
}

func (c ClientSpec) faults(services int) sre.Faults {
	var f sre.Faults
	if c.Entry < 0 || c.Entry >= services {
		f.Add("entry", "no such service", "the index of a service")
	}
	if !atLeastZero(c.Rate) {
		f.Add("rate", "out of range", "0 or more, finite")
	}
	for j, x := range c.Mix {
		if !atLeastZero(x) {
			f.Add(sre.Item("mix", j), "out of range", "0 or more, finite")
		}
	}
	f.Under("", patience(c.Timeout, c.Retries, c.Backoff))
	if !atLeastZero(c.Concurrency) {
		f.Add("concurrency", "out of range", "0 (no cap) or more, finite")
	}
	return f
}

// patience checks what edges and clients share: how long a caller waits and how
// often it asks.
func patience(timeout time.Duration, retries int, backoff time.Duration) sre.Faults {
	var f sre.Faults
	if timeout <= 0 || timeout > maxPatience {
		f.Add("timeout", "out of range", "above 0, at most 10m")
	}
	if retries < 0 || retries > MaxRetries {
		f.Add("retries", "out of range", "0 to 5")
	}
	if backoff < 0 || backoff > maxPatience {
		f.Add("backoff", "out of range", "0 to 10m")
	}
	return f
}

// maxPatience bounds timeouts and back-off, because the memory of a model grows
// with the longest of them.
const maxPatience = 10 * time.Minute

func positive(x float64) bool    { return x > 0 && !math.IsInf(x, 0) }
func atLeastZero(x float64) bool { return x >= 0 && !math.IsInf(x, 0) }
func share(x float64) bool       { return x >= 0 && x <= 1 }
