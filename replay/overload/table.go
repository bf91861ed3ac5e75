package overload

import (
	"fmt"
	"math"
	"time"
)

// Matrix is that of the targets at one tick: capacity cuts of 30 to 90 % and crowds
// of 1.4 to 10 fold, for 10 seconds to 5 minutes, with data 0 to 2 ticks old, and
// with all or 80 % of the looks. Everything else is taken from base.
func Matrix(base Case) (out []Case) {
	for lag := range 3 {
		for _, missing := range []float64{0, .2} {
			for _, fault := range []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute} {
				c := base
				c.Lag, c.Missing, c.Fault = lag, missing, fault
				for _, cut := range []float64{.3, .5, .7, .9} {
					c.Cut = cut
					out = append(out, c)
				}
				c.Cut = 0
				for _, crowd := range []float64{1.4, 3, 10} {
					c.Crowd = crowd
					out = append(out, c)
				}
			}
		}
	}
	return out
}

// Header is the head of a table of Lines, in Markdown.
const Header = `| law | tick | goodput, mean | goodput, least | back, worst | not back in 120 s | relapses | critical, least | lowest class, mean |
|---|---|---|---|---|---|---|---|---|
`

// Line plays the cases with one law and writes one line of a table. It tells
// missed, where that is not nil, of each case that is below its targets.
func Line(law Rival, cases []Case, missed func(Case, Score)) (string, error) {
	sum, low, n, least, first := 0., 0., 0., math.Inf(1), 1.
	worst, late, relapsed := time.Duration(0), 0, 0
	for _, c := range cases {
		s, err := Run(c, law.Law)
		if err != nil {
			return "", err
		}
		if missed != nil && s.Misses() {
			missed(c, s)
		}
		if !math.IsNaN(s.Goodput) {
			sum, low, n, least = sum+s.Goodput, low+s.Lowest, n+1, min(least, s.Goodput)
		}
		first, worst, relapsed = min(first, s.First), max(worst, s.Back), relapsed+s.Relapses
		if s.Back > 2*time.Minute {
			late++
		}
	}
	return fmt.Sprintf("| %s | %s | %.2f | %.2f | %s | %d of %d | %d | %.3f | %.2f |\n",
		law.Name, cases[0].Every, sum/n, least, ended(worst), late, len(cases), relapsed, first, low/n), nil
}

// Misses reports whether a score is below the targets at a tick of ten
// seconds: three quarters of what could be answered, back within two minutes
// without a relapse, and critical requests let in while lower ones are.
func (s Score) Misses() bool {
	return s.Goodput < .75 || s.Back > 2*time.Minute || s.Relapses > 0 || s.First < .99
}

// String writes the score for people.
func (s Score) String() string {
	return fmt.Sprintf("goodput %.2f, back %s, relapses %d, critical %.3f, lowest %.2f", s.Goodput, ended(s.Back), s.Relapses, s.First, s.Lowest)
}

func ended(d time.Duration) string {
	if d == Never {
		return "never"
	}
	return d.String()
}
