package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Verify checks a trail against its latest checkpoint. publicKey is the encoded
// public key (the content of the .pub file) as the auditor knows it from
// elsewhere; empty takes the key that lies beside the trail, which proves less:
// whoever rewrote the trail could have put the key there too, and the report
// says so. It takes no lock and changes nothing, so a live trail may be
// verified. Memory is bounded, however long the trail. The error says that the
// trail cannot be read or the key makes no sense; everything that is wrong with
// the trail itself is a finding.
func Verify(dir, publicKey string) (Report, error) {
	return VerifyAgainst(dir, publicKey, nil)
}

// VerifyAgainst verifies as Verify does, and also that the trail still holds
// all that a checkpoint kept elsewhere speaks for. It is what finds a trail
// that was rolled back, or rewritten by somebody who has the signing key.
func VerifyAgainst(dir, publicKey string, outsideCheckpoint []byte) (Report, error) {
	v := verification{report: Report{Dir: dir}}
	if err := v.readKey(publicKey); err != nil {
		return v.report, err
	}
	if err := v.readCheckpoints(outsideCheckpoint); err != nil {
		return v.report, err
	}
	var err error
	if v.segments, err = listSegments(dir); err != nil {
		return v.report, err
	}
	v.report.Segments = len(v.segments)
	if v.store, err = openHashes(dir); err != nil {
		return v.report, err
	}
	err = v.judge()
	return v.report, errors.Join(err, v.store.Close())
}

// verification is one run of Verify.
type verification struct {
	report   Report
	key      note.Verifier
	local    *checkpoint // the trail's own; nil where it cannot be read
	outside  *checkpoint // nil for none
	segments []segment
	store    *hashStore
}

func (v *verification) readKey(publicKey string) error {
	publicKey = strings.TrimSpace(publicKey)
	if publicKey == "" {
		raw, err := readSmall(filepath.Join(v.report.Dir, keyName+pubSuffix), maxKey)
		if err != nil {
			return fmt.Errorf("read public key beside the trail: %w", err)
		}
		publicKey = strings.TrimSpace(string(raw))
		v.report.KeyFromTrail = true
		v.report.note(Finding{Kind: KeyUnproven, Text: "the public key was taken from the trail's own folder: this shows that the trail agrees with itself, not who wrote it; give the key from elsewhere to prove that"})
	}
	key, err := note.NewVerifier(publicKey)
	if err != nil {
		return fmt.Errorf("read public key: %w", err)
	}
	v.key, v.report.Key = key, publicKey
	return nil
}

func (v *verification) readCheckpoints(outside []byte) error {
	if len(outside) > 0 {
		c, err := openCheckpoint(outside, v.key)
		switch {
		case errors.Is(err, errSignature):
			v.report.find(Finding{Kind: BadSignature, Text: "the outside checkpoint: " + err.Error()})
		case err != nil:
			return fmt.Errorf("read outside checkpoint: %w", err)
		default:
			v.outside, v.report.Outside = &c, c.size
		}
	}
	raw, err := readCheckpoint(filepath.Join(v.report.Dir, checkpointName))
	if errors.Is(err, fs.ErrNotExist) {
		v.report.find(Finding{Kind: BadCheckpoint, Text: "the trail has no checkpoint"})
		return nil
	}
	if err != nil {
		v.report.find(Finding{Kind: BadCheckpoint, Text: err.Error()})
		return nil
	}
	c, err := openCheckpoint(raw, v.key)
	switch {
	case errors.Is(err, errSignature):
		v.report.find(Finding{Kind: BadSignature, Text: "the trail's checkpoint: " + err.Error()})
	case err != nil:
		v.report.find(Finding{Kind: BadCheckpoint, Text: "the trail's checkpoint cannot be read: " + err.Error()})
		return nil
	default:
		v.report.Signed = true
	}
	v.local = &c
	v.report.Origin, v.report.Size, v.report.Root, v.report.CheckpointTime = c.origin, c.size, c.root.String(), c.at
	return nil
}

