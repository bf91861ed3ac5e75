package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"
)

// One block filled series by series must answer as a store that was appended to
// tick by tick.
func TestBuiltStoreEqualsAppendedStore(t *testing.T) {
	tempDir := t.TempDir
	rapid.Check(t, func(t *rapid.T) {
		series := rapid.IntRange(1, 4).Draw(t, "series")
		steps := rapid.IntRange(1, 400).Draw(t, "steps")
		step := time.Duration(rapid.IntRange(1, 600).Draw(t, "step")) * time.Second
		present := func(s, i int) bool { return (s*7+i*13)%5 != 0 }
		value := func(s, i int) float64 { return float64(s*1000 + i*i%97) }

		twin, err := OpenStore(tempDir(), StoreOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, twin)
		for i := range steps {
			var samples []Sample
			for s := range series {
				if present(s, i) {
					samples = append(samples, Sample{Metric: metric("load", "service", fmt.Sprint(s)), Value: value(s, i)})
				}
			}
			if err := twin.Append(t0.Add(time.Duration(i)*step), samples); err != nil {
				t.Fatal(err)
			}
		}
		built, err := BuildStore(context.Background(), tempDir(), time.Duration(steps)*step, StoreOptions{}, func(add Add) error {
			for s := series - 1; s >= 0; s-- { // any order of series
				var ref uint64
				for i := range steps {
					if !present(s, i) {
						continue
					}
					var err error
					ref, err = add(ref, labels.FromStrings("__name__", "load", "service", fmt.Sprint(s)), t0.Add(time.Duration(i)*step).UnixMilli(), value(s, i))
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
		if errors.Is(err, ErrNoSamples) && steps == 1 {
			t.Skip("nothing drawn")
		}
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, built)
		for _, expr := range []string{"load", "sum(rate(load[10m]))", "max_over_time(load[30m]) - load"} {
			r := Range{Start: t0, End: t0.Add(time.Duration(steps) * step), Step: step}
			want, errWant := twin.QueryRange(context.Background(), expr, r)
			got, errGot := built.QueryRange(context.Background(), expr, r)
			if errWant != nil || errGot != nil {
				t.Fatal(errWant, errGot)
			}
			if diff := cmp.Diff(want.Value.String(), got.Value.String()); diff != "" {
				t.Fatalf("%s (-appended +built):\n%s", expr, diff)
			}
		}
	})
}

func closeStore(t *rapid.T, s *Store) {
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestBuildStoreErrors(t *testing.T) {
	one := labels.FromStrings("__name__", "load", "service", "cart")
	boom := errors.New("the file is cut")
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		read func(Add) error
		want string
	}{
		{"nothing", context.Background(), func(Add) error { return nil }, "no samples"},
		{"the reader fails", context.Background(), func(add Add) error {
			_, err := add(0, one, t0.UnixMilli(), 1)
			return errors.Join(err, boom)
		}, "the file is cut"},
		{"time goes back", context.Background(), func(add Add) error {
			ref, err := add(0, one, t0.UnixMilli(), 1)
			if err == nil {
				_, err = add(ref, one, t0.UnixMilli()-1, 1)
			}
			return err
		}, "out of order"},
		{"two values at once", context.Background(), func(add Add) error {
			ref, err := add(0, one, t0.UnixMilli(), 1)
			if err == nil {
				_, err = add(ref, one, t0.UnixMilli(), 2)
			}
			return err
		}, "out of order"},
		{"canceled", canceled, func(add Add) error {
			_, err := add(0, one, t0.UnixMilli(), 1)
			return err
		}, "context canceled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := BuildStore(tc.ctx, t.TempDir(), time.Hour, StoreOptions{}, tc.read)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if s != nil {
				t.Error("a store beside the error")
			}
		})
	}
}

func TestTransportAnswersAsTheServerDoes(t *testing.T) {
	s := filled(t)
	url, _ := serve(t, s)
	at := t0.Add(15 * time.Second)
	over, err := newClient(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := newClient("http://recording", s.Transport())
	if err != nil {
		t.Fatal(err)
	}
	for _, expr := range []string{"requests_total", "sum(rate(requests_total[5s]))", "sum(", "requests_total+on()requests_total"} {
		want, _, _, errWant := over.Query(context.Background(), expr, at)
		got, _, _, errGot := direct.Query(context.Background(), expr, at)
		if fmt.Sprint(errWant) != fmt.Sprint(errGot) {
			t.Errorf("%s: error %v without the network, %v over it", expr, errGot, errWant)
		}
		if errWant == nil && want.String() != got.String() {
			t.Errorf("%s: %s without the network, %s over it", expr, got, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, _, err := direct.Query(ctx, "requests_total", at); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled request: %v", err)
	}
}

func BenchmarkBuildStore(b *testing.B) {
	all := make([]labels.Labels, 200)
	for i := range all {
		all[i] = labels.FromStrings("__name__", "load", "service", fmt.Sprint(i))
	}
	const samples = 1200
	b.ReportAllocs()
	for b.Loop() {
		s, err := BuildStore(context.Background(), b.TempDir(), samples*time.Minute, StoreOptions{}, func(add Add) error {
			for _, ls := range all {
				var ref uint64
				for i := range samples {
					var err error
					if ref, err = add(ref, ls, t0.UnixMilli()+int64(i)*60_000, float64(i%13)); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(all)*samples*b.N)/b.Elapsed().Seconds(), "samples/s")
}

// The database panics where it cannot write, on a full disk say. That must end
// the reading of one recording, not the process.
func TestPanicOfTheDatabaseIsAnError(t *testing.T) {
	full := errors.New("no space left on device")
	_, err := BuildStore(context.Background(), t.TempDir(), time.Hour, StoreOptions{}, func(Add) error { panic(full) })
	if !errors.Is(err, full) || !strings.Contains(err.Error(), "write metric block") {
		t.Errorf("error %v", err)
	}
	defer func() {
		if cause := recover(); cause != "a mistake of ours" {
			t.Errorf("recovered %v", cause)
		}
	}()
	_, _ = BuildStore(context.Background(), t.TempDir(), time.Hour, StoreOptions{}, func(Add) error { panic("a mistake of ours") })
}
