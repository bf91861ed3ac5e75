package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// fenceFile is the content of the state file.
type fenceFile struct {
	Epoch uint64 `json:"epoch"`
}

// readEpoch returns the highest epoch that a former run has accepted. A file
// that cannot be understood is an error: without it a superseded writer could
// come back.
func readEpoch(path string) (uint64, error) {
	if path == "" {
		return 0, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read state file: %w", err)
	}
	var f *fenceFile
	if err := json.Unmarshal(data, &f); err != nil {
		return 0, fmt.Errorf("read state file %s: %w", path, err)
	}
	if f == nil {
		return 0, fmt.Errorf("read state file %s: no epoch", path)
	}
	return f.Epoch, nil
}

// writeEpoch replaces the state file; it is on disk when this returns nil.
func writeEpoch(path string, epoch uint64) error {
	if path == "" {
		return nil
	}
	data, err := json.Marshal(fenceFile{epoch})
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if err := replaceFile(path, append(data, '\n')); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	return nil
}

func replaceFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".guard-state-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
