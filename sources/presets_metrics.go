package sources

import "time"

// The presets, one per kind of software, in PromQL over the metric names that
// this software exports. Errors are what the caller did not get: the server's
// own failures, refusals and timeouts. Answers of class 4xx are the caller's.

// redPreset reads the common instrumentation of HTTP servers.
var redPreset = preset{
	window: time.Minute, service: "service",
	queries: map[string]string{
		"traffic":     rate(perService, series("http_requests_total")),
		"errors":      share(perService, series("http_requests_total", `code=~"5.."`), series("http_requests_total")),
		"latency":     mean(perService, series("http_request_duration_seconds_sum"), series("http_request_duration_seconds_count")),
		"latency_p99": p99(perService, series("http_request_duration_seconds_bucket"), series("http_request_duration_seconds_count")),
		"queue":       sum(perService, series("http_requests_in_flight")),
	},
}

// otelPreset reads the service graph connector of the OpenTelemetry collector,
// or the metrics generator of Tempo, which use the same names.
var otelPreset = preset{
	window: time.Minute, service: "server", client: "client", server: "server",
	queries: map[string]string{
		"traffic":     rate(perService, series("traces_service_graph_request_total")),
		"errors":      share(perService, series("traces_service_graph_request_failed_total"), series("traces_service_graph_request_total")),
		"latency":     mean(perService, series("traces_service_graph_request_server_seconds_sum"), series("traces_service_graph_request_server_seconds_count")),
		"latency_p99": p99(perService, series("traces_service_graph_request_server_seconds_bucket"), series("traces_service_graph_request_server_seconds_count")),

		"edge_traffic": rate(perEdge, series("traces_service_graph_request_total")),
		"edge_errors":  share(perEdge, series("traces_service_graph_request_failed_total"), series("traces_service_graph_request_total")),
		// What the caller waited, where its span was seen.
		"edge_latency": mean(perEdge, series("traces_service_graph_request_client_seconds_sum"), series("traces_service_graph_request_client_seconds_count")) +
			" or " + mean(perEdge, series("traces_service_graph_request_server_seconds_sum"), series("traces_service_graph_request_server_seconds_count")),
	},
}

// istioPreset reads Istio's standard metrics. A service is what the callee's
// proxy reports, an edge what the caller's proxy reports: only the latter sees
// calls that never arrived. Response code 0 is a call without an answer.
var istioPreset = preset{
	window: time.Minute, service: "destination_workload", client: "source_workload", server: "destination_workload",
	queries: map[string]string{
		"traffic": rate(perService, series("istio_requests_total", atCallee)),
		"errors":  share(perService, series("istio_requests_total", atCallee, istioFailed), series("istio_requests_total", atCallee)),
		"latency": mean(perService, series("istio_request_duration_milliseconds_sum", atCallee),
			series("istio_request_duration_milliseconds_count", atCallee)) + " / 1000",
		"latency_p99": "(" + p99(perService, series("istio_request_duration_milliseconds_bucket", atCallee),
			series("istio_request_duration_milliseconds_count", atCallee)) + ") / 1000",
		// DC: the caller closed the connection before the answer.
		"timeouts": part(perService, series("istio_requests_total", atCallee, `response_flags=~".*DC.*"`), series("istio_requests_total", atCallee)),

		"edge_traffic": rate(perEdge, series("istio_requests_total", atCaller, istioKnown)),
		"edge_errors": share(perEdge, series("istio_requests_total", atCaller, istioKnown, istioFailed),
			series("istio_requests_total", atCaller, istioKnown)),
		"edge_latency": mean(perEdge, series("istio_request_duration_milliseconds_sum", atCaller, istioKnown),
			series("istio_request_duration_milliseconds_count", atCaller, istioKnown)) + " / 1000",
		// UT: the proxy gave up waiting for the callee.
		"edge_timeouts": part(perEdge, series("istio_requests_total", atCaller, istioKnown, `response_flags=~".*UT.*"`),
			series("istio_requests_total", atCaller, istioKnown)),
	},
}

const (
	atCallee    = `reporter="destination"`
	atCaller    = `reporter="source"`
	istioFailed = `response_code=~"5..|0"`
	istioKnown  = `$client!="unknown",$server!="unknown"`
)

