package remediators

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// stateKey is the entry of a flag's metadata that holds the state of the lever.
const stateKey = "sreagent"

// holdsMark is in the text of every flag with a lease, as the state is a text in
// JSON and names its leases only while there are any.
const holdsMark = `\"holds\":`

// flagState is what the lever keeps at the flag itself, so that any agent that
// leads later finds it: who holds it off, until when, and what it was before.
// The fencing token and the marks stay when nothing is held any more.
type flagState struct {
	Epoch  uint64              `json:"epoch"`
	Marks  map[string]mark     `json:"marks,omitempty"`  // last write accepted, by switch
	Holds  map[string]flagHold `json:"holds,omitempty"`  // by switch: one of this flag or of a scope above
	Before string              `json:"before,omitempty"` // text of the definition without any hold
	Sum    string              `json:"sum,omitempty"`    // of the definition as it was written
}

// flagHold is one lease on a flag.
type flagHold struct {
	Owner   string    `json:"owner"` // action ID
	Percent float64   `json:"percent"`
	Cohort  string    `json:"cohort,omitempty"` // whose users alone it holds for
	Expires time.Time `json:"expires"`
}

// cut is a share that is off: of all keys, or of those of a cohort.
type cut struct {
	cohort  string
	percent float64
}

// cuts are the strictest holds, for everybody first, then by cohort.
func (s *flagState) cuts() []cut {
	most := map[string]float64{}
	for _, h := range s.Holds {
		most[h.Cohort] = max(most[h.Cohort], h.Percent)
	}
	var out []cut
	for _, cohort := range slices.Sorted(maps.Keys(most)) {
		if p := most[cohort]; p > 0 && (cohort == "" || p > most[""]) {
			out = append(out, cut{cohort, p})
		}
	}
	return out
}

// foreign reports whether somebody else has changed the definition since.
func (s *flagState) foreign(definition []byte) bool {
	return len(s.Holds) > 0 && sumOf(definition) != s.Sum
}

// base is the definition without any hold of ours. What somebody else has
// changed is the new start, and holds nothing of ours any more.
func (s *flagState) base(definition []byte) []byte {
	if len(s.Holds) == 0 || s.foreign(definition) {
		s.Holds = nil
		return definition
	}
	return []byte(s.Before)
}

// fence refuses a writer that has been replaced, and enters the write in the
// order of all writes.
func (s *flagState) fence(name string, d sre.Directive) error {
	if d.Epoch < s.Epoch {
		return sre.Refusedf("fencing token %d is stale, %d was accepted", d.Epoch, s.Epoch)
	}
	if m := s.Marks[name]; m.Epoch == d.Epoch && d.Seq < m.Seq {
		return sre.Refusedf("write %d of epoch %d is stale, %d was accepted", d.Seq, d.Epoch, m.Seq)
	}
	s.Epoch = d.Epoch
	marks := maps.Clone(s.Marks)
	if marks == nil {
		marks = map[string]mark{}
	}
	marks[name] = mark{Epoch: d.Epoch, Seq: d.Seq}
	s.Marks = marks
	return nil
}

func sumOf(definition []byte) string {
	text, err := canonical(definition)
	if err != nil {
		text = definition
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:12])
}

// inMetadata keeps the state in the metadata of a flag, as text: flagd allows
// texts, numbers and booleans there and nothing deeper.
type inMetadata struct{}

func (inMetadata) split(raw []byte) ([]byte, *flagState, error) {
	st := &flagState{}
	meta, err := getMember(raw, "metadata")
	if err != nil || meta == nil {
		return raw, st, err
	}
	entry, err := getMember(meta, stateKey)
	if err != nil || entry == nil {
		return raw, st, err
	}
	var text string
	if err := json.Unmarshal(entry, &text); err != nil {
		return nil, nil, fmt.Errorf("metadata.%s: %w", stateKey, err)
	}
	if err := json.Unmarshal([]byte(text), st); err != nil {
		return nil, nil, fmt.Errorf("metadata.%s: %w", stateKey, err)
	}
	rest, err := dropMember(meta, stateKey)
	if err != nil {
		return nil, nil, err
	}
	if left, err := members(rest); err == nil && len(left) == 0 {
		definition, err := dropMember(raw, "metadata")
		return definition, st, err
	}
	definition, err := setMember(raw, "metadata", rest)
	return definition, st, err
}

func (inMetadata) join(definition []byte, st *flagState) ([]byte, error) {
	text, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	entry, err := json.Marshal(string(text))
	if err != nil {
		return nil, err
	}
	meta, err := getMember(definition, "metadata")
	if err != nil {
		return nil, err
	}
	if meta == nil {
		meta = []byte("{}")
	}
	if meta, err = setMember(meta, stateKey, entry); err != nil {
		return nil, err
	}
	return setMember(definition, "metadata", meta)
}
