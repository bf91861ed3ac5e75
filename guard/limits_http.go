package guard

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// limits are those that the configuration sets on what comes in.
type limits struct {
	own     []*rule // counted here, by name: their locks are taken in this order, and a reload may change the file's
	away    []*rule // counted together with other processes; here while that fails
	clients clients
	shared  SharedLimits
	seed    maphash.Seed
	origin  time.Time
}

// newLimits returns the limits of cfg. Those that now has unchanged keep what was
// taken from them; now may be nil.
func newLimits(cfg Config, now *limits, shared SharedLimits, at time.Time, metrics *limitVectors) (*limits, error) {
	l := &limits{clients: newClients(cfg.Client), shared: shared, seed: maphash.MakeSeed(), origin: at}
	if now != nil {
		l.seed, l.origin = now.seed, now.origin
	}
	for _, c := range cfg.Limits {
		for _, part := range c.WithDefaults().parts() {
			if !part.Distributed {
				l.own = append(l.own, l.rule(part, 1, now, metrics))
				continue
			}
			if shared == nil {
				return nil, fmt.Errorf("limit %s is distributed: guard.WithSharedLimits is missing", part.Name)
			}
			l.away = append(l.away, l.rule(part, max(1, cfg.Redis.Processes), now, metrics))
		}
	}
	slices.SortFunc(l.own, func(a, b *rule) int { return strings.Compare(a.cfg.Name, b.cfg.Name) })
	return l, nil
}

func (l *limits) rule(cfg LimitConfig, processes int64, now *limits, metrics *limitVectors) *rule {
	cfg.Per = canonical(cfg.Per)
	if now != nil && now.clients.header == l.clients.header {
		for _, r := range slices.Concat(now.own, now.away) {
			if r.processes == processes && reflect.DeepEqual(r.cfg, cfg) {
				return r
			}
		}
	}
	r := newRule(cfg, processes)
	r.weigh(l.clientKeys(cfg))
	r.metrics = metrics.limit(cfg.Name)
	return r
}

// canonical writes headers as requests have them.
func canonical(per []string) []string {
	out := slices.Clone(per)
	for i, p := range out {
		if name, ok := strings.CutPrefix(p, "header:"); ok {
			out[i] = "header:" + http.CanonicalHeaderKey(name)
		}
	}
	return out
}

// clientKeys returns the keys under which the limit counts a client that the
// configuration names: authenticated, or by its header.
func (l *limits) clientKeys(cfg LimitConfig) func(string) []uint64 {
	marks := []string{""}
	if cfg.Per[0] == "client" {
		marks = []string{string(rune(markAuthenticated)), string(rune(markHeader))}
	}
	return func(client string) []uint64 {
		var keys []uint64
		for _, mark := range marks {
			keys = append(keys, maphash.String(l.seed, mark+client+"\x00"))
		}
		return keys
	}
}

// admits answers a request that a limit or the cap of a directive refuses, and
// reports false. It holds back one that a leaky bucket wants to leave later.
func (c *call) admits(w http.ResponseWriter, r *http.Request, drop bool) bool {
	g, now, class, attempt := c.guard, c.arrived, c.class, c.attempt
	l := g.limits.Load()
	if len(l.own)+len(l.away) == 0 {
		if g.limiter.admit(now, class) {
			return true
		}
		g.metrics.count(class, attempt, shed)
		refuse(w, http.StatusTooManyRequests, "rate cap reached")
		return false
	}
	var own tickets
	path := cleaned(r)
	for _, rule := range l.own {
		if rule.match.matches(r.Method, path, class) {
			var buf [256]byte
			own.add(rule, maphash.Bytes(l.seed, rule.appendKey(buf[:0], &l.clients, r, path, class)))
		}
	}
	since := l.moment(now)
	delay, by, ok := own.takeAll(now, since, 1, class, &g.limiter)
	if ok && len(l.away) > 0 {
		if by, ok = g.takeAway(l, r, path, class); !ok {
			g.limiter.giveBack(now, class)
			own.giveBack(since, l.moment(g.clock.Now()), 1)
		}
	}
	if !ok {
		g.metrics.count(class, attempt, shed)
		by.answer(w)
		return false
	}
	for i := range own.n {
		own.all[i].rule.metrics.admitted.Inc()
	}
	if delay > 0 && !c.hold(r, delay, drop) {
		c.dropped(w)
		return false
	}
	return true
}

