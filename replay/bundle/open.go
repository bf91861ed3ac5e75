package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Names of the files of a bundle. The metrics may also be packed.
const (
	IncidentFile = "incident.yaml"
	MetricsFile  = "metrics.om"
	TopologyFile = "topology.yaml"
	SignalsFile  = "signals.yaml"
	ChangesFile  = "changes.jsonl"
	TrailFile    = "trail.jsonl"
)

// fileNames lists what may stand in a bundle, in the order in which it is read.
func fileNames() []string {
	return []string{
		IncidentFile, TopologyFile, SignalsFile, ChangesFile, TrailFile,
		MetricsFile, MetricsFile + string(Gzip), MetricsFile + string(Zstd),
	}
}

// Open reads the bundle in a folder, all of it but the samples. Files that a
// bundle does not have are ignored. Its error is Problems.
func Open(fsys fs.FS) (*Bundle, error) { return OpenWithin(fsys, DefaultLimits()) }

// OpenWithin is Open with limits other than the default.
func OpenWithin(fsys fs.FS, limits Limits) (*Bundle, error) {
	b, problems := open(fsys, limits)
	if len(problems) > 0 {
		return nil, problems
	}
	return b, nil
}

// OpenArchive reads the bundle in a .tar, .tar.gz or .tar.zst. Its error is
// Problems.
func OpenArchive(r io.Reader, limits Limits) (*Bundle, error) {
	fsys, err := ReadArchive(r, limits)
	if err != nil {
		return nil, err
	}
	return OpenWithin(fsys, limits)
}

// open reads what it can and reports all that is wrong.
func open(fsys fs.FS, limits Limits) (*Bundle, Problems) {
	if problems := isBundle(fsys); len(problems) > 0 {
		return nil, problems
	}
	b := &Bundle{fsys: fsys, limits: limits.withDefaults()}
	var problems Problems
	if text, err := b.content(IncidentFile, maxIncident); err != nil {
		problems = append(problems, asProblems(IncidentFile, err)...)
	} else if inc, err := ParseIncident(IncidentFile, text); err != nil {
		b.Incident.ID = inc.ID // its times would only raise false alarms elsewhere
		problems = append(problems, asProblems(IncidentFile, err)...)
	} else {
		b.Incident = inc
	}
	for _, f := range []struct {
		name string
		into *[]byte
	}{{TopologyFile, &b.Topology}, {SignalsFile, &b.Signals}} {
		text, err := b.content(f.name, maxYAML)
		if err == nil && len(bytes.TrimSpace(text)) == 0 {
			err = Problems{wrong(f.name, "the file is empty", allowedIn(f.name))}
		}
		*f.into = text
		problems = append(problems, asProblems(f.name, err)...)
	}
	err := b.optional(ChangesFile, func(r io.Reader) (err error) {
		b.Changes, err = ParseChanges(ChangesFile, r)
		return err
	})
	problems = append(problems, asProblems(ChangesFile, err)...)
	err = b.optional(TrailFile, func(r io.Reader) (err error) {
		b.HasTrail = true
		b.Trail, err = ParseTrail(TrailFile, r)
		return err
	})
	problems = append(problems, asProblems(TrailFile, err)...)
	return b, append(problems, b.findMetrics()...)
}

// isBundle looks whether there is anything to read at all.
func isBundle(fsys fs.FS) Problems {
	if info, err := fs.Stat(fsys, "."); err != nil || !info.IsDir() {
		p := wrong("", "this is not a folder", "a folder with "+IncidentFile+", or a .tar, .tar.gz or .tar.zst of one")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			p.Fault.Problem = fmt.Sprintf("open bundle: %v", err)
		}
		p.err = err
		return Problems{p}
	}
	if !slices.ContainsFunc(fileNames(), func(name string) bool {
		_, err := fs.Stat(fsys, name)
		return !errors.Is(err, fs.ErrNotExist)
	}) {
		return Problems{wrong("", "this is no bundle: none of its files is there", strings.Join(fileNames()[:6], ", "))}
	}
	return nil
}

