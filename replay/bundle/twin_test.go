package bundle

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// byPromtool reads a text as promtool does, and refuses besides what ours is
// documented to refuse.
func byPromtool(text string) ([]got, error) {
	p := textparse.NewOpenMetricsParser([]byte(text), nil)
	last := map[string]got{}
	var out []got
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, at, v := p.Series()
		if at == nil {
			return nil, errors.New("no timestamp")
		}
		var l labels.Labels
		p.Labels(&l)
		l = l.WithoutEmpty()
		if err := checkLabels(l); err != nil {
			return nil, err
		}
		if *at < firstMillis || *at > lastMillis {
			return nil, errors.New("far off")
		}
		one := got{l.String(), *at, v}
		if before, known := last[one.Series]; known {
			if one.At == before.At && (v == before.Value || math.IsNaN(v) && math.IsNaN(before.Value)) {
				continue
			}
			if one.At <= before.At {
				return nil, errors.New("disorder")
			}
		}
		last[one.Series] = one
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil, errors.New("no samples")
	}
	return out, nil
}

// strange texts are those in which the twin lets a line break or a NUL into a
// name, which would tear the text into other lines than it shows.
func strange(text string) bool {
	return strings.ContainsRune(text, 0) || strings.Count(text, `"`)%2 == 1
}

func FuzzTwin(f *testing.F) {
	for _, c := range metricTexts() {
		f.Add(c, uint8(7))
	}
	f.Fuzz(func(t *testing.T, text string, chunk uint8) {
		if strange(text) {
			t.Skip("a name with a line break")
		}
		want, wantErr := byPromtool(text)
		out, err := collect(func(v Visit) error {
			return ReadMetrics(context.Background(), strings.NewReader(text), MetricsOptions{chunk: int(chunk) + 1}, v)
		})
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: ours says %v, promtool %v", text, err, wantErr)
		}
		if err == nil && !slices.EqualFunc(out, want, func(a, b got) bool { return same(a, b) || a.Series == b.Series && a.At == b.At && a.Value == b.Value }) {
			t.Fatalf("%q: ours reads %v, promtool %v", text, out, want)
		}
	})
}

func TestTwinOnCorpus(t *testing.T) {
	for _, dir := range corpus(t) {
		b, err := Open(os.DirFS(dir))
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if _, err := b.MetricsText().WriteTo(&text); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		want, err := byPromtool(text.String())
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		if !slices.EqualFunc(samplesOf(t, b), want, same) {
			t.Errorf("%s: ours reads something else", dir)
		}
		t.Logf("%s: %d samples, twin took %s", dir, len(want), took)
	}
}
