package control

import "testing"

func TestAGainShortensMovesButNeverToNone(t *testing.T) {
	for _, c := range []struct{ gain, now, next, want float64 }{
		{0, 10, 20, 20}, {1, 10, 20, 20}, {.5, 10, 20, 15}, {.5, 20, 10, 15},
		{.5, 10, 11, 11}, {.5, 10, 9, 9}, {.5, 10, 10, 10}, {2, 10, 20, 20},
	} {
		if got := towards(Scene{Gain: c.gain}, c.now, c.next); got != c.want {
			t.Errorf("from %v to %v at gain %v: %v, want %v", c.now, c.next, c.gain, got, c.want)
		}
	}
	m := &state{limit: 100, capped: true}
	if got := m.set(50, Scene{Gain: .5}).Params["rps"]; got != 75. {
		t.Errorf("a cap goes to %v, want 75", got)
	}
	m = &state{limit: ceiling}
	if got := m.set(50, Scene{Gain: .5}).Params["rps"]; got != 50. {
		t.Errorf("the first cap is %v, want 50: half of none is none", got)
	}
}
