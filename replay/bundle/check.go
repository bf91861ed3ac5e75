package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/sre"
)

// Grammar reads the files whose form is the daemon's own. A nil field leaves
// its file unread.
type Grammar struct {
	// Topology reports what is wrong with topology.yaml.
	Topology func(name string, content []byte) error
	// Signals reports what is wrong with signals.yaml, and returns the queries.
	Signals func(content []byte) (queries []string, err error)
}

// Report is what a check found.
type Report struct {
	ID       string    `json:"id"`
	Series   int       `json:"series"`
	Samples  int       `json:"samples"`
	From     time.Time `json:"from,omitzero"` // first sample
	To       time.Time `json:"to,omitzero"`   // last sample
	Faults   int       `json:"faults"`
	Changes  int       `json:"changes"`
	Records  int       `json:"records"`
	Problems Problems  `json:"-"`                  // for which the bundle cannot be used
	Errors   []string  `json:"errors,omitempty"`   // the same, one line each
	Warnings []string  `json:"warnings,omitempty"` // what is allowed but looks wrong
}

// OK reports whether the bundle can be used.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// gapTicks is how many intervals without any sample make a gap.
const gapTicks = 10

// Check reads all of a bundle and reports everything that is wrong with it,
// but of metrics, changes and trail only the first bad line each. Its error is
// that of ctx.
func Check(ctx context.Context, fsys fs.FS, limits Limits, g Grammar) (Report, error) {
	b, problems := open(fsys, limits)
	r := Report{Problems: problems}
	if b != nil {
		r.ID, r.Faults, r.Changes, r.Records = b.Incident.ID, len(b.Incident.Truth.Faults), len(b.Changes), len(b.Trail)
		queries := r.grammar(b, g)
		if err := r.recording(ctx, b, queries); err != nil {
			return r, err
		}
	}
	for _, p := range r.Problems {
		r.Errors = append(r.Errors, p.String())
	}
	return r, nil
}

func (r *Report) has(file string) bool {
	return slices.ContainsFunc(r.Problems, func(p Problem) bool { return strings.Contains(p.File, file) })
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// grammar has the daemon's own files read by whoever knows them.
func (r *Report) grammar(b *Bundle, g Grammar) []string {
	if g.Topology != nil && !r.has(TopologyFile) {
		r.foreign(TopologyFile, g.Topology(TopologyFile, b.Topology))
	}
	if g.Signals == nil || r.has(SignalsFile) {
		return nil
	}
	queries, err := g.Signals(b.Signals)
	r.foreign(SignalsFile, err)
	if err != nil {
		return nil
	}
	return queries
}

// foreign takes over what somebody else says about a file, one problem a line.
func (r *Report) foreign(file string, err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		p := Problem{Fault: sre.Fault{Problem: strings.TrimSuffix(line, "\n")}, err: err}
		if !strings.HasPrefix(line, file) {
			p.File = file
		}
		r.Problems = append(r.Problems, p)
	}
}

// recording reads the samples and holds them against the rest.
func (r *Report) recording(ctx context.Context, b *Bundle, queries []string) error {
	if r.has(MetricsFile) {
		return nil
	}
	inc := &b.Incident
	watch := &slots{width: max(time.Duration(inc.Interval), time.Second).Milliseconds(), words: map[int64]uint64{}}
	var all []labels.Labels
	first, last, late := int64(lastMillis), int64(firstMillis), 0
	err := b.Samples(ctx, func(s Series, at int64, _ float64) error {
		if s.Index == len(all) {
			all = append(all, s.Labels)
		}
		r.Samples++
		first, last = min(first, at), max(last, at)
		if !inc.End.IsZero() && at > inc.End.UnixMilli() {
			late++
		}
		watch.add(at)
		return nil
	})
	r.Series = len(all)
	if r.Samples > 0 {
		r.From, r.To = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
	}
	if err != nil {
		var ps Problems
		if !errors.As(err, &ps) {
			return err
		}
		r.Problems = append(r.Problems, ps...)
		return nil
	}
	r.unread(queries, all)
	if r.has(IncidentFile) {
		return nil
	}
	if late > 0 {
		r.warn("%s: %d of %d samples are later than the end of the recording, %s", MetricsFile, late, r.Samples, stamp(inc.End))
	}
	for _, gap := range watch.gaps(inc.Start.UnixMilli(), inc.End.UnixMilli()) {
		r.warn("%s: no series has a sample from %s to %s", MetricsFile, stampMillis(gap[0]), stampMillis(gap[1]))
	}
	r.strangers(b, all)
	r.outside(b)
	return nil
}

