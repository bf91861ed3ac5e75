package learner

import (
	"math"
	"math/bits"
	"slices"
	"strings"

	"gonum.org/v1/gonum/mat"
)

const (
	// weightless is how many labels' worth a mark's weight is held at 0.
	weightless = 2.0
	// steps of Newton's method; it settles within a few.
	newtonSteps = 12
	// heaviest bounds what all marks together may move the log odds.
	heaviest = 4
)

// evidence says how much each mark of a situation speaks for or against a cure,
// in log odds on top of what was counted: a logistic regression with the counted
// estimate as its offset and a ridge that holds every weight at 0 (Hoerl and
// Kennard, 1970; le Cessie and van Houwelingen, 1992).
type evidence map[string]float64

// of moves an estimate.
func (e evidence) of(raw float64, signature string) float64 {
	if len(e) == 0 || signature == "" {
		return raw
	}
	sum := 0.0
	for mark := range strings.SplitSeq(signature, " ") {
		sum += e[mark]
	}
	return sigmoid(logit(raw) + min(max(sum, -heaviest), heaviest))
}

// weigh fits the evidence to labels, of which newer ones weigh more.
func weigh(labels []label) evidence {
	names := map[string]bool{}
	for _, l := range labels {
		for mark := range strings.SplitSeq(l.Signature, " ") {
			names[mark] = mark != ""
		}
	}
	var columns []string
	for mark, told := range names {
		if told {
			columns = append(columns, mark)
		}
	}
	if len(columns) == 0 {
		return nil
	}
	slices.Sort(columns)
	rows := rowsOf(labels, columns)
	w := make([]float64, len(columns))
	for range newtonSteps {
		if !step(rows, w) {
			return nil
		}
	}
	out := evidence{}
	for i, mark := range columns {
		out[mark] = w[i]
	}
	return out
}

// row is one label: which columns it has, and what they are to explain.
type row struct {
	at              []int
	offset, y, much float64
}

func rowsOf(labels []label, columns []string) []row {
	index := make(map[string]int, len(columns))
	for i, mark := range columns {
		index[mark] = i
	}
	out := make([]row, 0, len(labels))
	for i, l := range labels {
		if l.Prior == 0 {
			continue
		}
		r := row{offset: min(max(logit(l.Prior), -5), 5), much: l.weight() * math.Exp2(-float64(len(labels)-1-i)/labelHalf)}
		if l.Right {
			r.y = 1
		}
		if l.Signature != "" {
			for mark := range strings.SplitSeq(l.Signature, " ") {
				r.at = append(r.at, index[mark])
			}
		}
		out = append(out, r)
	}
	return out
}

// step is one of Newton's. It reports false where the numbers give no answer.
func step(rows []row, w []float64) bool {
	n := len(w)
	gradient, hessian := mat.NewVecDense(n, nil), mat.NewSymDense(n, nil)
	for i, v := range w {
		gradient.SetVec(i, weightless*v)
		hessian.SetSym(i, i, weightless)
	}
	for _, r := range rows {
		z := r.offset
		for _, i := range r.at {
			z += w[i]
		}
		p := sigmoid(z)
		for k, i := range r.at {
			gradient.SetVec(i, gradient.AtVec(i)+r.much*(p-r.y))
			for _, j := range r.at[k:] {
				hessian.SetSym(i, j, hessian.At(i, j)+r.much*p*(1-p))
			}
		}
	}
	var chol mat.Cholesky
	var move mat.VecDense
	if !chol.Factorize(hessian) || chol.SolveVecTo(&move, gradient) != nil {
		return false
	}
	for i := range w {
		w[i] -= move.AtVec(i)
		if math.IsNaN(w[i]) || math.IsInf(w[i], 0) {
			return false
		}
	}
	return true
}

// likeness is a signature as a set of bits, one for each mark that was ever
// told. Which bit a mark has depends on who came first; what is computed of it
// does not.
type likeness [2]uint64

// marks gives each mark its bit. Signatures have a small vocabulary; marks
// beyond the last bit are all one.
type marks map[string]int

const mostMarks = 128

func (m marks) of(signature string) likeness {
	var s likeness
	if signature == "" {
		return s
	}
	for mark := range strings.SplitSeq(signature, " ") {
		bit, known := m[mark]
		if !known {
			bit = min(len(m), mostMarks-1)
			m[mark] = bit
		}
		s[bit/64] |= 1 << (bit % 64)
	}
	return s
}

func (s likeness) empty() bool { return s == likeness{} }

// distance is Jaccard's: the share of the marks of either that only one has.
func (s likeness) distance(o likeness) float64 {
	both := bits.OnesCount64(s[0]&o[0]) + bits.OnesCount64(s[1]&o[1])
	either := bits.OnesCount64(s[0]|o[0]) + bits.OnesCount64(s[1]|o[1])
	if either == 0 {
		return 0
	}
	return 1 - float64(both)/float64(either)
}

// spelled is a signature as one word of places and snapshots.
func spelled(signature []string) string { return strings.Join(signature, " ") }
