package gate

import (
	"testing"
	"time"
)

func TestAFreezeSaysWhenItEnds(t *testing.T) {
	at := time.Date(2026, 3, 1, 3, 10, 20, 0, time.UTC) // a Sunday
	for name, c := range map[string]struct {
		intervals []TimeInterval
		want      string
	}{
		"this hour":  {[]TimeInterval{{Times: []TimeRange{{Start: "03:00", End: "03:30"}}}}, "ends at 2026-03-01 03:30 UTC"},
		"one by one": {[]TimeInterval{{Times: []TimeRange{{Start: "03:00", End: "03:30"}}}, {Times: []TimeRange{{Start: "03:15", End: "04:00"}}}}, "ends at 2026-03-01 04:00 UTC"},
		"the day":    {[]TimeInterval{{Weekdays: []string{"sunday"}}}, "ends at 2026-03-02 00:00 UTC"},
		"elsewhere":  {[]TimeInterval{{Weekdays: []string{"sunday"}, Location: "America/New_York"}, {Weekdays: []string{"saturday"}, Location: "America/New_York"}}, "ends at 2026-03-02 05:00 UTC"},
		"always":     {[]TimeInterval{{}}, "ends, in more than 2 days"},
	} {
		f := Freeze{Name: "f", Reason: "r", Owner: "o", Intervals: c.intervals}
		p := DefaultPolicy()
		p.Freezes = []Freeze{{Name: "other", Reason: "r", Owner: "o", Intervals: []TimeInterval{{}}}, f}
		if got := p.thaw(f, at); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
