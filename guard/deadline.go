package guard

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Header names that carry how long a caller still waits. DeadlineHeader holds
// what is left as a duration (350ms), which is what the guard sends because the
// clocks of two machines differ, or an instant (RFC 3339). Grpc-Timeout is read
// as gRPC writes it.
const (
	DeadlineHeader    = "X-Request-Deadline"
	grpcTimeoutHeader = "Grpc-Timeout"
)

// maxBudget bounds what a caller may ask for; more is no deadline.
const maxBudget = 24 * time.Hour

// deadlineOf reads until when the caller of a request that arrived at now waits;
// zero is for ever. What cannot be read says nothing. The earlier of two holds.
func deadlineOf(h http.Header, now time.Time) time.Time {
	var at time.Time
	if s := h.Get(DeadlineHeader); s != "" {
		if left, err := time.ParseDuration(s); err == nil {
			at = within(now, left)
		} else if instant, err := time.Parse(time.RFC3339Nano, s); err == nil {
			at = within(now, instant.Sub(now))
		}
	}
	if s := h.Get(grpcTimeoutHeader); s != "" {
		if left, ok := parseGRPCTimeout(s); ok {
			if d := within(now, left); at.IsZero() || !d.IsZero() && d.Before(at) {
				at = d
			}
		}
	}
	return at
}

func within(now time.Time, left time.Duration) time.Time {
	if left > maxBudget {
		return time.Time{}
	}
	return now.Add(left)
}

var grpcUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// parseGRPCTimeout reads at most eight digits and a unit, as in gRPC over HTTP2.
func parseGRPCTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	unit, ok := grpcUnits[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if !ok || err != nil {
		return 0, false
	}
	if time.Duration(n) > maxBudget/unit {
		return maxBudget + 1, true
	}
	return time.Duration(n) * unit, true
}

// setBudget tells the callee how long is left of ctx's deadline.
func setBudget(ctx context.Context, h http.Header, now time.Time) {
	at, ok := ctx.Deadline()
	if !ok {
		return
	}
	left := max(0, at.Sub(now)).Truncate(time.Microsecond)
	h.Set(DeadlineHeader, left.String())
	if h.Get(grpcTimeoutHeader) != "" {
		h.Set(grpcTimeoutHeader, strconv.FormatInt(min(left.Microseconds(), 99_999_999), 10)+"u")
	}
}

// deadlineContext has a deadline on the guard's clock.
type deadlineContext struct {
	context.Context
	at time.Time
}

// Deadline returns the earlier of the request's and the context's own.
func (d deadlineContext) Deadline() (time.Time, bool) {
	if own, ok := d.Context.Deadline(); ok && own.Before(d.at) {
		return own, true
	}
	return d.at, true
}

// withDeadline ends the context when at has come on the guard's clock; done
// frees what that takes.
func withDeadline(ctx context.Context, clock Clock, at time.Time) (_ context.Context, done func()) {
	ending, cancel := context.WithCancelCause(ctx)
	stop := clock.AfterFunc(at.Sub(clock.Now()), func() { cancel(context.DeadlineExceeded) })
	return deadlineContext{ending, at}, func() { stop(); cancel(nil) }
}
