package detectors_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/detectors"
)

// dice is a small seeded generator, so that tests see the same noise always.
type dice uint64

func (d *dice) uniform() float64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

func (d *dice) normal() float64 {
	return math.Sqrt(-2*math.Log(1-d.uniform())) * math.Cos(2*math.Pi*d.uniform())
}

var streamStart = time.Date(2024, 3, 4, 0, 0, 0, 0, time.UTC)

// play feeds n samples of a shape and returns what the stream said.
func play(d *detectors.Stream, step time.Duration, n int, shape func(i int) float64) []detectors.StreamScore {
	out := make([]detectors.StreamScore, n)
	for i := range out {
		out[i] = d.Next(streamStart.Add(time.Duration(i)*step), shape(i))
	}
	return out
}

func newStream() *detectors.Stream { return detectors.NewStream(detectors.DefaultStreamConfig()) }

// alarms returns the first samples of all episodes.
func alarms(said []detectors.StreamScore) (first []int) {
	for i, s := range said {
		if s.Alarm && (i == 0 || !said[i-1].Alarm) {
			first = append(first, i)
		}
	}
	return first
}

// heardFrom returns the first sample from lo on with a score of at least .5,
// and how many there are before hi.
func heardFrom(said []detectors.StreamScore, lo, hi int) (first, count int) {
	first = -1
	for i := lo; i < hi; i++ {
		if said[i].Score >= .5 {
			if first < 0 {
				first = i
			}
			count++
		}
	}
	return first, count
}

// daily is a smooth day, with noise, around 100.
func daily(r *dice, step time.Duration) func(i int) float64 {
	return func(i int) float64 {
		day := float64(time.Duration(i)*step) / float64(24*time.Hour)
		return 100 - 50*math.Cos(2*math.Pi*day) + 2*r.normal()
	}
}

func TestStreamRaisesAlarms(t *testing.T) {
	const at, end = 2000, 2400
	flat := func(r *dice) float64 { return 100 + 3*r.normal() }
	for _, c := range []struct {
		name   string
		step   time.Duration
		fault  func(i int, usual float64) float64 // from sample at on
		want   int                                // first sample of the alarm, -1 for none
		reason string
	}{
		{"step up at one minute waits for three of five", time.Minute, func(_ int, x float64) float64 { return x + 150 }, at + 2, detectors.ReasonAbove},
		{"step down", time.Minute, func(_ int, x float64) float64 { return x - 95 }, at + 2, detectors.ReasonBelow},
		{"a minute alone is nothing", time.Minute, func(i int, x float64) float64 {
			if i == at {
				return x + 500
			}
			return x
		}, -1, ""},
		{"an hour alone is much", time.Hour, func(i int, x float64) float64 {
			if i == at {
				return x + 500
			}
			return x
		}, at, detectors.ReasonAbove},
		{"two samples of five minutes", 5 * time.Minute, func(_ int, x float64) float64 { return x + 150 }, at + 1, detectors.ReasonAbove},
		{"within the floor", time.Minute, func(_ int, x float64) float64 { return x + 25 }, -1, ""},
		{"nothing happens", time.Minute, func(_ int, x float64) float64 { return x }, -1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dice(1)
			said := play(newStream(), c.step, end, func(i int) float64 {
				x := flat(&r)
				if i >= at {
					x = c.fault(i, x)
				}
				return x
			})
			got := alarms(said)
			if c.want < 0 {
				if len(got) > 0 {
					t.Errorf("alarms at %d, want none", got)
				}
				return
			}
			if len(got) == 0 || got[0] != c.want {
				t.Fatalf("alarms at %d, want the first at %d", got, c.want)
			}
			first := said[c.want]
			if want := streamStart.Add(at * c.step); !first.Onset.Equal(want) {
				t.Errorf("onset %s, want %s", first.Onset, want)
			}
			if first.Reason != c.reason {
				t.Errorf("reason %q, want %q", first.Reason, c.reason)
			}
			if math.Abs(first.Expected-100) > 2 || first.Scale != math.Abs(first.Expected)/20 {
				t.Errorf("expected %g and scale %g, want about 100 and a twentieth of it", first.Expected, first.Scale)
			}
		})
	}
}

