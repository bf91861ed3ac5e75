package detectors

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// TimeoutFault is a call whose callee may work for longer than its caller waits,
// or one of which that cannot be told.
type TimeoutFault struct {
	Caller, Callee string
	Timeout        time.Duration // of the call; 0 where it is not known
	Needs          time.Duration // the time that the callee may take, with every retry of its own calls
	AtLeast        time.Duration // the timeout that would do; 0 where it cannot be told
	Chain          []string      // from the caller along the calls that take longest, by name
	Unknown        []string      // calls of the callee without a known timeout, as "caller->callee", sorted; Needs leaves them out
	Fix            string        // one sentence
}

// The shares of time that a proposed timeout leaves free, and the digits to
// which it is rounded.
const (
	slack  = 1.05
	digits = 2
)

// CheckTimeouts names the calls of a graph whose timeouts do not nest: the
// callee's own time and the timeouts of its calls, one after the other and each
// with all its retries, take longer than the caller waits (SRE book, chapter
// 22, deadline propagation). Then the callee works for callers who have left.
// usual gives a service's own time in seconds, NaN or 0 where it is not known;
// nil knows none.
//
// The faults come in the order in which to mend them, callees before callers;
// what a fault needs counts the raised timeouts that were proposed before it.
// A call without a known timeout is named where a caller's timeout hangs on it;
// it is never guessed. Each service is counted as called once per request, and
// unknown retries as none.
func CheckTimeouts(g *sre.Graph, usual func(service int) float64) []TimeoutFault {
	c := nesting{g: g, usual: usual, timeout: make([]float64, len(g.Edges))}
	for e := range g.Edges {
		c.timeout[e] = g.Edges[e].Spec.Timeout.Seconds()
	}
	var out []TimeoutFault
	for _, i := range calleesFirst(g) {
		callers := slices.Clone(g.CallersOf(i))
		slices.SortFunc(callers, func(a, b int) int {
			return cmp.Compare(g.Services[g.Edges[a].From].Name, g.Services[g.Edges[b].From].Name)
		})
		for _, e := range callers {
			if f, ok := c.check(e); ok {
				out = append(out, f)
			}
		}
	}
	return out
}

// nesting is the timeouts of a graph with the fixes that are proposed so far.
type nesting struct {
	g       *sre.Graph
	usual   func(int) float64
	timeout []float64 // seconds, by edge; 0 where unknown
}

// check returns the fault of one call and takes its fix into account for those
// that come after it.
func (c *nesting) check(e int) (TimeoutFault, bool) {
	edge := &c.g.Edges[e]
	own := c.own(edge.To)
	needs, unknown := own, []string(nil)
	for _, f := range c.g.CalleesOf(edge.To) {
		if c.timeout[f] <= 0 {
			unknown = append(unknown, c.name(f))
		}
		needs += attempts(c.g, f) * c.timeout[f]
	}
	slices.Sort(unknown)
	fault := TimeoutFault{
		Caller: c.g.Services[edge.From].Name, Callee: c.g.Services[edge.To].Name,
		Timeout: edge.Spec.Timeout, Needs: nanos(needs), Unknown: unknown, Chain: c.chain(e),
	}
	waits := c.timeout[e]
	switch {
	case waits <= 0 && needs > own && len(c.g.CallersOf(edge.From)) > 0:
		fault.AtLeast = nanos(up(needs * slack))
		fault.Fix = fmt.Sprintf("%s has no known timeout; it needs at least %s", c.name(e), short(up(needs*slack)))
	case waits <= 0:
		return fault, false
	case needs > waits:
		fault.Fix = c.fix(e, own, needs)
		fault.AtLeast = nanos(up(needs * slack))
		c.timeout[e] = fault.AtLeast.Seconds()
	case len(unknown) > 0:
		fault.Fix = fmt.Sprintf("whether %s fits into its %s cannot be told: no timeout is known for %s", c.name(e), short(waits), strings.Join(unknown, ", "))
	default:
		return fault, false
	}
	return fault, true
}

func (c *nesting) name(e int) string {
	edge := &c.g.Edges[e]
	return c.g.Services[edge.From].Name + "->" + c.g.Services[edge.To].Name
}

func (c *nesting) own(i int) float64 {
	if c.usual == nil {
		return 0
	}
	if s := c.usual(i); s > 0 && !math.IsInf(s, 0) {
		return s
	}
	return 0
}

func attempts(g *sre.Graph, e int) float64 { return float64(1 + max(0, g.Edges[e].Spec.Retries)) }

