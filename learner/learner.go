package learner

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

const (
	snapshotVersion = 1
	secondsPerDay   = 24 * 60 * 60
)

// Learner counts outcomes. It is not safe for concurrent use: the agent's loop
// owns it.
type Learner struct {
	cfg    Config
	counts map[place]map[int64]tally // by day since 1970, in UTC
	order  []placed                  // of counts; made anew where it lacks one
	marks  marks
	causes conformal
	scores calibrator
	drifts map[pair]*drift
}

// place is the narrowest situation that is told apart.
type place struct {
	runbook   string
	mechanism sre.Mechanism
	service   string
	class     string
	signature string // of the situation, spelled out
}

// tally counts outcomes of one day. Whole numbers add up to the same in any
// order.
type tally struct {
	success, failure, unclear uint64
}

func (t tally) plus(o tally) tally {
	return tally{t.success + o.success, t.failure + o.failure, t.unclear + o.unclear}
}

func (t tally) runs() uint64 { return t.success + t.failure + t.unclear }

// New returns a learner without experience. The configuration must be valid.
func New(cfg Config) *Learner {
	cfg.Priors = maps.Clone(cfg.Priors)
	return &Learner{cfg: cfg, counts: map[place]map[int64]tally{}, drifts: map[pair]*drift{}, marks: marks{}}
}

// Learn counts one outcome: improved is a success, unchanged and worsened are
// failures, inconclusive and no data are half a failure and never a success. An
// outcome that is not known yet, and one without a runbook, is passed over. The
// counts do not depend on the order; calibration and drift do, and are fed in
// the order of the trail.
func (l *Learner) Learn(o sre.OutcomeRecord) {
	var t tally
	switch o.Outcome {
	case sre.Improved:
		t.success = 1
	case sre.Unchanged, sre.Worsened:
		t.failure = 1
	case sre.InconclusiveOutcome, sre.NoDataOutcome:
		t.unclear = 1
	}
	if t == (tally{}) || o.Runbook == "" {
		return
	}
	l.add(place{o.Runbook, o.Mechanism, o.Service, o.Class, spelled(o.Signature)}, day(o.At.Unix()), t)
	l.score(o, t)
	if o.Blamed != nil {
		l.causes.feed(unit(*o.Blamed))
	}
}

func (l *Learner) add(p place, on int64, t tally) {
	days := l.counts[p]
	if days == nil {
		days = map[int64]tally{}
		l.counts[p] = days
	}
	days[on] = days[on].plus(t)
}

// Age moves all that was learned some days into the past, for those who let
// years pass without a clock: a simulation whose every incident begins at the
// same instant.
func (l *Learner) Age(days int64) {
	for p, old := range l.counts {
		moved := make(map[int64]tally, len(old))
		for on, t := range old {
			moved[on-days] = t
		}
		l.counts[p] = moved
	}
	for _, d := range l.drifts {
		for i := range d.Found {
			d.Found[i] -= days
		}
	}
}

// day rounds down, before 1970 too.
func day(unix int64) int64 {
	d := unix / secondsPerDay
	if unix%secondsPerDay < 0 {
		d--
	}
	return d
}

// placed is a place with its signature understood.
type placed struct {
	place
	like likeness
}

// places returns the places in a fixed order.
func (l *Learner) places() []placed {
	if len(l.order) == len(l.counts) {
		return l.order
	}
	l.order = l.order[:0]
	for _, p := range l.sorted() {
		l.order = append(l.order, placed{p, l.marks.of(p.signature)})
	}
	return l.order
}

func (l *Learner) sorted() []place {
	return slices.SortedFunc(maps.Keys(l.counts), func(a, b place) int {
		return cmp.Or(
			strings.Compare(a.runbook, b.runbook),
			strings.Compare(string(a.mechanism), string(b.mechanism)),
			strings.Compare(a.service, b.service),
			strings.Compare(a.class, b.class),
			strings.Compare(a.signature, b.signature))
	})
}

