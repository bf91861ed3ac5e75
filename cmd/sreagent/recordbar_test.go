package main

import "testing"

// What stands around the bar is "recording 100% |", "| (100/100) [12m30s:4m2s]".
func TestBarFitsTheLine(t *testing.T) {
	for _, c := range []struct{ columns, what, total, want int }{
		{200, 9, 100, 30},
		{80, 9, 100, 30},
		{60, 9, 100, 13},
		{40, 9, 100, 1},
		{1, 9, 100, 1},
		{60, 9, 1_000_000, 5},
	} {
		if got := barWidth(c.columns, c.what, c.total); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}
