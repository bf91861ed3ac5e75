package detectors

import (
	"cmp"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Bank runs all detectors over a stream of snapshots. It is not safe for
// concurrent use and expects snapshots in time order: one that is not later than
// the one before teaches nothing and finds nothing.
type Bank struct {
	cfg       Config
	vitals    *vitals
	detectors []sre.Detector
	burn      *burnRate
	samples   int
	at        time.Time
	held      []heldSign
	heldNext  []heldSign
	order     []int      // scratch of settle
	graph     *sre.Graph // of the latest snapshot
	roll      roll       // the subjects of a restored state
	restored  bool       // and nothing was seen since
}

// heldSign is a sign of an earlier tick with the last moment at which readings
// backed it.
type heldSign struct {
	sign sre.Precursor
	seen time.Time
}

// heldShare is what a sign is worth while the readings that showed it are
// missing.
const heldShare = .7

// New returns a bank without history. The configuration must have passed
// Validate.
func New(cfg Config) *Bank {
	v, burn := newVitals(cfg), newBurnRate(cfg)
	return &Bank{
		cfg:    cfg,
		vitals: v,
		burn:   burn,
		detectors: []sre.Detector{
			newAnomaly(cfg, v),
			newRetryStorm(cfg, v),
			newOverload(cfg, v),
			newExhaustion(cfg, v),
			newSlow(cfg, v),
			newPool(cfg, v),
			newLeak(cfg, v),
			newDecay(cfg, v),
			newCacheLoss(cfg, v),
			newSurvivor(cfg, v),
			newOscillation(cfg, v),
			newInversion(cfg, v),
			newDivergence(cfg, v),
			newBadChange(cfg, v),
			burn,
		},
	}
}

// Detectors returns the names of the detectors in the order in which they run.
func (b *Bank) Detectors() []string {
	names := make([]string, len(b.detectors))
	for i, d := range b.detectors {
		names[i] = d.Name()
	}
	return names
}

// WarmUp returns the share of the needed history that was seen, 0 to 1.
func (b *Bank) WarmUp() float64 {
	return min(1, float64(b.samples)/float64(b.cfg.MinSamples))
}

// Detect learns from the snapshot and returns what is suspicious in it, highest
// score first, then by service, caller, detector and signal. Services whose
// index is set in frozen do not move their baselines.
func (b *Bank) Detect(s *sre.Snapshot, frozen []bool) []sre.Precursor {
	if !b.at.IsZero() && !s.At.After(b.at) {
		return nil
	}
	if b.restored && !b.roll.opens(s.Graph) {
		*b = *New(b.cfg)
	}
	b.at, b.graph, b.restored = s.At, s.Graph, false
	b.vitals.observe(s, frozen)
	if slices.Contains(s.Service.States, sre.Present) || slices.Contains(s.Edge.States, sre.Present) {
		b.samples++
	}
	var found []sre.Precursor
	for _, d := range b.detectors {
		found = d.Detect(s, frozen, found)
	}
	b.settle(found)
	found = b.hold(s, found)
	slices.SortStableFunc(found, byScore)
	return found
}

// hold keeps signs whose readings have gone missing: no data is not good news.
func (b *Bank) hold(s *sre.Snapshot, found []sre.Precursor) []sre.Precursor {
	b.heldNext = b.heldNext[:0]
	for _, p := range found {
		if p.Severity.Rank() > sre.Info.Rank() {
			b.heldNext = append(b.heldNext, heldSign{sign: p, seen: s.At})
		}
	}
	fresh := len(found)
	for _, h := range b.held {
		if s.At.Sub(h.seen) > time.Duration(b.cfg.Hold) || !blind(s, h.sign) || contains(found[:fresh], h.sign) {
			continue
		}
		b.heldNext = append(b.heldNext, h)
		weaker := h.sign
		weaker.Score *= heldShare
		found = append(found, weaker)
	}
	b.held, b.heldNext = b.heldNext, b.held
	return found
}

// blind reports whether nothing fresh of the sign's kind is left to judge by.
func blind(s *sre.Snapshot, p sre.Precursor) bool {
	i, ok := s.Graph.Index(p.Service)
	if !ok {
		return true
	}
	if p.Caller != "" {
		from, known := s.Graph.Index(p.Caller)
		e, found := s.Graph.EdgeIndex(from, i)
		return !known || !found || !fresh(s.EdgeSignals, &s.Edge, e, p.Kind)
	}
	return !fresh(s.Signals, &s.Service, i, p.Kind)
}

func fresh(signals []sre.Signal, m *sre.Matrix, subject int, kind sre.SignalKind) bool {
	if subject >= m.Subjects {
		return false
	}
	for row, sig := range signals {
		if sig.Kind == kind && m.At(row, subject).OK() {
			return true
		}
	}
	return false
}

func contains(found []sre.Precursor, p sre.Precursor) bool {
	for i := range found {
		f := &found[i]
		if f.Detector == p.Detector && f.Service == p.Service && f.Caller == p.Caller && f.Kind == p.Kind {
			return true
		}
	}
	return false
}

func byScore(a, b sre.Precursor) int {
	return cmp.Or(
		cmp.Compare(b.Score, a.Score),
		cmp.Compare(a.Service, b.Service),
		cmp.Compare(a.Caller, b.Caller),
		cmp.Compare(a.Detector, b.Detector),
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(firstSignal(a), firstSignal(b)),
	)
}

func firstSignal(p sre.Precursor) string {
	if len(p.Evidence) == 0 {
		return ""
	}
	return p.Evidence[0].Signal
}
