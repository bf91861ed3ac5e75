package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	lookahead   = 256  // lines searched for the other half of a swap
	maxStrange  = 1024 // unrecognised lines held back before they are judged
	maxMissing  = 1024 // ranges of missing records held back before they are judged
	strangeText = "the line is not what was recorded as record %d: its hash is %s, recorded was %s"
)

// sighting is a line as the locator sees it: known by its hash as a certain
// record, or strange.
type sighting struct {
	segment int
	line    int
	seq     uint64 // of a known line; what a strange one claims
	claims  bool   // a strange line that can be read as a record
	known   bool
	hash    tlog.Hash
}

// seqRange is a range of sequence numbers, hi not included.
type seqRange struct{ lo, hi uint64 }

// locator names what was done to lines that do not give the root they should.
// It knows each record by its stored leaf hash, and walks the lines once, with
// bounded memory.
type locator struct {
	v       *verification
	size    uint64 // of the reference
	want    uint64 // the record that should come next
	strange []sighting
	missing []seqRange // passed over, in order; may turn up later
	half    bool       // the last line has no end
}

// locate finds out why the lines do not hold and reports it.
func (v *verification) locate(ref *checkpoint) error {
	before := len(v.report.Findings)
	trusted := v.checkHashes(ref)
	loc := &locator{v: v, size: ref.size}
	if err := loc.walk(); err != nil {
		return err
	}
	loc.finish()
	slices.SortStableFunc(v.report.Findings[before:], func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Line, b.Line))
	})
	if len(v.report.Findings) > before {
		return nil
	}
	text := "every line agrees with the stored hashes, but they do not give the root that the checkpoint speaks for: lines and hashes were rewritten together"
	if trusted {
		text = "the lines do not give the root that the checkpoint speaks for"
	}
	v.report.find(Finding{Kind: RootMismatch, Text: text})
	return nil
}

// checkHashes reports whether the stored leaf hashes give the reference's root,
// and names the stored hashes that contradict each other. One that stands over
// changed leaves narrows the place where lines and leaves were changed together.
func (v *verification) checkHashes(ref *checkpoint) bool {
	check := hashCheck{store: v.store}
	var tree frontier
	var stored []tlog.Hash
	var lost []seqRange
	end := min(ref.size, v.store.end()) // an unsigned checkpoint may claim any size
	for n := range end {
		leaf, err := v.store.leaf(n)
		if err != nil {
			if last := len(lost) - 1; last >= 0 && lost[last].hi == n {
				lost[last].hi++
			} else {
				lost = append(lost, seqRange{n, n + 1})
			}
			continue
		}
		if len(lost) == 0 {
			stored = tree.push(leaf, stored[:0])
			check.add(n, stored)
		}
	}
	if end < ref.size {
		lost = append(lost, seqRange{end, ref.size})
	}
	for _, d := range check.found {
		v.findHashes(d, "a record there was changed, or the hashes were")
	}
	v.report.Unlisted += check.more
	for _, r := range lost {
		v.findHashes(hashDamage{lo: r.lo, hi: r.hi - 1, missing: true}, "the records there cannot be checked one by one")
	}
	return len(lost) == 0 && tree.root() == ref.root
}

// walk passes every line to see, with a window of lines ahead of it.
func (l *locator) walk() error {
	var window []sighting
	head := 0
	for ln, err := range readLines(l.v.segments, 0) {
		if err != nil {
			return err
		}
		if !ln.ended && ln.segment == len(l.v.segments)-1 {
			l.half = true
			break
		}
		window = append(window, l.sight(ln))
		if len(window)-head > lookahead {
			l.see(window[head], window[head+1:])
			head++
		}
		if head == lookahead {
			window = slices.Delete(window, 0, head)
			head = 0
		}
	}
	for ; head < len(window); head++ {
		l.see(window[head], window[head+1:])
	}
	return nil
}

// sight tells which record a line is.
func (l *locator) sight(ln line) sighting {
	s := sighting{segment: ln.segment, line: ln.number, hash: tlog.RecordHash(ln.data)}
	if ln.whole() != nil {
		return s
	}
	if s.seq, s.claims = claimedSeq(ln.data); !s.claims || s.seq >= l.size {
		return s
	}
	leaf, err := l.v.store.leaf(s.seq)
	// Where the leaf is lost, the line's own word is all there is; that the
	// hashes are missing is a finding by itself.
	s.known = errors.Is(err, errNoHash) || err == nil && leaf == s.hash
	return s
}

func (l *locator) see(s sighting, ahead []sighting) {
	switch {
	case !s.known:
		l.strange = append(l.strange, s)
		if len(l.strange) > maxStrange {
			l.explain(min(l.want+uint64(len(l.strange)), l.size))
		}
	case s.seq == l.want:
		l.explain(l.want)
		l.want++
	case s.seq > l.want:
		if len(l.strange) == 0 && l.swap(s, ahead) {
			l.want++
			return
		}
		l.explain(s.seq)
		l.want = s.seq + 1
	default:
		l.explain(l.want)
		if l.recover(s.seq) {
			l.find(s, s.seq, Moved, fmt.Sprintf("record %d stands here, after record %d", s.seq, l.want-1))
		} else {
			l.find(s, s.seq, Inserted, fmt.Sprintf("a second copy of record %d stands here", s.seq))
		}
	}
}

// swap looks for the wanted record exactly where s belongs; then the two stand
// in each other's place.
func (l *locator) swap(s sighting, ahead []sighting) bool {
	distance := s.seq - l.want
	if distance > uint64(len(ahead)) {
		return false
	}
	other := &ahead[distance-1]
	if !other.known || other.seq != l.want {
		return false
	}
	l.find(s, l.want, Swapped, fmt.Sprintf("record %d stands here in the place of record %d, and %d at %s:%d in its",
		s.seq, l.want, l.want, l.v.segments[other.segment].name, other.line))
	other.seq = s.seq // from here on it counts as being in its place
	return true
}

