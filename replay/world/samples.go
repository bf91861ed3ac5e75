package world

import (
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay/fluid"
)

// Sample is one measurement as a scrape yields it. Metric carries the name under
// __name__ and must not be changed. A Stale sample ends its series, as
// Prometheus marks those of a target that does not answer. It has the form of
// replay.Sample and converts to it.
type Sample struct {
	Metric model.Metric
	Value  float64
	Stale  bool
}

// catalog is the metrics of one target, made once: the values of a scrape with
// their names and labels.
type catalog struct {
	up      model.Metric
	metrics []model.Metric // by field; nil for what the service does not have
}

// classNames are the priority classes as labels, the most important first.
var classNames = [fluid.Classes]string{"critical", "high", "normal", "low"}

// serviceMetrics names the fields of a service that need no label but service.
var serviceMetrics = map[int]string{
	retriesEnded:   "http_request_retries_total",
	durationSum:    "http_request_duration_seconds_sum",
	durationCount:  "http_request_duration_seconds_count",
	inFlight:       "http_requests_in_flight",
	queueDepth:     "queue_depth",
	poolSize:       "pool_size",
	poolInUse:      "pool_in_use",
	poolWaits:      "pool_wait_total",
	poolBusy:       "pool_busy_seconds_total",
	cpuSeconds:     "process_cpu_seconds_total",
	cpuCores:       "process_cpu_cores",
	gcSeconds:      "gc_duration_seconds_total",
	replicasWanted: "kube_deployment_status_replicas",
	replicasReady:  "kube_deployment_status_replicas_ready",
	restarts:       "kube_pod_container_status_restarts_total",
}

func (w *World) catalogue(i int) *catalog {
	if w.catalogs == nil {
		w.catalogs = make([]*catalog, len(w.targets))
	}
	if w.catalogs[i] == nil {
		w.catalogs[i] = w.newCatalog(i)
	}
	return w.catalogs[i]
}

func (w *World) newCatalog(i int) *catalog {
	service := w.plan.Services[i].Name
	t := &w.targets[i]
	c := &catalog{up: metric("up", "service", service), metrics: make([]model.Metric, t.fields)}
	for field, name := range serviceMetrics {
		c.metrics[field] = metric(name, "service", service)
	}
	for field, code := range map[int]string{codeOK: "200", codeError: "500", codeAbandoned: "499", codeRefused: "503"} {
		c.metrics[field] = metric("http_requests_total", "service", service, "code", code)
	}
	for class, name := range classNames {
		c.metrics[received+class] = metric("http_requests_received_total", "service", service, "priority", name)
		c.metrics[shed+class] = metric("shed_total", "service", service, "priority", name, "reason", "cap")
	}
	c.metrics[overflow] = metric("shed_total", "service", service, "reason", "queue_full")
	for b, bound := range bounds {
		le := strconv.FormatFloat(bound, 'g', -1, 64)
		c.metrics[bucket+b] = metric("http_request_duration_seconds_bucket", "service", service, "le", le)
	}
	if w.plan.Services[i].Cache.HitRatio > 0 {
		c.metrics[cacheHits] = metric("cache_requests_total", "service", service, "result", "hit")
		c.metrics[cacheMisses] = metric("cache_requests_total", "service", service, "result", "miss")
	}
	for n, call := range t.calls {
		at := serviceFields + n*edgeFields
		callee := w.graph.Services[w.graph.Edges[call.edge].To].Name
		edge := func(field int, name string, labels ...string) {
			c.metrics[at+field] = metric(name, append([]string{"service", service, "callee", callee}, labels...)...)
		}
		edge(attempts, "upstream_rq_total")
		edge(attemptsAgain, "upstream_rq_retry_total")
		edge(attemptsOK, "upstream_rq_completed_total", "outcome", "ok")
		edge(attemptsFailed, "upstream_rq_completed_total", "outcome", "error")
		edge(attemptsTimedOut, "upstream_rq_completed_total", "outcome", "timeout")
		edge(attemptsFast, "upstream_rq_completed_total", "outcome", "breaker_open")
		edge(retriesSuppressed, "upstream_rq_retry_suppressed_total")
		edge(attemptSeconds, "upstream_rq_duration_seconds_sum")
		edge(breakerState, "breaker_state")
	}
	return c
}

func metric(name string, labels ...string) model.Metric {
	m := make(model.Metric, 1+len(labels)/2)
	m[model.MetricNameLabel] = model.LabelValue(name)
	for i := 0; i+1 < len(labels); i += 2 {
		m[model.LabelName(labels[i])] = model.LabelValue(labels[i+1])
	}
	return m
}

// Samples runs the world to an instant and returns what every service would
// answer to a scrape there, whether or not one is due: cumulative counters and
// gauges, services in the order of the blueprint. It is no scrape: the agent
// sees nothing of it. Durations are put into their buckets from call to call, so
// samples of Samples and of Options.Scraped must not be stored as one.
func (w *World) Samples(at time.Time) []Sample {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(at)
	if w.asked == nil {
		w.asked = make([]counters, len(w.targets))
		for i := range w.asked {
			w.asked[i].at = w.o.Start
		}
	}
	var out []Sample
	for i := range w.targets {
		values := w.scratch[:w.targets[i].fields]
		w.measure(i, values, &w.asked[i], w.clock())
		out = w.append(out, i, values)
	}
	return out
}

// append adds the answer of one service.
func (w *World) append(out []Sample, i int, values []float64) []Sample {
	c := w.catalogue(i)
	out = append(out, Sample{Metric: c.up, Value: 1})
	for field, m := range c.metrics {
		if m != nil {
			out = append(out, Sample{Metric: m, Value: values[field]})
		}
	}
	return append(out, Sample{Metric: w.build(i, w.targets[i].version), Value: 1})
}

func (w *World) build(i int, version string) model.Metric {
	return metric("build_info", "service", w.plan.Services[i].Name, "version", version)
}

// expose adds one scrape to what Scraped sees. was says whether the scrape
// before succeeded.
func (w *World) expose(i int, values []float64, was bool) {
	t := &w.targets[i]
	if t.alive {
		w.samples = w.append(w.samples, i, values)
		if was && t.previous != "" {
			w.samples = append(w.samples, Sample{Metric: w.build(i, t.previous), Stale: true})
		}
		return
	}
	c := w.catalogue(i)
	w.samples = append(w.samples, Sample{Metric: c.up})
	if !was {
		return
	}
	for _, m := range c.metrics {
		if m != nil {
			w.samples = append(w.samples, Sample{Metric: m, Stale: true})
		}
	}
	version := t.version
	if t.previous != "" {
		version = t.previous
	}
	w.samples = append(w.samples, Sample{Metric: w.build(i, version), Stale: true})
}
