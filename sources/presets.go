package sources

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// columns fixes the name, meaning and order of every column that a preset can
// fill. The order carries meaning: a reader asks for the first signal of a kind
// and unit, so offered traffic stands before goodput and the mean latency
// before the p99.
var columns = []sre.Signal{
	{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
	{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "latency_p99", Kind: sre.Latency, Unit: sre.Seconds},
	{Name: "queue", Kind: sre.Queue, Unit: sre.Count},
	{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
	{Name: "retries", Kind: sre.Retries, Unit: sre.PerSecond},
	{Name: "timeouts", Kind: sre.Timeouts, Unit: sre.PerSecond},
	{Name: "replicas", Kind: sre.Replicas, Unit: sre.Count},
	{Name: "goodput", Kind: sre.Traffic, Unit: sre.PerSecond},
	{Name: "shed", Kind: sre.Errors, Unit: sre.PerSecond},
	{Name: "edge_traffic", Kind: sre.Traffic, Unit: sre.PerSecond, Edge: true},
	{Name: "edge_retries", Kind: sre.Retries, Unit: sre.PerSecond, Edge: true},
	{Name: "edge_errors", Kind: sre.Errors, Unit: sre.Ratio, Edge: true},
	{Name: "edge_latency", Kind: sre.Latency, Unit: sre.Seconds, Edge: true},
	{Name: "edge_timeouts", Kind: sre.Timeouts, Unit: sre.PerSecond, Edge: true},
}

// preset is a set of queries for the metrics of one kind of software. In the
// queries $service, $client and $server stand for labels, $w for the rate
// window and $sel for the user's own matchers.
type preset struct {
	window                  time.Duration
	service, client, server string
	queries                 map[string]string // by column name
}

var presets = map[string]preset{
	"red":               redPreset,
	"otel-servicegraph": otelPreset,
	"istio":             istioPreset,
	"envoy":             envoyPreset,
	"haproxy":           haproxyPreset,
	"guard":             guardPreset,
}

// PresetNames returns the names of all presets, sorted.
func PresetNames() []string { return slices.Sorted(maps.Keys(presets)) }

// tidy removes what an empty $sel leaves behind.
var tidy = strings.NewReplacer(",}", "}", "{}", "")

func (p preset) query(column sre.Signal, window model.Duration, o Overrides) (SignalQuery, bool) {
	text, ok := p.queries[column.Name]
	if !ok {
		return SignalQuery{}, false
	}
	if window == 0 {
		window = model.Duration(p.window)
	}
	service := or(o.ServiceLabel, p.service)
	client, server := or(o.ClientLabel, p.client), or(o.ServerLabel, p.server)
	q := SignalQuery{Name: column.Name, Kind: column.Kind, Unit: column.Unit}
	if column.Edge {
		q.ClientLabel, q.ServerLabel = client, server
	} else {
		q.ServiceLabel = service
	}
	q.Query = tidy.Replace(strings.NewReplacer("$service", service, "$client", client, "$server", server,
		"$w", window.String(), "$sel", o.Selector).Replace(text))
	return q, true
}

func or(override, usual string) string {
	if override != "" {
		return override
	}
	return usual
}

const (
	perService = "$service"
	perEdge    = "$client, $server"
)

// series selects a metric with the preset's matchers and the user's.
func series(metric string, matchers ...string) string {
	return metric + "{" + strings.Join(append(matchers, "$sel"), ",") + "}"
}

func sum(by, selector string) string { return "sum by (" + by + ") (" + selector + ")" }

func rate(by, selector string) string { return sum(by, "rate("+selector+"[$w])") }

// part is a rate that is zero where its whole is known: a counter that nothing
// has touched yet has no series, and no errors is not the same as no data.
func part(by, selector, whole string) string {
	return "(" + rate(by, selector) + " or 0 * " + rate(by, whole) + ")"
}

// share is part over whole; without traffic it is 0/0, which is not a number,
// and so absent.
func share(by, selector, whole string) string {
	return part(by, selector, whole) + " / " + rate(by, whole)
}

// mean is the average of a histogram or summary over the window.
func mean(by, sumSeries, countSeries string) string {
	return rate(by, sumSeries) + " / " + rate(by, countSeries)
}

// p99 asks for at least 20 requests in the window: of fewer, the 99th
// percentile is but the slowest one.
func p99(by, buckets, count string) string {
	return "histogram_quantile(0.99, " + rate(by+", le", buckets) + ") and " + sum(by, "increase("+count+"[$w])") + " >= 20"
}
