package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// ErrorType says why a query has no answer, in the words of Prometheus' API.
type ErrorType string

// The closed set of query error types.
const (
	BadData   ErrorType = "bad_data"  // the question makes no sense
	Execution ErrorType = "execution" // it could not be evaluated on this data
	TimedOut  ErrorType = "timeout"
	Canceled  ErrorType = "canceled" // the caller went away
	Internal  ErrorType = "internal" // the storage failed
)

// QueryError is the error of a query.
type QueryError struct {
	Type ErrorType
	Err  error
}

// Error returns the type and the cause.
func (e *QueryError) Error() string { return string(e.Type) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *QueryError) Unwrap() error { return e.Err }

func errorTypeOf(err error) ErrorType {
	var (
		canceled promql.ErrQueryCanceled
		timeout  promql.ErrQueryTimeout
		storage  promql.ErrStorage
	)
	switch {
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	case errors.As(err, &canceled), errors.Is(err, context.Canceled):
		return Canceled
	case errors.As(err, &storage):
		return Internal
	default:
		return Execution
	}
}

// valueOf copies an engine value into the form of Prometheus' client
// libraries. The engine reuses its memory once the query is closed.
func valueOf(v parser.Value) (model.Value, error) {
	switch v := v.(type) {
	case promql.Scalar:
		return &model.Scalar{Value: model.SampleValue(v.V), Timestamp: model.Time(v.T)}, nil
	case promql.String:
		return &model.String{Value: v.V, Timestamp: model.Time(v.T)}, nil
	case promql.Vector:
		return vectorOf(v)
	case promql.Matrix:
		return matrixOf(v)
	default:
		return nil, fmt.Errorf("result of type %s", v.Type())
	}
}

// errNative cannot come up with what Append stores: only classic series go in.
var errNative = errors.New("native histograms are not supported")

func vectorOf(v promql.Vector) (model.Vector, error) {
	out := make(model.Vector, 0, len(v))
	for _, s := range v {
		if s.H != nil {
			return nil, errNative
		}
		out = append(out, &model.Sample{
			Metric: metricOf(s.Metric), Value: model.SampleValue(s.F), Timestamp: model.Time(s.T),
		})
	}
	return out, nil
}

func matrixOf(m promql.Matrix) (model.Matrix, error) {
	out := make(model.Matrix, 0, len(m))
	for _, s := range m {
		if len(s.Histograms) > 0 {
			return nil, errNative
		}
		stream := &model.SampleStream{Metric: metricOf(s.Metric), Values: make([]model.SamplePair, 0, len(s.Floats))}
		for _, p := range s.Floats {
			stream.Values = append(stream.Values, model.SamplePair{Timestamp: model.Time(p.T), Value: model.SampleValue(p.F)})
		}
		out = append(out, stream)
	}
	return out, nil
}

func metricOf(ls labels.Labels) model.Metric {
	m := make(model.Metric, ls.Len())
	ls.Range(func(l labels.Label) { m[model.LabelName(l.Name)] = model.LabelValue(l.Value) })
	return m
}