func TestStreamEndsAlarms(t *testing.T) {
	r := dice(2)
	said := play(newStream(), time.Minute, 1200, func(i int) float64 {
		x := 100 + 3*r.normal()
		if i >= 1000 && i < 1030 {
			x += 200
		}
		return x
	})
	if !said[1031].Alarm || said[1032].Alarm {
		t.Errorf("alarm %t after two calm samples and %t after three, want true and false", said[1031].Alarm, said[1032].Alarm)
	}
	if !said[1032].Onset.IsZero() {
		t.Errorf("onset %s without an alarm", said[1032].Onset)
	}
	if got := alarms(said); len(got) != 1 {
		t.Errorf("%d alarms, want one", len(got))
	}
}

// TestStreamSeesACollapse: in a wide daily swing a fall to nothing is few
// scales deep, and raises an alarm all the same; a quiet night does not, and
// neither do counts that are often small.
func TestStreamSeesACollapse(t *testing.T) {
	const step, at = 5 * time.Minute, 2000
	for _, c := range []struct {
		name  string
		shape func(r *dice, i int) float64
		want  int
	}{
		{"nothing at noon", func(r *dice, i int) float64 {
			if i >= at {
				return .5
			}
			return daily(r, step)(i)
		}, at + 1},
		{"a night as ever", func(r *dice, i int) float64 { return daily(r, step)(i) }, -1},
		{"around zero", func(r *dice, _ int) float64 { return r.normal() }, -1},
		{"below zero", func(r *dice, _ int) float64 { return -100 + r.normal() }, -1},
		{"small counts", func(r *dice, i int) float64 {
			if i >= at {
				return 0
			}
			return math.Floor(4 + 8*r.uniform())
		}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dice(12)
			got := alarms(play(newStream(), step, at+100, func(i int) float64 { return c.shape(&r, i) }))
			if c.want < 0 && len(got) > 0 || c.want >= 0 && (len(got) == 0 || got[0] != c.want) {
				t.Errorf("alarms at %d, want the first at %d", got, c.want)
			}
		})
	}
}

// TestStreamLearnsALastingShift: what has been so for most of the window is
// usual.
func TestStreamLearnsALastingShift(t *testing.T) {
	r := dice(3)
	said := play(newStream(), 5*time.Minute, 2000, func(i int) float64 {
		x := 100 + 3*r.normal()
		if i >= 1000 {
			x += 200
		}
		return x
	})
	if !said[1100].Alarm || said[1300].Alarm {
		t.Errorf("alarm %t after eight hours and %t after a day, want true and false", said[1100].Alarm, said[1300].Alarm)
	}
}

func TestStreamScoresWhatIsRare(t *testing.T) {
	const step = 5 * time.Minute
	const at, end = 3000, 3100
	day := int(24 * time.Hour / step)
	for _, c := range []struct {
		name   string
		fault  func(i int, usual float64) float64
		within int // samples until it is heard
	}{
		{"new high", func(_ int, x float64) float64 { return x + 200 }, 0},
		{"new low", func(_ int, x float64) float64 { return x - 200 }, 0},
		{"the day does not rise", func(int, float64) float64 { return 52 }, 20},
		{"stuck", func(int, float64) float64 { return 110 }, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dice(4)
			usual := daily(&r, step)
			said := play(newStream(), step, end, func(i int) float64 {
				x := usual(i)
				if i >= at {
					x = c.fault(i, x)
				}
				return x
			})
			first, _ := heardFrom(said, at, end)
			if first < 0 || first > at+c.within {
				t.Errorf("heard at %d, want %d to %d", first, at, at+c.within)
			}
			if first >= 0 && said[first].Reason == "" {
				t.Error("heard without a reason")
			}
			if _, count := heardFrom(said, 4*day, at); count > 8 {
				t.Errorf("%d false signs in six days", count)
			}
		})
	}
}

// TestStreamSilencesRepeats: one disturbance is one sign, and a worse one is
// heard again.
func TestStreamSilencesRepeats(t *testing.T) {
	const step = 5 * time.Minute
	run := func(second float64) (signs int, repeats int) {
		r := dice(5)
		said := play(newStream(), step, 3100, func(i int) float64 {
			x := 100 + 3*r.normal()
			switch i {
			case 3000:
				x += 60
			case 3020:
				x += second
			}
			return x
		})
		_, signs = heardFrom(said, 2990, 3100)
		for _, s := range said[2990:] {
			if s.Reason == detectors.ReasonRepeat {
				repeats++
				if s.Score != 0 || s.Rarity < 1.8 {
					t.Errorf("a repeat has score %g and rarity %g", s.Score, s.Rarity)
				}
			}
		}
		return signs, repeats
	}
	if signs, repeats := run(66); signs != 1 || repeats == 0 {
		t.Errorf("%d signs, %d repeats, want one sign and repeats", signs, repeats)
	}
	if signs, _ := run(5000); signs != 2 {
		t.Errorf("%d signs, want two: the second is far worse", signs)
	}
}

