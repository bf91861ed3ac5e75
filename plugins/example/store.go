package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const ledgerSuffix = ".ledger"

// entry is what is known of one flag: who has set it to what, and what it was.
// The zero value is a flag that nobody has set.
type entry struct {
	Owner   string    `json:"owner"`
	Expires time.Time `json:"expires"`
	Set     float64   `json:"set"`
	Prior   float64   `json:"prior"` // before the last write, which a crash may have prevented
	Before  float64   `json:"before"`
}

// foreign reports whether the value is none that this lever has written.
func (e entry) foreign(have float64) bool {
	return e.Owner != "" && have != e.Set && have != e.Prior && have != e.Before
}

// store is the files of one service.
type store struct {
	dir, service string
	flags        map[string]float64

	Epoch   uint64           `json:"epoch"` // of the last directive that was accepted
	Seq     uint64           `json:"seq"`
	Entries map[string]entry `json:"flags"`
}

func (s *store) entry(flag string) entry { return s.Entries[flag] }

func (s *store) flagFile() string   { return filepath.Join(s.dir, s.service+".json") }
func (s *store) ledgerFile() string { return filepath.Join(s.dir, s.service+ledgerSuffix) }

// read reads both files. A service without a ledger has none of its flags set.
func (s *store) read() error {
	text, err := os.ReadFile(s.flagFile())
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &s.flags); err != nil {
		return fmt.Errorf("read %s: %w", s.flagFile(), err)
	}
	s.Entries = map[string]entry{}
	text, err = os.ReadFile(s.ledgerFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", s.ledgerFile(), err)
	}
	return nil
}

// write writes the ledger, and then the flag.
func (s *store) write(flag string, e entry, value float64) error {
	if e.Owner == "" {
		delete(s.Entries, flag)
	} else {
		s.Entries[flag] = e
	}
	if err := replace(s.ledgerFile(), s); err != nil {
		return unknown(err, s.ledgerFile())
	}
	return s.writeFlag(flag, value)
}

func (s *store) writeFlag(flag string, value float64) error {
	if s.flags[flag] == value {
		return nil
	}
	s.flags[flag] = value
	if err := replace(s.flagFile(), s.flags); err != nil {
		return unknown(err, s.flagFile())
	}
	return nil
}

// replace writes a file whole or not at all: readers see the old one or the new.
func replace(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".flagfile-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
