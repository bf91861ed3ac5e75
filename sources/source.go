package sources

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Options is what the process around a source gives it.
type Options struct {
	Log        *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing
	Now        func() time.Time      // nil is time.Now; measures queries and dates reports that carry no time
	Interval   time.Duration         // of ticks; 0 is 15s
	// Transport, where set, takes the place of the network between the source
	// and its Prometheus: a recording answers there in a replay. Its answers are
	// not bounded.
	Transport http.RoundTripper
	// Topology, where set, is used instead of the topology file.
	Topology *Topology
}

// Source reads Prometheus, a topology file and Jaeger. It implements
// sre.Source; Report may be called at any time from any goroutine.
type Source struct {
	store    *store
	jaeger   *jaeger // nil when off
	log      *slog.Logger
	now      func() time.Time
	metrics  *metrics
	interval time.Duration

	concurrency int
	lookback    time.Duration
	fromMetrics bool

	plans []plan // every query, signals first

	turn sync.Mutex // held through one Observe, so that ticks do not overlap

	mu       sync.Mutex // guards what follows
	budget   *budget
	graph    *growth
	service  block
	edge     block
	versions []*versionWatch
	reports  *reports
	failing  []bool // by plan
	last     time.Time
	tick     int64
	full     bool // the graph was reported to be full
}

var _ sre.Source = (*Source)(nil)

// plan is one query and what its answer is for: a column, or a watch on
// versions.
type plan struct {
	ask    ask
	column *column
	watch  *versionWatch
}

// New returns a source. Mistakes in the configuration are returned as
// sre.Faults; it reads the topology file, and asks nothing of the network yet.
func New(cfg Config, o Options) (*Source, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, faults
	}
	o = o.withDefaults()
	topology := o.Topology
	if topology == nil && cfg.Topology.File != "" {
		t, err := LoadTopology(cfg.Topology.File)
		if err != nil {
			return nil, err
		}
		topology = t
	}
	m := newMetrics(o.Registerer, cfg.Topology.Jaeger.URL != "")
	s := &Source{
		log:         o.Log,
		now:         o.Now,
		metrics:     m,
		interval:    o.Interval,
		concurrency: cfg.Prometheus.Concurrency,
		lookback:    cfg.Prometheus.lookback(o.Interval),
		fromMetrics: cfg.Topology.FromMetrics,
		graph:       newGrowth(cfg.Topology.MaxServices, time.Duration(cfg.Topology.ForgetAfter), topology),
		reports:     newReports(cfg.Changes.API),
	}
	var err error
	if s.store, err = newStore(cfg.Prometheus, o, m); err != nil {
		return nil, err
	}
	if cfg.Topology.Jaeger.URL != "" {
		if s.jaeger, err = newJaeger(cfg.Topology.Jaeger, o, m); err != nil {
			return nil, err
		}
	}
	s.lay(cfg)
	s.budget = newBudget(len(s.plans), cfg.Prometheus.MaxQueriesPerTick)
	s.failing = make([]bool, len(s.plans))
	return s, nil
}

// lay makes the columns and the queries that fill them. Queries of one name
// fill one column.
func (s *Source) lay(cfg Config) {
	byName := make(map[string]*column)
	for _, q := range cfg.Signals.Queries() {
		c, ok := byName[q.Name]
		if !ok {
			c = &column{signal: q.Signal()}
			byName[q.Name] = c
			if q.Edge() {
				s.edge = append(s.edge, c)
			} else {
				s.service = append(s.service, c)
			}
		}
		a := ask{name: q.Name, expr: q.Query, a: model.LabelName(q.ServiceLabel)}
		if q.Edge() {
			a.a, a.b = model.LabelName(q.ClientLabel), model.LabelName(q.ServerLabel)
		}
		s.plans = append(s.plans, plan{ask: a, column: c})
	}
	for i, v := range cfg.Changes.VersionLabels {
		w := newVersionWatch()
		s.versions = append(s.versions, w)
		s.plans = append(s.plans, plan{watch: w, ask: ask{
			name: sre.Item("version_labels", i), expr: v.Query, a: model.LabelName(v.ServiceLabel), b: model.LabelName(v.VersionLabel),
		}})
	}
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Interval <= 0 {
		o.Interval = 15 * time.Second
	}
	return o
}

// lookback is how long a value stays stale: as configured, else five intervals,
// but at least the five minutes after which Prometheus itself forgets a series.
func (p PrometheusConfig) lookback(interval time.Duration) time.Duration {
	if p.Lookback > 0 {
		return time.Duration(p.Lookback)
	}
	return max(5*interval, 5*time.Minute)
}

// Close lets go of idle connections. The source must not be used afterwards.
func (s *Source) Close() {
	clients := []*http.Client{s.store.client}
	if s.jaeger != nil {
		clients = append(clients, s.jaeger.client)
	}
	for _, c := range clients {
		c.CloseIdleConnections()
	}
}
