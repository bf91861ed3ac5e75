package remediators

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sreagent/sreagent/sre"
)

// epochKey is the map key that holds the highest fencing token HAProxy has
// been given. Standing in HAProxy itself, it fences off writers on other
// machines, whose ledgers this one cannot see.
const epochKey = "sreagent.epoch"

// maxPayload bounds one payload to the Runtime API, in bytes: half of
// HAProxy's default buffer.
const maxPayload = 8 << 10

// settings are values by key. An empty value means that there is no entry.
type settings map[string]string

// entry is one line of a map.
type entry struct{ key, value string }

// admitMap is HAProxy's map of admitted shares, in memory and on disk.
type admitMap struct {
	api  runtimeAPI
	name string
	file string // empty: the file is left alone
	undo bool   // a file that cannot be written does not stop the write in memory
}

// entries lists the map in force, in HAProxy's order.
func (m admitMap) entries(ctx context.Context) ([]entry, error) { return m.list(ctx, "") }

func (m admitMap) list(ctx context.Context, version string) ([]entry, error) {
	reply, err := m.api.read(ctx, "show map "+version+m.name)
	if err != nil {
		return nil, err
	}
	return parseMap(reply)
}

func parseMap(reply string) ([]entry, error) {
	var out []entry
	for line := range strings.Lines(reply) {
		// Each line is "address key value"; the value may hold blanks.
		_, rest, ok := strings.Cut(strings.TrimRight(line, "\n"), " ")
		key, value, ok2 := strings.Cut(rest, " ")
		if !ok || !ok2 {
			return nil, sre.Failedf("haproxy's show map is unreadable: %q", firstLine(line))
		}
		out = append(out, entry{key, value})
	}
	return out, nil
}

func (m admitMap) settings(ctx context.Context) (settings, error) {
	list, err := m.entries(ctx)
	if err != nil {
		return nil, err
	}
	return first(list), nil
}

// first keeps the first entry of each key, which is the one that HAProxy uses.
func first(list []entry) settings {
	out := settings{}
	for _, e := range list {
		if _, seen := out[e.key]; !seen {
			out[e.key] = e.value
		}
	}
	return out
}

// edit returns the list with the changes made: values replaced in place,
// removed where empty, appended in order where new.
func edit(list []entry, changes settings) []entry {
	done := map[string]bool{}
	var out []entry
	for _, e := range list {
		value, ours := changes[e.key]
		switch {
		case !ours:
			out = append(out, e)
		case value != "" && !done[e.key]:
			out = append(out, entry{e.key, value})
		}
		done[e.key] = done[e.key] || ours
	}
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		if !done[key] && changes[key] != "" {
			out = append(out, entry{key, changes[key]})
		}
	}
	return out
}

// set makes the changes in one step, on disk and in memory, and reads back.
// Until the commit nothing in force is touched, so every error before it is a
// failure and not an unknown.
func (m admitMap) set(ctx context.Context, changes settings) error {
	before, err := m.entries(ctx)
	if err != nil {
		return err
	}
	version, err := m.prepare(ctx, before, edit(before, changes))
	if err != nil {
		return err
	}
	undo, err := m.setFile(changes)
	if err != nil && !m.undo {
		m.drop(ctx, version)
		return err
	}
	err = m.commit(ctx, version, changes)
	if code := sre.CodeOf(err); code != "" && code != sre.CodeUnknown && undo != nil {
		return errors.Join(err, undo())
	}
	return err
}

// prepare fills a new version of the map and checks it, since HAProxy stops
// silently at a bad line. It gives up when somebody else has written meanwhile.
func (m admitMap) prepare(ctx context.Context, before, after []entry) (string, error) {
	reply, err := m.api.read(ctx, "prepare map "+m.name)
	if err != nil {
		return "", err
	}
	number, ok := strings.CutPrefix(firstLine(reply), "New version created: ")
	if _, err := strconv.ParseUint(number, 10, 64); !ok || err != nil {
		return "", sre.Failedf("haproxy does not prepare a map: %q", firstLine(reply))
	}
	version := "@" + number + " "
	if err := m.fill(ctx, version, after); err != nil {
		m.drop(ctx, version)
		return "", notYet(err)
	}
	pending, err := m.list(ctx, version)
	if err != nil {
		m.drop(ctx, version)
		return "", err
	}
	now, err := m.entries(ctx)
	switch {
	case err != nil:
	case !sameEntries(pending, after):
		err = sre.Failedf("haproxy did not take the new map: it holds %d of %d entries", len(pending), len(after))
	case !sameEntries(now, before):
		err = sre.Refusedf("somebody else is changing map %s", m.name)
	}
	if err != nil {
		m.drop(ctx, version)
		return "", err
	}
	return version, nil
}

