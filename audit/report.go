package audit

import (
	"fmt"
	"strings"
	"time"
)

// FindingKind names what is wrong with a trail, or what a reader of the report
// should know.
type FindingKind string

// The closed set of findings that speak of tampering or damage.
const (
	Changed        FindingKind = "changed"          // a line is not what was recorded
	Deleted        FindingKind = "deleted"          // lines are gone from the middle
	Inserted       FindingKind = "inserted"         // a line was never recorded there
	Swapped        FindingKind = "swapped"          // two lines stand in each other's place
	Moved          FindingKind = "moved"            // a line stands after later ones
	Truncated      FindingKind = "truncated"        // lines that the checkpoint covers are gone from the end
	MissingSegment FindingKind = "missing_segment"  // a whole segment file is gone
	Misnamed       FindingKind = "misnamed_segment" // a segment file has another's name
	Malformed      FindingKind = "malformed"        // a line after the checkpoint is no record in sequence
	BadHashes      FindingKind = "bad_hashes"       // the stored hashes are not what the records give
	RootMismatch   FindingKind = "root_mismatch"    // lines and hashes were rewritten together
	BadSignature   FindingKind = "bad_signature"    // a checkpoint is not signed by the key
	BadCheckpoint  FindingKind = "bad_checkpoint"   // a checkpoint is missing or unreadable
	RolledBack     FindingKind = "rolled_back"      // the trail is older than an outside checkpoint
	Rewritten      FindingKind = "rewritten"        // the trail contradicts an outside checkpoint
)

// The closed set of notes: true, but no sign of tampering.
const (
	Uncovered   FindingKind = "uncovered"    // whole records after the last checkpoint
	TornTail    FindingKind = "torn_tail"    // a half-written line after the last checkpoint
	KeyUnproven FindingKind = "key_unproven" // the key came from the trail itself
)

// Finding is one thing found in a trail, with its place. Segment is empty and
// Line is 0 where it is not about a line. Line counts from 1 in the file as it
// is now, for what is gone in the file as it was. Seq is the sequence number
// of the record that belongs, or belonged, there; 0 where no record is meant.
type Finding struct {
	Segment string      `json:"segment,omitempty"`
	Line    int         `json:"line,omitempty"`
	Seq     uint64      `json:"seq"`
	Kind    FindingKind `json:"kind"`
	Text    string      `json:"text"`
}

// String writes the finding as "kind: segment:line: text".
func (f Finding) String() string {
	s := string(f.Kind) + ": "
	if f.Segment != "" {
		s += f.Segment
		if f.Line > 0 {
			s += fmt.Sprintf(":%d", f.Line)
		}
		s += ": "
	}
	return s + f.Text
}

// maxFindings bounds a report, so that a trail that is wrong everywhere does
// not fill the memory.
const maxFindings = 1000

// Report is what verifying a trail found.
type Report struct {
	Dir            string    `json:"dir"`
	Origin         string    `json:"origin"`             // from the checkpoint
	Key            string    `json:"key"`                // public key that was used
	KeyFromTrail   bool      `json:"key_from_trail"`     // nobody vouched for the key
	Signed         bool      `json:"signed"`             // the trail's checkpoint bears the key's signature
	Size           uint64    `json:"size"`               // records that the checkpoint covers
	Root           string    `json:"root"`               // root hash of the checkpoint, base64
	CheckpointTime time.Time `json:"checkpoint_time"`    // signed time of the checkpoint
	Records        uint64    `json:"records"`            // whole lines from the first on
	Segments       int       `json:"segments"`           // segment files
	Outside        uint64    `json:"outside,omitempty"`  // size of the outside checkpoint, when one was given
	Findings       []Finding `json:"findings"`           // signs of tampering or damage, at most 1000
	Unlisted       uint64    `json:"unlisted,omitempty"` // findings beyond those
	Notes          []Finding `json:"notes,omitempty"`    // true, but no sign of tampering
}

// OK reports whether nothing speaks of tampering or damage.
func (r Report) OK() bool { return len(r.Findings) == 0 }

// String writes the report for people: what was proven, then every finding and
// note on a line of its own.
func (r Report) String() string {
	var b strings.Builder
	if r.OK() {
		fmt.Fprintf(&b, "trail %s is whole: %d records, root %s, checkpoint of %s\n",
			r.Dir, r.Size, r.Root, r.CheckpointTime.UTC().Format(time.RFC3339))
	} else {
		fmt.Fprintf(&b, "trail %s is NOT whole (findings: %d); the checkpoint covers %d records, %d whole lines are there\n",
			r.Dir, uint64(len(r.Findings))+r.Unlisted, r.Size, r.Records)
	}
	for _, f := range r.Findings {
		b.WriteString("  " + f.String() + "\n")
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(&b, "  and %d more\n", r.Unlisted)
	}
	for _, n := range r.Notes {
		b.WriteString("  note: " + n.String() + "\n")
	}
	return b.String()
}

func (r *Report) find(f Finding) {
	if len(r.Findings) >= maxFindings {
		r.Unlisted++
		return
	}
	r.Findings = append(r.Findings, f)
}

func (r *Report) note(f Finding) { r.Notes = append(r.Notes, f) }

// DamagedError refuses to open a trail that is not what its checkpoint speaks
// for.
type DamagedError struct{ Report Report }

// Error names the first finding and counts the others.
func (e *DamagedError) Error() string {
	s := "trail " + e.Report.Dir + " is damaged"
	if n := len(e.Report.Findings); n > 0 {
		s += ": " + e.Report.Findings[0].String()
		if n > 1 {
			s += fmt.Sprintf(" (and %d more findings)", uint64(n-1)+e.Report.Unlisted)
		}
	}
	return s
}

// span writes a range of records in words, both ends included.
func span(lo, hi uint64) string {
	if lo == hi {
		return fmt.Sprintf("record %d", lo)
	}
	return fmt.Sprintf("records %d to %d", lo, hi)
}
