package world

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// column is one signal: its PromQL over the world's metrics, in which $w stands
// for the window, and the same arithmetic on what was scraped.
type column struct {
	signal sre.Signal
	query  string
	read   func(*span) number
}

func sumBy(labels, expr string) string { return "sum by (" + labels + ") (" + expr + ")" }

func rateBy(labels, series string) string { return sumBy(labels, "rate("+series+"[$w])") }

// serviceColumns are the columns of the guard preset in its order, then what
// only the world measures: a reader asks for the first signal of a kind and
// unit.
var serviceColumns = []column{
	{
		sre.Signal{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
		rateBy("service", "http_requests_total"),
		func(s *span) number { return s.rates(codeOK, 4) },
	},
	{
		// Errors are all that the caller did not get, refusals included.
		sre.Signal{Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
		rateBy("service", `http_requests_total{code!="200"}`) + " / " + rateBy("service", "http_requests_total"),
		func(s *span) number { return s.rates(codeError, 3).over(s.rates(codeOK, 4)) },
	},
	{
		sre.Signal{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
		rateBy("service", "http_request_duration_seconds_sum") + " / " + rateBy("service", "http_request_duration_seconds_count"),
		func(s *span) number { return s.rate(durationSum).over(s.rate(durationCount)) },
	},
	{
		sre.Signal{Name: "latency_p99", Kind: sre.Latency, Unit: sre.Seconds},
		"histogram_quantile(0.99, " + rateBy("service, le", "http_request_duration_seconds_bucket") + ") and " +
			sumBy("service", "increase(http_request_duration_seconds_count[$w])") + " >= 20",
		func(s *span) number {
			if n := s.rate(durationCount); !n.ok || n.v*s.window < 20 {
				return number{}
			}
			return s.quantile(.99)
		},
	},
	{
		sre.Signal{Name: "queue", Kind: sre.Queue, Unit: sre.Count},
		sumBy("service", "http_requests_in_flight") + " + " + sumBy("service", "queue_depth"),
		func(s *span) number { return s.gauge(inFlight).plus(s.gauge(queueDepth)) },
	},
	{
		// Workers and processors are both bounded; the fuller of the two says
		// how much room is left.
		sre.Signal{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
		"clamp_max((" + workersTaken + ") > (" + coresTaken + ") or (" + coresTaken + "), 1)",
		func(s *span) number {
			return s.rate(poolBusy).over(s.gauge(poolSize)).orElse(s.rate(cpuSeconds).over(s.gauge(cpuCores))).atMost(1)
		},
	},
	{
		sre.Signal{Name: "retries", Kind: sre.Retries, Unit: sre.PerSecond},
		rateBy("service", "http_request_retries_total"),
		func(s *span) number { return s.rate(retriesEnded) },
	},
	{
		sre.Signal{Name: "timeouts", Kind: sre.Timeouts, Unit: sre.PerSecond},
		rateBy("service", `http_requests_total{code="499"}`),
		func(s *span) number { return s.rate(codeAbandoned) },
	},
	{
		sre.Signal{Name: "replicas", Kind: sre.Replicas, Unit: sre.Count},
		sumBy("service", "kube_deployment_status_replicas_ready"),
		func(s *span) number { return s.gauge(replicasReady) },
	},
	{
		sre.Signal{Name: "goodput", Kind: sre.Traffic, Unit: sre.PerSecond},
		rateBy("service", `http_requests_total{code="200"}`),
		func(s *span) number { return s.rate(codeOK) },
	},
	{
		sre.Signal{Name: "shed", Kind: sre.Errors, Unit: sre.PerSecond},
		rateBy("service", `shed_total{reason="cap"}`),
		func(s *span) number { return s.rates(shed, fluid.Classes) },
	},
	{
		sre.Signal{Name: "cache", Kind: sre.Cache, Unit: sre.Ratio},
		rateBy("service", `cache_requests_total{result="hit"}`) + " / " + rateBy("service", "cache_requests_total"),
		func(s *span) number { return s.rate(cacheHits).over(s.rates(cacheHits, 2)) },
	},
	{
		sre.Signal{Name: "cpu", Kind: sre.Saturation, Unit: sre.Ratio},
		coresTaken,
		func(s *span) number { return s.rate(cpuSeconds).over(s.gauge(cpuCores)) },
	},
	{
		// Workers by themselves: behind busier processors nobody sees them leak.
		sre.Signal{Name: "workers", Kind: sre.Pool, Unit: sre.Ratio},
		workersTaken,
		func(s *span) number { return s.rate(poolBusy).over(s.gauge(poolSize)) },
	},
}

var (
	workersTaken = rateBy("service", "pool_busy_seconds_total") + " / " + sumBy("service", "pool_size")
	coresTaken   = rateBy("service", "process_cpu_seconds_total") + " / " + sumBy("service", "process_cpu_cores")
)

const perEdge = "service, callee"

// edgeColumns are those of the guard preset in its order. An attempt that an
// open breaker held back never reached the callee, so it is no traffic; to the
// caller it is a failure all the same.
var edgeColumns = []column{
	{
		sre.Signal{Name: "edge_traffic", Kind: sre.Traffic, Unit: sre.PerSecond, Edge: true},
		rateBy(perEdge, `upstream_rq_completed_total{outcome!="breaker_open"}`),
		func(s *span) number { return s.rates(s.edge+attemptsOK, 3) },
	},
	{
		sre.Signal{Name: "edge_retries", Kind: sre.Retries, Unit: sre.PerSecond, Edge: true},
		rateBy(perEdge, "upstream_rq_retry_total"),
		func(s *span) number { return s.rate(s.edge + attemptsAgain) },
	},
	{
		sre.Signal{Name: "edge_errors", Kind: sre.Errors, Unit: sre.Ratio, Edge: true},
		rateBy(perEdge, `upstream_rq_completed_total{outcome!="ok"}`) + " / " + rateBy(perEdge, "upstream_rq_completed_total"),
		func(s *span) number { return s.rates(s.edge+attemptsFailed, 3).over(s.rates(s.edge+attemptsOK, 4)) },
	},
	{
		sre.Signal{Name: "edge_latency", Kind: sre.Latency, Unit: sre.Seconds, Edge: true},
		rateBy(perEdge, "upstream_rq_duration_seconds_sum") + " / " + rateBy(perEdge, "upstream_rq_completed_total"),
		func(s *span) number { return s.rate(s.edge + attemptSeconds).over(s.rates(s.edge+attemptsOK, 4)) },
	},
	{
		sre.Signal{Name: "edge_timeouts", Kind: sre.Timeouts, Unit: sre.PerSecond, Edge: true},
		rateBy(perEdge, `upstream_rq_completed_total{outcome="timeout"}`),
		func(s *span) number { return s.rate(s.edge + attemptsTimedOut) },
	},
}

// Signals returns the columns of a snapshot: those of services, then those of
// edges.
func Signals() []sre.Signal {
	return append(signalsOf(serviceColumns), signalsOf(edgeColumns)...)
}

func signalsOf(columns []column) []sre.Signal {
	out := make([]sre.Signal, len(columns))
	for i, c := range columns {
		out[i] = c.signal
	}
	return out
}

// SignalsYAML writes the signals.yaml of a recording of this world: the PromQL
// whose answers on the world's metrics are the columns of its snapshots.
func (w *World) SignalsYAML() []byte {
	var b strings.Builder
	b.WriteString("signals:\n")
	window := model.Duration(w.o.Window).String()
	for _, columns := range [][]column{serviceColumns, edgeColumns} {
		for _, c := range columns {
			s := c.signal
			fmt.Fprintf(&b, "  - name: %s\n    kind: %s\n    query: %s\n    unit: %s\n",
				s.Name, s.Kind, quote(strings.ReplaceAll(c.query, "$w", window)), s.Unit)
			if s.Edge {
				b.WriteString("    client_label: service\n    server_label: callee\n")
			} else {
				b.WriteString("    service_label: service\n")
			}
		}
	}
	return []byte(b.String())
}

// TopologyYAML writes the topology.yaml of a recording of this world.
func (w *World) TopologyYAML() []byte {
	var b strings.Builder
	b.WriteString("edges:")
	if len(w.graph.Edges) == 0 {
		b.WriteString(" []")
	}
	b.WriteByte('\n')
	for _, e := range w.graph.Edges {
		fmt.Fprintf(&b, "  - {from: %s, to: %s, calls_per_request: %g, timeout: %s, retries: %d, hard: %t}\n",
			quote(w.graph.Services[e.From].Name), quote(w.graph.Services[e.To].Name),
			e.Spec.CallsPerRequest, model.Duration(e.Spec.Timeout), e.Spec.Retries, e.Spec.Hard)
	}
	b.WriteString("entries:")
	if len(w.graph.Entries()) == 0 {
		b.WriteString(" []")
	}
	b.WriteByte('\n')
	for _, i := range w.graph.Entries() {
		fmt.Fprintf(&b, "  - %s\n", quote(w.graph.Services[i].Name))
	}
	return []byte(b.String())
}

// quote writes a YAML scalar in single quotes, in which nothing but the quote
// itself has a meaning.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// memory is what was last seen of every cell, so that a value that is gone can
// stand as stale for a while. Cells are column by column.
type memory struct {
	service, edge cells
	signals       []sre.Signal
	edgeSignals   []sre.Signal
	span          span
}

type cells struct {
	columns  []column
	subjects int
	values   []float64
	at       []int64 // nanoseconds; never for none
}

const never = math.MinInt64

func (m *memory) init(services, edges int) {
	m.signals, m.edgeSignals = signalsOf(serviceColumns), signalsOf(edgeColumns)
	m.service = newCells(serviceColumns, services)
	m.edge = newCells(edgeColumns, edges)
}

func newCells(columns []column, subjects int) cells {
	c := cells{
		columns: columns, subjects: subjects,
		values: make([]float64, len(columns)*subjects), at: make([]int64, len(columns)*subjects),
	}
	for i := range c.at {
		c.at[i] = never
	}
	return c
}

// fill reads all columns of one subject into the matrix.
func (c *cells) fill(m *sre.Matrix, subject int, s *span, at int64, stale time.Duration) {
	for row := range c.columns {
		i := row*c.subjects + subject
		n := c.columns[row].read(s)
		switch {
		case n.ok && (math.IsNaN(n.v) || math.IsInf(n.v, 0)):
			// An answer too: it is asked for and known not to be there.
			c.values[i], c.at[i] = 0, never
		case n.ok:
			c.values[i], c.at[i] = n.v, at
			m.Values[i], m.States[i] = n.v, sre.Present
		default:
			c.remember(m, i, at, stale)
		}
	}
}

// remember gives the last value while it is no older than the bound.
func (c *cells) remember(m *sre.Matrix, i int, at int64, stale time.Duration) {
	if c.at[i] != never && at-c.at[i] <= int64(stale) {
		m.Values[i], m.States[i] = c.values[i], sre.Stale
	}
}
