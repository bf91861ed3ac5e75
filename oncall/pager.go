package oncall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/config"

	"github.com/sreagent/sreagent/sre"
)

const (
	kindAlertmanager = "alertmanager"
	kindWebhook      = "webhook"

	sendTimeout   = 10 * time.Second // of one request
	shutdownGrace = 3 * time.Second  // for the last attempt when the agent stops
	firstBackoff  = time.Second
	maxBackoff    = time.Minute
	maxQueued     = 1024 // incidents per receiver
	maxReply      = 2048 // bytes of an answer that are read for the log
)

// ErrPagerClosed says that the pager has stopped; nothing was queued.
var ErrPagerClosed = errors.New("the pager has stopped")

// ErrPagerFull says that a receiver is so far behind that the least severe of
// the notices that waited for it were dropped.
var ErrPagerFull = errors.New("a receiver's queue is full")

// PagerOptions are what the pager needs of the outside. The zero value is
// usable.
type PagerOptions struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer

	dial config.DialContextFunc // in place of the network, for tests
}

// Pager tells people outside about incidents: Alertmanagers and webhooks. Each
// receiver has a queue of its own that keeps the newest notice per incident, so
// that a slow receiver delays nobody and a state that is out of date is merged
// into the one that replaced it, never lost. Delivery is at least once.
type Pager struct {
	receivers []receiver
	log       *slog.Logger

	mu     sync.Mutex
	closed bool
}

// receiver is one place that is told. Its methods may be called from any
// goroutine, but flush only from one.
type receiver interface {
	// accept queues a notice without blocking; false when one was dropped.
	accept(n sre.Notice) bool
	// wake fires when something was accepted.
	wake() <-chan struct{}
	// flush sends what is due and returns when it wants to be called again; the
	// zero time means not before a wake.
	flush(ctx context.Context, now time.Time) time.Time
	// rush ends a back-off, so that the next flush makes an attempt.
	rush()
	// close releases connections.
	close()
}

// NewPager returns a pager to the receivers of cfg. It reads the secret files
// once, so that a missing one is found now and not at the first incident.
func NewPager(cfg Config, o PagerOptions) (*Pager, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, faults
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := newPagerMetrics(o.Registerer)
	p := &Pager{log: o.Log}
	for i, am := range cfg.Alertmanagers {
		post, err := newPost(am.URL, am.HTTPConfig, o, m, kindAlertmanager)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sre.Item("alertmanagers", i), err)
		}
		p.receivers = append(p.receivers, newAlertmanager(am, cfg.ExternalURL, post))
	}
	for i, wh := range cfg.Webhooks {
		post, err := newPost(wh.URL, wh.HTTPConfig, o, m, kindWebhook)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sre.Item("webhooks", i), err)
		}
		hook, err := newWebhook(wh, post)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sre.Item("webhooks", i), err)
		}
		p.receivers = append(p.receivers, hook)
	}
	return p, nil
}

// Notify queues notices for every receiver and returns at once. A newer notice
// of an incident takes the place of an older one that has not been sent. Errors
// are ErrPagerClosed and ErrPagerFull.
func (p *Pager) Notify(_ context.Context, notices []sre.Notice) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrPagerClosed
	}
	var err error
	for _, r := range p.receivers {
		for _, n := range notices {
			if !r.accept(n) {
				err = ErrPagerFull
			}
		}
	}
	return err
}

// Run delivers until ctx is done, then tries once more for a moment to deliver
// what waits, closes the pager and returns nil. It must be called once.
func (p *Pager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, r := range p.receivers {
		wg.Go(func() { deliver(ctx, r) })
	}
	<-ctx.Done()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	wg.Wait()
	// What was queued between the end of ctx and the closing above is sent here.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	for _, r := range p.receivers {
		wg.Go(func() {
			r.rush()
			r.flush(last, time.Now())
			r.close()
		})
	}
	wg.Wait()
	return nil
}