// longest returns the call of a service that takes most of its time; -1 where
// no timeout is known.
func (c *nesting) longest(i int) int {
	worst := -1
	for _, f := range c.g.CalleesOf(i) {
		if c.timeout[f] > 0 && (worst < 0 || attempts(c.g, f)*c.timeout[f] > attempts(c.g, worst)*c.timeout[worst]) {
			worst = f
		}
	}
	return worst
}

// chain follows the longest calls until they end or come back.
func (c *nesting) chain(e int) []string {
	edge := &c.g.Edges[e]
	out := []string{c.g.Services[edge.From].Name}
	for i := edge.To; !slices.Contains(out, c.g.Services[i].Name); {
		out = append(out, c.g.Services[i].Name)
		f := c.longest(i)
		if f < 0 {
			break
		}
		i = c.g.Edges[f].To
	}
	return out
}

// fix says what is wrong and the two ways out: wait longer outside, or give up
// sooner inside, where anything is left for that.
func (c *nesting) fix(e int, own, needs float64) string {
	callee, waits := c.g.Services[c.g.Edges[e].To].Name, c.timeout[e]
	var parts []string
	for _, f := range c.g.CalleesOf(c.g.Edges[e].To) {
		if n := attempts(c.g, f); c.timeout[f] > 0 && n > 1 {
			parts = append(parts, fmt.Sprintf("%.0f x %s", n, short(c.timeout[f])))
		} else if c.timeout[f] > 0 {
			parts = append(parts, short(c.timeout[f]))
		}
	}
	slices.SortStableFunc(parts, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	if own > 0 {
		parts = append(parts, short(own))
	}
	sum := strings.Join(parts, " + ")
	if len(parts) > 1 || strings.Contains(sum, "x") {
		sum += " = " + short(needs)
	}
	out := fmt.Sprintf("%s timeout %s is shorter than %s's own %s; set at least %s", c.name(e), short(waits), callee, sum, short(up(needs*slack)))
	f := c.longest(c.g.Edges[e].To)
	if f < 0 {
		return out
	}
	n := attempts(c.g, f)
	if left := (waits/slack - (needs - n*c.timeout[f])) / n; left > 0 && down(left) >= .001 {
		out += fmt.Sprintf(", or lower %s to %s", c.name(f), short(down(left)))
	}
	return out
}

// calleesFirst orders the services so that a service comes after those it
// calls; where calls form a cycle, the first name in it comes last.
func calleesFirst(g *sre.Graph) []int {
	byName := make([]int, len(g.Services))
	for i := range byName {
		byName[i] = i
	}
	slices.SortFunc(byName, func(a, b int) int {
		return cmp.Or(cmp.Compare(g.Services[a].Name, g.Services[b].Name), cmp.Compare(a, b))
	})
	place := make([]int, len(g.Services))
	for k, i := range byName {
		place[i] = k
	}
	type visit struct {
		i    int
		left []int
	}
	below := func(i int) visit {
		v := visit{i: i}
		for _, e := range g.CalleesOf(i) {
			v.left = append(v.left, g.Edges[e].To)
		}
		slices.SortFunc(v.left, func(a, b int) int { return cmp.Compare(place[b], place[a]) })
		return v
	}
	seen, out := make([]bool, len(g.Services)), make([]int, 0, len(g.Services))
	for _, root := range byName {
		if seen[root] {
			continue
		}
		seen[root] = true
		for stack := []visit{below(root)}; len(stack) > 0; {
			top := &stack[len(stack)-1]
			if n := len(top.left); n > 0 {
				next := top.left[n-1]
				top.left = top.left[:n-1]
				if !seen[next] {
					seen[next] = true
					stack = append(stack, below(next))
				}
				continue
			}
			out = append(out, top.i)
			stack = stack[:len(stack)-1]
		}
	}
	return out
}

// up and down round seconds to a few digits, but never below a millisecond. A
// crumb of a binary fraction does not add a digit.
func up(s float64) float64   { return math.Ceil(s/unit(s)-crumb) * unit(s) }
func down(s float64) float64 { return math.Floor(s/unit(s)+crumb) * unit(s) }

const crumb = 1e-9

func unit(s float64) float64 {
	return math.Max(.001, math.Pow(10, math.Floor(math.Log10(math.Max(s, .001)))-digits+1))
}

func nanos(s float64) time.Duration {
	return time.Duration(math.Round(math.Min(s, math.MaxInt64/2e9) * float64(time.Second)))
}

// short writes a time in whole milliseconds, or microseconds below one.
func short(s float64) string {
	d := nanos(s)
	if d >= time.Millisecond {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Microsecond).String()
}
