package sources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// jaeger asks for the dependency graph that traces show.
type jaeger struct {
	base     string
	client   *http.Client
	lookback time.Duration
	interval time.Duration
	timeout  time.Duration
	now      func() time.Time
	log      *slog.Logger
	metrics  *metrics

	tried   time.Time
	failing bool
}

func newJaeger(cfg JaegerConfig, o Options, m *metrics) (*jaeger, error) {
	client, err := newClient(cfg.HTTP, fromJaeger)
	if err != nil {
		return nil, err
	}
	return &jaeger{
		base: strings.TrimRight(cfg.URL, "/"), client: client,
		lookback: time.Duration(cfg.Lookback), interval: time.Duration(cfg.Interval), timeout: time.Duration(cfg.Timeout),
		now: o.Now, log: o.Log, metrics: m,
	}, nil
}

// due reports whether it is time for a refresh, and if so takes it for tried:
// a Jaeger that fails is not asked more often than one that answers.
func (j *jaeger) due(at time.Time) bool {
	if !j.tried.IsZero() && at.Sub(j.tried) < j.interval && !at.Before(j.tried) {
		return false
	}
	j.tried = at
	return true
}

// dependencies asks Jaeger; a failure is counted, logged once and otherwise
// changes nothing, as edges are only ever added.
func (s *Source) dependencies(ctx context.Context, at time.Time) []sighting {
	j := s.jaeger
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	began := j.now()
	edges, err := j.fetch(ctx, at)
	j.metrics.queries.WithLabelValues(fromJaeger).Inc()
	j.metrics.duration.WithLabelValues(fromJaeger).Observe(j.now().Sub(began).Seconds())
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		j.metrics.up.WithLabelValues(fromJaeger).Set(0)
		j.metrics.failures.WithLabelValues(fromJaeger, reasonOf(err)).Inc()
		if !j.failing {
			j.log.WarnContext(ctx, "jaeger does not give its dependencies", "reason", reasonOf(err), "err", err)
		}
		j.failing = true
		return nil
	}
	j.metrics.up.WithLabelValues(fromJaeger).Set(1)
	j.failing = false
	return edges
}

var errNoRoute = errors.New("no such route")

func (j *jaeger) fetch(ctx context.Context, at time.Time) ([]sighting, error) {
	old := url.Values{"endTs": {strconv.FormatInt(at.UnixMilli(), 10)}, "lookback": {strconv.FormatInt(j.lookback.Milliseconds(), 10)}}
	edges, err := j.get(ctx, "/api/dependencies?"+old.Encode(), at)
	if !errors.Is(err, errNoRoute) {
		return edges, err
	}
	v3 := url.Values{"startTime": {at.Add(-j.lookback).UTC().Format(time.RFC3339Nano)}, "endTime": {at.UTC().Format(time.RFC3339Nano)}}
	return j.get(ctx, "/api/v3/dependencies?"+v3.Encode(), at)
}

func (j *jaeger) get(ctx context.Context, route string, at time.Time) ([]sighting, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.base+route, nil)
	if err != nil {
		return nil, err
	}
	resp, err := j.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, errNoRoute
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("answered %s", resp.Status)
	}
	return parseDependencies(body, at)
}

// dependency is one edge in Jaeger's words.
type dependency struct {
	Parent    string    `json:"parent"`
	Child     string    `json:"child"`
	CallCount callCount `json:"callCount"`
}

// callCount is a number in /api/dependencies and a string in /api/v3, because
// protobuf writes 64-bit integers so.
type callCount uint64

// UnmarshalJSON reads a number or a string that holds one.
func (c *callCount) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseUint(strings.Trim(string(text), `"`), 10, 64)
	if err != nil {
		return fmt.Errorf("callCount %s is not a count", text)
	}
	*c = callCount(n)
	return nil
}

// parseDependencies reads both forms of the answer and returns the edges with
// at least one call, sorted, each once.
func parseDependencies(body []byte, at time.Time) ([]sighting, error) {
	var answer struct {
		Data         []dependency `json:"data"`
		Dependencies []dependency `json:"dependencies"`
		Errors       []struct {
			Msg string `json:"msg"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, badData{err.Error()}
	}
	if len(answer.Errors) > 0 {
		return nil, badData{"jaeger says: " + answer.Errors[0].Msg}
	}
	var out []sighting
	for _, d := range append(answer.Data, answer.Dependencies...) {
		if d.CallCount > 0 && d.Parent != "" && d.Child != "" && d.Parent != d.Child {
			out = append(out, sighting{from: d.Parent, to: d.Child, at: at})
		}
	}
	slices.SortFunc(out, sighting.compare)
	return slices.CompactFunc(out, func(a, b sighting) bool { return a.compare(b) == 0 }), nil
}
