package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// ErrBreakerOpen is wrapped in the error of a call that the breaker did not let
// through; nothing was sent.
var ErrBreakerOpen = errors.New("circuit breaker is open")

// TimeoutError is the error of an attempt that took longer than its callee's
// timeout. It is a net.Error and wraps context.DeadlineExceeded.
type TimeoutError struct {
	Callee string
	After  time.Duration
}

// Error names the callee and the timeout.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("call %s: no response within %s", e.Callee, e.After)
}

// Timeout returns true.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary returns true.
func (e *TimeoutError) Temporary() bool { return true }

// Unwrap returns context.DeadlineExceeded.
func (e *TimeoutError) Unwrap() error { return context.DeadlineExceeded }

// Transport limits the calls to callee that go through next, which is
// http.DefaultTransport where it is nil: a timeout for each attempt, retries
// within a budget, and a circuit breaker. All transports of a guard to the same
// callee share these.
//
// Retried are attempts that ended in a 5xx status other than 501, a timeout or a
// connection error; of POST and PATCH only those with an Idempotency-Key header,
// unless the upstream's configuration says retry_unsafe. A body of up to 64 KiB
// is kept for that; a longer one without GetBody is sent once.
func (g *Guard) Transport(callee string, next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return &transport{guard: g, up: g.upstream(callee), next: next}
}

type transport struct {
	guard *Guard
	up    *upstream
	next  http.RoundTripper
}

// RoundTrip sends the request, and sends it again where that is allowed. The
// last attempt's response or error is returned.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	src, err := newSource(r, t.retryable(r))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", t.up.callee, err)
	}
	defer src.close()
	t.up.budget.first(t.guard.clock.Now())
	var last *endpoint
	for n := 0; ; n++ {
		out, err := src.request(n)
		if err != nil {
			return nil, fmt.Errorf("call %s: read request body: %w", t.up.callee, err)
		}
		setBudget(out.Context(), out.Header, t.guard.clock.Now())
		resp, retry, at, err := t.attempt(src, out, n, last)
		last = at
		if !retry || n >= t.up.cfg.Load().Retries || !src.replayable || r.Context().Err() != nil {
			return resp, err
		}
		if !t.up.budget.take(t.guard.clock.Now()) {
			t.up.metrics.suppressed.Inc()
			return resp, err
		}
		if resp != nil {
			discard(resp.Body)
		}
		if err := t.pause(r.Context(), n); err != nil {
			return nil, fmt.Errorf("call %s: wait for retry: %w", t.up.callee, err)
		}
	}
}

func (t *transport) retryable(r *http.Request) bool {
	cfg := t.up.cfg.Load()
	if cfg.Retries == 0 {
		return false
	}
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return cfg.RetryUnsafe || r.Header.Get("Idempotency-Key") != ""
}

// attempt sends one request, to another backend than last if it can, and says
// whether another try could help.
func (t *transport) attempt(src *source, r *http.Request, n int, last *endpoint) (resp *http.Response, retry bool, to *endpoint, err error) {
	kind := min(n, 1)
	began := t.guard.clock.Now()
	to, p, allowed := pick(t.up.all(), began, time.Duration(t.up.cfg.Load().SlowStart), last, t.guard.jitter)
	if !allowed {
		t.up.metrics.attempts[kind][attemptBreakerOpen].Inc()
		closeBody(r)
		return nil, false, last, fmt.Errorf("call %s: %w", t.up.callee, ErrBreakerOpen)
	}
	if to.url != nil {
		r.URL.Scheme, r.URL.Host = to.url.Scheme, to.url.Host // the request and its URL are a copy
	}
	to.begin()
	settled := false
	defer func() {
		if !settled { // next panicked
			to.breaker.giveBack(p)
			to.end(t.guard.clock.Now(), 0, false)
		}
	}()
	caller := r.Context()
	if resp, err = t.send(caller, r); err != nil {
		err = src.blame(err)
	}
	now := t.guard.clock.Now()
	took := max(0, now.Sub(began))
	t.up.metrics.duration.Observe(took.Seconds())
	settled = true
	what, view, retry := t.judge(caller, resp, err)
	t.up.metrics.attempts[kind][what].Inc()
	if view == nothing {
		to.breaker.giveBack(p)
	} else {
		to.breaker.settle(now, p, view == good)
	}
	if to.metrics != nil {
		to.metrics.attempts[what].Inc()
	}
	if err != nil {
		to.end(now, took, false)
		return nil, retry, to, err
	}
	over := sync.OnceFunc(func() { to.end(t.guard.clock.Now(), took, view == good) })
	resp.Body = wrapBody(resp, over)
	return resp, retry, to, nil
}

// send makes one attempt within the callee's timeout, its response's body
// included.
func (t *transport) send(caller context.Context, r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(caller)
	stop := func() bool { return true }
	limit := time.Duration(t.up.timeout.Load())
	if limit > 0 {
		stop = t.guard.clock.AfterFunc(limit, func() { cancel(&TimeoutError{t.up.callee, limit}) })
	}
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		stop()
		if late := (*TimeoutError)(nil); errors.As(context.Cause(ctx), &late) && caller.Err() == nil {
			err = late
		}
		cancel(nil)
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		stop() // the connection now lives as long as its two ends want
	}
	resp.Body = wrapBody(resp, func() { stop(); cancel(nil) })
	return resp, nil
}

// judge says how an attempt ended, what that means to the breaker and whether it
// may be retried. The callee's health is not judged by what the caller did: 4xx
// answers and calls that the caller cancelled never count against it, unless the
// configuration says so.
func (t *transport) judge(caller context.Context, resp *http.Response, err error) (attemptOutcome, opinion, bool) {
	j := t.up.judge.Load()
	switch {
	case err == nil && resp.StatusCode >= http.StatusInternalServerError:
		return attemptError, j.status(resp.StatusCode), resp.StatusCode != http.StatusNotImplemented
	case err == nil && resp.StatusCode == http.StatusTooManyRequests:
		return attemptError, j.status(resp.StatusCode), false
	case err == nil:
		return attemptOK, j.status(resp.StatusCode), false
	case cancelled(caller), errors.Is(err, errRequestBody):
		return attemptError, j.err(caller, err), false
	case isTimeout(err) || caller.Err() != nil:
		return attemptTimeout, j.err(caller, err), true
	}
	return attemptError, j.err(caller, err), true
}

// cancelled reports whether the caller gave up, rather than ran out of time.
func cancelled(caller context.Context) bool {
	return errors.Is(caller.Err(), context.Canceled) && !errors.Is(context.Cause(caller), context.DeadlineExceeded)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// pause waits before retry n+1: between half and all of a back-off that doubles.
func (t *transport) pause(ctx context.Context, n int) error {
	base := time.Duration(t.up.cfg.Load().Backoff) << min(n, 6)
	d := base/2 + time.Duration(t.guard.jitter()*float64(base/2))
	if d <= 0 {
		return nil
	}
	over := make(chan struct{})
	stop := t.guard.clock.AfterFunc(d, func() { close(over) })
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		stop()
		return context.Cause(ctx)
	}
}

const discardLimit = 4 << 10

// discard reads the little that is left, so that the connection can be used again.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, discardLimit)
	_ = body.Close()
}

func setAttempt(h http.Header, n int) {
	if n > 0 {
		h.Set(AttemptHeader, strconv.Itoa(min(attemptOf(h), maxAttempt)+n))
	}
}
