package guard

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Middleware limits what reaches next: first who sends it, then the limits and rate caps,
// then the bound on concurrency with its queue, then the handling timeout. A
// request without a valid proof gets 401, one above a cap 429, one above the
// queue's bound 503, all at once; one whose caller has stopped waiting before
// work began gets 504, one that is handled for too long 503.
//
// A request whose caller has gone keeps its place and is worked on, and counts as
// abandoned, unless the configuration says drop_abandoned.
func (g *Guard) Middleware(next http.Handler) http.Handler {
	return g.middleware(next, func() bool { return g.cfg.Load().DropAbandoned })
}

func (g *Guard) middleware(next http.Handler, drop func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived := g.clock.Now()
		c := call{guard: g, next: next, arrived: arrived, class: ParsePriority(r.Header.Get(PriorityHeader)), attempt: attemptOf(r.Header)}
		g.metrics.arrivals[c.class].Inc()
		r, known := g.authenticate(r)
		if !known {
			g.metrics.count(c.class, c.attempt, unauthorized)
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "who calls is not known", http.StatusUnauthorized)
			return
		}
		c.deadline = deadlineOf(r.Header, arrived)
		if c.pastDeadline(arrived) {
			c.dropped(w)
			return
		}
		if !c.admits(w, r, drop()) {
			return
		}
		if c.enter(w, r, drop()) {
			c.serve(w, r)
		}
	})
}

// enter takes a worker, or answers for the request that gets none.
func (c *call) enter(w http.ResponseWriter, r *http.Request, drop bool) bool {
	g := c.guard
	var leave <-chan struct{}
	if drop {
		leave = r.Context().Done()
	}
	v := g.queue.acquireUntil(leave, c.deadline)
	if g.queue.pressed.Load() {
		w.Header().Set(PressureHeader, "high")
	}
	c.began = g.clock.Now()
	switch v {
	case rejected:
		g.metrics.count(c.class, c.attempt, overflow)
		refuse(w, http.StatusServiceUnavailable, "queue is full")
		return false
	case gone, late:
		c.dropped(w)
		return false
	case admitted:
		if c.pastDeadline(c.began) || drop && r.Context().Err() != nil {
			g.queue.release()
			c.dropped(w)
			return false
		}
	}
	g.metrics.wait.Observe(max(0, c.began.Sub(c.arrived).Seconds()))
	return true
}

func (c *call) pastDeadline(now time.Time) bool {
	return !c.deadline.IsZero() && !now.Before(c.deadline)
}

// dropped answers a request whose caller no longer waits: no work was done.
func (c *call) dropped(w http.ResponseWriter) {
	c.guard.metrics.count(c.class, c.attempt, dropped)
	http.Error(w, "nobody waits for an answer any longer", http.StatusGatewayTimeout)
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, why+"\n") // the caller may be gone
}

// call is one admitted request. It holds a worker.
type call struct {
	guard    *Guard
	next     http.Handler
	arrived  time.Time
	began    time.Time
	deadline time.Time // of the caller; zero is none
	class    Priority
	attempt  int
}

func (c *call) serve(w http.ResponseWriter, r *http.Request) {
	caller := r.Context()
	ctx := WithPriority(caller, c.class)
	if !c.deadline.IsZero() {
		within, done := withDeadline(ctx, c.guard.clock, c.deadline)
		defer done()
		ctx = within
	}
	r = r.WithContext(ctx)
	if limit := time.Duration(c.guard.timeout.Load()); limit > 0 {
		c.serveWithin(caller, limit, w, r)
		return
	}
	status := &statusWriter{ResponseWriter: w}
	finished := false
	defer func() { // a panic goes on to the server, as an error
		c.release()
		c.answered(caller, !finished || status.code >= http.StatusInternalServerError)
	}()
	c.next.ServeHTTP(status, r)
	finished = true
}

// release frees the worker when the work is over, however it was answered.
func (c *call) release() {
	c.guard.metrics.workTotal.Add(max(0, c.guard.clock.Now().Sub(c.began).Seconds()))
	c.guard.queue.release()
}

func (c *call) answered(caller context.Context, bad bool) {
	switch {
	case caller.Err() != nil, c.pastDeadline(c.guard.clock.Now()):
		c.count(abandoned)
	case bad:
		c.count(failed)
	default:
		c.count(ok)
	}
}

func (c *call) count(o outcome) {
	c.guard.metrics.duration.Observe(max(0, c.guard.clock.Now().Sub(c.arrived).Seconds()))
	c.guard.metrics.count(c.class, c.attempt, o)
}

// statusWriter remembers the status of a response.
type statusWriter struct {
	http.ResponseWriter
	code int
}

func (s *statusWriter) WriteHeader(code int) {
	if s.code == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *statusWriter) Write(b []byte) (int, error) {
	if s.code == 0 {
		s.code = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Flush sends what is buffered, for handlers that ask for http.Flusher.
func (s *statusWriter) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }

// Unwrap gives http.ResponseController the rest.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
