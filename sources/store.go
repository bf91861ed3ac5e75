package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
)

// The closed set of reasons why a query gave no usable answer.
const (
	reasonTimeout  = "timeout"
	reasonHTTP     = "http"
	reasonBadData  = "bad_data"
	reasonCanceled = "canceled"
)

// maxAnswer bounds one answer in bytes: a query without aggregation must not
// exhaust the memory of the agent in the middle of an incident.
const maxAnswer = 64 << 20

// rangePatience is how many query timeouts a range query may take: it reads
// hundreds of instants, and nobody waits for it in the middle of a tick.
const rangePatience = 6

var errTooLarge = fmt.Errorf("answer is larger than %d bytes", maxAnswer)

// badData marks an answer that came but cannot be used.
type badData struct{ problem string }

func (b badData) Error() string { return b.problem }

// sample is one value of an answer, by the two names that say what it is of:
// caller and callee for an edge, service and version for a version label, and
// the service alone otherwise.
type sample struct {
	a, b  string
	value float64
}

func (s sample) compare(o sample) int {
	return cmp.Or(cmp.Compare(s.a, o.a), cmp.Compare(s.b, o.b))
}

// ask is one query and the labels that name its samples. An empty label b means
// that one name is enough.
type ask struct {
	name, expr string
	a, b       model.LabelName
}

// store asks one Prometheus.
type store struct {
	api     promv1.API
	client  *http.Client
	timeout time.Duration
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
}

func newStore(cfg PrometheusConfig, o Options, m *metrics) (*store, error) {
	client, err := newClient(cfg.HTTP, fromPrometheus)
	if err != nil {
		return nil, err
	}
	if o.Transport != nil {
		client = &http.Client{Transport: o.Transport}
	}
	c, err := api.NewClient(api.Config{Address: cfg.URL, Client: client})
	if err != nil {
		return nil, fmt.Errorf("make the prometheus client: %w", err)
	}
	return &store{api: promv1.NewAPI(c), client: client, timeout: time.Duration(cfg.Timeout), now: o.Now, log: o.Log, metrics: m}, nil
}

func newClient(cfg config.HTTPClientConfig, name string) (*http.Client, error) {
	client, err := config.NewClientFromConfig(cfg, name)
	if err != nil {
		return nil, fmt.Errorf("make the %s client: %w", name, err)
	}
	client.Transport = bounded{client.Transport}
	return client, nil
}

// instant asks for one instant and returns the samples sorted by name.
func (s *store) instant(ctx context.Context, q ask, at time.Time) ([]sample, error) {
	value, err := s.timed(ctx, s.timeout, func(ctx context.Context) (model.Value, promv1.Warnings, error) {
		v, w, _, err := s.api.Query(ctx, q.expr, at)
		return v, w, err
	})
	if err != nil {
		return nil, s.failed(q, err)
	}
	samples, err := q.vector(value)
	if err != nil {
		return nil, s.failed(q, err)
	}
	return samples, nil
}

// span asks for the steps of a range and returns the samples of each, sorted.
func (s *store) span(ctx context.Context, q ask, r promv1.Range, steps int) ([][]sample, error) {
	value, err := s.timed(ctx, rangePatience*s.timeout, func(ctx context.Context) (model.Value, promv1.Warnings, error) {
		v, w, _, err := s.api.QueryRange(ctx, q.expr, r)
		return v, w, err
	})
	if err != nil {
		return nil, s.failed(q, err)
	}
	samples, err := q.matrix(value, r, steps)
	if err != nil {
		return nil, s.failed(q, err)
	}
	return samples, nil
}

// timed runs one request under its own deadline and measures it.
func (s *store) timed(ctx context.Context, timeout time.Duration, do func(context.Context) (model.Value, promv1.Warnings, error)) (model.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, err // the tick is over: nothing more is sent
	}
	began := s.now()
	value, warnings, err := do(ctx)
	s.metrics.queries.WithLabelValues(fromPrometheus).Inc()
	s.metrics.duration.WithLabelValues(fromPrometheus).Observe(s.now().Sub(began).Seconds())
	if len(warnings) > 0 {
		s.metrics.warnings.Inc()
		s.log.DebugContext(ctx, "query answered with warnings", "warnings", []string(warnings))
	}
	if err != nil && ctx.Err() != nil {
		// The transport reports its own wording for the end of a context.
		return nil, ctx.Err()
	}
	return value, err
}

