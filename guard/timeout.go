package guard

import (
	"context"
	"errors"
	"io"
	"maps"
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
	stop := c.guard.clock.AfterFunc(limit, func() {
		cancel(context.DeadlineExceeded)
		close(over)
	})
	late := &lateWriter{w: w, header: make(http.Header)}
	done := make(chan any, 1) // what the handler panicked with, or nil
	go func() {
		defer cancel(nil)
		defer func() {
			p := recover()
			c.release()
			if cause, _ := p.(error); p != nil && !errors.Is(cause, http.ErrAbortHandler) && late.isOver() {
				c.guard.log.Error("handler panicked after its timeout", "panic", p, "stack", string(debug.Stack()))
			}
			done <- p
		}()
		c.next.ServeHTTP(late, r.WithContext(ctx))
	}()
	select {
	case p := <-done:
		stop()
		c.answered(caller, p != nil || late.code >= http.StatusInternalServerError)
		if p != nil {
			panic(p)
		}
		late.finish()
	case <-over:
		begun := late.end()
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
}

// lateWriter passes a response on until its time is over; from then on it
// swallows what a late handler writes.
type lateWriter struct {
	header http.Header

	mu   sync.Mutex
	w    http.ResponseWriter
	code int
	over bool
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
	if code >= 200 || code == http.StatusSwitchingProtocols {
		l.code = code
	}
	maps.Copy(l.w.Header(), l.header)
	l.w.WriteHeader(code)
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

// end cuts the handler off and reports whether its response had begun.
func (l *lateWriter) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	return l.code != 0
}

func (l *lateWriter) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// finish hands over what the handler left in the header: all of it where it
// wrote nothing, the trailers else.
func (l *lateWriter) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.w.Header(), l.header)
}
