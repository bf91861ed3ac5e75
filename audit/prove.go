package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sreagent/sreagent/sre"
)

const (
	proofHeader  = "c2sp.org/tlog-proof@v1"
	extraPrefix  = "extra "
	indexPrefix  = "index "
	growthPrefix = "old "
	maxPath      = 63 // hashes in a proof; 2^63 leaves need no more
)

// Proven is what an inclusion proof shows: that the checkpoint's signer
// recorded the record at its place, among Size records, by Time.
type Proven struct {
	Record sre.Record
	Line   []byte // the record's bytes as they stand in the trail, without newline
	Origin string
	Size   uint64
	Time   time.Time // signed time of the checkpoint
}

// Prove writes a proof that a record stands in the trail, against the latest
// checkpoint: the text form of C2SP tlog-proof with the record's line as extra
// data. It stands by itself; CheckProof needs nothing else but the public key.
func Prove(dir string, seq uint64) (proof string, err error) {
	raw, c, err := latest(dir)
	if err != nil {
		return "", err
	}
	if seq >= c.size {
		return "", fmt.Errorf("prove record %d: the latest checkpoint covers %d records", seq, c.size)
	}
	data, err := findLine(dir, seq)
	if err != nil {
		return "", err
	}
	path, err := withHashes(dir, func(s *hashStore) (tlog.RecordProof, error) {
		return tlog.ProveRecord(int64(c.size), int64(seq), s)
	})
	if err == nil {
		err = tlog.CheckRecord(path, int64(c.size), c.root, int64(seq), tlog.RecordHash(data))
	}
	if err != nil {
		return "", fmt.Errorf("prove record %d (verify the trail to see why): %w", seq, err)
	}
	var b strings.Builder
	b.WriteString(proofHeader + "\n" + extraPrefix + base64.StdEncoding.EncodeToString(data) + "\n" + indexPrefix + strconv.FormatUint(seq, 10) + "\n")
	writeHashes(&b, path)
	b.WriteByte('\n')
	b.Write(raw)
	return b.String(), nil
}