// recover takes a record off the missing ones.
func (l *locator) recover(seq uint64) bool {
	for i, r := range l.missing {
		if seq < r.lo || seq >= r.hi {
			continue
		}
		var rest []seqRange
		if r.lo < seq {
			rest = append(rest, seqRange{r.lo, seq})
		}
		if seq+1 < r.hi {
			rest = append(rest, seqRange{seq + 1, r.hi})
		}
		l.missing = slices.Replace(l.missing, i, i+1, rest...)
		return true
	}
	return false
}

// explain judges the strange lines that stand where the records from want up to
// upTo should: a line in a record's place is a changed one, what is left over
// was inserted, and the records without any line are missing.
func (l *locator) explain(upTo uint64) {
	open := seqRange{l.want, upTo}
	taken := map[uint64]bool{}
	var rest []sighting
	for _, s := range l.strange {
		if s.claims && s.seq >= open.lo && s.seq < open.hi && !taken[s.seq] {
			taken[s.seq] = true
			l.changed(s, s.seq)
		} else {
			rest = append(rest, s)
		}
	}
	seq := open.lo
	for _, s := range rest {
		for seq < open.hi && taken[seq] {
			seq++
		}
		if open.lo >= l.size && s.claims && s.seq >= l.size {
			continue // after the checkpoint, which does not speak for it
		}
		if seq >= open.hi {
			l.find(s, open.hi, Inserted, fmt.Sprintf("this line was never recorded; it stands before record %d", open.hi))
			continue
		}
		taken[seq] = true
		l.changed(s, seq)
	}
	l.strange = l.strange[:0]
	l.lose(open, taken)
	l.want = upTo
}

// lose puts the records of a range that have no line on the missing list.
func (l *locator) lose(r seqRange, taken map[uint64]bool) {
	found := make([]uint64, 0, len(taken))
	for seq := range taken {
		found = append(found, seq)
	}
	slices.Sort(found)
	lo := r.lo
	for _, seq := range append(found, r.hi) {
		if lo < seq {
			l.missing = append(l.missing, seqRange{lo, seq})
		}
		lo = seq + 1
	}
	if len(l.missing) > maxMissing {
		l.gone(l.missing[0])
		l.missing = slices.Delete(l.missing, 0, 1)
	}
}

func (l *locator) changed(s sighting, seq uint64) {
	recorded := "lost"
	if leaf, err := l.v.store.leaf(seq); err == nil {
		recorded = leaf.String()
	}
	l.find(s, seq, Changed, fmt.Sprintf(strangeText, seq, s.hash, recorded))
}

func (l *locator) find(s sighting, seq uint64, kind FindingKind, text string) {
	l.v.report.find(Finding{Segment: l.v.segments[s.segment].name, Line: s.line, Seq: seq, Kind: kind, Text: text})
}

// finish judges the end: whole records after the checkpoint are no tampering,
// and what is missing now stays missing.
func (l *locator) finish() {
	after := len(l.strange)
	for after > 0 && l.strange[after-1].claims && l.strange[after-1].seq >= l.size {
		after--
	}
	l.strange = l.strange[:after]
	l.explain(max(l.want, l.size))
	for _, r := range l.missing {
		l.gone(r)
	}
}

// gone reports missing records, segment by segment.
func (l *locator) gone(r seqRange) {
	for r.lo < r.hi {
		part, seg, there := l.home(r)
		name := seg.name
		switch {
		case !there:
			l.v.report.find(Finding{Segment: name, Seq: part.lo, Kind: MissingSegment,
				Text: fmt.Sprintf("the segment file with %s is gone", span(part.lo, part.hi-1))})
		case r.hi == l.size:
			text := fmt.Sprintf("the checkpoint covers %d records, but %s %s gone from the end", l.size, span(part.lo, part.hi-1), are(part))
			if l.half {
				text += ", except for a half line"
			}
			l.v.report.find(Finding{Segment: name, Line: int(part.lo-seg.first) + 1, Seq: part.lo, Kind: Truncated, Text: text})
		default:
			l.v.report.find(Finding{Segment: name, Line: int(part.lo-seg.first) + 1, Seq: part.lo, Kind: Deleted,
				Text: fmt.Sprintf("%s stood here and %s gone", span(part.lo, part.hi-1), are(part))})
		}
		r.lo = part.hi
	}
}

// home returns the first part of a range that belonged to one segment, that
// segment, and whether its file is there. The hash files remember the bounds of
// segments whose lines are gone.
func (l *locator) home(r seqRange) (part seqRange, home segment, there bool) {
	part = r
	start, next := uint64(0), false
	file := map[uint64]bool{}
	starts := make([]uint64, 0, len(l.v.segments)+len(l.v.store.spans))
	for _, s := range l.v.segments {
		starts, file[s.first] = append(starts, s.first), true
	}
	known := r.hi
	for _, s := range l.v.store.spans {
		starts = append(starts, s.first)
		if s.first <= r.lo {
			known = s.first + s.records
		}
	}
	for _, first := range starts {
		if first <= r.lo {
			start = max(start, first)
		} else if next = true; first < part.hi {
			part.hi = first
		}
	}
	if known > r.lo {
		part.hi = min(part.hi, known)
	} else if next {
		// The segment is known to have ended before: of the one that followed it
		// nothing is left, not even its hashes.
		return part, newSegment(l.v.report.Dir, r.lo), false
	}
	return part, newSegment(l.v.report.Dir, start), file[start]
}

func are(r seqRange) string {
	if r.lo+1 == r.hi {
		return "is"
	}
	return "are"
}
