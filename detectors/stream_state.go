package detectors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// streamState is all that a Stream has learned. Its fields are exported for
// encoding/binary, which writes them in this order: a change of any of them is
// a new version of the format.
type streamState struct {
	N, First, Last int64   // samples; nanoseconds since 1970
	Interval       float64 // seconds, 0 while unknown
	Fractions      bool    // a value was not a whole number

	Fast, Slow                     float64
	FastError, DayError, WeekError float64
	Scale                          float64
	Day                            season[[dayBuckets]float32]
	Week                           season[[weekBuckets]float32]

	Epoch                      int64 // nanoseconds since 1970
	Low, High, OldLow, OldHigh float64

	Level         float64 // lasting shift, in scales
	Shifts, Jumps tail

	QuietUntil int64 // nanoseconds since 1970
	Peak       float64

	Ring                [daySamples]float32
	Next, Kept, Skipped int64

	Active bool
	Hits   uint8
	Calm   int64
	Since  int64 // nanoseconds since 1970, 0 while all is calm
}

// streamMagic opens every saved state and names its version.
const streamMagic = "sstream1"

// ErrStreamState is what Restore returns for bytes that State did not write.
var ErrStreamState = errors.New("not a saved stream")

// State returns all that the stream has learned. A stream restored from it
// goes on exactly as this one would. The settings are not part of it.
func (d *Stream) State() []byte {
	b, err := binary.Append([]byte(streamMagic), binary.LittleEndian, &d.s)
	if err != nil {
		panic(err) // only a field without a fixed size could cause it
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// Restore replaces what the stream has learned by a saved state. Bytes that are
// cut, changed or of another version give an error that wraps ErrStreamState
// and leave the stream as it was.
func (d *Stream) Restore(state []byte) error {
	const sum = 4
	if len(state) != len(streamMagic)+binary.Size(&d.s)+sum || !bytes.HasPrefix(state, []byte(streamMagic)) {
		return fmt.Errorf("%w: wrong length or version", ErrStreamState)
	}
	body := state[:len(state)-sum]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(state[len(body):]) {
		return fmt.Errorf("%w: checksum differs", ErrStreamState)
	}
	var s streamState
	if _, err := binary.Decode(body[len(streamMagic):], binary.LittleEndian, &s); err != nil {
		return fmt.Errorf("%w: %w", ErrStreamState, err)
	}
	if s.N < 0 || s.Kept < 0 || s.Kept > daySamples || s.Next < 0 || s.Next >= daySamples ||
		s.Kept < daySamples && s.Next != s.Kept {
		return fmt.Errorf("%w: counts out of range", ErrStreamState)
	}
	var day sorted
	for _, x := range s.Ring[:s.Kept] {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("%w: a sample is not finite", ErrStreamState)
		}
		day.insert(x)
	}
	was := *d
	d.s, d.day = s, day
	if !bytes.Equal(d.State(), state) {
		*d = was // a flag that is neither 0 nor 1
		return fmt.Errorf("%w: a flag out of range", ErrStreamState)
	}
	return nil
}
