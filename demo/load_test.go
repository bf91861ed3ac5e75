package demo

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// shopfront answers like a server, without one.
type shopfront func(r *http.Request) (int, error)

func (f shopfront) RoundTrip(r *http.Request) (*http.Response, error) {
	code, err := f(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader("ok")), Request: r}, nil
}

// slowly answers after d unless the caller goes away first.
func slowly(d time.Duration, code int) shopfront {
	return func(r *http.Request) (int, error) {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return code, nil
		case <-r.Context().Done():
			return 0, r.Context().Err()
		}
	}
}

// runLoad offers load for a while in virtual time and returns what is known
// after the last deadline.
func runLoad(t *testing.T, d time.Duration, o LoadOptions) *Load {
	t.Helper()
	l, err := NewLoad(time.Now(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	l.Run(ctx)
	return l
}

func TestLoadKeepsItsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		var arrivals []time.Duration
		headers := map[string]int{}
		paths := map[string]map[string]int{}
		front := shopfront(func(r *http.Request) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			arrivals = append(arrivals, time.Since(start))
			class := r.Header.Get("X-Priority")
			headers[class]++
			if paths[class] == nil {
				paths[class] = map[string]int{}
			}
			paths[class][r.URL.Path]++
			return 200, nil
		})
		runLoad(t, 10*time.Second-time.Millisecond, LoadOptions{URL: "http://shop", Rate: 50, Deadline: time.Second, MaxInFlight: 10, Transport: front})
		if len(arrivals) != 500 {
			t.Fatalf("%d arrivals in 10 s at 50/s", len(arrivals))
		}
		for i, at := range arrivals {
			if want := time.Duration(i) * 20 * time.Millisecond; at != want {
				t.Fatalf("arrival %d at %v, want %v", i, at, want)
			}
		}
		if diff := cmp.Diff(map[string]int{"critical": 50, "high": 100, "normal": 200, "low": 150}, headers); diff != "" {
			t.Errorf("classes (-want +got):\n%s", diff)
		}
		for class, n := range paths {
			if n[pathBrowse]*2 != n[pathBuy]*3 {
				t.Errorf("%s: %d browse, %d buy; want 3 to 2", class, n[pathBrowse], n[pathBuy])
			}
		}
	})
}

func TestGoodputCountsOnlyAnswersInTime(t *testing.T) {
	for _, tc := range []struct {
		name  string
		front shopfront
		good  int
	}{
		{"at once", slowly(0, 200), 10},
		{"in time", slowly(900*time.Millisecond, 204), 10},
		{"too late", slowly(1100*time.Millisecond, 200), 0},
		{"refused", slowly(0, 503), 0},
		{"redirected without a target", slowly(0, 304), 0},
		{"cut connection", func(*http.Request) (int, error) { return 0, io.ErrUnexpectedEOF }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				l := runLoad(t, 5*time.Second, LoadOptions{URL: "http://shop", Rate: 10, Deadline: time.Second, MaxInFlight: 100, Transport: tc.front})
				samples := l.Since(start)
				if len(samples) < 3 {
					t.Fatalf("only %d seconds are known after five", len(samples))
				}
				for i, s := range samples {
					if want := start.Add(time.Duration(i) * time.Second); !s.Second.Equal(want) {
						t.Errorf("second %d starts at %v", i, s.Second)
					}
					if diff := cmp.Diff(Count{Offered: 10, Good: tc.good}, s.Total); diff != "" {
						t.Errorf("second %d (-want +got):\n%s", i, diff)
					}
				}
				if l.Goodput().Second != samples[len(samples)-1].Second {
					t.Error("Goodput is not the newest known second")
				}
			})
		})
	}
}

// A slow shop does not slow the load down; what has no room counts as offered
// and not served.
func TestLoadIsOpenAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		inFlight, most := 0, 0
		var mu sync.Mutex
		hang := slowly(time.Hour, 200)
		front := shopfront(func(r *http.Request) (int, error) {
			mu.Lock()
			inFlight++
			most = max(most, inFlight)
			mu.Unlock()
			defer func() { mu.Lock(); inFlight--; mu.Unlock() }()
			return hang(r)
		})
		l := runLoad(t, 8*time.Second, LoadOptions{URL: "http://shop", Rate: 10, Deadline: 2 * time.Second, MaxInFlight: 5, Transport: front})
		if most != 5 {
			t.Errorf("%d in flight, want the bound", most)
		}
		got := Sum(l.Since(start), start, start.Add(5*time.Second))
		if diff := cmp.Diff(Count{Offered: 50}, got); diff != "" {
			t.Errorf("five seconds (-want +got):\n%s", diff)
		}
	})
}

// A machine that stood still must not be followed by a burst.
func TestMissedSlotsAreNotOfferedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		var mu sync.Mutex
		l, err := NewLoad(time.Now().Add(-3*time.Second), LoadOptions{
			URL: "http://shop", Rate: 10, Deadline: time.Second, MaxInFlight: 100,
			Transport: shopfront(func(*http.Request) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				calls++
				return 200, nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		l.Run(ctx)
		// Slots at 0, 100, 200 ms back are still offered; 28 older ones are not.
		if calls != 3 || l.Missed() != 28 {
			t.Errorf("%d offered, %d missed", calls, l.Missed())
		}
	})
}