// unread reports signals that no series of the recording can fill.
func (r *Report) unread(queries []string, all []labels.Labels) {
	dead := 0
	for i, query := range queries {
		selectors, err := Selectors(query)
		if err != nil {
			r.Problems = append(r.Problems, wrong(SignalsFile, fmt.Sprintf("signal %d: %v", i+1, err), ""))
			return
		}
		alive := len(selectors) == 0
		for _, s := range selectors {
			if slices.ContainsFunc(all, s.Selects) {
				alive = true
				continue
			}
			r.warn("%s: signal %d: no series of the recording matches %s", SignalsFile, i+1, s.Matchers)
		}
		if !alive {
			dead++
		}
	}
	if dead > 0 && dead == len(queries) {
		r.Problems = append(r.Problems, wrong(SignalsFile, "none of the signals finds a series in the recording", "queries for what "+MetricsFile+" holds"))
	}
}

// strangers warns of services of the truth that neither the topology nor any
// label knows: mostly a name that is written otherwise.
func (r *Report) strangers(b *Bundle, all []labels.Labels) {
	known := map[string]bool{}
	for _, l := range all {
		l.Range(func(one labels.Label) { known[one.Value] = true })
	}
	var topology yaml.Node
	if yaml.Unmarshal(b.Topology, &topology) == nil {
		addScalars(&topology, known)
	}
	strange := map[string]bool{}
	for _, f := range b.Incident.Truth.Faults {
		for _, s := range slices.Concat(f.Services, f.BlastRadius) {
			if !known[s] {
				strange[s] = true
			}
		}
	}
	for _, s := range slices.Sorted(maps.Keys(strange)) {
		r.warn("%s: the service %q of the truth stands neither in %s nor in any label", IncidentFile, s, TopologyFile)
	}
}

// addScalars collects every word of a YAML file, aliases aside.
func addScalars(n *yaml.Node, into map[string]bool) {
	if n.Kind == yaml.ScalarNode {
		into[n.Value] = true
	}
	for _, child := range n.Content {
		addScalars(child, into)
	}
}

// outside warns of what was let pass beside the recording.
func (r *Report) outside(b *Bundle) {
	inc := &b.Incident
	for i, a := range inc.Alerts {
		if a.At.Before(inc.Start) || a.At.After(inc.End) {
			r.warn("%s: %s: %s lies outside the recording", IncidentFile, sre.Item("alerts", i), stamp(a.At))
		}
	}
	for i, f := range inc.Truth.Faults {
		if f.InjectedAt.Before(inc.Start) || f.InjectedAt.After(inc.End) {
			r.warn("%s: %s: injected_at, %s, lies outside the recording", IncidentFile, sre.Item("truth.faults", i), stamp(f.InjectedAt))
		}
	}
	late := 0
	for _, c := range b.Changes {
		if c.At.After(inc.End) {
			late++
		}
	}
	if late > 0 {
		r.warn("%s: %d of %d changes are later than the end of the recording, %s", ChangesFile, late, len(b.Changes), stamp(inc.End))
	}
	within := slices.ContainsFunc(b.Trail, func(rec sre.Record) bool { return !rec.At.Before(inc.Start) && !rec.At.After(inc.End) })
	if n := len(b.Trail); n > 0 && !within {
		r.warn("%s: no record lies within the recording, they span %s to %s: is this the trail of another incident?", TrailFile, stamp(b.Trail[0].At), stamp(b.Trail[n-1].At))
	}
}

// slots remembers in which intervals there was any sample, a bit each.
type slots struct {
	width int64 // ms
	words map[int64]uint64
}

func (s *slots) add(at int64) {
	slot := floorDiv(at, s.width)
	s.words[floorDiv(slot, 64)] |= 1 << uint64(slot&63)
}

func (s *slots) has(slot int64) bool {
	return s.words[floorDiv(slot, 64)]&(1<<uint64(slot&63)) != 0
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

const maxGaps = 20

// gaps returns the spans between from and to, in ms, that are longer than
// gapTicks intervals without a sample. It looks at words that hold samples
// only, so that a recording of a thousand years costs nothing.
func (s *slots) gaps(from, to int64) [][2]int64 {
	var out [][2]int64
	last := floorDiv(from, s.width) - 1 // newest slot with a sample
	gap := func(until int64) {
		if until-last-1 > gapTicks && len(out) < maxGaps {
			out = append(out, [2]int64{max(from, (last+1)*s.width), min(to, until*s.width)})
		}
	}
	end := floorDiv(to, s.width)
	for _, w := range slices.Sorted(maps.Keys(s.words)) {
		for slot := w * 64; slot < w*64+64; slot++ {
			if slot > last && slot <= end && s.has(slot) {
				gap(slot)
				last = slot
			}
		}
	}
	gap(end + 1)
	return out
}
