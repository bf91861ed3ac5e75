package remediators

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// maxFlagFile bounds what is read of a flag file, in bytes.
const maxFlagFile = 16 << 20

// flagLayout finds flags in the text of a file and replaces them there. It
// leaves every byte outside them as it is. A flag that is not there is nil.
type flagLayout interface {
	names(content []byte) ([]string, error)
	get(content []byte, flag string) ([]byte, error)
	put(content []byte, flag string, definition []byte) ([]byte, error)
}

// flagFile is a flag file on disk. It is never truncated: flagd takes a file
// that it finds empty for one without flags, and its callers fall back to their
// own defaults.
type flagFile struct {
	path   string
	layout flagLayout
	lock   ledgerFile // next to the other levers' state, not beside the flags
	load   func(ctx context.Context, path string) ([]byte, error)
	save   func(path string, content []byte, mode os.FileMode) error
}

// loadFile reads a flag file.
func loadFile(ctx context.Context, path string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFlagFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFlagFile)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// untouched says that nothing was written.
func untouched(err error) error {
	var known *sre.ActionError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
}

func (f flagFile) names(ctx context.Context) ([]string, error) {
	content, err := f.load(ctx, f.path)
	if err != nil {
		return nil, untouched(err)
	}
	all, err := f.layout.names(content)
	if err != nil {
		return nil, untouched(fmt.Errorf("read %s: %w", f.path, err))
	}
	return slices.DeleteFunc(all, func(name string) bool {
		raw, err := f.layout.get(content, name)
		return err != nil || !strings.Contains(string(raw), `"`+stateKey+`"`)
	}), nil
}

func (f flagFile) read(ctx context.Context, flags []string) ([][]byte, error) {
	content, err := f.load(ctx, f.path)
	if err != nil {
		return nil, untouched(err)
	}
	out := make([][]byte, len(flags))
	for i, flag := range flags {
		if out[i], err = f.layout.get(content, flag); err != nil {
			return nil, untouched(fmt.Errorf("read %s: %w", f.path, err))
		}
	}
	return out, nil
}

// edit changes all the flags in one write, or none of them.
func (f flagFile) edit(ctx context.Context, flags []string, change flagChange) error {
	unlock, err := f.lock.lock(ctx)
	if err != nil {
		return untouched(err)
	}
	defer unlock()
	before, err := f.load(ctx, f.path)
	if err != nil {
		return untouched(err)
	}
	after := before
	for i, flag := range flags {
		raw, err := f.layout.get(after, flag)
		if err != nil {
			return untouched(fmt.Errorf("read %s: %w", f.path, err))
		}
		next, err := change(i, raw)
		if err != nil {
			return untouched(fmt.Errorf("flag %s: %w", flag, err))
		}
		if bytes.Equal(raw, next) {
			continue
		}
		if after, err = f.layout.put(after, flag, next); err != nil {
			return untouched(fmt.Errorf("flag %s: %w", flag, err))
		}
		if back, err := f.layout.get(after, flag); err != nil || sumOf(back) != sumOf(next) {
			return sre.Failedf("nothing was touched: flag %s would not read back as it was written (%v)", flag, err)
		}
	}
	if bytes.Equal(before, after) {
		return nil
	}
	return f.replace(ctx, before, after)
}

// replace writes unless somebody else has written since before was read. Who
// writes in the instant between is seen as foreign at the next probe, or has
// overwritten what this wrote, which then is not in effect.
func (f flagFile) replace(ctx context.Context, before, after []byte) error {
	now, err := f.load(ctx, f.path)
	if err != nil {
		return untouched(err)
	}
	if !bytes.Equal(now, before) {
		return sre.Refusedf("somebody else is writing %s", f.path)
	}
	saved := f.save(f.path, after, 0o644)
	now, err = f.load(context.WithoutCancel(ctx), f.path)
	switch {
	case err != nil:
		return sre.Unknownf(err, "%s could not be read back", f.path)
	case saved != nil && bytes.Equal(now, before):
		return untouched(saved)
	case saved != nil:
		return sre.Unknownf(saved, "%s may not last", f.path)
	case !bytes.Equal(now, after):
		return sre.Failedf("%s holds something else after the write", f.path)
	}
	return nil
}
