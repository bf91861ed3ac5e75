package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
)

// ShopOptions sets up a Shop. Dir is required; other zero fields take the
// defaults that are written beside them.
type ShopOptions struct {
	Dir            string        // where the metric store keeps its files
	Rate           float64       // first attempts per second; DefaultRate
	Deadline       time.Duration // of a user's request; DefaultDeadline
	ScrapeInterval time.Duration // 1 s
	ReturnSteps    int           // in which a guard goes back to its default; 5
	ReturnEvery    time.Duration // between those steps; 1 s
	Logger         *slog.Logger  // nil discards
}

func (o ShopOptions) withDefaults() ShopOptions {
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.ScrapeInterval == 0 {
		o.ScrapeInterval = time.Second
	}
	if o.ReturnSteps == 0 {
		o.ReturnSteps = 5
	}
	if o.ReturnEvery == 0 {
		o.ReturnEvery = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// ServiceInfo is where one service is reached.
type ServiceInfo struct {
	Name       string
	URL        string // of the service; its metrics are under /metrics
	ControlURL string // of its guard; the control endpoints are under /guard/v1/
}

// Shop is the running shop with its load, its scraper and its metric store.
type Shop struct {
	o        ShopOptions
	token    string
	nodes    []node
	services []*service // in the order of nodes
	byName   map[string]*service
	load     *Load
	entry    *http.Transport
	store    *replay.Store
	storeURL string
	storeSrv *http.Server

	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	restore *time.Timer // ends the trigger under way
	stopped bool
}

// StartShop starts all services, the metric store, the scraper and the load.
// The load and the scraper end when ctx is done; the rest ends with Stop, which
// must be called.
func StartShop(ctx context.Context, o ShopOptions) (*Shop, error) {
	s := &Shop{o: o.withDefaults(), token: rand.Text(), nodes: plan(), byName: map[string]*service{}}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	ctx, s.cancel = context.WithCancel(ctx)
	for _, svc := range s.services {
		svc.link(s.byName)
		svc.start()
	}
	s.running.Go(func() { s.load.Run(ctx) })
	s.running.Go(func() { s.newScraper().run(ctx, s.o.ScrapeInterval) })
	return s, nil
}

// open acquires everything that can fail.
func (s *Shop) open() error {
	for _, n := range s.nodes {
		svc, err := newService(n, s.o, s.token)
		if err != nil {
			return err
		}
		s.services = append(s.services, svc)
		s.byName[n.name] = svc
	}
	var err error
	if s.store, err = replay.OpenStore(filepath.Join(s.o.Dir, "metrics"), replay.StoreOptions{Now: time.Now, Logger: s.o.Logger}); err != nil {
		return err
	}
	if err := s.serveStore(); err != nil {
		return err
	}
	s.entry = newTransport()
	s.load, err = NewLoad(time.Now().Truncate(time.Second).Add(time.Second), LoadOptions{
		URL: s.byName[Entry].url, Rate: s.o.Rate, Deadline: s.o.Deadline, Transport: s.entry,
		MaxInFlight: int(2 * s.o.Rate * s.o.Deadline.Seconds()),
	})
	return err
}

func (s *Shop) serveStore() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the metric store: %w", err)
	}
	s.storeURL = "http://" + listener.Addr().String()
	s.storeSrv = newServer(s.store.Handler(), s.o.Logger)
	s.running.Go(func() {
		if err := s.storeSrv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.o.Logger.Error("metric store ended", "err", err)
		}
	})
	return nil
}

func (s *Shop) newScraper() *scraper {
	sc := &scraper{
		store: s.store, log: s.o.Logger, timeout: s.o.ScrapeInterval * 9 / 10,
		client: &http.Client{Transport: s.entry},
	}
	for _, svc := range s.services {
		sc.targets = append(sc.targets, &target{job: svc.node.name, url: svc.url + "/metrics"})
	}
	return sc
}

// Services returns where each service is reached, entry first, leaf last.
func (s *Shop) Services() []ServiceInfo {
	out := make([]ServiceInfo, 0, len(s.services))
	for _, svc := range s.services {
		out = append(out, ServiceInfo{Name: svc.node.name, URL: svc.url, ControlURL: svc.url})
	}
	return out
}

// Token returns the bearer token of all control endpoints. It is new for each
// shop.
func (s *Shop) Token() string { return s.token }

// TopologyYAML returns the dependency graph as a topology file.
func (s *Shop) TopologyYAML() []byte { return topologyYAML(s.nodes) }

// PrometheusURL returns where the metric store answers PromQL.
func (s *Shop) PrometheusURL() string { return s.storeURL }

// Trigger takes a share of the leaf's capacity away, by making its work slower,
// and gives it back after d. It returns at once. A new trigger replaces the one
// under way.
func (s *Shop) Trigger(cut float64, d time.Duration) error {
	if math.IsNaN(cut) || cut <= 0 || cut >= 1 || d <= 0 {
		return fmt.Errorf("trigger: a cut of %g for %v; a cut is between 0 and 1, for longer than 0s", cut, d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("trigger: shop is stopped")
	}
	if s.restore != nil {
		s.restore.Stop()
	}
	leaf := s.byName[Leaf]
	leaf.slow(1 / (1 - cut))
	s.restore = time.AfterFunc(d, func() { leaf.slow(1) })
	return nil
}

// Goodput returns the newest second whose first attempts are all accounted for.
func (s *Shop) Goodput() GoodputSample { return s.load.Goodput() }

// Since returns all such seconds that start at or after from, in order.
func (s *Shop) Since(from time.Time) []GoodputSample { return s.load.Since(from) }

// Missed returns how many first attempts were never offered because the machine
// stood still.
func (s *Shop) Missed() int { return s.load.Missed() }

// Retries returns the retries per second that the leaf's callers send it, over
// the last few seconds, from the metric store; 0 where that has no answer. They
// are counted where they are sent: the leaf itself counts a request only once
// it has answered it.
func (s *Shop) Retries() float64 {
	expr := `sum(rate(guard_client_attempts_total{callee="` + Leaf + `",attempt="retry"}[` + model.Duration(4*s.o.ScrapeInterval).String() + `]))`
	res, err := s.store.Query(context.Background(), expr, time.Now())
	if err != nil {
		return 0
	}
	if v, ok := res.Value.(model.Vector); ok && len(v) == 1 {
		return float64(v[0].Value)
	}
	return 0
}

// Stop ends the load, the scraper, all services and the metric store, and
// returns when nothing of the shop runs any more, or when ctx is done.
// Stopping twice is success.
func (s *Shop) Stop(ctx context.Context) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return nil
	}
	s.stopped = true
	if s.restore != nil {
		s.restore.Stop()
	}
	s.mu.Unlock()
	s.cancel()
	closed := make(chan error, 1)
	go func() { closed <- s.close() }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop the shop: %w", ctx.Err())
	}
}

// close releases whatever open acquired, callers before callees.
func (s *Shop) close() error {
	var errs []error
	for _, svc := range s.services {
		errs = append(errs, svc.stop())
	}
	if s.storeSrv != nil {
		errs = append(errs, s.storeSrv.Close())
	}
	s.running.Wait()
	if s.entry != nil {
		s.entry.CloseIdleConnections()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}
