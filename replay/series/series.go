// Package series runs the streaming detector over recorded series: it reads
// CSV files with a time and a value per row and writes a score and an alarm
// beside every row.
//
// It owns the reading and writing of such files. It never looks at a row before
// its turn, knows nothing of the series but its samples, and touches no file
// by itself: readers, writers and file systems come from its callers.
//
// Read Detect first, then csv.go.
package series

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/sreagent/sreagent/detectors"
)

// Summary is what was seen in one series.
type Summary struct {
	// Rows is the number of rows read, which is the number of rows written.
	Rows int `json:"rows"`
	// Gaps is the number of rows without a finite value.
	Gaps int `json:"gaps"`
	// Disordered is the number of rows that are not later than all rows before.
	Disordered int `json:"disordered"`
	// First and Last are the earliest and the latest time.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Highest is the highest score, 0 to 1, and HighestAt its first time as it
	// stands in the file.
	Highest   float64 `json:"highest_score"`
	HighestAt string  `json:"highest_at,omitempty"`
	// Alarms are the episodes of alarm in the order of the file.
	Alarms []Alarm `json:"alarms,omitempty"`
}

// Alarm is one episode during which a series was far off.
type Alarm struct {
	// Onset is when the deviation began, as far as was known when the alarm was
	// raised.
	Onset time.Time `json:"onset"`
	// From and To are the times of the first and the last row in alarm, as they
	// stand in the file.
	From string `json:"from"`
	To   string `json:"to"`
	// Value is the value of the first row in alarm, Expected what was usual and
	// Scale the usual deviation, in the unit of the series.
	Value    float64 `json:"value"`
	Expected float64 `json:"expected"`
	Scale    float64 `json:"scale"`
	// Reason is one of the Reason constants of package detectors.
	Reason string `json:"reason"`
}

// Detect reads a series from r, judges every row by the rows before it, and
// writes "timestamp,value,anomaly_score,alarm" with one row for each row read.
// Time and value are written as they came, the score with three decimals, the
// alarm as 0 or 1. The settings must be valid. A fault in the file gives a
// *FileError; rows before it have been written by then.
func Detect(r io.Reader, w io.Writer, cfg detectors.StreamConfig) (Summary, error) {
	in, err := newReader(r)
	if err != nil {
		return Summary{}, err
	}
	buffered := bufio.NewWriter(w)
	sum, err := stream(in, csv.NewWriter(buffered), detectors.NewStream(cfg))
	if flushed := buffered.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("write scores: %w", flushed)
	}
	return sum, err
}

func stream(in *reader, out *csv.Writer, d *detectors.Stream) (sum Summary, err error) {
	defer func() {
		out.Flush()
		if flushed := out.Error(); err == nil && flushed != nil {
			err = fmt.Errorf("write scores: %w", flushed)
		}
	}()
	record := []string{"timestamp", "value", "anomaly_score", "alarm"}
	if err := out.Write(record); err != nil {
		return sum, fmt.Errorf("write scores: %w", err)
	}
	firing := false
	for {
		row, err := in.next()
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		got := d.Next(row.at, row.value)
		sum.add(row, got, firing)
		firing = got.Alarm
		record[0], record[1] = row.time, row.text
		record[2] = strconv.FormatFloat(got.Score, 'f', 3, 64)
		record[3] = "0"
		if got.Alarm {
			record[3] = "1"
		}
		if err := out.Write(record); err != nil {
			return sum, fmt.Errorf("write scores: %w", err)
		}
	}
}

// add counts one row and its verdict; firing tells whether the row before was
// in alarm.
func (s *Summary) add(r row, got detectors.StreamScore, firing bool) {
	if s.Rows == 0 {
		s.First, s.Last = r.at, r.at
	} else if !r.at.After(s.Last) {
		s.Disordered++
	}
	s.Rows++
	if r.at.Before(s.First) {
		s.First = r.at
	}
	if r.at.After(s.Last) {
		s.Last = r.at
	}
	if r.gap() {
		s.Gaps++
	}
	if got.Score > s.Highest {
		s.Highest, s.HighestAt = got.Score, r.time
	}
	if got.Alarm && !firing {
		s.Alarms = append(s.Alarms, Alarm{
			Onset: got.Onset, From: r.time, Value: r.value,
			Expected: got.Expected, Scale: got.Scale, Reason: got.Reason,
		})
	}
	if got.Alarm {
		s.Alarms[len(s.Alarms)-1].To = r.time
	}
}