func TestStreamOddSeries(t *testing.T) {
	nothing := func(int) float64 { return math.NaN() }
	for _, c := range []struct {
		name  string
		shape func(i int) float64
	}{
		{"constant", func(int) float64 { return 42 }},
		{"zero", func(int) float64 { return 0 }},
		{"nothing at all", nothing},
		{"few counts", func(i int) float64 { return []float64{0, 0, 0, 1, 0, 2}[i*7%11%6] }},
		{"square wave", func(i int) float64 { return float64(i / 144 % 2 * 50) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := play(newStream(), 5*time.Minute, 4000, c.shape)
			// Half a day of a square wave is not usual before it was seen twice.
			if _, count := heardFrom(said, 600, 4000); count > 6 {
				t.Errorf("%d false signs", count)
			}
			for i, s := range said {
				if s.Alarm && i > 600 {
					t.Fatalf("alarm at %d: %+v", i, s)
				}
			}
		})
	}
}

func TestStreamGaps(t *testing.T) {
	r := dice(6)
	d := newStream()
	play(d, time.Minute, 1000, func(int) float64 { return 100 + 3*r.normal() })
	state := d.State()
	at := streamStart.Add(1000 * time.Minute)
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		got := d.Next(at, x)
		if diff := cmp.Diff(detectors.StreamScore{Reason: detectors.ReasonGap}, got); diff != "" {
			t.Errorf("at %g: %s", x, diff)
		}
	}
	if diff := cmp.Diff(state, d.State()); diff != "" {
		t.Error("a gap changed the state")
	}
	for i := range 3 {
		d.Next(at.Add(time.Duration(i)*time.Minute), 500)
	}
	if got := d.Next(at.Add(3*time.Minute), math.NaN()); !got.Alarm || got.Onset != at || got.Reason != detectors.ReasonGap {
		t.Errorf("a gap in an alarm gives %+v, want the alarm to go on since %s", got, at)
	}
	// A day without samples ends nothing either: only calm samples do.
	if got := d.Next(at.Add(24*time.Hour), 500); !got.Alarm {
		t.Error("a hole ended the alarm")
	}
}

// TestStreamHoleIsNoInterval: after a hole the series is judged as before it.
func TestStreamHoleIsNoInterval(t *testing.T) {
	r := dice(7)
	d := newStream()
	play(d, time.Minute, 1000, func(int) float64 { return 100 + 3*r.normal() })
	at := streamStart.Add(30 * time.Hour)
	for i, want := range []bool{false, false, true} {
		if got := d.Next(at.Add(time.Duration(i)*time.Minute), 500); got.Alarm != want {
			t.Errorf("sample %d after the hole: alarm %t, want %t", i, got.Alarm, want)
		}
	}
}

func TestStreamWarmsUp(t *testing.T) {
	said := play(newStream(), time.Minute, 30, func(i int) float64 { return float64(i * i * i) })
	for i, s := range said[:19] {
		if s.Score != 0 || s.Alarm || s.Reason != detectors.ReasonWarming {
			t.Errorf("sample %d: %+v, want nothing but warming up", i, s)
		}
	}
}

