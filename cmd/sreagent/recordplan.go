package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sources"
)

// Bounds of what a recording may be asked for. An interval beyond them is none
// that a bundle may have.
const (
	shortestInterval = time.Second
	longestInterval  = time.Hour
	shortestChunk    = time.Second
	longestChunk     = 24 * time.Hour
	mostChunks       = 1_000_000
)

// staleAfter is how far back Prometheus looks for the latest sample of a
// series, where nobody configured it otherwise.
const staleAfter = 5 * time.Minute

const planFormat = 1

// recordPlan is all that decides what is recorded. It lies beside the chunks,
// so that those of two recordings are never mixed.
type recordPlan struct {
	Format     int               `json:"format"`
	From       string            `json:"from"` // as it was given
	To         string            `json:"to"`   // as it was given
	Start      time.Time         `json:"start"`
	End        time.Time         `json:"end"`
	Interval   model.Duration    `json:"interval"`
	Chunk      model.Duration    `json:"chunk"`
	WarmUp     model.Duration    `json:"warm_up"`
	Selections []selection       `json:"selections"`
	Digests    map[string]string `json:"digests"` // of parts of the configuration
}

// selection is one vector selector and the instant from which on its samples
// matter.
type selection struct {
	Selector string    `json:"selector"`
	From     time.Time `json:"from"`
}

// makePlan works out what to record. The span is cut to whole slots of the
// daemon's clock, so that a replay ticks at the instants at which the daemon
// did.
func makePlan(flags recordFlags, cfg *loaded, now time.Time) (*recordPlan, error) {
	from, err := parseWhen(flags.from, now)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	to, err := parseWhen(flags.to, now)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	interval := time.Duration(cfg.Interval)
	if flags.interval > 0 {
		interval = flags.interval
	}
	p := &recordPlan{
		Format: planFormat, From: flags.from, To: flags.to,
		Start: from.Add(interval - 1).Truncate(interval), End: to.Truncate(interval),
		Interval: model.Duration(interval), Chunk: model.Duration(flags.chunk), WarmUp: cfg.Prometheus.WarmUp,
	}
	switch {
	case interval < shortestInterval || interval > longestInterval || interval%time.Millisecond != 0:
		return nil, fmt.Errorf("--interval is %s; allowed: %s to %s", interval, shortestInterval, longestInterval)
	case flags.chunk < shortestChunk || flags.chunk > longestChunk || flags.chunk%time.Millisecond != 0:
		return nil, fmt.Errorf("--chunk is %s; allowed: %s to %s", flags.chunk, shortestChunk, longestChunk)
	case to.After(now):
		return nil, fmt.Errorf("--to is %s; allowed: a time up to now", to.Format(time.RFC3339))
	case !p.Start.Before(p.End):
		return nil, fmt.Errorf("--from %s and --to %s hold no two ticks of %s", from.Format(time.RFC3339), to.Format(time.RFC3339), interval)
	}
	if p.End.Sub(p.Start) > bundle.MaxSpan {
		return nil, fmt.Errorf("--from %s is too long before --to %s; allowed: %d days", from.Format(time.RFC3339), to.Format(time.RFC3339), bundle.MaxSpan/(24*time.Hour))
	}
	if err := p.selectFor(cfg); err != nil {
		return nil, err
	}
	if p.chunks() > mostChunks {
		return nil, fmt.Errorf("--chunk %s makes %d chunks; allowed: %d", flags.chunk, p.chunks(), mostChunks)
	}
	if ticks := p.End.Sub(p.Start) / interval; ticks >= bundle.MaxTicks {
		return nil, fmt.Errorf("--interval %s makes %d ticks; allowed: fewer than %d", interval, ticks, bundle.MaxTicks)
	}
	return p, p.digest(cfg)
}

// parseWhen reads a time in RFC 3339, or how long ago it was, with or without
// a minus sign. Nothing is now.
func parseWhen(text string, now time.Time) (time.Time, error) {
	if text == "" || text == "now" {
		return now.UTC(), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	ago, err := model.ParseDuration(strings.TrimPrefix(text, "-"))
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time; allowed: RFC 3339 such as 2026-03-01T12:00:00Z, or how long ago, such as -2h", text)
	}
	return now.Add(-time.Duration(ago)).UTC(), nil
}

