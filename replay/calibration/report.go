package calibration

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/replay/backtest"
	"github.com/sreagent/sreagent/sre"
)

// Report is what a calibration comes to.
type Report struct {
	Incidents  int           `json:"incidents"`
	Seed       uint64        `json:"seed"`
	Drift      Drift         `json:"drift"`
	Overall    Measures      `json:"overall"` // of what was seen before
	Before     Measures      `json:"before"`  // the drift, or the first half
	After      Measures      `json:"after"`
	Mechanisms []OfMechanism `json:"mechanisms"`
	Unseen     Unseen        `json:"unseen"`    // mechanisms that were never met
	NewKinds   Unseen        `json:"new_kinds"` // trouble that never happened before, under the name of a mechanism that was met
	Causes     Causes        `json:"causes"`
	Plans      []Observation `json:"plans"`
}

// Causes say what the sets of possible causes were worth, where something was at
// fault.
type Causes struct {
	Covered backtest.Share `json:"covered"` // a service at fault is in the set
	First   backtest.Share `json:"first"`   // it is the first
	Size    float64        `json:"size"`    // mean, of the sets
	Wide    backtest.Share `json:"wide"`    // more than three, or one that is not seen
}

func ofCauses(list []Observation) Causes {
	list = slices.DeleteFunc(slices.Clone(list), func(p Observation) bool { return p.Causes == 0 || p.Possible == 0 })
	c := Causes{
		Covered: share(list, func(p Observation) bool { return p.Covered }),
		First:   share(list, func(p Observation) bool { return p.TopRight }),
		Wide:    share(list, func(p Observation) bool { return p.Possible > 3 || p.Unsure }),
	}
	for _, p := range list {
		c.Size += float64(p.Possible) / float64(len(list))
	}
	return c
}

// OfMechanism is one mechanism's part.
type OfMechanism struct {
	Mechanism sre.Mechanism `json:"mechanism"`
	Measures
}

// Measures say what some predictions were worth. Right is a plan that ended
// with users well and nobody the worse for it.
type Measures struct {
	N           int            `json:"n"`
	Base        float64        `json:"base_rate"`
	ECE         Interval       `json:"ece"`
	Brier       Interval       `json:"brier"`
	Skill       Interval       `json:"brier_skill"`
	Reliability []learner.Bin  `json:"reliability"`
	Coverage    backtest.Share `json:"coverage"`  // cleared to act alone by all that says how sure the agent is
	Precision   backtest.Share `json:"precision"` // of the cleared, right
	Needed      backtest.Share `json:"needed"`    // of the cleared, those better than the same world without the agent
	Alone       backtest.Share `json:"alone"`     // nobody was asked: every guard allowed it
	AloneRight  backtest.Share `json:"alone_right"`
	Risk        []RiskAt       `json:"risk_coverage"`
	AURC        float64        `json:"aurc"` // area under the risk-coverage curve
}

// Interval is a figure with its 95 % bootstrap interval, drawn by incident.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// RiskAt is the share of wrong ones among the surest.
type RiskAt struct {
	Coverage float64 `json:"coverage"`
	Risk     float64 `json:"risk"`
}

// Unseen is what became of mechanisms that were never met.
type Unseen struct {
	N       int            `json:"n"`
	Lowered backtest.Share `json:"lowered"` // the estimate is lower for being new
	Human   backtest.Share `json:"human"`   // a person decided
	Right   backtest.Share `json:"right"`
}

func newReport(o Options, all []Observation) *Report {
	r := &Report{Incidents: o.Incidents, Seed: o.Seed, Drift: o.Drift, Plans: all}
	var seen, early, late, unseen, fresh []Observation
	by := map[sre.Mechanism][]Observation{}
	for _, p := range all {
		if p.Unseen {
			unseen = append(unseen, p)
			continue
		}
		if p.NewKind {
			fresh = append(fresh, p)
			continue
		}
		seen = append(seen, p)
		by[p.Mechanism] = append(by[p.Mechanism], p)
		if 2*p.Incident < o.Incidents {
			early = append(early, p)
		} else {
			late = append(late, p)
		}
	}
	r.Overall, r.Before, r.After = measure(seen), measure(early), measure(late)
	for _, m := range sre.Mechanisms() {
		if len(by[m]) > 0 {
			r.Mechanisms = append(r.Mechanisms, OfMechanism{m, measure(by[m])})
		}
	}
	r.Unseen, r.NewKinds, r.Causes = ofUnseen(unseen), ofUnseen(fresh), ofCauses(all)
	return r
}

func ofUnseen(list []Observation) Unseen {
	return Unseen{
		N:       len(list),
		Lowered: share(list, func(p Observation) bool { return p.lowered() }),
		Human:   share(list, func(p Observation) bool { return !p.Alone }),
		Right:   share(list, Observation.good),
	}
}