func TestLoadOptionsAreChecked(t *testing.T) {
	for _, o := range []LoadOptions{
		{Rate: 0, Deadline: 1, MaxInFlight: 1}, {Rate: 1, Deadline: 0, MaxInFlight: 1}, {Rate: 1, Deadline: 1}, {Rate: -1, Deadline: 1, MaxInFlight: 1},
	} {
		if _, err := NewLoad(time.Now(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// The twin keeps every attempt in a list and counts from scratch.
func TestLedgerAgainstDumbTwin(t *testing.T) {
	type attempt struct {
		second, class int
		done, good    bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		start := time.Unix(1000, 0)
		l := newLedger(start)
		var all []*attempt
		now := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now += time.Duration(rapid.IntRange(0, 900).Draw(rt, "ms")) * time.Millisecond
			if rapid.Bool().Draw(rt, "offer") {
				a := &attempt{class: rapid.IntRange(0, len(classes)-1).Draw(rt, "class")}
				a.second = l.offer(now, a.class)
				if want := int(now / time.Second); a.second != want {
					rt.Fatalf("offered at %v in second %d", now, a.second)
				}
				all = append(all, a)
			}
			for _, a := range all {
				if !a.done && rapid.Bool().Draw(rt, "done") {
					a.done, a.good = true, rapid.Bool().Draw(rt, "good")
					l.done(a.second, a.class, a.good)
				}
			}
			l.settle(start.Add(now))

			var want []GoodputSample
			lastOffered := -1
			for _, a := range all {
				lastOffered = max(lastOffered, a.second)
			}
		seconds:
			for s := 0; s <= lastOffered && time.Duration(s+1)*time.Second <= now; s++ {
				sample := GoodputSample{Second: start.Add(time.Duration(s) * time.Second)}
				for c, name := range classes {
					count := ClassCount{Class: name}
					for _, a := range all {
						if a.second != s || a.class != c {
							continue
						}
						if !a.done {
							break seconds
						}
						count.Offered++
						if a.good {
							count.Good++
						}
					}
					sample.Classes = append(sample.Classes, count)
					sample.Total.add(count.Count)
				}
				want = append(want, sample)
			}
			if diff := cmp.Diff(want, l.since(start)); diff != "" {
				rt.Fatalf("at %v (-want +got):\n%s", now, diff)
			}
			if len(want) > 0 && !cmp.Equal(want[len(want)-1], l.last()) {
				rt.Fatalf("last is %+v", l.last())
			}
		}
	})
}

func TestSinceStartsWhereItIsTold(t *testing.T) {
	start := time.Unix(1000, 0)
	l := newLedger(start)
	for s := range keepSeconds + 10 {
		l.done(l.offer(time.Duration(s)*time.Second, 0), 0, true)
		l.settle(start.Add(time.Duration(s+1) * time.Second))
	}
	if got := len(l.since(start)); got != keepSeconds {
		t.Errorf("%d seconds are kept, want %d", got, keepSeconds)
	}
	from := start.Add((keepSeconds + 7) * time.Second)
	got := l.since(from)
	if len(got) != 3 || !got[0].Second.Equal(from) {
		t.Errorf("since %v: %+v", from, got)
	}
	if got := Sum(got, from, from.Add(2*time.Second)); got != (Count{2, 2}) {
		t.Errorf("sum of two seconds is %+v", got)
	}
	if (Count{}).Ratio() != 0 {
		t.Error("the ratio of nothing is not zero")
	}
}

func TestRecoveredAt(t *testing.T) {
	t0 := time.Unix(1000, 0)
	samples := func(goods ...int) []GoodputSample {
		var out []GoodputSample
		for i, g := range goods {
			out = append(out, GoodputSample{Second: t0.Add(time.Duration(i) * time.Second), Total: Count{100, g}})
		}
		return out
	}
	for _, tc := range []struct {
		name string
		in   []GoodputSample
		want int // second, -1 for none
	}{
		{"never", samples(0, 0, 0, 0, 0, 0, 0), -1},
		{"too short", samples(100, 100, 100, 100), -1},
		{"just long enough", samples(100, 95, 96, 99, 100), 0},
		{"a dip starts it anew", samples(100, 100, 100, 94, 100, 100, 100, 100, 100), 4},
		{"nothing offered is not healthy", append(samples(100, 100, 100, 100), GoodputSample{Second: t0.Add(4 * time.Second)}), -1},
	} {
		at, ok := recoveredAt(tc.in)
		if got := int(at.Sub(t0) / time.Second); ok != (tc.want >= 0) || (ok && got != tc.want) {
			t.Errorf("%s: got second %d, %v", tc.name, got, ok)
		}
	}
}