// notYet turns an unknown into a failure: what was lost was a step before the
// commit, which has no effect.
func notYet(err error) error {
	if sre.CodeOf(err) == sre.CodeUnknown {
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "the new map was not prepared", Err: err}
	}
	return err
}

func (m admitMap) fill(ctx context.Context, version string, list []entry) error {
	var payload strings.Builder
	flush := func() error {
		if payload.Len() == 0 {
			return nil
		}
		err := m.api.write(ctx, "add map "+version+m.name+" <<\n"+payload.String())
		payload.Reset()
		return err
	}
	for _, e := range list {
		if payload.Len()+len(e.key)+len(e.value) > maxPayload {
			if err := flush(); err != nil {
				return err
			}
		}
		payload.WriteString(e.key + " " + e.value + "\n")
	}
	return flush()
}

// drop clears a prepared version that will not be committed; what it leaves
// behind is memory only.
func (m admitMap) drop(ctx context.Context, version string) {
	_ = m.api.write(context.WithoutCancel(ctx), "clear map "+version+m.name)
}

func (m admitMap) commit(ctx context.Context, version string, changes settings) error {
	if err := m.api.write(ctx, "commit map "+version+m.name); err != nil {
		return err
	}
	now, err := m.settings(ctx)
	if err != nil {
		return sre.Unknownf(err, "the map was committed but could not be read back")
	}
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		if now[key] != changes[key] {
			return sre.Failedf("haproxy holds %s=%q after the write, not %q", key, now[key], changes[key])
		}
	}
	return nil
}

func sameEntries(a, b []entry) bool {
	order := func(x, y entry) int { return cmp.Or(cmp.Compare(x.key, y.key), cmp.Compare(x.value, y.value)) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

// setFile makes the changes in the map file, and returns how to take them back.
func (m admitMap) setFile(changes settings) (undo func() error, err error) {
	if m.file == "" {
		return func() error { return nil }, nil
	}
	before, err := os.ReadFile(m.file)
	if err != nil {
		return nil, sre.Failedf("read the map file: %v", err)
	}
	after := editMapFile(before, changes)
	if bytes.Equal(before, after) {
		return func() error { return nil }, nil
	}
	if err := replaceFile(m.file, after, 0o644); err != nil {
		return nil, sre.Failedf("write the map file: %v", err)
	}
	return func() error { return replaceFile(m.file, before, 0o644) }, nil
}

// fileSettings reads the map file as HAProxy would at its next start.
func (m admitMap) fileSettings() (settings, error) {
	b, err := os.ReadFile(m.file)
	if err != nil {
		return nil, err
	}
	var list []entry
	for line := range strings.Lines(string(b)) {
		if key, value, ok := mapLine(line); ok {
			list = append(list, entry{key, value})
		}
	}
	return first(list), nil
}

// mapLine splits a line of a map file; comments and empty lines have no key.
func mapLine(line string) (key, value string, ok bool) {
	line = strings.Trim(line, " \t\r\n")
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		return line[:i], strings.TrimLeft(line[i:], " \t"), true
	}
	return line, "", true
}

// editMapFile makes the changes and leaves every other byte as it is.
func editMapFile(content []byte, changes settings) []byte {
	done := map[string]bool{}
	var out strings.Builder
	for line := range strings.Lines(string(content)) {
		key, _, ok := mapLine(line)
		value, ours := changes[key]
		switch {
		case !ok || !ours:
			out.WriteString(line)
		case value != "" && !done[key]:
			out.WriteString(key + " " + value + "\n")
		}
		done[key] = done[key] || ok && ours
	}
	if s := out.String(); s != "" && s[len(s)-1] != '\n' {
		out.WriteString("\n")
	}
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		if !done[key] && changes[key] != "" {
			out.WriteString(key + " " + changes[key] + "\n")
		}
	}
	return []byte(out.String())
}

// replaceFile writes a file so that a crash leaves the old or the new content
// and never a part of it. An existing file keeps its mode and, where the
// process may set it, its owner; a link stays one, and what it leads to is
// replaced.
func replaceFile(path string, content []byte, mode os.FileMode) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if info, statErr := os.Stat(path); statErr == nil {
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			_ = tmp.Chown(int(st.Uid), int(st.Gid))
		}
	}
	if _, err = tmp.Write(content); err != nil {
		return err
	}
	if err = tmp.Chmod(mode); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