func (l *limits) moment(now time.Time) int64 { return max(0, int64(now.Sub(l.origin))) }

// takeAway takes from the distributed limits, all or none, each from its local
// share where the shared count cannot be had.
func (g *Guard) takeAway(l *limits, r *http.Request, path string, class Priority) (refusal, bool) {
	ctx := r.Context()
	type taken struct {
		rule  *rule
		key   string
		local tickets
		since int64
	}
	var done []taken
	for _, rule := range l.away {
		if !rule.match.matches(r.Method, path, class) {
			continue
		}
		raw := rule.appendKey(nil, &l.clients, r, path, class)
		t := taken{rule: rule, since: l.moment(g.clock.Now())}
		if !rule.cfg.global() { // a hash: header values may be secret, and of any length
			sum := sha256.Sum256(raw)
			t.key = hex.EncodeToString(sum[:16])
		}
		ok, wait, err := l.shared.Take(ctx, rule.cfg, t.key, 1)
		by := refusal{rule, wait}
		if err != nil {
			t.local.add(rule, maphash.Bytes(l.seed, raw))
			now := g.clock.Now()
			t.since = l.moment(now)
			_, by, ok = t.local.takeAll(now, t.since, 1, class, nil)
			rule.metrics.local.Inc()
		}
		if !ok {
			for _, t := range done {
				now := l.moment(g.clock.Now())
				if t.local.n > 0 {
					t.local.giveBack(t.since, now, 1)
				} else {
					l.shared.GiveBack(ctx, t.rule.cfg, t.key, 1, time.Duration(now-t.since))
				}
			}
			return by, false
		}
		done = append(done, t)
	}
	for _, t := range done {
		t.rule.metrics.admitted.Inc()
	}
	return refusal{}, true
}

// hold waits for a request's turn, but not beyond its deadline. It reports false
// when nobody waits for the answer any longer: the caller has gone and such
// requests are dropped, or the deadline has come first.
func (c *call) hold(r *http.Request, delay time.Duration, drop bool) bool {
	late := false
	if !c.deadline.IsZero() {
		if left := c.deadline.Sub(c.guard.clock.Now()); left < delay {
			delay, late = left, true
		}
	}
	turn := make(chan struct{})
	stop := c.guard.clock.AfterFunc(delay, func() { close(turn) })
	var leave <-chan struct{}
	if drop {
		leave = r.Context().Done()
	}
	select {
	case <-turn:
		return !late
	case <-leave:
		stop()
		return false
	}
}

// answer refuses a request: 429 with Retry-After (RFC 6585, RFC 9110) and, for
// a configured limit, RateLimit and RateLimit-Policy of the IETF draft
// draft-ietf-httpapi-ratelimit-headers-10: nothing remains, and after t seconds
// there is room again.
func (b refusal) answer(w http.ResponseWriter) {
	if b.rule == nil {
		refuse(w, http.StatusTooManyRequests, "rate cap reached")
		return
	}
	b.rule.metrics.refused.Inc()
	seconds := strconv.FormatInt(max(1, int64((b.wait+time.Second-1)/time.Second)), 10)
	c := b.rule.cfg
	quota := c.Rate
	if c.Algorithm != SlidingWindow {
		quota = max(quota, c.Burst)
	}
	window := max(1, int64((time.Duration(c.Window)+time.Second-1)/time.Second))
	h := w.Header()
	h.Set("Retry-After", seconds)
	h.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", c.Name, quota, window))
	h.Set("RateLimit", fmt.Sprintf("%q;r=0;t=%s", c.Name, seconds))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = io.WriteString(w, "limit "+c.Name+" reached\n") // the caller may be gone
}
