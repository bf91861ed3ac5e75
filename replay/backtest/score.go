package backtest

import (
	"cmp"
	"math"
	"slices"
)

// deepest is how far down a ranking is looked at.
const deepest = 5

// fewLabels is the number of answers below which an ECE is mostly noise.
const fewLabels = 100

// mostBins is how many bins a reliability diagram has.
const mostBins = 10

// accuracy returns the share of the true services that a ranking has among its
// first k, of as many as can be there.
func accuracy(ranking []Suspect, truth []string, k int) float64 {
	if len(truth) == 0 {
		return 0
	}
	var hits int
	for _, s := range ranking[:min(k, len(ranking))] {
		if slices.Contains(truth, s.Service) {
			hits++
		}
	}
	return float64(hits) / float64(min(k, len(truth)))
}

// ranksOf scores one ranking per fault.
func ranksOf(faults []Fault, ranking func(*Fault) []Suspect) Ranks {
	at := make([][]float64, deepest)
	var average []float64
	for i := range faults {
		f := &faults[i]
		var sum float64
		for k := range deepest {
			x := accuracy(ranking(f), f.Services, k+1)
			at[k] = append(at[k], x)
			sum += x
		}
		average = append(average, sum/deepest)
	}
	return Ranks{AC1: meanOf(at[0]), AC3: meanOf(at[2]), AC5: meanOf(at[4]), Avg5: meanOf(average)}
}

// answer is one ranking's first suspect: how sure it was, and whether it was
// right.
type answer struct {
	p     float64
	right float64 // 1 or 0; between them where shared with others
}

func answersOf(faults []Fault) []answer {
	var out []answer
	for i := range faults {
		f := &faults[i]
		if f.Confidence == nil {
			continue
		}
		a := answer{p: f.Confidence.P}
		if f.OwnRank == 1 {
			a.right = 1
		}
		out = append(out, a)
	}
	return out
}

func calibrationOf(answers []answer) Calibration {
	c := Calibration{N: len(answers), Bins: []Bin{}, RiskCoverage: []RiskCoverage{}, Noise: len(answers) < fewLabels}
	if c.N == 0 {
		c.ECE = Share{High: 1}
		return c
	}
	n := float64(c.N)
	var hits float64
	for _, a := range answers {
		c.Brier += (a.p - a.right) * (a.p - a.right) / n
		hits += a.right
	}
	if hits > 0 && hits < n {
		base := hits / n
		c.BrierSkill = 1 - c.Brier/(base*(1-base))
	}
	c.Bins = binsOf(answers)
	c.ECE = Share{Value: errorOf(c.Bins), N: c.N}
	c.ECE.Low, c.ECE.High = bootstrap(c.N, func(drawn []int) float64 {
		again := make([]answer, len(drawn))
		for i, k := range drawn {
			again[i] = answers[k]
		}
		return errorOf(binsOf(again))
	})
	c.RiskCoverage, c.AURC = riskOf(answers)
	return c
}

// binsOf sorts the answers by how sure they are and cuts them into bins of as
// equal a number as can be. Equally certain answers share their outcomes: no
// order of them, that of the corpus or any other, can tell the right ones apart.
func binsOf(answers []answer) []Bin {
	sorted := shared(answers)
	slices.Reverse(sorted)
	count := min(mostBins, len(sorted))
	bins := make([]Bin, count)
	for k := range bins {
		part := sorted[k*len(sorted)/count : (k+1)*len(sorted)/count]
		b := &bins[k]
		b.N = len(part)
		for _, a := range part {
			b.Predicted += a.p / float64(b.N)
			b.Observed += a.right / float64(b.N)
		}
	}
	return bins
}

// errorOf is the expected calibration error of bins.
func errorOf(bins []Bin) float64 {
	var sum, n float64
	for _, b := range bins {
		sum += float64(b.N) * math.Abs(b.Predicted-b.Observed)
		n += float64(b.N)
	}
	return sum / n
}

// shared returns the answers, the most certain first, each of those that are
// equally certain as right as they are on average.
func shared(answers []answer) []answer {
	sorted := slices.Clone(answers)
	slices.SortFunc(sorted, func(a, b answer) int { return cmp.Compare(b.p, a.p) })
	for from := 0; from < len(sorted); {
		to, hits := from, 0.
		for to < len(sorted) && sorted[to].p == sorted[from].p {
			hits += sorted[to].right
			to++
		}
		for i := from; i < to; i++ {
			sorted[i].right = hits / float64(to-from)
		}
		from = to
	}
	return sorted
}

