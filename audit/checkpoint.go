package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	checkpointName = "checkpoint"
	maxCheckpoint  = 64 << 10 // leaves room for the signatures of many witnesses
	timeExtension  = "time "
)

// checkpoint is a commitment to the first size records of the trail.
type checkpoint struct {
	origin string
	size   uint64
	root   tlog.Hash
	at     time.Time // zero where the checkpoint carries none
}

// text is the body that is signed: C2SP tlog-checkpoint, with the time as an
// extension line so that it is covered by the signature.
func (c checkpoint) text() string {
	return c.origin + "\n" + strconv.FormatUint(c.size, 10) + "\n" + c.root.String() + "\n" +
		timeExtension + c.at.UTC().Format(time.RFC3339Nano) + "\n"
}

func (c checkpoint) sign(s note.Signer) ([]byte, error) {
	msg, err := note.Sign(&note.Note{Text: c.text()}, s)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return msg, nil
}

// parseCheckpoint reads the body of a checkpoint.
func parseCheckpoint(text string) (checkpoint, error) {
	body, ended := strings.CutSuffix(text, "\n")
	lines := strings.Split(body, "\n")
	if !ended || len(lines) < 3 || lines[0] == "" {
		return checkpoint{}, errors.New("a checkpoint has an origin, a size and a root hash, one per line")
	}
	size, err := strconv.ParseUint(lines[1], 10, seqBits)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return checkpoint{}, fmt.Errorf("%q is no tree size", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return checkpoint{}, fmt.Errorf("%q is no root hash", lines[2])
	}
	c := checkpoint{origin: lines[0], size: size, root: root}
	for _, ext := range lines[3:] {
		if value, ok := strings.CutPrefix(ext, timeExtension); ok {
			if c.at, err = time.Parse(time.RFC3339Nano, value); err != nil {
				return checkpoint{}, fmt.Errorf("%q is no time", value)
			}
		}
	}
	return c, nil
}

// errSignature marks a checkpoint that could be read but not believed.
var errSignature = errors.New("signature does not hold")

// openCheckpoint checks the signature and reads the checkpoint. On a signature
// that does not hold it returns what the body says with an error that wraps
// errSignature.
func openCheckpoint(msg []byte, v note.Verifier) (checkpoint, error) {
	n, err := note.Open(msg, note.VerifierList(v))
	if err == nil {
		c, err := parseCheckpoint(n.Text)
		if err == nil && c.origin != v.Name() {
			err = fmt.Errorf("%w: the checkpoint is of %q, the key of %q", errSignature, c.origin, v.Name())
		}
		return c, err
	}
	split := bytes.LastIndex(msg, []byte("\n\n"))
	if split < 0 {
		return checkpoint{}, errors.New("a checkpoint is a signed note: text, blank line, signatures")
	}
	c, perr := parseCheckpoint(string(msg[:split+1]))
	if perr != nil {
		return checkpoint{}, perr
	}
	return c, fmt.Errorf("%w: %w", errSignature, err)
}

func readCheckpoint(path string) ([]byte, error) {
	msg, err := readSmall(path, maxCheckpoint)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	return msg, nil
}

func readSmall(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", filepath.Base(path), info.Size(), limit)
	}
	return os.ReadFile(path)
}

// writeAtomic replaces a file so that a crash leaves the old one or the new
// one, whole: the content is durable before the name moves, and the name is
// durable before the call returns.
func writeAtomic(path string, content []byte, mode os.FileMode) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