func (s *store) failed(q ask, err error) error {
	s.metrics.failures.WithLabelValues(fromPrometheus, reasonOf(err)).Inc()
	return fmt.Errorf("query %s: %w", q.name, err)
}

func reasonOf(err error) string {
	var refused *promv1.Error
	var unusable badData
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return reasonTimeout
	case errors.Is(err, context.Canceled):
		return reasonCanceled
	case errors.As(err, &unusable), errors.Is(err, errTooLarge):
		return reasonBadData
	case errors.As(err, &refused):
		switch refused.Type {
		case promv1.ErrTimeout:
			return reasonTimeout
		case promv1.ErrCanceled:
			return reasonCanceled
		case promv1.ErrServer, promv1.ErrClient:
			// Prometheus answers 503 when a query takes too long for its own
			// limit; the client library reads the body of 4xx only.
			if strings.Contains(refused.Detail, `"errorType":"timeout"`) {
				return reasonTimeout
			}
			return reasonHTTP
		case promv1.ErrBadData, promv1.ErrExec, promv1.ErrBadResponse:
			return reasonBadData
		}
		return reasonBadData
	}
	return reasonHTTP
}

func (q ask) vector(value model.Value) ([]sample, error) {
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, wrongType(value, model.ValVector)
	}
	out := make([]sample, 0, len(vector))
	for _, s := range vector {
		if s.Histogram != nil {
			return nil, badData{"answer holds native histograms; wrap it in histogram_quantile or histogram_avg"}
		}
		if a, b, ok := q.names(s.Metric); ok {
			out = append(out, sample{a: a, b: b, value: float64(s.Value)})
		}
	}
	if len(out) == 0 && len(vector) > 0 {
		return nil, q.unnamed()
	}
	return out, q.order(out)
}

func (q ask) matrix(value model.Value, r promv1.Range, steps int) ([][]sample, error) {
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, wrongType(value, model.ValMatrix)
	}
	out := make([][]sample, steps)
	named := 0
	for _, s := range matrix {
		if len(s.Histograms) > 0 {
			return nil, badData{"answer holds native histograms; wrap it in histogram_quantile or histogram_avg"}
		}
		a, b, ok := q.names(s.Metric)
		if !ok {
			continue
		}
		named++
		for _, p := range s.Values {
			since, step := int64(p.Timestamp)-r.Start.UnixMilli(), r.Step.Milliseconds()
			i := int(since / step)
			if since < 0 || i >= steps || since%step != 0 {
				return nil, badData{"answer holds times that were not asked for"}
			}
			out[i] = append(out[i], sample{a: a, b: b, value: float64(p.Value)})
		}
	}
	if named == 0 && len(matrix) > 0 {
		return nil, q.unnamed()
	}
	for _, samples := range out {
		if err := q.order(samples); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// names reads the labels that say what a sample is of. Samples without them
// belong to nothing that the graph knows and are left out.
func (q ask) names(m model.Metric) (a, b string, ok bool) {
	a = string(m[q.a])
	if q.b == "" {
		return a, "", a != ""
	}
	b = string(m[q.b])
	return a, b, a != "" && b != ""
}

func (q ask) unnamed() error {
	if q.b == "" {
		return badData{fmt.Sprintf("no sample carries the label %q", q.a)}
	}
	return badData{fmt.Sprintf("no sample carries the labels %q and %q", q.a, q.b)}
}

// order sorts samples and refuses two of one name: which of them counts would
// depend on the order of the answer, and their sum is not ours to assume.
func (q ask) order(samples []sample) error {
	slices.SortFunc(samples, sample.compare)
	for i := 1; i < len(samples); i++ {
		if samples[i].compare(samples[i-1]) == 0 {
			by := string(q.a)
			if q.b != "" {
				by += ", " + string(q.b)
			}
			return badData{fmt.Sprintf("answer holds several samples for %q; aggregate the query by (%s)", samples[i].a, by)}
		}
	}
	return nil
}

func wrongType(got model.Value, want model.ValueType) error {
	if got == nil {
		return badData{fmt.Sprintf("answer holds no value; want a %s", want)}
	}
	return badData{fmt.Sprintf("answer is a %s; want a %s", got.Type(), want)}
}

// bounded is a transport whose answers end with an error beyond maxAnswer.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

// CloseIdleConnections lets http.Client reach the wrapped transport.
func (b bounded) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, errTooLarge
	}
	return n, err
}
