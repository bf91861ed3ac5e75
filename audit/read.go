package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"math"

	"github.com/sreagent/sreagent/sre"
)

// LineError says which line of the trail cannot be read as the next record.
type LineError struct {
	Segment string // file name
	Line    int    // from 1
	Err     error
}

// Error names the segment, the line and the cause.
func (e *LineError) Error() string {
	return fmt.Sprintf("read %s line %d: %v", e.Segment, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// ReadDir yields the records of a trail in order. It takes no lock, so that a
// live trail can be shown: it reads the lines that are complete at the time and
// passes over a half-written last one. It checks that lines are records in an
// unbroken sequence, not that they are authentic: that is what Verify is for.
// It yields an error at most once, as its last element: a *LineError where a
// line is at fault.
func ReadDir(dir string) iter.Seq2[sre.Record, error] {
	return readDir(dir, 0, math.MaxUint64)
}

// readDir yields the records before limit, starting in the segment that holds
// from.
func readDir(dir string, from, limit uint64) iter.Seq2[sre.Record, error] {
	return func(yield func(sre.Record, error) bool) {
		segments, err := listSegments(dir)
		if err != nil {
			yield(sre.Record{}, err)
			return
		}
		start := holding(segments, from)
		want := uint64(0)
		if start < len(segments) && start > 0 {
			want = segments[start].first
		}
		for l, err := range readLines(segments, start) {
			if want >= limit {
				return
			}
			if err != nil {
				yield(sre.Record{}, &LineError{Segment: segments[l.segment].name, Line: l.number, Err: err})
				return
			}
			if !l.ended && l.segment == len(segments)-1 {
				return
			}
			rec, err := parseLine(l, want)
			if err != nil {
				yield(sre.Record{}, &LineError{Segment: segments[l.segment].name, Line: l.number, Err: err})
				return
			}
			want++
			if rec.Seq >= from && !yield(rec, nil) {
				return
			}
		}
	}
}

// holding returns the index of the segment in which seq stands, by name.
func holding(segments []segment, seq uint64) int {
	i := 0
	for i+1 < len(segments) && segments[i+1].first <= seq {
		i++
	}
	return i
}

// parseLine reads a line as the record with the given sequence number.
func parseLine(l line, want uint64) (sre.Record, error) {
	var rec sre.Record
	if err := l.whole(); err != nil {
		return rec, err
	}
	if err := json.Unmarshal(l.data, &rec); err != nil {
		return sre.Record{}, fmt.Errorf("parse record %d: %w", want, err)
	}
	if rec.Seq != want {
		return sre.Record{}, fmt.Errorf("record %d stands where record %d belongs", rec.Seq, want)
	}
	if rec.Kind == "" {
		return sre.Record{}, fmt.Errorf("record %d has no kind", want)
	}
	return rec, nil
}

// claimedSeq reads the sequence number that a line claims to have.
func claimedSeq(data []byte) (uint64, bool) {
	var head struct {
		Seq *uint64 `json:"seq"`
	}
	if !bytes.HasPrefix(data, []byte{'{'}) || json.Unmarshal(data, &head) != nil || head.Seq == nil {
		return 0, false
	}
	return *head.Seq, true
}
