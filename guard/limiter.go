package guard

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// reserve is the tenth of the burst that a class leaves to those above it: a
// request passes while more tokens than that are there.
var reserve = [priorities]int{Critical: 0, High: 1, Normal: 3, Low: 6}

var classParam = [priorities]string{Critical: "critical", High: "high", Normal: "normal", Low: "low"}

// limiter caps the rate of admitted requests, in total and by class. Without a
// cap it costs one atomic load.
type limiter struct {
	on atomic.Bool

	mu      sync.Mutex
	total   *rate.Limiter // nil is no cap
	classes [priorities]*rate.Limiter
	offered [priorities]window // while a cap holds; says what the return leads to
}

// admit takes a token for a request of class p, or refuses it. A refused
// request takes no token anywhere.
func (l *limiter) admit(now time.Time, p Priority) bool {
	if !l.on.Load() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offered[p].add(now, 1)
	class := l.classes[p]
	if class != nil && class.TokensAt(now) < 1 {
		return false
	}
	if l.total != nil {
		tokens := l.total.TokensAt(now)
		if tokens < 1 || tokens <= float64(l.total.Burst()*reserve[p])/10 {
			return false
		}
		l.total.AllowN(now, 1)
	}
	if class != nil {
		class.AllowN(now, 1)
	}
	return true
}

// giveBack returns the token of a request that passed at now and that a later
// limit has refused: x/time/rate takes less than nothing as more.
func (l *limiter) giveBack(now time.Time, p Priority) {
	if !l.on.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total != nil {
		l.total.AllowN(now, -1)
	}
	if class := l.classes[p]; class != nil {
		class.AllowN(now, -1)
	}
}

// set puts the caps of p in force; nil lifts them all. A cap that is changed
// keeps its tokens, a new one starts without any: it must not begin with a burst
// into a service that is in trouble.
func (l *limiter) set(now time.Time, p Params) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total = retune(l.total, now, p, "rps")
	for class, name := range classParam {
		l.classes[class] = retune(l.classes[class], now, p, name)
	}
	if p == nil {
		l.offered = [priorities]window{}
	}
	l.on.Store(p != nil)
}

// headroom is how far above the demand the last step of a return leads.
const headroom = 1.25

// demand returns, for each cap of p, a rate at which it no longer binds: a
// quarter above the cap or above what was offered over the last ten seconds,
// whichever is more.
func (l *limiter) demand(now time.Time, p Params) Params {
	l.mu.Lock()
	defer l.mu.Unlock()
	free := make(Params, len(p))
	total := 0.0
	for class, name := range classParam {
		n := l.offered[class].sum(now) / windowSlots
		total += n
		if limit, ok := p[name]; ok {
			free[name] = headroom * max(n, limit)
		}
	}
	if limit, ok := p["rps"]; ok {
		free["rps"] = headroom * max(total, limit)
	}
	return free
}

func retune(l *rate.Limiter, now time.Time, p Params, name string) *rate.Limiter {
	rps, ok := p[name]
	if !ok {
		return nil
	}
	burst := max(1, int(math.Ceil(rps))) // one second's worth
	if l == nil {
		l = rate.NewLimiter(rate.Limit(rps), burst)
		l.AllowN(now, burst)
		return l
	}
	l.SetLimitAt(now, rate.Limit(rps))
	l.SetBurstAt(now, burst)
	return l
}