// deliver runs one receiver until ctx is done.
func deliver(ctx context.Context, r receiver) {
	for {
		next := r.flush(ctx, time.Now())
		var due <-chan time.Time
		if !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake():
		case <-due:
		}
	}
}

// verdict is what one attempt to deliver came to.
type verdict int

const (
	tryAgain verdict = iota
	delivered
	refused
)

// post sends JSON to one URL and keeps the back-off of its receiver.
type post struct {
	url     string
	kind    string
	client  *http.Client
	metrics *pagerMetrics
	log     *slog.Logger
	woken   chan struct{}

	failures int       // in a row
	retryAt  time.Time // no attempt before
}

func newPost(address string, hc *config.HTTPClientConfig, o PagerOptions, m *pagerMetrics, kind string) (*post, error) {
	if hc == nil {
		hc = &config.DefaultHTTPClientConfig
	}
	var opts []config.HTTPClientOption
	if o.dial != nil {
		opts = append(opts, config.WithDialContextFunc(o.dial))
	}
	client, err := config.NewClientFromConfig(*hc, "oncall", opts...)
	if err != nil {
		return nil, fmt.Errorf("make the HTTP client: %w", err)
	}
	return &post{
		url: address, kind: kind, client: client, metrics: m,
		log: o.Log.With("receiver", kind), woken: make(chan struct{}, 1),
	}, nil
}

func (p *post) wake() <-chan struct{} { return p.woken }

func (p *post) rush() { p.retryAt = time.Time{} }

func (p *post) close() { p.client.CloseIdleConnections() }

func (p *post) signal() {
	select {
	case p.woken <- struct{}{}:
	default: // it is awake already
	}
}

// send makes one attempt for n notices and keeps count. retryable says which
// 4xx codes are worth another attempt; 5xx and network errors always are.
func (p *post) send(ctx context.Context, body []byte, header http.Header, n int, retryable func(code int) bool) verdict {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	code, reply, err := p.once(ctx, body, header)
	switch {
	case err == nil && code < 300:
		p.failures, p.retryAt = 0, time.Time{}
		p.metrics.add(p.kind, pageSent, n)
		return delivered
	case err != nil || code >= 500 || retryable(code):
		// A receiver that is down for an hour is reported when it goes down,
		// not once a minute.
		level := slog.LevelDebug
		if p.failures == 0 {
			level = slog.LevelWarn
		}
		p.failures++
		pause := backoff(p.failures)
		p.retryAt = time.Now().Add(pause)
		p.metrics.add(p.kind, pageRetried, n)
		p.log.Log(ctx, level, "notice not delivered, trying again", "notices", n, "code", code, "reply", reply, "err", err, "retry_in", pause)
		return tryAgain
	default:
		p.failures, p.retryAt = 0, time.Time{}
		p.metrics.add(p.kind, pageRefused, n)
		p.log.Error("notice refused by the receiver", "notices", n, "code", code, "reply", reply)
		return refused
	}
}

func (p *post) once(ctx context.Context, body []byte, header http.Header) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return 0, "", fmt.Errorf("make the request: %w", err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		// The path of a webhook's URL is often a secret: the error must not
		// carry it into the log.
		var withURL *url.Error
		if errors.As(err, &withURL) {
			err = withURL.Err
		}
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	// The code is the answer; the text only helps whoever reads the log.
	reply, _ := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	return resp.StatusCode, plain(string(reply)), nil
}

// backoff returns the pause after so many failures in a row: 1 s, 2 s, 4 s up
// to a minute. There is no jitter: a handful of agents cannot stampede.
func backoff(failures int) time.Duration {
	return min(firstBackoff<<min(failures-1, 10), maxBackoff)
}

// evict returns the incident to drop from a full queue: the least severe, and
// among those the one that waits longest. order is by arrival.
func evict(order []string, severity func(incident string) sre.Severity) string {
	return slices.MinFunc(order, func(x, y string) int { return severity(x).Rank() - severity(y).Rank() })
}
