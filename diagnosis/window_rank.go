package diagnosis

import (
	"cmp"
	"math"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// left returns the share of a service's shift that nothing else accounts for:
// slow and failing callees account for what goes up the calls, more traffic for
// what grows with it, and callers for the traffic itself.
func (w *window) left(r, i int) float64 {
	s := w.own[r][i]
	switch sig := w.shape.Signals[r]; familyOf(sig.Kind) {
	case failures, delays:
		return 1 - max(w.below(r, i), w.hold[i].accounts())
	case resources:
		var grown float64
		if moved := s.now - s.normal; moved*w.growth[i] > 0 && sig.Kind != sre.Cache {
			grown = min(1, w.growth[i]*math.Abs(s.normal)/moved)
		}
		if heldBySlots(sig.Kind) {
			grown = max(grown, w.hold[i].accounts())
		}
		return 1 - grown
	case load:
		return 1 - w.above(i)
	case families:
	}
	return 1
}

// below returns the share of a rise that the callees account for, by the share of
// the requests that reach them: by their own rises of the same signal, or by what
// the calls to them show.
func (w *window) below(r, i int) float64 {
	mine := w.own[r][i].rise()
	if mine <= 0 {
		return 0
	}
	var sum float64
	for _, e := range w.g.CalleesOf(i) {
		if j := w.g.Edges[e].To; j != i {
			sum += w.portion(i, j) * max(w.passed(r, i, j), w.onTheWire(r, e))
		}
	}
	return min(1, max(sum, w.behind(r, i))/mine)
}

// passed is the rise of a callee that its caller can feel. A request that makes
// several calls is slow when one of them is, so that the caller's median may move
// with the 99th percentile of the callee (Dean and Barroso, The Tail at Scale,
// 2013), and so it may where the callee serves others as well.
func (w *window) passed(r, i, j int) float64 {
	if w.traffic[j] >= w.c.several*w.traffic[i] {
		return w.deepest(r, j)
	}
	if s := w.own[r][j]; s.z >= w.c.noteworthy {
		return s.rise()
	}
	return 0
}

// deepest is the largest rise of a service among the signals of one kind and
// unit.
func (w *window) deepest(r, j int) float64 {
	var most float64
	like := w.shape.Signals[r]
	for k, sig := range w.shape.Signals {
		if s := w.own[k][j]; sig.Kind == like.Kind && sig.Unit == like.Unit && s.z >= w.c.noteworthy {
			most = max(most, s.rise())
		}
	}
	return most
}

// silent returns the share of a sign of trouble that callees account for which
// do not measure such trouble, but are short of something themselves.
func (w *window) silent(r, i int) float64 {
	if f := familyOf(w.shape.Signals[r].Kind); f != failures && f != delays {
		return 0
	}
	mine := w.own[r][i].weight(1)
	var most float64
	for _, e := range w.g.CalleesOf(i) {
		j := w.g.Edges[e].To
		if j == i || w.measures(familyOf(w.shape.Signals[r].Kind), j) {
			continue
		}
		for k, sig := range w.shape.Signals {
			if s := w.own[k][j]; familyOf(sig.Kind) == resources && s.z >= w.c.noteworthy {
				most = max(most, s.weight(1))
			}
		}
	}
	return w.c.silent * min(1, most/max(mine, 1e-9))
}

// measures reports whether a service has a reading of a family. Failures are
// those of requests: a count of other events, of restarts say, is none.
func (w *window) measures(f family, i int) bool {
	for r, sig := range w.shape.Signals {
		if familyOf(sig.Kind) == f && w.own[r][i].seen && (f != failures || ofRequests(sig.Unit)) {
			return true
		}
	}
	return false
}

func ofRequests(u sre.Unit) bool { return u == sre.Ratio || u == sre.Percent || u == sre.PerSecond }

// onTheWire is the rise that the calls of an edge show in the unit of a signal,
// as far as the other callers of the same service agree.
func (w *window) onTheWire(r, e int) float64 {
	var most float64
	like := w.shape.Signals[r]
	for k, sig := range w.shape.EdgeSignals {
		s := w.edge[k][e]
		if sig.Kind != like.Kind || sig.Unit != like.Unit || s.z < w.c.noteworthy {
			continue
		}
		var voices, agree float64
		for _, other := range w.g.CallersOf(w.g.Edges[e].To) {
			if o := w.edge[k][other]; o.seen {
				voices++
				if o.z >= w.c.noteworthy {
					agree++
				}
			}
		}
		most = max(most, s.rise()*agree/max(voices, 1))
	}
	return most
}

// portion is the most calls that one request of i can make of j, at most 1.
func (w *window) portion(i, j int) float64 {
	if w.traffic[i] > 0 && w.traffic[j] >= 0 {
		return min(1, w.traffic[j]/w.traffic[i])
	}
	return 1
}

// symptom is the strongest sign of delay or failure that a service, or the calls
// that it makes, show to others; infinite for a service that is not measured,
// through which trouble may well pass.
func (w *window) symptom(i int) float64 {
	measured := false
	var most float64
	note := func(s shift) {
		measured = measured || s.seen
		most = max(most, s.weight(1))
	}
	for r, sig := range w.shape.Signals {
		if f := familyOf(sig.Kind); f == delays || f == failures {
			note(w.own[r][i])
		}
	}
	for _, e := range w.g.CalleesOf(i) {
		for r := range w.edge {
			note(w.edge[r][e])
		}
	}
	if !measured {
		return math.Inf(1)
	}
	return most
}

// reach finds, for every service, the trail of callers up to an entry whose
// weakest symptom is strongest: a fault that hurts nobody is not the one that is
// looked for.
func (w *window) reach() {
	n := len(w.g.Services)
	symptoms := make([]float64, n)
	for _, i := range w.services {
		symptoms[i] = w.symptom(i)
	}
	w.way = make([]float64, n)
	for _, i := range w.entries {
		w.way[i] = symptoms[i]
	}
	for moved := true; moved; {
		moved = false
		for _, k := range w.calls {
			e := &w.g.Edges[k]
			if via := min(w.way[e.From], symptoms[e.From]); !e.Gone && via > w.way[e.To] {
				w.way[e.To], moved = via, true
			}
		}
	}
}

// victims weighs the families by what the entries suffer, and finds what share
// of it each service accounts for, in failed requests or lost seconds per
// second. An entry accounts for its own harm trivially, which says nothing.
func (w *window) victims() {
	w.harm = make([][families]float64, len(w.g.Services))
	var hurt [families]float64
	for r, sig := range w.shape.Signals {
		f := familyOf(sig.Kind)
		if f != delays && f != failures {
			continue
		}
		var total float64
		for _, i := range w.entries {
			s := w.own[r][i]
			hurt[f] = max(hurt[f], math.Log1p(max(0, s.z-w.c.noteworthy)))
			if s.z >= w.c.noteworthy {
				total += s.rise() * w.rate(i)
			}
		}
		if total > 0 {
			w.share(r, f, total)
		}
	}
	most := max(hurt[delays], hurt[failures])
	for f := range families {
		w.mute[f] = 1
		if (f == delays || f == failures) && most > 0 && most >= math.Log1p(w.c.entryHurts-w.c.noteworthy) {
			w.mute[f] = 1 - w.c.mute*(1-hurt[f]/most)
		}
	}
}

func (w *window) share(r int, f family, total float64) {
	for _, i := range w.services {
		s := w.own[r][i]
		if s.z < w.c.noteworthy || w.entry[i] {
			continue
		}
		certain := s.weight(1) / (1 + s.weight(1))
		part := min(1, s.rise()*w.rate(i)*w.left(r, i)/total)
		w.harm[i][f] = max(w.harm[i][f], part*certain)
	}
}

// rate is the traffic of a service, 1 where it is not known.
func (w *window) rate(i int) float64 {
	if w.traffic[i] > 0 {
		return w.traffic[i]
	}
	return 1
}

// sign is one shift with what it says for a service.
type sign struct {
	signal  sre.Signal
	subject string
	family  family
	shift   shift
	weight  float64
}

// signs returns the signs of a service, the strongest of each family first.
func (w *window) signs(i int) []sign {
	var out []sign
	for r, sig := range w.shape.Signals {
		s := w.own[r][i]
		if s.z <= 0 {
			continue
		}
		f := familyOf(sig.Kind)
		x := s.weight(w.left(r, i)) * w.trust(f) * (1 - w.silent(r, i))
		if f == load && s.now == 0 {
			x /= w.c.traffic // not less of it: nothing
		}
		if x > 0 {
			out = append(out, sign{sig, w.g.Services[i].Name, f, s, x})
		}
	}
	out = append(out, w.called(i)...)
	slices.SortStableFunc(out, func(a, b sign) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.signal.Name, b.signal.Name), cmp.Compare(a.subject, b.subject))
	})
	return out
}

