package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
)

// maxFormBytes bounds the body of a query that comes as a form.
const maxFormBytes = 1 << 20

// statusClientGone is what Prometheus answers when the caller went away.
const statusClientGone = 499

// Handler serves the part of Prometheus' HTTP API that reads: queries by GET
// and by POST form, build information, health and readiness.
func (s *Store) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, method := range []string{"GET ", "POST "} {
		mux.HandleFunc(method+"/api/v1/query", s.answer(s.instant))
		mux.HandleFunc(method+"/api/v1/query_range", s.answer(s.ranged))
	}
	mux.HandleFunc("GET /api/v1/status/buildinfo", func(w http.ResponseWriter, _ *http.Request) {
		s.respond(w, http.StatusOK, envelope{Status: "success", Data: buildInfo()})
	})
	mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, r *http.Request) {
		s.respond(w, http.StatusNotFound, envelope{Status: "error", ErrorType: "not_found", Error: "no endpoint " + r.Method + " " + r.URL.Path})
	})
	mux.HandleFunc("GET /-/healthy", s.alive("Prometheus Server is Healthy.\n"))
	mux.HandleFunc("GET /-/ready", s.alive("Prometheus Server is Ready.\n"))
	return mux
}

// Transport answers requests in the place of a Prometheus, in the caller's own
// goroutine and without a socket.
func (s *Store) Transport() http.RoundTripper { return direct{s.Handler()} }

type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := &answerWriter{header: http.Header{}, code: http.StatusOK}
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	d.handler.ServeHTTP(w, r)
	return &http.Response{
		StatusCode: w.code, Status: http.StatusText(w.code), Header: w.header, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}, nil
}

// answerWriter keeps an answer in memory.
type answerWriter struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (w *answerWriter) Header() http.Header         { return w.header }
func (w *answerWriter) WriteHeader(code int)        { w.code = code }
func (w *answerWriter) Write(p []byte) (int, error) { return w.body.Write(p) }

// envelope is the outer JSON object of every answer.
type envelope struct {
	Status    string   `json:"status"`
	Data      any      `json:"data,omitempty"`
	ErrorType string   `json:"errorType,omitempty"`
	Error     string   `json:"error,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
	Infos     []string `json:"infos,omitempty"`
}

type queryData struct {
	ResultType string      `json:"resultType"`
	Result     model.Value `json:"result"`
}

// buildInfo names the release whose engine is embedded.
func buildInfo() map[string]string {
	return map[string]string{
		"version": "3.15.0", "revision": "embedded", "branch": "embedded",
		"buildUser": "", "buildDate": "", "goVersion": runtime.Version(),
	}
}

func (s *Store) alive(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.mu.RLock()
		closed := s.closed
		s.mu.RUnlock()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if closed {
			http.Error(w, ErrStoreClosed.Error(), http.StatusServiceUnavailable)
			return
		}
		if _, err := w.Write([]byte(text)); err != nil {
			s.log.Debug("write of an answer stopped", "err", err)
		}
	}
}

func (s *Store) answer(ask func(context.Context, *http.Request) (Result, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		res, err := s.ask(r, ask)
		if err != nil {
			kind, code := classify(err)
			s.respond(w, code, envelope{Status: "error", ErrorType: string(kind), Error: causeOf(err).Error()})
			return
		}
		s.respond(w, http.StatusOK, envelope{
			Status: "success", Data: queryData{res.Value.Type().String(), res.Value},
			Warnings: res.Warnings, Infos: res.Infos,
		})
	}
}

func (s *Store) ask(r *http.Request, ask func(context.Context, *http.Request) (Result, error)) (Result, error) {
	if err := r.ParseForm(); err != nil {
		return Result{}, badParam("form", err)
	}
	ctx := r.Context()
	if text := r.FormValue("timeout"); text != "" {
		timeout, err := parseDuration(text)
		if err != nil {
			return Result{}, badParam("timeout", err)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return ask(ctx, r)
}

func (s *Store) instant(ctx context.Context, r *http.Request) (Result, error) {
	at := s.Now()
	if text := r.FormValue("time"); text != "" {
		var err error
		if at, err = parseTime(text); err != nil {
			return Result{}, badParam("time", err)
		}
	}
	return s.Query(ctx, r.FormValue("query"), at)
}

func (s *Store) ranged(ctx context.Context, r *http.Request) (Result, error) {
	start, err := parseTime(r.FormValue("start"))
	if err != nil {
		return Result{}, badParam("start", err)
	}
	end, err := parseTime(r.FormValue("end"))
	if err != nil {
		return Result{}, badParam("end", err)
	}
	step, err := parseDuration(r.FormValue("step"))
	if err != nil {
		return Result{}, badParam("step", err)
	}
	return s.QueryRange(ctx, r.FormValue("query"), Range{Start: start, End: end, Step: step})
}

func badParam(name string, err error) error {
	return &QueryError{Type: BadData, Err: fmt.Errorf("invalid parameter %q: %w", name, err)}
}

// classify returns the error type and the status code that Prometheus gives.
func classify(err error) (ErrorType, int) {
	var q *QueryError
	if !errors.As(err, &q) {
		return Internal, http.StatusServiceUnavailable
	}
	switch q.Type {
	case BadData:
		return q.Type, http.StatusBadRequest
	case Execution:
		return q.Type, http.StatusUnprocessableEntity
	case TimedOut:
		return q.Type, http.StatusServiceUnavailable
	case Canceled:
		return q.Type, statusClientGone
	case Internal:
	}
	return Internal, http.StatusInternalServerError
}

// causeOf drops the type from the text, as it has a field of its own.
func causeOf(err error) error {
	var q *QueryError
	if errors.As(err, &q) {
		return q.Err
	}
	return err
}

func (s *Store) respond(w http.ResponseWriter, code int, e envelope) {
	body, err := json.Marshal(e)
	if err != nil {
		s.log.Error("answer could not be encoded", "err", err)
		http.Error(w, "answer could not be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if _, err := w.Write(body); err != nil {
		s.log.Debug("write of an answer stopped", "err", err)
	}
}

// parseTime reads a Unix time in seconds, rounded to the millisecond that the
// store resolves, or RFC 3339.
func parseTime(text string) (time.Time, error) {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(f) || math.Abs(f) > maxUnixSeconds {
			return time.Time{}, fmt.Errorf("%q is out of range", text)
		}
		return time.UnixMilli(int64(math.Round(f * 1000))).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither Unix seconds nor RFC 3339", text)
	}
	return t, nil
}

// maxUnixSeconds keeps milliseconds well within an int64 and within the years
// that RFC 3339 can write.
const maxUnixSeconds = 253402300799

// parseDuration reads seconds or a Prometheus duration such as 5m.
func parseDuration(text string) (time.Duration, error) {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(f) || math.Abs(f) > math.MaxInt64/float64(time.Second)/2 {
			return 0, fmt.Errorf("%q is out of range", text)
		}
		return time.Duration(f * float64(time.Second)), nil
	}
	d, err := model.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is neither seconds nor a duration such as 30s or 5m", text)
	}
	return time.Duration(d), nil
}