// allowedIn says what a required file holds.
func allowedIn(name string) string {
	switch name {
	case TopologyFile:
		return "edges: [{from, to}], or edges: [] where none are known"
	case SignalsFile:
		return "signals: [{name, kind, query, unit}], as in the daemon's configuration"
	case MetricsFile:
		return "one of metrics.om, metrics.om.gz and metrics.om.zst"
	}
	return "every bundle has one"
}

// content reads a required file of at most most bytes.
func (b *Bundle) content(name string, most int64) ([]byte, error) {
	f, err := b.file(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Problems{wrong(name, "the file is missing", allowedIn(name))}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(&bounded{name: name, r: f, left: most, most: most})
	if err != nil {
		return nil, err
	}
	return text, nil
}

// optional reads a file where there is one.
func (b *Bundle) optional(name string, read func(io.Reader) error) error {
	f, err := b.file(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	most := min(maxLines, b.limits.File)
	return read(&bounded{name: name, r: f, left: most, most: most})
}

// file opens a regular file, so that nothing waits on a pipe or a device.
func (b *Bundle) file(name string) (fs.File, error) {
	info, err := fs.Stat(b.fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, Problems{wrong(name, "this is not a regular file", "")}
	}
	return b.fsys.Open(name)
}

// bounded is a reader that fails where a file is larger than it may be.
type bounded struct {
	name       string
	r          io.Reader
	left, most int64
}

func (l *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, Problems{wrong(l.name, "it is larger than "+size(l.most), "")}
	}
	return n, err
}

// findMetrics settles which file holds the samples.
func (b *Bundle) findMetrics() Problems {
	var found []string
	for _, p := range []Packing{Plain, Gzip, Zstd} {
		name := MetricsFile + string(p)
		if _, err := fs.Stat(b.fsys, name); err == nil {
			found = append(found, name)
			b.packing = p
		} else if !errors.Is(err, fs.ErrNotExist) {
			return asProblems(name, err)
		}
	}
	switch len(found) {
	case 0:
		return Problems{wrong(MetricsFile, "the file is missing", allowedIn(MetricsFile))}
	case 1:
		return nil
	}
	slices.Sort(found)
	return Problems{wrong(strings.Join(found, " and "), "the bundle has its metrics twice", allowedIn(MetricsFile))}
}

var errNoFiles = errors.New("this bundle was not read from files and has no samples")

// Samples reads the samples of the recording. Its error is Problems where the
// metrics are at fault, and else that of ctx or visit.
func (b *Bundle) Samples(ctx context.Context, visit Visit) error {
	return b.metrics(func(name string, text io.Reader) error {
		return ReadMetrics(ctx, text, MetricsOptions{
			Name: name, Max: b.limits.File, Series: b.limits.Series, Start: b.Incident.Start, End: b.Incident.End,
		}, visit)
	})
}

// metrics hands over the text of the metrics, unpacked.
func (b *Bundle) metrics(read func(name string, text io.Reader) error) error {
	if b.fsys == nil {
		return errNoFiles
	}
	name := MetricsFile + string(b.packing)
	f, err := b.file(name)
	if err != nil {
		return asProblems(name, err)
	}
	defer f.Close() //nolint:errcheck // read only
	text, err := b.packing.unpack(f)
	if err != nil {
		return Problems{unreadable(name, err)}
	}
	defer text.Close() //nolint:errcheck // read only
	return read(name, text)
}

// MetricsText returns the OpenMetrics text of the recording as it stands, for
// writing it elsewhere.
func (b *Bundle) MetricsText() io.WriterTo { return textOf{b} }

type textOf struct{ b *Bundle }

func (t textOf) WriteTo(w io.Writer) (n int64, err error) {
	err = t.b.metrics(func(name string, text io.Reader) error {
		most := t.b.limits.File
		n, err = io.Copy(w, &bounded{name: name, r: text, left: most, most: most})
		return err
	})
	return n, err
}
