package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	segmentPrefix = "segment-"
	segmentSuffix = ".jsonl"
	hashesSuffix  = ".hashes"
	seqDigits     = 20
	seqBits       = 61 // keeps stored hash indexes within an int64

	// maxLine bounds the memory that one line of a damaged file can take.
	maxLine = 16 << 20
)

// segment is one file of records, named by the sequence number of its first.
type segment struct {
	path  string
	name  string
	first uint64
}

func newSegment(dir string, first uint64) segment {
	name := fmt.Sprintf("%s%0*d%s", segmentPrefix, seqDigits, first, segmentSuffix)
	return segment{path: filepath.Join(dir, name), name: name, first: first}
}

// hashes is the path of the file that holds the segment's part of the tree.
func (s segment) hashes() string { return strings.TrimSuffix(s.path, segmentSuffix) + hashesSuffix }

// numbered reads the sequence number out of a file name with the given suffix.
func numbered(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, suffix); !ok || len(digits) != seqDigits {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, seqBits)
	return n, err == nil
}

// listSegments returns the segments of a folder in the order of their names.
func listSegments(dir string) ([]segment, error) {
	firsts, err := listNumbered(dir, segmentSuffix)
	if err != nil {
		return nil, err
	}
	segments := make([]segment, len(firsts))
	for i, first := range firsts {
		segments[i] = newSegment(dir, first)
	}
	return segments, nil
}

func listNumbered(dir, suffix string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list trail: %w", err)
	}
	var out []uint64
	for _, e := range entries {
		if n, ok := numbered(e.Name(), suffix); ok && e.Type().IsRegular() {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// line is one line of a segment as it stands in the file, without its newline.
type line struct {
	segment int   // index into the segments read
	number  int   // from 1
	offset  int64 // of its first byte
	size    int64 // bytes in the file, its newline included
	data    []byte
	ended   bool // a newline stood after it
	long    bool // longer than maxLine: data holds only its start
}

var (
	errHalfLine    = errors.New("the line has no end")
	errLineTooLong = errors.New("the line is longer than " + strconv.Itoa(maxLine) + " bytes")
)

// whole returns why the line cannot be a record, whatever it says.
func (l line) whole() error {
	switch {
	case l.long:
		return errLineTooLong
	case !l.ended:
		return errHalfLine
	}
	return nil
}

// readLines yields the lines of the segments in order, from the given one on.
// The data of a line is valid until the next one is asked for. It yields an
// error at most once, as its last element, and only where a file cannot be
// read.
func readLines(segments []segment, from int) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		r := lineReader{in: bufio.NewReaderSize(nil, 64<<10)}
		for i := from; i < len(segments); i++ {
			f, err := os.Open(segments[i].path)
			if err != nil {
				yield(line{segment: i}, fmt.Errorf("open segment: %w", err))
				return
			}
			r.in.Reset(f)
			ok := r.lines(i, yield)
			_ = f.Close()
			if !ok {
				return
			}
		}
	}
}

type lineReader struct {
	in   *bufio.Reader
	wide []byte // gathers what is wider than the reader's buffer
}

func (r *lineReader) lines(index int, yield func(line, error) bool) bool {
	l := line{segment: index}
	for {
		l.number++
		l.offset += l.size
		if err := r.next(&l); err != nil {
			yield(l, fmt.Errorf("read segment: %w", err))
			return false
		}
		if l.size == 0 {
			return true
		}
		if !yield(l, nil) {
			return false
		}
		if !l.ended {
			return true
		}
	}
}

// next reads one line into l; a size of 0 means that there is none.
func (r *lineReader) next(l *line) error {
	data, err := r.in.ReadSlice('\n')
	l.size, l.long = int64(len(data)), false
	if errors.Is(err, bufio.ErrBufferFull) {
		r.wide = append(r.wide[:0], data...)
		for errors.Is(err, bufio.ErrBufferFull) {
			data, err = r.in.ReadSlice('\n')
			l.size += int64(len(data))
			if len(r.wide)+len(data) <= maxLine+1 {
				r.wide = append(r.wide, data...)
			} else {
				l.long = true
			}
		}
		l.ended = bytes.HasSuffix(data, []byte{'\n'})
		data = r.wide
	} else {
		l.ended = bytes.HasSuffix(data, []byte{'\n'})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	l.data = bytes.TrimSuffix(data, []byte{'\n'})
	return nil
}
