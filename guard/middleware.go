package guard

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Middleware limits what reaches next: first the rate caps, then the bound on
// concurrency with its queue, then the handling timeout. A request above a cap
// gets 429, one above the queue's bound 503, both at once and with Retry-After;
// one that is handled for too long gets 503.
//
// A request whose caller has gone keeps its place and is worked on, and counts as
// abandoned, unless the configuration says drop_abandoned.
func (g *Guard) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived := g.clock.Now()
		class, attempt := ParsePriority(r.Header.Get(PriorityHeader)), attemptOf(r.Header)
		if !g.limiter.admit(arrived, class) {
			g.metrics.count(class, attempt, shed)
			refuse(w, http.StatusTooManyRequests, "rate cap reached")
			return
		}
		var leave <-chan struct{}
		if g.cfg.DropAbandoned {
			leave = r.Context().Done()
		}
		switch g.queue.acquire(leave) {
		case rejected:
			g.metrics.count(class, attempt, overflow)
			refuse(w, http.StatusServiceUnavailable, "queue is full")
			return
		case gone:
			g.metrics.count(class, attempt, abandoned)
			return
		case admitted:
		}
		began := g.clock.Now()
		g.metrics.wait.Observe(began.Sub(arrived).Seconds())
		call := &call{guard: g, next: next, arrived: arrived, began: began, class: class, attempt: attempt}
		call.serve(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, why+"\n") // the caller may be gone
}

// call is one admitted request. It holds a worker.
type call struct {
	guard   *Guard
	next    http.Handler
	arrived time.Time
	began   time.Time
	class   Priority
	attempt int
}

func (c *call) serve(w http.ResponseWriter, r *http.Request) {
	caller := r.Context()
	r = r.WithContext(WithPriority(caller, c.class))
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
	case caller.Err() != nil:
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
