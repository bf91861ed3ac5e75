package sre

import "time"

// Matrix holds one reading per signal and subject, row by row: all subjects of
// the first signal, then all of the second. It is the flat form in which
// detectors stream over a fleet.
type Matrix struct {
	Subjects int
	Values   []float64
	States   []ReadingState
}

// NewMatrix returns a matrix of absent readings.
func NewMatrix(signals, subjects int) Matrix {
	return Matrix{
		Subjects: subjects,
		Values:   make([]float64, signals*subjects),
		States:   make([]ReadingState, signals*subjects),
	}
}

// At returns the reading of one subject for one signal.
func (m *Matrix) At(signal, subject int) Reading {
	i := signal*m.Subjects + subject
	return Reading{Value: m.Values[i], State: m.States[i]}
}

// Set stores the reading of one subject for one signal.
func (m *Matrix) Set(signal, subject int, r Reading) {
	i := signal*m.Subjects + subject
	m.Values[i], m.States[i] = r.Value, r.State
}

// SourceHealth says how well the sources could see at one tick.
type SourceHealth struct {
	Up      bool     `json:"up"`               // the metric store answered
	Queries int      `json:"queries"`          // asked at this tick
	Failed  []string `json:"failed,omitempty"` // names of signals whose query failed, sorted
	Skipped []string `json:"skipped,omitempty"`
	Err     string   `json:"err,omitempty"` // why, when not up
}

// Snapshot is everything seen at one instant: the graph and one reading per
// signal and service, and per edge signal and edge. Columns follow Signals and
// EdgeSignals, subjects follow Graph.Services and Graph.Edges. A snapshot is
// immutable once a source has returned it.
type Snapshot struct {
	At          time.Time
	Interval    time.Duration
	Graph       *Graph
	Signals     []Signal
	EdgeSignals []Signal
	Service     Matrix
	Edge        Matrix
	Changes     []Change // learned since the previous snapshot, by time, then ID
	Health      SourceHealth
}

// Signal returns the row of the first service signal of a kind and unit.
func (s *Snapshot) Signal(kind SignalKind, unit Unit) (int, bool) {
	return findSignal(s.Signals, kind, unit)
}

// EdgeSignal returns the row of the first edge signal of a kind and unit.
func (s *Snapshot) EdgeSignal(kind SignalKind, unit Unit) (int, bool) {
	return findSignal(s.EdgeSignals, kind, unit)
}

func findSignal(signals []Signal, kind SignalKind, unit Unit) (int, bool) {
	for i, sig := range signals {
		if sig.Kind == kind && sig.Unit == unit {
			return i, true
		}
	}
	return 0, false
}

// Value returns a service's reading of the first signal of a kind and unit;
// absent where there is no such signal.
func (s *Snapshot) Value(service int, kind SignalKind, unit Unit) Reading {
	row, ok := s.Signal(kind, unit)
	if !ok {
		return Reading{}
	}
	return s.Service.At(row, service)
}

// EdgeValue returns an edge's reading of the first signal of a kind and unit;
// absent where there is no such signal.
func (s *Snapshot) EdgeValue(edge int, kind SignalKind, unit Unit) Reading {
	row, ok := s.EdgeSignal(kind, unit)
	if !ok {
		return Reading{}
	}
	return s.Edge.At(row, edge)
}

// ErrorRatio returns the share of a service's requests that failed, from a
// ratio or percent signal, or from a failure rate over traffic.
func (s *Snapshot) ErrorRatio(service int) Reading {
	if r := s.Value(service, Errors, Ratio); r.State != Absent {
		return r
	}
	if r := s.Value(service, Errors, Percent); r.State != Absent {
		return Reading{Value: r.Value / 100, State: r.State}
	}
	failed, traffic := s.Value(service, Errors, PerSecond), s.Value(service, Traffic, PerSecond)
	if failed.State == Absent || traffic.State == Absent {
		return Reading{}
	}
	state := min(failed.State, traffic.State)
	if traffic.Value <= 0 {
		return Reading{State: state}
	}
	return Reading{Value: failed.Value / traffic.Value, State: state}
}

// FreshShare returns the share of a service's readings that are present, among
// those that were ever seen for it; 0 where nothing was.
func (s *Snapshot) FreshShare(service int) float64 {
	var seen, fresh float64
	for row := range s.Signals {
		switch s.Service.At(row, service).State {
		case Present:
			seen++
			fresh++
		case Stale:
			seen++
		case Absent:
		}
	}
	if seen == 0 {
		return 0
	}
	return fresh / seen
}
