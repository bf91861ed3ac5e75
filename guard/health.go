package guard

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Check is one thing that must be right for the service to be healthy.
type Check struct {
	Name     string
	Critical bool          // its failure makes the whole service unready
	Timeout  time.Duration // how long an answer waits for it; 0 is one second
	Run      func(context.Context) error
}

// The states of a service and of a check.
const (
	HealthOK       = "ok"
	HealthDegraded = "degraded" // a check that is not critical fails
	HealthFailing  = "failing"
)

// CheckResult is what one check said last.
type CheckResult struct {
	Name     string    `json:"name"`
	Critical bool      `json:"critical"`
	Status   string    `json:"status"` // ok or failing
	Error    string    `json:"error,omitempty"`
	Hanging  bool      `json:"hanging"`          // began longer ago than its timeout and has not returned
	Since    time.Time `json:"since"`            // when it came into that status
	Seconds  float64   `json:"duration_seconds"` // of the last run that ended
}

// Health is a report over all checks.
type Health struct {
	Status string        `json:"status"`
	Checks []CheckResult `json:"checks"` // sorted by name
}

// Checks holds the checks of one service. The zero value has none and reads the
// system's clock. It is safe for concurrent use.
type Checks struct {
	Clock Clock // nil is the system's

	mu  sync.Mutex
	all []*registered
}

// registered is a check with its latest run. At most one run is under way, so a
// check that hangs is not started again while it hangs, and readers that come
// together share one run.
type registered struct {
	check Check

	mu     sync.Mutex
	run    chan struct{} // closed when the run under way has ended; nil is none
	result CheckResult
}

// Register adds a check. A name that is empty or taken is an error, and so is a
// check without a function.
func (c *Checks) Register(check Check) error {
	if check.Name == "" || check.Run == nil {
		return fmt.Errorf("register check %q: allowed: a name and a function", check.Name)
	}
	if check.Timeout <= 0 {
		check.Timeout = time.Second
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at, taken := slices.BinarySearchFunc(c.all, check.Name, func(r *registered, name string) int {
		return cmp.Compare(r.check.Name, name)
	})
	if taken {
		return fmt.Errorf("register check %q: the name is taken", check.Name)
	}
	c.all = slices.Insert(c.all, at, &registered{check: check})
	return nil
}

func (c *Checks) clock() Clock {
	if c.Clock != nil {
		return c.Clock
	}
	return systemClock{}
}

// Report runs every check at once and waits for each at most for its timeout, or
// until ctx ends. So one that hangs delays a report once by its own timeout, and
// those that come while it hangs not at all.
func (c *Checks) Report(ctx context.Context) Health {
	c.mu.Lock()
	all := slices.Clone(c.all)
	c.mu.Unlock()
	h := Health{Status: HealthOK, Checks: make([]CheckResult, len(all))}
	var wg sync.WaitGroup
	for i, r := range all {
		wg.Go(func() { h.Checks[i] = r.ask(ctx, c.clock()) })
	}
	wg.Wait()
	for _, r := range h.Checks {
		switch {
		case r.Status == HealthOK:
		case r.Critical:
			h.Status = HealthFailing
		case h.Status == HealthOK:
			h.Status = HealthDegraded
		}
	}
	return h
}

// ask starts a run, or joins the one under way, and waits for it.
func (r *registered) ask(ctx context.Context, clock Clock) CheckResult {
	r.mu.Lock()
	if r.run != nil && r.result.Hanging {
		defer r.mu.Unlock()
		return r.result
	}
	if r.run == nil {
		r.start(ctx, clock)
	}
	run := r.run
	r.mu.Unlock()
	over := make(chan struct{})
	stop := clock.AfterFunc(r.check.Timeout, func() { close(over) })
	defer stop()
	select {
	case <-run:
	case <-over:
		r.hangs(clock.Now(), run)
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.result.Status == "" { // the reader left before the first run had ended
		return CheckResult{Name: r.check.Name, Critical: r.check.Critical, Status: HealthFailing, Error: "has not answered yet"}
	}
	return r.result
}

// start needs mu. The run outlives the reader that caused it: others may wait.
func (r *registered) start(ctx context.Context, clock Clock) {
	run := make(chan struct{})
	r.run = run
	began := clock.Now()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := clock.AfterFunc(r.check.Timeout, func() { cancel(context.DeadlineExceeded) })
	go func() {
		err := r.safely(ctx)
		stop()
		cancel(nil)
		now := clock.Now()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.settle(now, err)
		r.result.Hanging, r.result.Seconds = false, max(0, now.Sub(began).Seconds())
		r.run = nil
		close(run)
	}()
}

// safely takes a panic for a failure: a check must not end the service.
func (r *registered) safely(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panicked: %v", p)
		}
	}()
	err = r.check.Run(ctx)
	if err != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s: %w", r.check.Timeout, err)
	}
	return err
}

// hangs notes that run has passed its timeout.
func (r *registered) hangs(now time.Time, run chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run == run { // and has not ended meanwhile
		r.settle(now, fmt.Errorf("no answer within %s", r.check.Timeout))
		r.result.Hanging = true
	}
}

// settle needs mu.
func (r *registered) settle(now time.Time, err error) {
	before := r.result
	r.result.Name, r.result.Critical, r.result.Status, r.result.Error = r.check.Name, r.check.Critical, HealthOK, ""
	if err != nil {
		r.result.Status, r.result.Error = HealthFailing, err.Error()
	}
	if r.result.Status != before.Status {
		r.result.Since = now
	}
}

// Handler answers with the report as JSON: 200 while no critical check fails,
// else 503.
func (c *Checks) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := c.Report(r.Context())
		status := http.StatusOK
		if h.Status == HealthFailing {
			status = http.StatusServiceUnavailable
		}
		data, err := json.Marshal(h)
		if err != nil {
			panic(err) // only our own types, all of which can be encoded
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = w.Write(append(data, '\n')) // the caller may be gone
	})
}
