package learner

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// The settings of Page and Hinkley's test (Page, 1954; Hinkley, 1971) on
// standardised residuals.
const (
	driftSlack     = 0.05
	driftThreshold = 10
	driftMin       = 10
	probation      = 5 // outcomes after a drift in which a person decides
)

// pair is a runbook against a mechanism, what drift is told apart by.
type pair struct {
	runbook   string
	mechanism sre.Mechanism
}

// drift watches whether a cure does what was predicted of it. It looks for a
// fall only: a cure that does better than predicted harms nobody.
type drift struct {
	N     uint64  `json:"n"`
	Sum   float64 `json:"sum"`             // of the standardised residuals, less the slack
	Best  float64 `json:"best"`            // the highest Sum so far
	Left  uint64  `json:"left,omitempty"`  // outcomes of probation to go
	Found []int64 `json:"found,omitempty"` // days on which a drift was found
}

type driftLine struct {
	Runbook   string        `json:"runbook"`
	Mechanism sre.Mechanism `json:"mechanism"`
	drift
}

// feed takes one outcome and the probability that was predicted for it.
func (d *drift) feed(predicted float64, right bool, on int64) {
	if d.Left > 0 {
		d.Left--
	}
	y := 0.0
	if right {
		y = 1
	}
	d.N++
	spread := max(math.Sqrt(predicted*(1-predicted)), 0.2) // near 0 and 1 one surprise would be a drift
	d.Sum += (y-predicted)/spread + driftSlack
	d.Best = max(d.Best, d.Sum)
	if d.N >= driftMin && d.Best-d.Sum > driftThreshold {
		*d = drift{Left: probation, Found: append(d.Found, on)}
	}
}

// aged is the share that an outcome of a day keeps: half for each drift found
// since.
func (d *drift) aged(on int64) float64 {
	if d == nil {
		return 1
	}
	keep := 1.0
	for _, found := range d.Found {
		if on <= found {
			keep /= 2
		}
	}
	return keep
}

// Drifted reports whether a runbook has lately done worse against a mechanism
// than was predicted of it, and has not proven itself since.
func (l *Learner) Drifted(runbook string, m sre.Mechanism) bool {
	d := l.drifts[pair{runbook, m}]
	return d != nil && d.Left > 0
}

// score takes a prediction with its outcome. Outcomes without a prediction,
// from older trails, only count.
func (l *Learner) score(o sre.OutcomeRecord, t tally) {
	raw := o.Raw
	if raw == 0 {
		raw = o.Predicted
	}
	if !(raw > 0 && raw <= 1) || !(o.Predicted > 0 && o.Predicted <= 1) {
		return
	}
	right := t.success > 0
	l.scores.add(label{Mechanism: o.Mechanism, Raw: raw, Right: right, Unclear: t.unclear > 0, Prior: unit(o.Prior), Signature: spelled(o.Signature)})
	key := pair{o.Runbook, o.Mechanism}
	if l.drifts[key] == nil {
		l.drifts[key] = &drift{}
	}
	l.drifts[key].feed(o.Predicted, right, day(o.At.Unix()))
}

func (l *Learner) driftLines() []driftLine {
	keys := slices.SortedFunc(maps.Keys(l.drifts), func(a, b pair) int {
		return cmp.Or(strings.Compare(a.runbook, b.runbook), strings.Compare(string(a.mechanism), string(b.mechanism)))
	})
	var out []driftLine
	for _, k := range keys {
		out = append(out, driftLine{k.runbook, k.mechanism, *l.drifts[k]})
	}
	return out
}

// restoreScores takes over what calibration and drift remember. The fit in
// force is made again from the labels that it was made of.
func (l *Learner) restoreScores(f snapshotFile) error {
	since := f.Learned - f.Fit
	if f.Fit > f.Learned || uint64(len(f.Labels)) > min(f.Learned, window+refitEvery) || f.Fit > 0 && since >= uint64(len(f.Labels)) {
		return fmt.Errorf("%d labels of %d learned, fitted at %d, cannot be", len(f.Labels), f.Learned, f.Fit)
	}
	for i, one := range f.Labels {
		if !(one.Raw > 0 && one.Raw <= 1) {
			return fmt.Errorf("label %d predicts %v, want above 0 and at most 1", i, one.Raw)
		}
	}
	l.scores = calibrator{labels: f.Labels, learned: f.Learned, fitted: f.Fit}
	if f.Fit > 0 {
		l.scores.fit(f.Labels[:uint64(len(f.Labels))-since])
	}
	for i, line := range f.Drifts {
		k := pair{line.Runbook, line.Mechanism}
		if _, twice := l.drifts[k]; twice || k.runbook == "" || math.Abs(line.Sum) > 1<<40 || math.Abs(line.Best) > 1<<40 {
			return fmt.Errorf("drift %d is out of bounds or given twice", i)
		}
		l.drifts[k] = &line.drift
	}
	return nil
}
