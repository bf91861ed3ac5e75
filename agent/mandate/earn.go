package mandate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Earn says how a rule of the policy lets autonomy grow, and when the agent
// takes it from itself. What is left out, or 0, has its default.
type Earn struct {
	UpTo       sre.Stance     `yaml:"up_to"`       // the most that may be proposed: ask or act; act
	Outcomes   int            `yaml:"outcomes"`    // clear outcomes before act is proposed; 20
	LowerBound float64        `yaml:"lower_bound"` // of the share of successes; 0.9
	Agreement  float64        `yaml:"agreement"`   // share of questions that people said yes to; 0.8
	Questions  int            `yaml:"questions"`   // incidents in which it would have asked, before ask is proposed; 5
	Window     model.Duration `yaml:"window"`      // evidence that is older does not count; 90d
	SLO        SLO            `yaml:"slo"`
}

// SLO is what the agent asks of itself while it acts alone.
type SLO struct {
	Window     model.Duration `yaml:"window"`     // 7d
	Outcomes   int            `yaml:"outcomes"`   // fewer say nothing; 10
	Success    float64        `yaml:"success"`    // the least share of outcomes that are verified successes; 0.8
	Recurrence float64        `yaml:"recurrence"` // the greatest share of outcomes after which the trouble came back; 0.2
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

const day = 24 * time.Hour

// WithDefaults fills in what is left out.
func (e Earn) WithDefaults() Earn {
	e.UpTo = orElse(e.UpTo, sre.Act)
	e.Outcomes = orElse(e.Outcomes, 20)
	e.LowerBound = orElse(e.LowerBound, 0.9)
	e.Agreement = orElse(e.Agreement, 0.8)
	e.Questions = orElse(e.Questions, 5)
	e.Window = orElse(e.Window, model.Duration(90*day))
	e.SLO.Window = orElse(e.SLO.Window, model.Duration(7*day))
	e.SLO.Outcomes = orElse(e.SLO.Outcomes, 10)
	e.SLO.Success = orElse(e.SLO.Success, 0.8)
	e.SLO.Recurrence = orElse(e.SLO.Recurrence, 0.2)
	return e
}

// Validate returns what is wrong with the rule.
func (e Earn) Validate() sre.Faults {
	var f sre.Faults
	if !slices.Contains([]sre.Stance{"", sre.Ask, sre.Act}, e.UpTo) {
		f.Add("up_to", fmt.Sprintf("%q cannot be earned", e.UpTo), "ask, act")
	}
	e = e.WithDefaults()
	for _, c := range []struct {
		path string
		v    int
	}{{"outcomes", e.Outcomes}, {"questions", e.Questions}, {"slo.outcomes", e.SLO.Outcomes}} {
		if c.v < 1 || c.v > keep {
			f.Add(c.path, fmt.Sprintf("%d is out of range", c.v), fmt.Sprintf("1 to %d", keep))
		}
	}
	for _, c := range []struct {
		path string
		v    float64
	}{{"lower_bound", e.LowerBound}, {"agreement", e.Agreement}, {"slo.success", e.SLO.Success}, {"slo.recurrence", e.SLO.Recurrence}} {
		if !(c.v > 0 && c.v <= 1) {
			f.Add(c.path, fmt.Sprintf("%v is not a share", c.v), "above 0, at most 1")
		}
	}
	if best := lower(keep, keep); e.LowerBound > best && e.LowerBound <= 1 {
		f.Add("lower_bound", fmt.Sprintf("%v cannot be reached with the %d outcomes that are kept", e.LowerBound, keep), fmt.Sprintf("at most %.3f", best))
	}
	for _, c := range []struct {
		path string
		d    model.Duration
	}{{"window", e.Window}, {"slo.window", e.SLO.Window}} {
		if c.d < model.Duration(time.Minute) {
			f.Add(c.path, fmt.Sprintf("%s is too short", c.d), "1m or more")
		}
	}
	return f
}

// z is the quantile of a one-sided bound of 90 %.
const z = 1.2816

// lower is Wilson's score interval's lower end (Wilson, 1927) of s successes in
// n: it is careful where n is small, and never below 0.
func lower(s, n int) float64 {
	if n == 0 {
		return 0
	}
	p, m := float64(s)/float64(n), float64(n)
	centre := p + z*z/(2*m)
	spread := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(0, (centre-spread)/(1+z*z/m))
}
