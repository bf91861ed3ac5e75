package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
)

// maxScrapeBytes bounds one page of metrics.
const maxScrapeBytes = 8 << 20

// target is one /metrics page.
type target struct {
	job  string
	url  string
	seen map[model.Fingerprint]model.Metric // series of the last scrape
}

// scraper reads the metrics pages of all targets into a store, as Prometheus
// does: with job and instance labels, up, and an end for series that vanish.
type scraper struct {
	store   *replay.Store
	client  *http.Client
	log     *slog.Logger
	timeout time.Duration
	targets []*target
}

// run scrapes at every interval until ctx is done.
func (s *scraper) run(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-tick.C:
			if err := s.scrape(ctx, at); err != nil && ctx.Err() == nil {
				s.log.Warn("scrape is incomplete", "err", err)
			}
		}
	}
}

// scrape reads every target once. All samples carry the same instant, so a
// query at it sees the whole shop.
func (s *scraper) scrape(ctx context.Context, at time.Time) error {
	pages := make([]model.Vector, len(s.targets))
	errs := make([]error, len(s.targets))
	var wg sync.WaitGroup
	for i, t := range s.targets {
		wg.Go(func() { pages[i], errs[i] = s.fetch(ctx, t) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err() // a scrape that was cut short says nothing about the targets
	}
	var samples []replay.Sample
	for i, t := range s.targets {
		samples = append(samples, t.samples(pages[i], errs[i] == nil)...)
	}
	return errors.Join(append(errs, s.store.Append(at, samples))...)
}

func (s *scraper) fetch(ctx context.Context, t *target) (model.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", t.job, err)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", t.job, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape %s: status %d", t.job, res.StatusCode)
	}
	page, err := parsePage(io.LimitReader(res.Body, maxScrapeBytes), expfmt.ResponseFormat(res.Header))
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", t.job, err)
	}
	return page, nil
}

func parsePage(r io.Reader, format expfmt.Format) (model.Vector, error) {
	// The instant is set for the whole scrape when it is stored.
	dec := &expfmt.SampleDecoder{Dec: expfmt.NewDecoder(r, format), Opts: &expfmt.DecodeOptions{}}
	var page model.Vector
	for {
		var family model.Vector
		err := dec.Decode(&family)
		if errors.Is(err, io.EOF) {
			return page, nil
		}
		if err != nil {
			return nil, fmt.Errorf("parse metrics: %w", err)
		}
		page = append(page, family...)
	}
}

// samples turns a page into what is stored for the target, and remembers its
// series so that those missing from the next page can be ended.
func (t *target) samples(page model.Vector, ok bool) []replay.Sample {
	now := make(map[model.Fingerprint]model.Metric, len(page))
	out := make([]replay.Sample, 0, len(page)+1)
	for _, s := range page {
		m := t.label(s.Metric)
		fp := m.Fingerprint()
		if _, twice := now[fp]; twice {
			continue
		}
		now[fp] = m
		out = append(out, replay.Sample{Metric: m, Value: float64(s.Value)})
	}
	for _, fp := range t.vanished(now) {
		out = append(out, replay.Sample{Metric: t.seen[fp], Stale: true})
	}
	t.seen = now
	up := 0.0
	if ok {
		up = 1
	}
	return append(out, replay.Sample{Metric: t.label(model.Metric{model.MetricNameLabel: "up"}), Value: up})
}

func (t *target) vanished(now map[model.Fingerprint]model.Metric) []model.Fingerprint {
	var gone []model.Fingerprint
	for fp := range t.seen {
		if _, still := now[fp]; !still {
			gone = append(gone, fp)
		}
	}
	slices.Sort(gone)
	return gone
}

// label adds job and instance. What a page says itself under these names moves
// aside, as in Prometheus.
func (t *target) label(m model.Metric) model.Metric {
	out := m.Clone()
	for name, value := range map[model.LabelName]string{model.JobLabel: t.job, model.InstanceLabel: t.instance()} {
		if old, taken := out[name]; taken {
			out[model.ExportedLabelPrefix+name] = old
		}
		out[name] = model.LabelValue(value)
	}
	return out
}

func (t *target) instance() string {
	u, err := url.Parse(t.url)
	if err != nil {
		return t.url
	}
	return u.Host
}
