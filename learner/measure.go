package learner

import (
	"cmp"
	"math"
	"slices"
)

// Scored is a prediction with what came of it.
type Scored struct {
	P     float64
	Right bool
}

func (s Scored) y() float64 {
	if s.Right {
		return 1
	}
	return 0
}

// Brier is the mean squared error of the predictions (Brier, 1950); 0 of none.
func Brier(list []Scored) float64 {
	sum := 0.0
	for _, s := range list {
		sum += (s.P - s.y()) * (s.P - s.y())
	}
	return sum / math.Max(1, float64(len(list)))
}

// BrierSkill is how much better than always predicting the base rate the
// predictions are: 1 is perfect, 0 no better; 0 where all outcomes are alike.
func BrierSkill(list []Scored) float64 {
	rate := 0.0
	for _, s := range list {
		rate += s.y()
	}
	rate /= math.Max(1, float64(len(list)))
	if base := rate * (1 - rate); base > 0 {
		return 1 - Brier(list)/base
	}
	return 0
}

// Bin is one part of a reliability diagram.
type Bin struct {
	N        int     `json:"n"`
	Mean     float64 `json:"mean"`     // of the predictions
	Observed float64 `json:"observed"` // share that came true
}

// Reliability sorts the predictions into bins of equal mass.
func Reliability(list []Scored, bins int) []Bin {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Scored) int { return cmp.Compare(a.P, b.P) })
	var out []Bin
	for i := range bins {
		part := list[i*len(list)/bins : (i+1)*len(list)/bins]
		if len(part) == 0 {
			continue
		}
		b := Bin{N: len(part)}
		for _, s := range part {
			b.Mean += s.P / float64(b.N)
			b.Observed += s.y() / float64(b.N)
		}
		out = append(out, b)
	}
	return out
}

// ECE is the expected calibration error over ten bins of equal mass (Naeini and
// others, 2015).
func ECE(list []Scored) float64 {
	sum := 0.0
	for _, b := range Reliability(list, 10) {
		sum += math.Abs(b.Mean-b.Observed) * float64(b.N) / float64(len(list))
	}
	return sum
}