// selectFor collects the selectors of every query, each with the reach before
// the start that the query itself, Prometheus' own look-back and the warm-up of
// the agent have together.
func (p *recordPlan) selectFor(cfg *loaded) error {
	reach := map[string]time.Duration{}
	look := func(name, query string) error {
		selectors, err := bundle.Selectors(query)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, s := range selectors {
			reach[s.Matchers] = max(reach[s.Matchers], s.Reach)
		}
		return nil
	}
	for _, q := range cfg.Signals.Queries() {
		if err := look("signal "+q.Name, q.Query); err != nil {
			return err
		}
	}
	for i, v := range cfg.Changes.VersionLabels {
		if err := look(fmt.Sprintf("changes.version_labels[%d]", i), v.Query); err != nil {
			return err
		}
	}
	before := p.Start.Add(-time.Duration(p.WarmUp) - staleAfter)
	for _, selector := range slices.Sorted(maps.Keys(reach)) {
		p.Selections = append(p.Selections, selection{selector, before.Add(-reach[selector]).Truncate(time.Millisecond)})
	}
	if len(p.Selections) == 0 {
		return fmt.Errorf("the signals select no series")
	}
	return nil
}

// digest notes the parts of the configuration that decide what is recorded, by
// their hash: an address may carry a secret in its path.
func (p *recordPlan) digest(cfg *loaded) error {
	signals, err := sources.FormatSignals(cfg.Signals.Queries())
	if err != nil {
		return err
	}
	var file []byte
	if cfg.Topology.File != "" {
		if file, err = os.ReadFile(cfg.Topology.File); err != nil {
			return fmt.Errorf("read topology: %w", err)
		}
	}
	versions, err := json.Marshal(cfg.Changes.VersionLabels)
	if err != nil {
		return err
	}
	p.Digests = map[string]string{}
	for name, parts := range map[string][]string{
		"prometheus.url":         {cfg.Prometheus.URL},
		"signals":                {string(signals)},
		"topology":               {string(file), fmt.Sprint(cfg.Topology.FromMetrics), cfg.Topology.Jaeger.URL},
		"changes.version_labels": {string(versions)},
	} {
		sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
		p.Digests[name] = hex.EncodeToString(sum[:8])
	}
	return nil
}

// continues takes the times of an earlier attempt over, where the same was
// asked for, and names what differs otherwise.
func (p *recordPlan) continues(old *recordPlan) []string {
	if p.From == old.From && p.To == old.To && p.Interval == old.Interval && p.WarmUp == old.WarmUp {
		shift := old.Start.Sub(p.Start) // "two hours ago" was earlier at that time
		p.Start, p.End = old.Start, old.End
		for i := range p.Selections {
			p.Selections[i].From = p.Selections[i].From.Add(shift)
		}
	}
	var out []string
	differ := func(name, was, is string) {
		if was != is {
			out = append(out, fmt.Sprintf("%s was %s and is %s", name, was, is))
		}
	}
	differ("--from", old.Start.Format(time.RFC3339), p.Start.Format(time.RFC3339))
	differ("--to", old.End.Format(time.RFC3339), p.End.Format(time.RFC3339))
	differ("--interval", old.Interval.String(), p.Interval.String())
	differ("--chunk", old.Chunk.String(), p.Chunk.String())
	differ("prometheus.warm_up", old.WarmUp.String(), p.WarmUp.String())
	for _, name := range slices.Sorted(maps.Keys(p.Digests)) {
		if old.Digests[name] != p.Digests[name] {
			out = append(out, name+" of the configuration has changed")
		}
	}
	if len(out) == 0 && (old.Format != p.Format || !slices.EqualFunc(old.Selections, p.Selections, selection.equal)) {
		out = append(out, "it was made by another version of sreagent")
	}
	return out
}

func (s selection) equal(o selection) bool { return s.Selector == o.Selector && s.From.Equal(o.From) }

// earliest is the instant of the first sample that matters.
func (p *recordPlan) earliest() time.Time {
	first := slices.MinFunc(p.Selections, func(a, b selection) int {
		return cmp.Compare(a.From.UnixMilli(), b.From.UnixMilli())
	})
	return first.From
}

// warmFrom is where an agent that starts to tick at the start begins to look.
func (p *recordPlan) warmFrom() time.Time {
	interval := time.Duration(p.Interval)
	return p.Start.Add(-time.Duration(p.WarmUp)).Truncate(interval)
}

func (p *recordPlan) chunks() int {
	span, chunk := p.End.Add(time.Millisecond).Sub(p.earliest()), time.Duration(p.Chunk)
	return int((span + chunk - 1) / chunk)
}

// chunk returns the half-open span of a chunk and the selectors that have
// samples in it.
func (p *recordPlan) chunk(i int) (from, to time.Time, selectors []string) {
	from = p.earliest().Add(time.Duration(i) * time.Duration(p.Chunk))
	to = from.Add(time.Duration(p.Chunk))
	if end := p.End.Add(time.Millisecond); to.After(end) {
		to = end // the last tick looks at its own instant too
	}
	for _, s := range p.Selections {
		if s.From.Before(to) {
			selectors = append(selectors, s.Selector)
		}
	}
	return from, to, selectors
}
