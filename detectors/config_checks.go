package detectors

import (
	"fmt"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// within also refuses NaN, which compares false with every bound.
func within(f *sre.Faults, path string, v, lo, hi float64) {
	if !(v >= lo && v <= hi) {
		f.Add(path, fmt.Sprintf("is %v", v), fmt.Sprintf("%v to %v", lo, hi))
	}
}

func positive(f *sre.Faults, path string, d model.Duration) {
	if d <= 0 {
		f.Add(path, "is not a positive duration", "more than 0s")
	}
}

func ordered(f *sre.Faults, path string, low, high float64, lower string) {
	if high < low {
		f.Add(path, fmt.Sprintf("is %v, below %s (%v)", high, lower, low), "at least "+lower)
	}
}