type snapshotFile struct {
	Version int            `json:"version"`
	Counts  []snapshotLine `json:"counts"`
	Labels  []label        `json:"labels,omitempty"` // oldest first
	Learned uint64         `json:"learned,omitempty"`
	Fit     uint64         `json:"fit,omitempty"` // labels behind the calibration in force
	Drifts  []driftLine    `json:"drifts,omitempty"`
	Causes  *conformal     `json:"causes,omitempty"`
}

type snapshotLine struct {
	Runbook   string        `json:"runbook"`
	Mechanism sre.Mechanism `json:"mechanism"`
	Service   string        `json:"service"`
	Class     string        `json:"class,omitempty"`
	Signature string        `json:"signature,omitempty"`
	Day       int64         `json:"day"` // since 1970-01-01, UTC
	Success   uint64        `json:"success,omitempty"`
	Failure   uint64        `json:"failure,omitempty"`
	Unclear   uint64        `json:"unclear,omitempty"`
}

// Snapshot returns all experience as JSON. Learners with the same experience
// give the same bytes.
func (l *Learner) Snapshot() []byte {
	file := snapshotFile{Version: snapshotVersion, Counts: []snapshotLine{}}
	for _, p := range l.places() {
		for _, on := range slices.Sorted(maps.Keys(l.counts[p.place])) {
			t := l.counts[p.place][on]
			file.Counts = append(file.Counts, snapshotLine{p.runbook, p.mechanism, p.service, p.class, p.signature, on, t.success, t.failure, t.unclear})
		}
	}
	file.Labels, file.Learned, file.Fit, file.Drifts = l.scores.labels, l.scores.learned, l.scores.fitted, l.driftLines()
	if l.causes.N > 0 {
		file.Causes = &l.causes
	}
	out, err := json.Marshal(file)
	if err != nil {
		panic("learner: snapshot: " + err.Error()) // strings and whole numbers always marshal
	}
	return out
}

// Restore replaces all experience with that of a snapshot. On an error nothing
// is changed.
func (l *Learner) Restore(snapshot []byte) error {
	dec := json.NewDecoder(bytes.NewReader(snapshot))
	dec.DisallowUnknownFields()
	var file snapshotFile
	if err := dec.Decode(&file); err != nil {
		return fmt.Errorf("restore learner: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("restore learner: more follows after the snapshot")
	}
	if file.Version != snapshotVersion {
		return fmt.Errorf("restore learner: version is %d, want %d", file.Version, snapshotVersion)
	}
	fresh := New(l.cfg)
	for i, line := range file.Counts {
		p, t := place{line.Runbook, line.Mechanism, line.Service, line.Class, line.Signature}, tally{line.Success, line.Failure, line.Unclear}
		if _, twice := fresh.counts[p][line.Day]; twice || p.runbook == "" || t == (tally{}) {
			return fmt.Errorf("restore learner: count %d is empty or given twice", i)
		}
		if max(t.success, t.failure, t.unclear) > 1<<40 {
			return fmt.Errorf("restore learner: count %d is larger than any fleet could make it", i)
		}
		fresh.add(p, line.Day, t)
	}
	if err := fresh.restoreScores(file); err != nil {
		return fmt.Errorf("restore learner: %w", err)
	}
	if file.Causes != nil {
		if err := file.Causes.validate(); err != nil {
			return fmt.Errorf("restore learner: %w", err)
		}
		fresh.causes = *file.Causes
	}
	l.causes = fresh.causes
	l.counts, l.scores, l.drifts, l.order = fresh.counts, fresh.scores, fresh.drifts, nil
	return nil
}

// Digest names the state of experience in 12 hexadecimal digits: equal for
// learners that learned the same.
func (l *Learner) Digest() string {
	sum := sha256.Sum256(l.Snapshot())
	return hex.EncodeToString(sum[:])[:12]
}