// anySeries draws a series with times that stand still or go back, gaps and
// wild values.
func anySeries(t *rapid.T) (at []time.Time, x []float64) {
	now := streamStart
	n := rapid.IntRange(1, 1500).Draw(t, "n")
	seed := dice(rapid.Uint64().Draw(t, "seed"))
	step := time.Duration(rapid.Int64Range(1, int64(2*time.Hour)).Draw(t, "step"))
	wild := rapid.Float64Range(0, .3).Draw(t, "wild")
	level, size := rapid.Float64().Draw(t, "level"), rapid.Float64().Draw(t, "size")
	for range n {
		v := level + size*seed.normal()
		if seed.uniform() < wild {
			v = []float64{0, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64}[int(seed.uniform()*7)]
			now = now.Add(time.Duration((seed.uniform() - .5) * 50 * float64(step)))
		}
		now = now.Add(step)
		at, x = append(at, now), append(x, v)
	}
	return at, x
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func TestStreamIsSafeForAnySeries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, x := anySeries(t)
		d := newStream()
		for i := range at {
			got := d.Next(at[i], x[i])
			if !(got.Score >= 0 && got.Score <= 1) || !finite(got.Rarity) || got.Rarity < 0 || !finite(got.Expected) || !finite(got.Scale) || got.Scale < 0 {
				t.Fatalf("sample %d, %g: %+v", i, x[i], got)
			}
			if got.Alarm == got.Onset.IsZero() {
				t.Fatalf("sample %d: %+v, want an onset with an alarm and none without", i, got)
			}
		}
	})
}

// TestStreamRestoresExactly: cut anywhere, saved and restored, a stream goes
// on as if nothing had happened.
func TestStreamRestoresExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, x := anySeries(t)
		cut := rapid.IntRange(0, len(at)).Draw(t, "cut")
		whole, second := newStream(), newStream()
		for i := range at {
			if i == cut {
				if err := second.Restore(whole.State()); err != nil {
					t.Fatal(err)
				}
			}
			want := whole.Next(at[i], x[i])
			if i < cut {
				continue
			}
			if diff := cmp.Diff(want, second.Next(at[i], x[i])); diff != "" {
				t.Fatalf("sample %d, cut at %d: %s", i, cut, diff)
			}
		}
		if cut < len(at) && !cmp.Equal(whole.State(), second.State()) {
			t.Fatal("states differ at the end")
		}
	})
}

// TestStreamKnowsNoUnitAndNoDate: another week or another unit changes no
// verdict.
func TestStreamKnowsNoUnitAndNoDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weeks := rapid.IntRange(-20, 20).Draw(t, "weeks")
		unit := math.Ldexp(1, rapid.IntRange(-8, 8).Draw(t, "unit"))
		r := dice(rapid.Uint64().Draw(t, "seed"))
		usual := daily(&r, 10*time.Minute)
		a, b := newStream(), newStream()
		for i := range 1500 {
			x := usual(i)
			if i%317 > 310 {
				x *= 3
			}
			if x == math.Trunc(x*256)/256 {
				x += math.Pi / 1e4 // whole numbers are counts, which have a unit
			}
			at := streamStart.Add(time.Duration(i) * 10 * time.Minute)
			want, got := a.Next(at, x), b.Next(at.AddDate(0, 0, 7*weeks), x*unit)
			if want.Alarm != got.Alarm || want.Reason != got.Reason || math.Abs(want.Score-got.Score) > 1e-9 {
				t.Fatalf("sample %d: %+v, then %+v", i, want, got)
			}
		}
	})
}

func TestStreamConfig(t *testing.T) {
	if f := detectors.DefaultStreamConfig().Validate(); len(f) > 0 {
		t.Error(f)
	}
	bad := detectors.StreamConfig{
		MinSamples: 4, Threshold: .5, Release: 2, Persistence: -1, Floor: -1, Quiet: -1,
		Window: model.Duration(0),
	}
	var got []string
	for _, f := range bad.Validate() {
		got = append(got, f.Path)
	}
	want := []string{"min_samples", "window", "threshold", "threshold", "persistence", "calm", "floor", "novelty", "quiet"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStreamAllocatesNothing(t *testing.T) {
	r := dice(8)
	d := newStream()
	usual := daily(&r, time.Minute)
	play(d, time.Minute, 3000, usual)
	i := 3000
	if n := testing.AllocsPerRun(1000, func() {
		d.Next(streamStart.Add(time.Duration(i)*time.Minute), usual(i))
		i++
	}); n != 0 {
		t.Errorf("%g allocations per sample", n)
	}
}

func BenchmarkStream(b *testing.B) {
	r := dice(9)
	usual := daily(&r, time.Minute)
	values := make([]float64, 1<<14)
	for i := range values {
		values[i] = usual(i)
	}
	d := newStream()
	b.ReportAllocs()
	at := streamStart
	for i := 0; b.Loop(); i++ {
		at = at.Add(time.Minute)
		d.Next(at, values[i%len(values)])
	}
}
