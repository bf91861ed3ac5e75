package guard

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"
)

// SharedLimits counts limits for several processes together. It is safe for
// concurrent use.
type SharedLimits interface {
	// Take takes n of l for key, or says how long until n would be granted. An
	// error means that it cannot tell, at once or within its timeout; the caller
	// then counts its own share.
	Take(ctx context.Context, l LimitConfig, key string, n int64) (ok bool, wait time.Duration, err error)
	// GiveBack returns n that Take granted to a request which another limit has
	// refused, so long after it was asked. What cannot be returned stays taken.
	GiveBack(ctx context.Context, l LimitConfig, key string, n int64, after time.Duration)
}

// WithSharedLimits counts distributed limits in s; package redislimit has one.
func WithSharedLimits(s SharedLimits) Option { return func(o *options) { o.shared = s } }

// rule is one limit with its state.
type rule struct {
	cfg       LimitConfig
	processes int64
	match     matcher
	slots     *slots
	meter     meter
	metrics   *limitMetrics
}

// newRule returns the limit of one of so many processes that share it.
func newRule(cfg LimitConfig, processes int64) *rule {
	keys := cfg.MaxKeys
	if cfg.global() {
		keys = 1
	}
	r := &rule{cfg: cfg, processes: processes, match: newMatcher(cfg.Match), slots: newSlots(keys, cfg.Algorithm == Fair), metrics: &limitMetrics{}}
	window := int64(time.Duration(cfg.Window))
	switch cfg.Algorithm {
	case SlidingWindow:
		r.meter = newSliding(max(1, cfg.Rate/processes), window, r.slots.len())
	case Fair:
		r.meter = newFair(cfg.Rate, window, cfg.Burst, r.slots.len(), cfg.Reserve)
	case TokenBucket, LeakyBucket, Hybrid:
		r.meter = &bucket{
			gauge:  newGauge(cfg.Rate, window*processes, max(1, cfg.Burst/processes)),
			levels: make([]level, r.slots.len()), reserve: cfg.Reserve, shape: cfg.Algorithm == LeakyBucket,
		}
	}
	return r
}

// ticket is a rule that a request comes under, and for which key.
type ticket struct {
	rule *rule
	key  uint64
	slot int
}

// tickets are all that a request needs. The array keeps a request from allocating.
type tickets struct {
	all [maxLimits]ticket
	n   int
}

func (p *tickets) add(r *rule, key uint64) {
	p.all[p.n] = ticket{rule: r, key: max(1, key)} // 0 is an empty slot
	p.n++
}

// refusal says which rule refused and how long to wait; without a rule the cap
// of a directive did.
type refusal struct {
	rule *rule
	wait time.Duration
}

// takeAll takes n from every ticket and from the caps of last, or from none of
// them. It holds the locks of all its slots; the order of rules is the order of
// locks. The delay is the longest that a leaky bucket wants.
func (p *tickets) takeAll(now time.Time, since, n int64, class Priority, last *limiter) (delay time.Duration, by refusal, ok bool) {
	all := p.all[:p.n]
	for i := range all {
		all[i].rule.slots.mutex(all[i].key).Lock()
	}
	defer func() {
		for i := range all {
			all[i].rule.slots.mutex(all[i].key).Unlock()
		}
	}()
	for i := range all {
		c := &all[i]
		slot, fresh := c.rule.slots.find(c.key, since)
		if c.slot = slot; fresh {
			c.rule.meter.reset(slot)
		}
		if fits, wait := c.rule.meter.ask(slot, since, n, class); !fits && (by.rule == nil || wait > by.wait) {
			by = refusal{c.rule, wait}
		}
	}
	if by.rule != nil || last != nil && !last.admit(now, class) {
		return 0, by, false
	}
	for i := range all {
		c := &all[i]
		blank, d := c.rule.meter.take(c.slot, since, n, class)
		c.rule.slots.used(c.slot, blank)
		delay = max(delay, d)
	}
	return delay, refusal{}, true
}

// giveBack returns what takeAll took at since.
func (p *tickets) giveBack(since, now, n int64) {
	for i := range p.all[:p.n] {
		c := &p.all[i]
		mu := c.rule.slots.mutex(c.key)
		mu.Lock()
		if c.rule.slots.holds(c.key, c.slot) { // else its debt is another key's now
			c.rule.meter.giveBack(c.slot, since, now, n)
		}
		mu.Unlock()
	}
}

// RateLimit is one limit on its own, for what is not an HTTP request. It is
// safe for concurrent use.
type RateLimit struct {
	rules  []*rule
	seed   maphash.Seed
	origin time.Time
}

// NewRateLimit returns the limit of cfg, with nothing taken at now, or all that
// is wrong with cfg. What it matches, headers and sharing between processes are
// a guard's and not used here; any Per but global counts by the key of Allow.
func NewRateLimit(cfg LimitConfig, now time.Time) (*RateLimit, error) {
	cfg = cfg.WithDefaults()
	var f faults
	cfg.validate(&f, "limit")
	if err := errors.Join(f...); err != nil {
		return nil, fmt.Errorf("rate limit: %w", err)
	}
	l := &RateLimit{seed: maphash.MakeSeed(), origin: now}
	for _, part := range cfg.parts() {
		r := newRule(part, 1)
		r.weigh(func(client string) []uint64 { return []uint64{maphash.String(l.seed, client)} })
		l.rules = append(l.rules, r)
	}
	return l, nil
}

// Allow takes n for key at now and reports true, or takes nothing and returns
// how long to wait: a call that much later succeeds if nobody else comes, and
// one a nanosecond earlier does not (for sliding windows above 64 and for fair
// ones: it is no later than that). Never is the wait for more than the limit
// ever grants at once. For a leaky bucket wait is, with true, how long to hold
// the request back. Moments before an earlier call's count as that call's.
func (l *RateLimit) Allow(now time.Time, key string, n int64) (ok bool, wait time.Duration) {
	if n <= 0 {
		return true, 0
	}
	var p tickets
	hash := maphash.String(l.seed, key)
	for _, r := range l.rules {
		if r.cfg.global() {
			p.add(r, 1)
		} else {
			p.add(r, hash)
		}
	}
	delay, by, ok := p.takeAll(now, max(0, int64(now.Sub(l.origin))), n, Normal, nil)
	if !ok {
		return false, by.wait
	}
	return true, delay
}

func (c LimitConfig) global() bool {
	for _, per := range c.Per {
		if per != "global" {
			return false
		}
	}
	return true
}

// weigh gives the clients of a fair limit their weights.
func (r *rule) weigh(keys func(client string) []uint64) {
	f, ok := r.meter.(*fair)
	if !ok || len(r.cfg.Weights) == 0 {
		return
	}
	weights := make(map[uint64]float64, len(r.cfg.Weights))
	for client, w := range r.cfg.Weights {
		for _, key := range keys(client) {
			weights[max(1, key)] = float64(w)
		}
	}
	f.weight = func(slot int) float64 {
		if w, ok := weights[r.slots.sets[slot/ways].keys[slot%ways]]; ok {
			return w
		}
		return 1
	}
}
