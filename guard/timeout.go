package guard

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// serveWithin runs the handler in a goroutine of its own and answers for it when
// the limit has passed. The worker stays taken until the handler returns: work
// goes on after its caller has been told off, and the queue must see that.
func (c *call) serveWithin(caller context.Context, limit time.Duration, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	over := make(chan struct{})
	late := &lateWriter{w: w, header: make(http.Header)}
	stop := c.guard.clock.AfterFunc(limit, func() {
		if late.cut() { // first: what a handler does because it was cancelled is no answer
			close(over)
			cancel(context.DeadlineExceeded)
		}
	})
	done := make(chan any, 1) // what the handler panicked with, or nil
	go func() {
		defer cancel(nil)
		defer func() {
			p := recover()
			late.complete()
			c.release()
			if cause, _ := p.(error); p != nil && !errors.Is(cause, http.ErrAbortHandler) && late.isOver() {
				c.guard.log.Error("handler panicked after its timeout", "panic", p, "stack", string(debug.Stack()))
			}
			done <- p
		}()
		c.next.ServeHTTP(late, r.WithContext(ctx))
	}()
	var p any
	select {
	case p = <-done:
		stop()
	case <-over:
	}
	if late.isOver() { // which decides, because both can have come
		c.tooLate(caller, w, late.begun())
		return
	}
	c.answered(caller, p != nil || late.code >= http.StatusInternalServerError)
	if p != nil {
		panic(p)
	}
	late.handOver()
}

// tooLate answers for a handler that was cut off.
func (c *call) tooLate(caller context.Context, w http.ResponseWriter, begun bool) {
	if caller.Err() != nil {
		c.count(abandoned)
	} else {
		c.count(timedOut)
	}
	if begun { // a cut response must not look like a whole one
		panic(http.ErrAbortHandler)
	}
	refuse(w, http.StatusServiceUnavailable, "handling took too long")
}

// lateWriter passes a response on until its time is over; from then on it
// swallows what a late handler writes.
type lateWriter struct {
	header http.Header

	mu    sync.Mutex
	w     http.ResponseWriter
	code  int
	over  bool // cut off
	whole bool // the handler has returned or has taken the connection, and can no longer be cut off
}

func (l *lateWriter) Header() http.Header { return l.header }

func (l *lateWriter) WriteHeader(code int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeHeader(code)
}

func (l *lateWriter) writeHeader(code int) {
	if l.over || l.code != 0 {
		return
	}
	if code < 200 && code != http.StatusSwitchingProtocols {
		l.inform(code)
		return
	}
	l.code = code
	maps.Copy(l.w.Header(), l.header)
	l.w.WriteHeader(code)
}

// inform sends an informational answer such as early hints, whose header is not
// that of the answer to come.
func (l *lateWriter) inform(code int) {
	h := l.w.Header()
	before := maps.Clone(h)
	maps.Copy(h, l.header)
	l.w.WriteHeader(code)
	clear(h)
	maps.Copy(h, before)
}

func (l *lateWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return 0, http.ErrHandlerTimeout
	}
	if l.code == 0 {
		l.writeHeader(http.StatusOK)
	}
	return l.w.Write(b)
}

// WriteString saves a copy for callers of io.WriteString.
func (l *lateWriter) WriteString(s string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return 0, http.ErrHandlerTimeout
	}
	if l.code == 0 {
		l.writeHeader(http.StatusOK)
	}
	return io.WriteString(l.w, s)
}

// Flush sends what is buffered.
func (l *lateWriter) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	if l.code == 0 {
		l.writeHeader(http.StatusOK)
	}
	_ = http.NewResponseController(l.w).Flush()
}

// Hijack hands the connection over. It then lives as long as its two ends want,
// as one does that is upgraded without a timeout.
func (l *lateWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil, nil, http.ErrHandlerTimeout
	}
	conn, rw, err := http.NewResponseController(l.w).Hijack()
	l.whole = l.whole || err == nil
	return conn, rw, err
}

// cut cuts the handler off and reports whether it was in time.
func (l *lateWriter) cut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = !l.whole
	return l.over
}

// complete says that the handler has returned.
func (l *lateWriter) complete() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whole = true
}

func (l *lateWriter) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

func (l *lateWriter) begun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.code != 0
}

// handOver passes on what the handler left in the header: all of it where it
// wrote nothing, the trailers else.
func (l *lateWriter) handOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.w.Header(), l.header)
}