func (w *window) trust(f family) float64 {
	switch f {
	case resources:
		return w.c.resource
	case load:
		return w.c.traffic
	case failures, delays, families:
	}
	return w.mute[f]
}

// called returns what the callers of a service say about it. Every caller has a
// voice: where only one of several suffers, the fault is rather its own.
func (w *window) called(i int) []sign {
	var out []sign
	for r, sig := range w.shape.EdgeSignals {
		f := familyOf(sig.Kind)
		if f != delays && f != failures {
			continue
		}
		var sum, voices float64
		var worst sign
		for _, e := range w.g.CallersOf(i) {
			s := w.edge[r][e]
			if !s.seen {
				continue
			}
			voices++
			x := s.weight(1 - max(w.belowCalls(r, i, s), w.hold[i].accounts()))
			sum += x
			if x > worst.weight {
				name := w.g.Services[w.g.Edges[e].From].Name + "->" + w.g.Services[i].Name
				worst = sign{sig, name, f, s, x}
			}
		}
		if sum > 0 {
			worst.weight = sum / voices * w.trust(f)
			out = append(out, worst)
		}
	}
	return out
}

// belowCalls is the share of a rise seen by a caller of i that the calls which i
// makes itself account for.
func (w *window) belowCalls(r, i int, s shift) float64 {
	if s.rise() <= 0 {
		return 0
	}
	var sum float64
	for _, e := range w.g.CalleesOf(i) {
		if x := w.edge[r][e]; x.z >= w.c.noteworthy {
			sum += x.rise()
		}
	}
	return min(1, sum/s.rise())
}