// CheckProof checks a proof from Prove with the public key of the trail's
// signer.
func CheckProof(publicKey, proof string) (Proven, error) {
	v, err := note.NewVerifier(strings.TrimSpace(publicKey))
	if err != nil {
		return Proven{}, fmt.Errorf("read public key: %w", err)
	}
	head, cp, ok := strings.Cut(proof, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 3 || lines[0] != proofHeader {
		return Proven{}, errors.New("read proof: want a " + proofHeader + " with extra data and an index")
	}
	extra, isExtra := strings.CutPrefix(lines[1], extraPrefix)
	index, isIndex := strings.CutPrefix(lines[2], indexPrefix)
	data, err := base64.StdEncoding.DecodeString(extra)
	if !isExtra || err != nil {
		return Proven{}, errors.New("read proof: the record is missing from its extra data")
	}
	seq, err := strconv.ParseUint(index, 10, seqBits)
	if !isIndex || err != nil {
		return Proven{}, errors.New("read proof: the index is no number")
	}
	path, err := parseHashes(lines[3:])
	if err != nil {
		return Proven{}, err
	}
	c, err := openCheckpoint([]byte(cp), v)
	if err != nil {
		return Proven{}, fmt.Errorf("read the proof's checkpoint: %w", err)
	}
	if seq >= c.size {
		return Proven{}, fmt.Errorf("check proof: the checkpoint covers %d records, not record %d", c.size, seq)
	}
	if err := tlog.CheckRecord(path, int64(c.size), c.root, int64(seq), tlog.RecordHash(data)); err != nil {
		return Proven{}, fmt.Errorf("check proof of record %d: %w", seq, err)
	}
	p := Proven{Line: data, Origin: c.origin, Size: c.size, Time: c.at}
	if err := json.Unmarshal(data, &p.Record); err != nil {
		return Proven{}, fmt.Errorf("read proven record %d: %w", seq, err)
	}
	if p.Record.Seq != seq {
		return Proven{}, fmt.Errorf("check proof: record %d calls itself %d", seq, p.Record.Seq)
	}
	return p, nil
}

// ProveGrowth writes a proof that the trail, as of its latest checkpoint, only
// added to what an older checkpoint speaks for: "old" and the older size, the
// hashes, a blank line and the latest checkpoint, as C2SP tlog-witness has it.
// The older checkpoint's signature is not checked here.
func ProveGrowth(dir string, olderCheckpoint []byte) (proof string, err error) {
	raw, c, err := latest(dir)
	if err != nil {
		return "", err
	}
	old, err := checkpointBody(olderCheckpoint)
	if err != nil {
		return "", fmt.Errorf("read older checkpoint: %w", err)
	}
	if old.size > c.size {
		return "", fmt.Errorf("prove growth: the latest checkpoint covers %d records, the older one %d", c.size, old.size)
	}
	path, err := withHashes(dir, func(s *hashStore) (tlog.TreeProof, error) { return proveTree(c.size, old.size, s) })
	if err == nil {
		err = checkTree(path, c, old)
	}
	if err != nil {
		return "", fmt.Errorf("prove growth from %d to %d records: %w", old.size, c.size, err)
	}
	var b strings.Builder
	b.WriteString(growthPrefix + strconv.FormatUint(old.size, 10) + "\n")
	writeHashes(&b, path)
	b.WriteByte('\n')
	b.Write(raw)
	return b.String(), nil
}

// CheckGrowth checks a proof from ProveGrowth against the older checkpoint that
// the checker kept. Both checkpoints must bear the key's signature. It returns
// the newer checkpoint, to be kept from now on.
func CheckGrowth(publicKey string, olderCheckpoint []byte, proof string) (newer []byte, err error) {
	v, err := note.NewVerifier(strings.TrimSpace(publicKey))
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	old, err := openCheckpoint(olderCheckpoint, v)
	if err != nil {
		return nil, fmt.Errorf("read older checkpoint: %w", err)
	}
	head, cp, ok := strings.Cut(proof, "\n\n")
	lines := strings.Split(head, "\n")
	if size, isOld := strings.CutPrefix(lines[0], growthPrefix); !ok || !isOld || size != strconv.FormatUint(old.size, 10) {
		return nil, fmt.Errorf("read proof: want one that begins with %q", growthPrefix+strconv.FormatUint(old.size, 10))
	}
	path, err := parseHashes(lines[1:])
	if err != nil {
		return nil, err
	}
	c, err := openCheckpoint([]byte(cp), v)
	if err != nil {
		return nil, fmt.Errorf("read the proof's checkpoint: %w", err)
	}
	if err := checkTree(path, c, old); err != nil {
		return nil, fmt.Errorf("check growth from %d to %d records: %w", old.size, c.size, err)
	}
	return []byte(cp), nil
}

var errNoGrowth = errors.New("the newer tree does not hold the older one")

// proveTree extends tlog.ProveTree to the empty tree, which every tree holds.
func proveTree(size, old uint64, s *hashStore) (tlog.TreeProof, error) {
	if old == 0 {
		return nil, nil
	}
	return tlog.ProveTree(int64(size), int64(old), s)
}

func checkTree(path tlog.TreeProof, c, old checkpoint) error {
	empty := (&frontier{}).root()
	switch {
	case c.size < old.size, old.size == 0 && (len(path) > 0 || old.root != empty):
		return errNoGrowth
	case old.size == 0:
		return nil
	}
	return tlog.CheckTree(path, int64(c.size), c.root, int64(old.size), old.root)
}

func latest(dir string) ([]byte, checkpoint, error) {
	raw, err := readCheckpoint(filepath.Join(dir, checkpointName))
	if err != nil {
		return nil, checkpoint{}, err
	}
	c, err := checkpointBody(raw)
	if err != nil {
		return nil, checkpoint{}, fmt.Errorf("read checkpoint: %w", err)
	}
	return raw, c, nil
}

// checkpointBody reads what a checkpoint says without asking who signed it.
func checkpointBody(msg []byte) (checkpoint, error) {
	text, _, ok := bytes.Cut(msg, []byte("\n\n"))
	if !ok {
		return checkpoint{}, errors.New("a checkpoint is a signed note: text, blank line, signatures")
	}
	return parseCheckpoint(string(text) + "\n")
}

// findLine returns the line of a record.
func findLine(dir string, seq uint64) ([]byte, error) {
	segments, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	start := holding(segments, seq)
	at := uint64(0)
	if start < len(segments) {
		at = segments[start].first
	}
	for l, err := range readLines(segments, start) {
		if err != nil {
			return nil, err
		}
		if at == seq {
			return bytes.Clone(l.data), l.whole()
		}
		at++
	}
	return nil, fmt.Errorf("record %d is not in the trail", seq)
}

func withHashes[P any](dir string, do func(*hashStore) (P, error)) (P, error) {
	s, err := openHashes(dir)
	if err != nil {
		var none P
		return none, err
	}
	p, err := do(s)
	return p, errors.Join(err, s.Close())
}

func writeHashes(b *strings.Builder, hashes []tlog.Hash) {
	for _, h := range hashes {
		b.WriteString(h.String() + "\n")
	}
}

func parseHashes(lines []string) ([]tlog.Hash, error) {
	if len(lines) > maxPath {
		return nil, fmt.Errorf("read proof: %d hashes are more than any tree needs", len(lines))
	}
	out := make([]tlog.Hash, len(lines))
	for i, s := range lines {
		h, err := tlog.ParseHash(s)
		if err != nil {
			return nil, fmt.Errorf("read proof: %q is no hash", s)
		}
		out[i] = h
	}
	return out, nil
}
