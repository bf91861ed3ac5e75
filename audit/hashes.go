package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/mod/sumdb/tlog"
)

const hashChunk = 32 << 10 // a multiple of tlog.HashSize

// hashSpan is the part of the tree that stands in one file: what a log stores
// for the records of one segment.
type hashSpan struct {
	first   uint64 // first record
	records uint64 // records whose hashes are all there
	start   int64  // stored hash index of the file's first hash
	count   int64  // hashes in the file
	file    *os.File
}

// hashStore reads the tree's hashes from beside the segments. It keeps one
// chunk in memory.
type hashStore struct {
	spans []hashSpan
	chunk []byte
	span  int   // of the chunk; -1 for none
	at    int64 // byte offset of the chunk in its file
}

// errNoHash says that the hash files do not hold a hash.
var errNoHash = errors.New("no stored hash")

// openHashes opens the hash files of a folder as they are now.
func openHashes(dir string) (*hashStore, error) {
	firsts, err := listNumbered(dir, hashesSuffix)
	if err != nil {
		return nil, err
	}
	s := &hashStore{span: -1}
	for i, first := range firsts {
		f, err := os.Open(newSegment(dir, first).hashes())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open hashes: %w", err), s.Close())
		}
		span := hashSpan{first: first, start: tlog.StoredHashCount(int64(first)), file: f}
		s.spans = append(s.spans, span)
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open hashes: %w", err), s.Close())
		}
		span.count = info.Size() / tlog.HashSize
		limit := ^uint64(0) >> 1
		if i+1 < len(firsts) {
			limit = firsts[i+1] - first
		}
		span.records = min(recordsIn(first, span.start, span.count), limit)
		s.spans[i] = span
	}
	return s, nil
}

// recordsIn counts the records whose stored hashes fit in count, from first on.
func recordsIn(first uint64, start, count int64) uint64 {
	// A record stores at least one hash, so that count bounds the answer.
	n := sort.Search(int(count), func(n int) bool {
		return tlog.StoredHashCount(int64(first)+int64(n)+1)-start > count
	})
	return uint64(n)
}

// Close closes the files.
func (s *hashStore) Close() error {
	var errs []error
	for _, span := range s.spans {
		errs = append(errs, span.file.Close())
	}
	return errors.Join(errs...)
}

// hash returns the hash at a stored hash index, or an error that wraps
// errNoHash.
func (s *hashStore) hash(index int64) (tlog.Hash, error) {
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].start > index }) - 1
	if i < 0 || index-s.spans[i].start >= s.spans[i].count {
		return tlog.Hash{}, fmt.Errorf("%w with index %d", errNoHash, index)
	}
	offset := (index - s.spans[i].start) * tlog.HashSize
	if s.span != i || offset < s.at || offset >= s.at+int64(len(s.chunk)) {
		if s.chunk == nil {
			s.chunk = make([]byte, hashChunk)
		}
		s.at = offset - offset%hashChunk
		n, err := s.spans[i].file.ReadAt(s.chunk[:hashChunk], s.at)
		n -= n % tlog.HashSize
		if err != nil && !errors.Is(err, io.EOF) || int64(n) <= offset-s.at {
			s.span = -1
			return tlog.Hash{}, fmt.Errorf("read %s: %w", filepath.Base(s.spans[i].file.Name()), errors.Join(err, errNoHash))
		}
		s.span, s.chunk = i, s.chunk[:n]
	}
	return tlog.Hash(s.chunk[offset-s.at:][:tlog.HashSize]), nil
}

// end is the number of records up to the last one with stored hashes.
func (s *hashStore) end() uint64 {
	if len(s.spans) == 0 {
		return 0
	}
	last := s.spans[len(s.spans)-1]
	return last.first + last.records
}

// leaf returns the stored hash of a record.
func (s *hashStore) leaf(seq uint64) (tlog.Hash, error) {
	return s.hash(tlog.StoredHashIndex(0, int64(seq)))
}

// ReadHashes makes the store a tlog.HashReader.
func (s *hashStore) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		h, err := s.hash(index)
		if err != nil {
			return nil, err
		}
		out[i] = h
	}
	return out, nil
}

// hashDamage is one place where the stored hashes are not what the leaves give:
// a missing or wrong hash over the records from lo to hi, hi included.
type hashDamage struct {
	lo, hi  uint64
	missing bool
}

// hashCheck compares the hashes that leaves give with the stored ones, record
// by record, and tells the smallest subtrees that differ.
type hashCheck struct {
	store *hashStore
	next  int64    // stored hash index
	dirty [64]bool // by level: the open left subtree of that level differs
	found []hashDamage
	more  uint64 // beyond maxFindings
}

// add takes the hashes that a log stores for record seq.
func (c *hashCheck) add(seq uint64, want []tlog.Hash) {
	childDirty := false
	for level, w := range want {
		got, err := c.store.hash(c.next)
		c.next++
		differs := err != nil || got != w
		leftDirty := level > 0 && c.dirty[level-1]
		if differs && !childDirty && !leftDirty {
			c.report(hashDamage{lo: seq + 1 - 1<<level, hi: seq, missing: err != nil})
		}
		childDirty = differs
	}
	c.dirty[len(want)-1] = childDirty
}

func (c *hashCheck) report(d hashDamage) {
	if last := len(c.found) - 1; last >= 0 && d.missing && c.found[last].missing && c.found[last].hi+1 == d.lo {
		c.found[last].hi = d.hi
		return
	}
	if len(c.found) >= maxFindings {
		c.more++
		return
	}
	c.found = append(c.found, d)
}
