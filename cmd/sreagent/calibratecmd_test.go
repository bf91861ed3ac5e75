package main

import (
	"strings"
	"testing"
)

func TestCalibrateRefusesWhatIsNoNumberOfIncidents(t *testing.T) {
	for _, n := range []int{0, -1, 100_001} {
		err := runCalibrate(t.Context(), streams{}, calibrateFlags{incidents: n})
		if err == nil || !strings.Contains(err.Error(), "want 1 to 100000") {
			t.Errorf("%d incidents: %v", n, err)
		}
	}
}
