package audit

import (
	"errors"

	"golang.org/x/mod/sumdb/tlog"
)

// place is a spot in the trail's files.
type place struct {
	segment int // index into the segments read
	line    int // from 1
	offset  int64
}

// tail is where a survey had to stop: at the first line that is not a whole
// record.
type tail struct {
	place
	err  error
	half bool // the line has no end
}

// survey is one pass over all lines of a trail.
type survey struct {
	tree     frontier             // over the lines counted
	roots    map[uint64]tlog.Hash // at the sizes that were asked for
	end      place                // after the last line counted
	stop     *tail                // nil where every line was counted
	misnamed []misnamed
	hashes   hashCheck
}

// misnamed is a segment whose name is not the number of its first record.
type misnamed struct {
	segment int
	at      uint64
}

// surveyTrail reads every line once and grows the tree over them. The first
// covered lines are taken as they are, since the root speaks for them; those
// after must be records in sequence, and their hashes may be unwritten yet. It
// returns an error only where files cannot be read.
func surveyTrail(segments []segment, store *hashStore, covered uint64, sizes ...uint64) (*survey, error) {
	s := &survey{roots: map[uint64]tlog.Hash{}, hashes: hashCheck{store: store}}
	s.mark(sizes)
	named := 0
	enter := func(upTo int) {
		for ; named <= upTo; named++ {
			if segments[named].first != s.tree.size {
				s.misnamed = append(s.misnamed, misnamed{segment: named, at: s.tree.size})
			}
			s.end = place{segment: named, line: 1}
		}
	}
	var stored []tlog.Hash
	for l, err := range readLines(segments, 0) {
		if err != nil {
			return nil, err
		}
		enter(l.segment)
		if err = l.whole(); err == nil && s.tree.size >= covered {
			_, err = parseLine(l, s.tree.size)
		}
		if err != nil {
			s.stop = &tail{place: place{segment: l.segment, line: l.number, offset: l.offset}, err: err, half: errors.Is(err, errHalfLine)}
			return s, nil
		}
		stored = s.tree.push(tlog.RecordHash(l.data), stored[:0])
		if s.tree.size <= covered {
			s.hashes.add(s.tree.size-1, stored)
		}
		s.end = place{segment: l.segment, line: l.number + 1, offset: l.offset + l.size}
		s.mark(sizes)
	}
	enter(len(segments) - 1)
	return s, nil
}

func (s *survey) mark(sizes []uint64) {
	for _, size := range sizes {
		if size == s.tree.size {
			s.roots[size] = s.tree.root()
		}
	}
}

// holds reports whether the lines are those that the checkpoint speaks for.
func (s *survey) holds(c checkpoint) bool {
	root, ok := s.roots[c.size]
	return ok && root == c.root
}