// envoyPreset reads Envoy's cluster statistics; a service is a cluster. The
// pool is known only where the cluster's circuit breaker tracks what remains.
var envoyPreset = preset{
	window: time.Minute, service: "envoy_cluster_name",
	queries: map[string]string{
		"traffic": rate(perService, series("envoy_cluster_upstream_rq_total")),
		"errors":  share(perService, series("envoy_cluster_upstream_rq_xx", `envoy_response_code_class="5"`), series("envoy_cluster_upstream_rq_xx")),
		"latency": mean(perService, series("envoy_cluster_upstream_rq_time_sum"), series("envoy_cluster_upstream_rq_time_count")) + " / 1000",
		"latency_p99": "(" + p99(perService, series("envoy_cluster_upstream_rq_time_bucket"),
			series("envoy_cluster_upstream_rq_time_count")) + ") / 1000",
		"queue": sum(perService, series("envoy_cluster_upstream_rq_active")) + " + " + sum(perService, series("envoy_cluster_upstream_rq_pending_active")),
		"pool": sum(perService, series("envoy_cluster_upstream_cx_active")) + " / (" + sum(perService, series("envoy_cluster_upstream_cx_active")) +
			" + " + sum(perService, series("envoy_cluster_circuit_breakers_default_remaining_cx")) + ")",
		"retries":  rate(perService, series("envoy_cluster_upstream_rq_retry")),
		"timeouts": rate(perService, series("envoy_cluster_upstream_rq_timeout")),
		// Every proxy counts the same hosts.
		"replicas": "max by ($service) (" + series("envoy_cluster_membership_healthy") + ")",
	},
}

// haproxyPreset reads HAProxy's own exporter; a service is a backend. Sessions
// are counted when a request arrives, requests when it ends, so sessions are
// the offered traffic. Current sessions include those that wait.
var haproxyPreset = preset{
	window: time.Minute, service: "proxy",
	queries: map[string]string{
		"traffic": rate(perService, series("haproxy_backend_sessions_total")),
		"errors":  share(perService, series("haproxy_backend_http_responses_total", `code="5xx"`), series("haproxy_backend_http_responses_total")),
		// HAProxy keeps its average over the last 1024 requests, however old.
		"latency": "avg by ($service) (" + series("haproxy_backend_total_time_average_seconds") + ") and " +
			rate(perService, series("haproxy_backend_http_requests_total")) + " > 0",
		"queue":    sum(perService, series("haproxy_backend_current_sessions")),
		"pool":     sum(perService, series("haproxy_server_current_sessions")) + " / " + sum(perService, series("haproxy_server_limit_sessions")),
		"retries":  rate(perService, series("haproxy_backend_retry_warnings_total")),
		"timeouts": rate(perService, series("haproxy_backend_client_aborts_total")),
		"replicas": "max by ($service) (" + series("haproxy_backend_active_servers") + ")",
	},
}

// guardPreset reads this project's own enforcement point. A request is counted
// when it ends. Errors are everything but ok, shed requests included: the
// caller got no answer either way, and shed tells how much of it is deliberate.
var guardPreset = preset{
	window: 15 * time.Second, service: "service", client: "service", server: "callee",
	queries: map[string]string{
		"traffic":     rate(perService, series("guard_requests_total")),
		"errors":      share(perService, series("guard_requests_total", `outcome!="ok"`), series("guard_requests_total")),
		"latency":     mean(perService, series("guard_request_duration_seconds_sum"), series("guard_request_duration_seconds_count")),
		"latency_p99": p99(perService, series("guard_request_duration_seconds_bucket"), series("guard_request_duration_seconds_count")),
		"queue":       sum(perService, series("guard_in_flight")) + " + " + sum(perService, series("guard_queue_length")),
		"pool":        guardPool,
		"retries":     part(perService, series("guard_requests_total", `attempt="retry"`), series("guard_requests_total")),
		"timeouts":    part(perService, series("guard_requests_total", `outcome="abandoned"`), series("guard_requests_total")),
		"replicas":    "count by ($service) (" + series("guard_workers") + ")",
		"goodput":     part(perService, series("guard_requests_total", `outcome="ok"`), series("guard_requests_total")),
		"shed":        part(perService, series("guard_requests_total", `outcome="shed"`), series("guard_requests_total")),

		// An attempt that an open breaker held back never reached the callee, so
		// it is no traffic; to the caller it is a failure all the same.
		"edge_traffic": part(perEdge, series("guard_client_attempts_total", sent), series("guard_client_attempts_total")),
		"edge_retries": part(perEdge, series("guard_client_attempts_total", sent, `attempt="retry"`), series("guard_client_attempts_total")),
		"edge_errors":  share(perEdge, series("guard_client_attempts_total", `outcome!="ok"`), series("guard_client_attempts_total")),
		"edge_latency": mean(perEdge, series("guard_client_request_duration_seconds_sum"), series("guard_client_request_duration_seconds_count")),
		"edge_timeouts": part(perEdge, series("guard_client_attempts_total", `outcome="timeout"`),
			series("guard_client_attempts_total")),
	},
}

// guardPool is the occupancy by finished work, or by requests in work where
// that is more: a handler that hangs adds no work seconds until it returns.
var guardPool = "(" + sum(perService, "avg_over_time("+series("guard_in_flight")+"[$w])") + " / " + sum(perService, series("guard_workers")) +
	") > (" + guardWork + ") or (" + guardWork + ")"

var guardWork = rate(perService, series("guard_work_seconds_total")) + " / " + sum(perService, series("guard_workers"))

const sent = `outcome!="breaker_open"`
