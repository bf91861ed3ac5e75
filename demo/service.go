package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/guard"
)

// maxStreams lets one connection carry all that may wait at a service, so that
// an overload does not turn into thousands of sockets.
const maxStreams = 10_000

// service is one of the shop's services: an HTTP server on a port of its own, a
// guard in front of its work and around each of its calls.
type service struct {
	node     node
	url      string
	guard    *guard.Guard
	server   *http.Server
	listener net.Listener
	base     *http.Transport
	callees  map[string]*callee // set before the first request, never after
	slowdown atomic.Uint64      // float64 bits; service time is multiplied by it
	late     lateness
	handlers handlers
	done     chan struct{} // closed when the server has ended; nil before it began
}

// callee is where a callee is reached, and how.
type callee struct {
	base   string
	client *http.Client
}

func newService(n node, o ShopOptions, token string) (*service, error) {
	return newServiceAt(n, o, token, "127.0.0.1:0")
}

func newServiceAt(n node, o ShopOptions, token, address string) (*service, error) {
	reg := prometheus.NewRegistry()
	g, err := guard.New(guardConfig(n, o, token), guard.WithRegisterer(reg), guard.WithLogger(o.Logger.With("service", n.name)))
	if err != nil {
		return nil, fmt.Errorf("guard of %s: %w", n.name, err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		g.Close()
		return nil, fmt.Errorf("listen for %s: %w", n.name, err)
	}
	s := &service{
		node: n, url: "http://" + listener.Addr().String(), guard: g, listener: listener,
		base: newTransport(), callees: map[string]*callee{},
	}
	s.slow(1)
	s.server = newServer(s.routes(reg), o.Logger)
	return s, nil
}

func guardConfig(n node, o ShopOptions, token string) guard.Config {
	cfg := guard.DefaultConfig()
	cfg.Service, cfg.Workers, cfg.Queue, cfg.Token = n.name, n.workers, longQueue, token
	cfg.Return = guard.ReturnConfig{Steps: o.ReturnSteps, Every: model.Duration(o.ReturnEvery)}
	cfg.Upstreams = map[string]guard.Upstream{}
	for _, c := range n.calls {
		cfg.Upstreams[c.callee] = guard.Upstream{
			Timeout: model.Duration(c.timeout), Retries: c.retries, Backoff: model.Duration(backoff), RetryBudget: -1,
		}
	}
	return cfg
}

// newTransport carries all calls to one callee as streams of one connection.
func newTransport() *http.Transport {
	t := &http.Transport{Protocols: new(http.Protocols), MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	srv := &http.Server{
		Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	srv.Protocols.SetHTTP1(true) // for people with curl, and for agents
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}

func (s *service) routes(reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.guard.Middleware(http.HandlerFunc(s.serve)))
	mux.Handle("/guard/v1/", s.guard.Control())
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handlers.enter()
		defer s.handlers.leave()
		mux.ServeHTTP(w, r)
	})
}

// link tells the service where its callees are.
func (s *service) link(services map[string]*service) {
	for _, c := range s.node.calls {
		s.callees[c.callee] = &callee{
			base:   services[c.callee].url,
			client: &http.Client{Transport: s.guard.Transport(c.callee, s.base)},
		}
	}
}

func (s *service) start() {
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.server.ErrorLog.Printf("server of %s ended: %v", s.node.name, err)
		}
	}()
}

// stop answers all that waits, ends the server, and returns when no handler
// runs any more.
func (s *service) stop() error {
	s.guard.Close()
	if s.done == nil {
		return s.listener.Close()
	}
	err := s.server.Close()
	<-s.done
	s.handlers.wait()
	s.base.CloseIdleConnections()
	return err
}

// slow multiplies the service time from now on.
func (s *service) slow(factor float64) { s.slowdown.Store(math.Float64bits(factor)) }

// work takes the service time, whether or not the caller still waits: work
// that has begun is done, as in most services.
func (s *service) work() {
	wanted := time.Duration(float64(s.node.work) * math.Float64frombits(s.slowdown.Load()))
	took := wanted - s.late.borrow(wanted)
	began := time.Now()
	<-time.NewTimer(took).C
	s.late.lend(time.Since(began) - took)
}

// lateness is by how much timers were late. The next ones are set so much
// shorter, or a busy machine would cut the capacity of every service. It is
// safe for concurrent use.
type lateness struct{ owed atomic.Int64 }

// mostOwed bounds the debt: a machine that stood still for longer has lost that
// capacity for good.
const mostOwed = 500 * time.Millisecond

// lend adds what a timer was late.
func (l *lateness) lend(d time.Duration) {
	for d > 0 {
		owed := l.owed.Load()
		if l.owed.CompareAndSwap(owed, min(owed+int64(d), int64(mostOwed))) {
			return
		}
	}
}

// borrow takes up to half of wanted from what is owed.
func (l *lateness) borrow(wanted time.Duration) time.Duration {
	for {
		owed := l.owed.Load()
		take := min(owed, int64(wanted/2))
		if l.owed.CompareAndSwap(owed, owed-take) {
			return time.Duration(take)
		}
	}
}

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	s.work()
	user := r.URL.Query().Get("user")
	for _, c := range s.node.calls {
		if c.path != "" && c.path != r.URL.Path {
			continue
		}
		if c.optional && !s.guard.Allowed(c.callee, user) {
			continue
		}
		if err := s.call(r.Context(), c, r.URL.RequestURI()); err != nil && !c.optional {
			http.Error(w, s.node.name+": "+err.Error(), http.StatusBadGateway)
			return
		}
	}
	_, _ = io.WriteString(w, s.node.name+" ok\n")
}

func (s *service) call(ctx context.Context, c call, uri string) error {
	to := s.callees[c.callee]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.base+uri, nil)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.callee, err)
	}
	res, err := to.client.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.callee, err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return fmt.Errorf("read answer of %s: %w", c.callee, err)
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("call %s: status %d", c.callee, res.StatusCode)
	}
	return nil
}

// handlers counts the handlers that run. Unlike a sync.WaitGroup it lets one
// begin while another goroutine waits: a closed server may still start one.
type handlers struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n falls to zero; nil while nobody waits
}

func (h *handlers) enter() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
}

func (h *handlers) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n--
	if h.n == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

func (h *handlers) wait() {
	h.mu.Lock()
	if h.n == 0 {
		h.mu.Unlock()
		return
	}
	if h.idle == nil {
		h.idle = make(chan struct{})
	}
	idle := h.idle
	h.mu.Unlock()
	<-idle
}