// score adds up what speaks for a service: its best family of signs and some of
// the second, a way up to an entry, its share of the harm, and a fresh change
// where there is a sign at all.
func (w *window) score(i int, signs []sign, change float64) float64 {
	if len(signs) == 0 {
		return 0
	}
	x := signs[0].weight
	for _, s := range signs[1:] {
		if s.family != signs[0].family {
			x += w.c.second * s.weight
			break
		}
	}
	x += w.c.support * min(x, w.way[i])
	x += w.c.cover * max(w.harm[i][failures], w.harm[i][delays])
	if x > w.unseen() {
		x += w.c.change * change
	}
	return x
}

// unseen is the score of a cause that is not seen: that of a service which shows
// in two families, and all the way up, what the most moved of so many series
// shows by chance. A deviation of noteworthy is exceeded by one series in ten; a
// tail that falls exponentially from there makes the largest of n that of
// noteworthy times the decimal logarithm of n.
func (w *window) unseen() float64 {
	chance := w.c.noteworthy * math.Log10(max(10, float64(w.series)))
	return (1 + w.c.second/2 + w.c.support) * math.Log1p(chance)
}

// verdict is what one stage says of every service that is looked at.
type verdict struct {
	signs         [][]sign
	probabilities []float64 // in the order of the services, and of a cause that is not seen
}

// judge turns scores into probabilities.
func (w *window) judge(changed map[string]suspect) verdict {
	v := verdict{signs: make([][]sign, len(w.services)), probabilities: make([]float64, len(w.services)+1)}
	p := v.probabilities
	for k, i := range w.services {
		v.signs[k] = w.signs(i)
		p[k] = w.score(i, v.signs[k], changed[w.g.Services[i].Name].weight)
	}
	p[len(w.services)] = w.unseen()
	top := slices.Max(p)
	var sum float64
	for k := range p {
		p[k] = math.Exp(p[k] - top)
		sum += p[k]
	}
	for k := range p {
		p[k] /= sum
	}
	return v
}

// hypotheses names the services, the most probable first, with the evidence of a
// verdict.
func (w *window) hypotheses(v verdict, changed map[string]suspect) []sre.Hypothesis {
	out := make([]sre.Hypothesis, 0, len(w.services)+1)
	for k, i := range w.services {
		name := w.g.Services[i].Name
		h := sre.Hypothesis{
			Service: name, Mechanism: sre.Unknown, Evidence: evidenceOf(v.signs[k]), Probability: v.probabilities[k],
		}
		if by, ok := changed[name]; ok && len(v.signs[k]) > 0 {
			h.Change = &by.change
			if by.weight >= suspicious {
				h.Mechanism = sre.BadChange
			}
		}
		out = append(out, h)
	}
	out = append(out, sre.Hypothesis{Mechanism: sre.Unknown, Probability: v.probabilities[len(w.services)]})
	slices.SortStableFunc(out, func(a, b sre.Hypothesis) int {
		return cmp.Or(cmp.Compare(b.Probability, a.Probability), cmp.Compare(a.Service, b.Service))
	})
	return out
}

func evidenceOf(signs []sign) []sre.Evidence {
	signs = signs[:min(len(signs), mostEvidence)]
	var sum float64
	for _, s := range signs {
		sum += s.weight
	}
	var out []sre.Evidence
	for _, s := range signs {
		out = append(out, sre.Evidence{
			Signal: s.signal.Name, Subject: s.subject, Now: s.shift.now, Normal: s.shift.normal,
			Unit: s.signal.Unit, Weight: s.weight / sum,
		})
	}
	return out
}