// reference is the checkpoint that the lines are measured against: the trail's
// own where it is signed, else one from outside, else whatever the trail's own
// says, so that damage can still be located.
func (v *verification) reference() *checkpoint {
	if v.outside != nil && !v.report.Signed {
		return v.outside
	}
	return v.local
}

func (v *verification) judge() error {
	ref := v.reference()
	if ref == nil {
		ref = &checkpoint{root: (&frontier{}).root()}
	}
	sizes := []uint64{ref.size}
	if v.outside != nil {
		sizes = append(sizes, v.outside.size)
	}
	s, err := surveyTrail(v.segments, v.store, ref.size, sizes...)
	if err != nil {
		return err
	}
	v.report.Records = s.tree.size
	if s.holds(*ref) {
		v.judgeIntact(s, ref)
	} else if err := v.locate(ref); err != nil {
		return err
	}
	v.judgeOutside(s)
	return nil
}

// judgeIntact is for a trail whose covered lines are proven: what may still be
// wrong is around them.
func (v *verification) judgeIntact(s *survey, ref *checkpoint) {
	for _, m := range s.misnamed {
		v.report.find(Finding{Segment: v.segments[m.segment].name, Seq: m.at, Kind: Misnamed,
			Text: fmt.Sprintf("the file's name says %d, but its first record is %d", v.segments[m.segment].first, m.at)})
	}
	for _, d := range s.hashes.found {
		v.findHashes(d, "the records themselves are proven by the checkpoint")
	}
	v.report.Unlisted += s.hashes.more
	if s.tree.size > ref.size && v.local != nil {
		v.report.note(Finding{Segment: v.segments[s.end.segment].name, Seq: ref.size, Kind: Uncovered,
			Text: fmt.Sprintf("%s stand after the last checkpoint, which does not speak for them: an append was cut short, or is under way", span(ref.size, s.tree.size-1))})
	}
	v.judgeTail(s.stop, s.tree.size)
}

// judgeTail tells what stands after the last whole record in sequence.
func (v *verification) judgeTail(stop *tail, want uint64) {
	if stop == nil {
		return
	}
	f := Finding{Segment: v.segments[stop.segment].name, Line: stop.line, Seq: want}
	if stop.half && stop.segment == len(v.segments)-1 {
		f.Kind, f.Text = TornTail, "a half-written line stands after the last checkpoint: an append was cut short, or is under way"
		v.report.note(f)
		return
	}
	f.Kind, f.Text = Malformed, "a line after the last checkpoint is not the next record: "+stop.err.Error()
	v.report.find(f)
}

func (v *verification) judgeOutside(s *survey) {
	o := v.outside
	if o == nil || v.local == nil {
		return
	}
	root, known := s.roots[o.size]
	same := known && root == o.root
	switch {
	case o.size > v.local.size && same:
		v.report.find(Finding{Seq: v.local.size, Kind: RolledBack,
			Text: fmt.Sprintf("the trail's checkpoint covers %d records, the outside one %d: the checkpoint was rolled back, the records are all there", v.local.size, o.size)})
	case o.size > v.local.size:
		v.report.find(Finding{Seq: v.local.size, Kind: RolledBack,
			Text: fmt.Sprintf("the trail's checkpoint covers %d records, the outside one %d: the trail was rolled back, and what followed is not there as it was recorded", v.local.size, o.size)})
	case known && !same, o.size == v.local.size && o.root != v.local.root:
		v.report.find(Finding{Seq: 0, Kind: Rewritten,
			Text: fmt.Sprintf("the first %d records are not those of the outside checkpoint: history was rewritten", o.size)})
	}
}

func (v *verification) findHashes(d hashDamage, outlook string) {
	what := "are not what the records give"
	if d.missing {
		what = "are missing"
	}
	f := Finding{Seq: d.lo, Kind: BadHashes, Text: fmt.Sprintf("the stored hashes over %s %s; %s", span(d.lo, d.hi), what, outlook)}
	if i := holding(v.segments, d.hi); i < len(v.segments) {
		f.Segment = filepath.Base(v.segments[i].hashes())
	}
	v.report.find(f)
}