// lowered reports whether the estimate fell for want of anything like the
// situation.
func (p Observation) lowered() bool {
	before := 0.0
	for _, f := range p.Factors {
		if f.Name == "novelty" {
			return f.After < before
		}
		before = f.After
	}
	return false
}

func share(list []Observation, is func(Observation) bool) backtest.Share {
	n := 0.0
	for _, p := range list {
		if is(p) {
			n++
		}
	}
	return backtest.Wilson(n, len(list))
}

func measure(list []Observation) Measures {
	scored := make([]learner.Scored, len(list))
	m := Measures{N: len(list)}
	for i, p := range list {
		scored[i] = learner.Scored{P: p.P, Right: p.good()}
	}
	m.Base = share(list, Observation.good).Value
	m.ECE = between(scored, learner.ECE)
	m.Brier = between(scored, learner.Brier)
	m.Skill = between(scored, learner.BrierSkill)
	m.Reliability = learner.Reliability(scored, 10)
	cleared := slices.DeleteFunc(slices.Clone(list), func(p Observation) bool { return !p.Cleared })
	m.Coverage = backtest.Wilson(float64(len(cleared)), len(list))
	m.Precision = share(cleared, Observation.good)
	m.Needed = share(cleared, func(p Observation) bool { return p.Right == 1 })
	alone := slices.DeleteFunc(slices.Clone(list), func(p Observation) bool { return !p.Alone })
	m.Alone = backtest.Wilson(float64(len(alone)), len(list))
	m.AloneRight = share(alone, Observation.good)
	m.Risk, m.AURC = riskCoverage(list)
	return m
}

// good is what P predicts: users are well, and nobody the worse for it.
func (p Observation) good() bool { return p.Right > 0 }

// riskCoverage sorts by the figure that decisions use. The risk at a coverage
// is the share of wrong ones among that share of the surest.
func riskCoverage(list []Observation) (curve []RiskAt, area float64) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Observation) int { return cmp.Compare(b.Lower, a.Lower) })
	wrong := 0.0
	for i, p := range list {
		if !p.good() {
			wrong++
		}
		risk := wrong / float64(i+1)
		area += risk / float64(len(list))
		if 10*(i+1)/len(list) > 10*i/len(list) {
			curve = append(curve, RiskAt{float64(i+1) / float64(len(list)), risk})
		}
	}
	return curve, area
}

func between(list []learner.Scored, statistic func([]learner.Scored) float64) Interval {
	out := Interval{Value: statistic(list)}
	drawn := make([]learner.Scored, len(list))
	if len(list) > 0 {
		out.Low, out.High = backtest.Bootstrap(len(list), func(at []int) float64 {
			for i, k := range at {
				drawn[i] = list[k]
			}
			return statistic(drawn)
		})
	}
	return out
}

// WriteText writes it as tables.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // reported by Flush
	line("%d incidents of seed %d, drift %s: %d plans were carried out\n", r.Incidents, r.Seed, r.Drift, len(r.Plans))
	line("\tplans\tright\tECE\tBrier skill\tcleared\tof them right\tbetter than without\talone\tof them right\tAURC")
	row := func(name string, m Measures) {
		line("%s\t%d\t%.3f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.3f", name, m.N, m.Base, m.ECE, m.Skill, said(m.Coverage), said(m.Precision),
			said(m.Needed), said(m.Alone), said(m.AloneRight), m.AURC)
	}
	row("all", r.Overall)
	row("first half", r.Before)
	row("second half", r.After)
	for _, m := range r.Mechanisms {
		row(string(m.Mechanism), m.Measures)
	}
	line("\npredicted\tcame true\tn")
	for _, b := range r.Overall.Reliability {
		line("%.3f\t%.3f\t%d", b.Mean, b.Observed, b.N)
	}
	line("\nsurest\twrong")
	for _, c := range r.Overall.Risk {
		line("%.2f\t%.3f", c.Coverage, c.Risk)
	}
	unseen := func(what string, u Unseen) {
		line("%s: %d plans, lowered %s, decided by a person %s, right %s", what, u.N, said(u.Lowered), said(u.Human), said(u.Right))
	}
	line("")
	unseen("mechanisms never met", r.Unseen)
	unseen("new kinds of trouble under a known name", r.NewKinds)
	line("sets of causes: %s hold one at fault (the first alone %s), %.2f services in the mean, too wide %s",
		said(r.Causes.Covered), said(r.Causes.First), r.Causes.Size, said(r.Causes.Wide))
	return t.Flush()
}

// String writes a figure with its interval.
func (i Interval) String() string { return fmt.Sprintf("%.3f [%.3f %.3f]", i.Value, i.Low, i.High) }

func said(s backtest.Share) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f [%.2f %.2f]", s.Value, s.Low, s.High)
}
