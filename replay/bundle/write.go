package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// Sink takes the files of a bundle, one after the other. Each is closed before
// the next is created.
type Sink interface {
	Create(name string) (io.WriteCloser, error)
}

// Writer writes bundles into a sink, such as a folder.
type Writer struct {
	Sink    Sink
	Packing Packing // of the metrics
}

// Write writes a bundle with its samples, which a MetricsWriter or another
// bundle's MetricsText gives. The same bundle gives the same bytes. An incident
// that a reader would refuse is an error, as sre.Faults; what was written before
// an error is left to the sink.
func (w Writer) Write(b *Bundle, metrics io.WriterTo) error {
	texts, err := b.texts()
	if err != nil {
		return err
	}
	for _, t := range texts {
		if err := w.file(t.name, bytes.NewReader(t.content)); err != nil {
			return err
		}
	}
	return w.file(MetricsFile+string(w.Packing), packed{w.Packing, metrics})
}

func (w Writer) file(name string, content io.WriterTo) error {
	f, err := w.Sink.Create(name)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	_, err = content.WriteTo(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// packed compresses what another writes.
type packed struct {
	packing Packing
	text    io.WriterTo
}

func (p packed) WriteTo(w io.Writer) (int64, error) {
	count := &counted{w: w}
	pack, err := p.packing.pack(count)
	if err != nil {
		return 0, err
	}
	_, err = p.text.WriteTo(pack)
	err = errors.Join(err, pack.Close())
	return count.n, err
}

type namedText struct {
	name    string
	content []byte
}

// texts renders all files but the metrics.
func (b *Bundle) texts() ([]namedText, error) {
	if faults := b.Incident.Validate(); len(faults) > 0 {
		return nil, fmt.Errorf("write %s: %w", IncidentFile, faults)
	}
	for _, f := range []namedText{{TopologyFile, b.Topology}, {SignalsFile, b.Signals}} {
		if len(bytes.TrimSpace(f.content)) == 0 {
			return nil, fmt.Errorf("write %s: it would be empty", f.name)
		}
	}
	incident, err := yaml.Marshal(b.Incident.inUTC())
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", IncidentFile, err)
	}
	out := []namedText{{IncidentFile, incident}, {TopologyFile, b.Topology}, {SignalsFile, b.Signals}}
	if len(b.Changes) > 0 {
		text, err := jsonLines(b.Changes)
		if err == nil {
			_, err = ParseChanges(ChangesFile, bytes.NewReader(text))
		}
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", ChangesFile, err)
		}
		out = append(out, namedText{ChangesFile, text})
	}
	if b.HasTrail || len(b.Trail) > 0 {
		text, err := jsonLines(b.Trail)
		if err == nil {
			_, err = ParseTrail(TrailFile, bytes.NewReader(text))
		}
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", TrailFile, err)
		}
		out = append(out, namedText{TrailFile, text})
	}
	return out, nil
}

func jsonLines[T any](items []T) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for i := range items {
		if err := enc.Encode(&items[i]); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// inUTC returns the incident with all its times in UTC, as files have them.
func (inc Incident) inUTC() Incident {
	inc.Start, inc.End = inc.Start.UTC(), inc.End.UTC()
	inc.Alerts = append([]Alert{}, inc.Alerts...)
	for i := range inc.Alerts {
		inc.Alerts[i].At = inc.Alerts[i].At.UTC()
	}
	inc.Truth.Faults = append([]Fault{}, inc.Truth.Faults...)
	for i := range inc.Truth.Faults {
		f := &inc.Truth.Faults[i]
		f.InjectedAt, f.EndsAt = f.InjectedAt.UTC(), f.EndsAt.UTC()
	}
	return inc
}

// WriteArchive writes a bundle as .tar.zst, in a folder of its ID. The same
// bundle gives the same bytes. The metrics are written twice, first to learn
// their size, so that they need not be held.
func WriteArchive(w io.Writer, b *Bundle, metrics io.WriterTo) error {
	texts, err := b.texts()
	if err != nil {
		return err
	}
	pack, err := Zstd.pack(w)
	if err != nil {
		return err
	}
	t := tar.NewWriter(pack)
	err = func() error {
		for _, f := range texts {
			if err := writeEntry(t, b.Incident.ID+"/"+f.name, int64(len(f.content)), bytes.NewReader(f.content)); err != nil {
				return err
			}
		}
		n, err := metrics.WriteTo(io.Discard)
		if err != nil {
			return fmt.Errorf("write %s: %w", MetricsFile, err)
		}
		return writeEntry(t, b.Incident.ID+"/"+MetricsFile, n, metrics)
	}()
	if err == nil {
		err = t.Close()
	}
	return errors.Join(err, pack.Close())
}

func writeEntry(t *tar.Writer, name string, n int64, content io.WriterTo) error {
	err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: n, Mode: 0o644})
	if err == nil {
		_, err = content.WriteTo(t)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
