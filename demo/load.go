package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// The two things that users do.
const (
	pathBrowse = "/browse"
	pathBuy    = "/buy"
)

// lateSlots is how far behind its schedule the load may be. What is older was
// missed because the machine itself stood still: offering it now would be a
// burst that no user caused.
const lateSlots = 250 * time.Millisecond

// classOfSlot spreads the classes evenly over ten slots: 10 % critical, 20 %
// high, 40 % normal, 30 % low.
var classOfSlot = [10]int{2, 3, 1, 2, 3, 0, 2, 1, 3, 2}

// LoadOptions sets up a load.
type LoadOptions struct {
	URL         string            // base URL of the entry service
	Rate        float64           // first attempts per second
	Deadline    time.Duration     // of one request
	MaxInFlight int               // beyond, a first attempt counts as offered and not served
	Transport   http.RoundTripper // how requests travel
}

// Load offers first attempts on a fixed schedule, whether or not earlier ones
// were answered, as users do who know nothing of each other. It never retries.
type Load struct {
	o      LoadOptions
	ledger *ledger
	slots  chan struct{} // one token per request in flight
	client *http.Client

	mu     sync.Mutex
	missed int
}

// NewLoad returns a load whose schedule begins at start.
func NewLoad(start time.Time, o LoadOptions) (*Load, error) {
	if o.Rate <= 0 || o.Deadline <= 0 || o.MaxInFlight <= 0 {
		return nil, fmt.Errorf("load of %g/s, deadline %v, %d in flight: all must be above zero", o.Rate, o.Deadline, o.MaxInFlight)
	}
	return &Load{
		o: o, ledger: newLedger(start), slots: make(chan struct{}, o.MaxInFlight),
		client: &http.Client{Transport: o.Transport},
	}, nil
}

// Run offers the load until ctx is done, then waits for what is in flight.
func (l *Load) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for n := 0; ; n++ {
		due := time.Duration(math.Round(float64(n) / l.o.Rate * float64(time.Second)))
		at := l.ledger.start.Add(due)
		wake.Reset(time.Until(at))
		select {
		case <-ctx.Done():
			return
		case <-wake.C:
		}
		now := time.Now()
		l.ledger.settle(now.Add(-lateSlots)) // slots up to here may still be offered
		if now.Sub(at) > lateSlots {
			l.mu.Lock()
			l.missed++
			l.mu.Unlock()
			continue
		}
		l.offer(ctx, &wg, n, due)
	}
}

func (l *Load) offer(ctx context.Context, wg *sync.WaitGroup, n int, due time.Duration) {
	class := classOfSlot[n%len(classOfSlot)]
	second := l.ledger.offer(due, class)
	select {
	case l.slots <- struct{}{}:
	default:
		l.ledger.done(second, class, false)
		return
	}
	wg.Go(func() {
		defer func() { <-l.slots }()
		l.ledger.done(second, class, l.request(ctx, n, class) == nil)
	})
}

// pathOf lets three of five requests browse, in an order in which each class
// meets each path in the same proportion.
func pathOf(n int) string {
	if (n+n/len(classOfSlot))%5 < 3 {
		return pathBrowse
	}
	return pathBuy
}

var errNotGood = errors.New("answer is not 2xx")

func (l *Load) request(ctx context.Context, n, class int) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.Deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.o.URL+pathOf(n)+"?user="+strconv.Itoa(n), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("X-Priority", classes[class])
	res, err := l.client.Do(req)
	if err != nil {
		return fmt.Errorf("request %d: %w", n, err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return fmt.Errorf("read answer %d: %w", n, err)
	}
	if res.StatusCode/100 != 2 {
		return errNotGood
	}
	return ctx.Err()
}

// Goodput returns the newest second whose first attempts are all accounted for.
func (l *Load) Goodput() GoodputSample { return l.ledger.last() }

// Since returns all such seconds that start at or after from, in order.
func (l *Load) Since(from time.Time) []GoodputSample { return l.ledger.since(from) }

// Missed returns how many slots of the schedule were skipped because the
// machine was too late for them.
func (l *Load) Missed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missed
}
