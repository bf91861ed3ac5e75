package scenario

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

// TestRecord holds that a run becomes a bundle that reads back whole: its
// samples, truth, changes and trail.
func TestRecord(t *testing.T) {
	s := loaded(t, "innocent-change-beside")
	for _, on := range []bool{false, true} {
		metrics := bundle.NewMetricsWriter()
		b, r, err := s.Record(context.Background(), Options{Agent: on, Judge: JudgeNot}, metrics.Add)
		if err != nil {
			t.Fatal(err)
		}
		var archive bytes.Buffer
		if err := bundle.WriteArchive(&archive, b, metrics); err != nil {
			t.Fatal(err)
		}
		got, err := bundle.OpenArchive(&archive, bundle.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		innocent := ""
		want := []bundle.Fault{{
			Services: []string{"inventory"}, Mechanism: sre.RetryStorm, Fault: "fault inventory capacity=0.2 for 20s", Change: &innocent,
			InjectedAt: Origin().Add(2 * time.Minute), EndsAt: Origin().Add(140 * time.Second),
		}}
		if diff := cmp.Diff(want, got.Incident.Truth.Faults); diff != "" {
			t.Errorf("truth (-want +got):\n%s", diff)
		}
		if got.Incident.ID != s.Name || got.Incident.Interval != model.Duration(s.Tick) || !got.Incident.End.Equal(Origin().Add(s.Length)) {
			t.Errorf("incident is %+v", got.Incident)
		}
		if len(got.Changes) != 2 || got.Changes[0].ID != "gift-wrap" || got.Changes[1].Kind != sre.Deploy {
			t.Errorf("changes are %+v", got.Changes)
		}
		if got.HasTrail != on || len(got.Trail) != len(r.Records) {
			t.Errorf("agent %v: a trail of %d records, want %d", on, len(got.Trail), len(r.Records))
		}
		n, first := 0, int64(1<<62)
		err = got.Samples(context.Background(), func(_ bundle.Series, at int64, _ float64) error {
			n++
			first = min(first, at)
			return nil
		})
		if err != nil || n != metrics.Len() || n == 0 {
			t.Errorf("%d samples of %d read back, error %v", n, metrics.Len(), err)
		}
		if past := Origin().Add(-s.WarmUp); !time.UnixMilli(first).Before(past) {
			t.Errorf("the first sample is at %s, after the warm-up began", time.UnixMilli(first).UTC())
		}
	}
}

// TestRecordTruths holds who is blamed for each of several faults.
func TestRecordTruths(t *testing.T) {
	for _, c := range []struct {
		lines string
		want  []bundle.Fault
	}{
		{"at 1m load users 3 for 1m", []bundle.Fault{{Services: []string{"a"}, Mechanism: sre.Unknown}}},
		{"truth d overload\nat 1m load users 3 for 1m", []bundle.Fault{{Services: []string{"d"}, Mechanism: sre.Overload}}},
		{"truth d overload\ntruth b cache_loss\nat 1m fault b errors=1\nat 2m fault d errors=1", []bundle.Fault{
			{Services: []string{"b"}, Mechanism: sre.CacheLoss}, {Services: []string{"d"}, Mechanism: sre.Overload},
		}},
		{"at 1m scrape-gap b for 1m\nat 1m change flag b\nat 2m fault c errors=1 benign", nil},
	} {
		s := parsed(t, chain+c.lines+"\n")
		st, err := s.stage(Options{}, "")
		if err != nil {
			t.Fatal(err)
		}
		var got []bundle.Fault
		for _, f := range s.incident(&Result{Start: Origin(), Graph: st.world.Graph()}).Truth.Faults {
			got = append(got, bundle.Fault{Services: f.Services, Mechanism: f.Mechanism})
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.lines, diff)
		}
	}
}

func TestRecordBlamesTheChange(t *testing.T) {
	s := loaded(t, "bad-change")
	b, _, err := s.Record(context.Background(), Options{}, func(bundle.Sample) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	f := b.Incident.Truth.Faults[0]
	if len(b.Changes) != 1 || f.Change == nil || *f.Change != b.Changes[0].ID || !f.EndsAt.IsZero() {
		t.Errorf("fault %+v and changes %+v", f, b.Changes)
	}
}

func TestRecordStops(t *testing.T) {
	full := errors.New("disk full")
	for _, on := range []bool{false, true} {
		n := 0
		_, _, err := loaded(t, "retry-storm").Record(context.Background(), Options{Agent: on}, func(bundle.Sample) error {
			if n++; n > 1000 {
				return full
			}
			return nil
		})
		if !errors.Is(err, full) {
			t.Errorf("agent %v: error is %v after %d samples", on, err, n)
		}
	}
}