// riskOf returns the share of wrong answers among the most certain ones, for
// every number of answers given, and its mean over them.
func riskOf(answers []answer) ([]RiskCoverage, float64) {
	sorted := shared(answers)
	out := make([]RiskCoverage, 0, len(sorted))
	var wrong, area float64
	for i, a := range sorted {
		wrong += 1 - a.right
		risk := wrong / float64(i+1)
		area += risk / float64(len(sorted))
		out = append(out, RiskCoverage{Coverage: float64(i+1) / float64(len(sorted)), Risk: risk})
	}
	return out, area
}

// Summarise scores bundles by source. Sources are never pooled: a good figure on
// an easy corpus would hide a bad one.
func Summarise(bundles []Bundle) map[string]Summary {
	by := map[string][]Bundle{}
	for _, b := range bundles {
		by[b.Source] = append(by[b.Source], b)
	}
	out := make(map[string]Summary, len(by))
	for source, list := range by {
		out[source] = summaryOf(list)
	}
	return out
}

func summaryOf(list []Bundle) Summary {
	var s Summary
	var faults []Fault
	var delays, leads []float64
	var noisy, fleetWeeks float64
	var normal []OracleNormal
	for i := range list {
		b := &list[i]
		if b.Error != "" {
			s.Failed++
			continue
		}
		s.Bundles++
		s.FalseAlarms += b.FalseAlarms
		s.Actions += b.Actions
		s.WrongActions += b.WrongActions
		s.WrongProposals += b.WrongProposals
		s.FaultFreeSeconds += b.FaultFreeSeconds
		fleetWeeks += b.FaultFreeSeconds * float64(b.Services) / 1000 / (7 * 86400)
		s.Notifications.add(b.Notifications)
		noisy += b.FaultFreeSeconds * b.TimeInAlarmRatio
		normal = append(normal, b.OracleNormal)
		faults = append(faults, b.Faults...)
	}
	s.Specificity = SpecificityOf(normal)
	s.Faults = len(faults)
	for i := range faults {
		f := &faults[i]
		if f.DelaySeconds != nil {
			delays = append(delays, *f.DelaySeconds)
		}
		if f.LeadSeconds != nil {
			leads = append(leads, *f.LeadSeconds)
		}
	}
	all := byFaultOf(faults)
	s.Detected, s.DetectedOfTraced = all.Detected, all.DetectedOfTraced
	s.DelaySeconds, s.LeadSeconds = SpreadOf(delays), SpreadOf(leads)
	s.Oracle, s.EndToEnd, s.Settled = all.Oracle, all.EndToEnd, all.Settled
	s.ByFault = kindsOf(faults)
	if s.FaultFreeSeconds > 0 {
		s.FalseAlarmsPerDay = float64(s.FalseAlarms) / s.FaultFreeSeconds * 86400
		s.TimeInAlarmRatio = noisy / s.FaultFreeSeconds
	}
	s.FalseAlarmsPerHour = Garwood(s.FalseAlarms, s.FaultFreeSeconds/3600)
	s.FleetWeeks = Garwood(s.FalseAlarms, fleetWeeks)
	s.Notifications.finish()
	s.Foresight = foresightOf(faults)
	s.Calibration = calibrationOf(answersOf(faults))
	return s
}

// byFaultOf scores faults that are alike.
func byFaultOf(faults []Fault) ByFault {
	var detected, traced []float64
	for i := range faults {
		hit := one(faults[i].DetectedAt != nil)
		detected = append(detected, hit)
		if faults[i].Trace {
			traced = append(traced, hit)
		}
	}
	return ByFault{
		Faults: len(faults), Detected: meanOf(detected), DetectedOfTraced: meanOf(traced),
		Oracle:   ranksOf(faults, func(f *Fault) []Suspect { return f.OracleRanking }),
		EndToEnd: ranksOf(faults, func(f *Fault) []Suspect { return f.Ranking }),
		Settled:  ranksOf(faults, func(f *Fault) []Suspect { return f.SettledRanking }),
	}
}

// kindsOf scores faults by their kind.
func kindsOf(faults []Fault) map[string]ByFault {
	by := map[string][]Fault{}
	for i := range faults {
		by[faults[i].Fault] = append(by[faults[i].Fault], faults[i])
	}
	if len(by) < 2 {
		return nil
	}
	out := make(map[string]ByFault, len(by))
	for kind, list := range by {
		out[kind] = byFaultOf(list)
	}
	return out
}
