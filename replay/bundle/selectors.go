package bundle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Selector is one set of series that a query reads.
type Selector struct {
	// Matchers is the PromQL that selects the series, without range and offset.
	Matchers string
	// Reach is how far before its own instant a query reads at most: range,
	// offset and those of the subqueries around, added up. A selector without a
	// range sees besides as far back as the engine looks for a last sample.
	Reach time.Duration

	matchers []*labels.Matcher
}

// Selects reports whether a series is one of those.
func (s Selector) Selects(l labels.Labels) bool {
	for _, m := range s.matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// Bounds on a query. The engine makes room for every step of a subquery before
// it looks at one, and the parser's time grows with the square of the length.
const (
	maxQuery         = 32 << 10 // bytes
	maxSubquerySteps = 100_000  // of subqueries within each other, multiplied
)

// Selectors returns what a PromQL query reads, each set of series once, with
// its longest reach, in the order of Matchers. A query that does not parse is
// an error, and so is one that gives no value per series, that costs without
// bound, or that reads at a fixed time, by the @ modifier: what it needs cannot
// be told from when it is asked.
func Selectors(query string) ([]Selector, error) {
	if len(query) > maxQuery {
		return nil, fmt.Errorf("query %q is longer than %s", cut(query, 2*cutLine), size(maxQuery))
	}
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return nil, fmt.Errorf("parse query %q: %w", cut(query, 2*cutLine), err)
	}
	if kind := expr.Type(); kind == parser.ValueTypeMatrix || kind == parser.ValueTypeString {
		return nil, fmt.Errorf("query %q gives a %s; allowed: one value per series", cut(query, 2*cutLine), parser.DocumentedType(kind))
	}
	longest := map[string]Selector{}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		if sub, ok := node.(*parser.SubqueryExpr); ok && err == nil {
			err = affordable(sub, path)
		}
		v, ok := node.(*parser.VectorSelector)
		if !ok || err != nil {
			return nil
		}
		one := Selector{Matchers: matcherText(v), matchers: v.LabelMatchers}
		one.Reach, err = reach(v, path)
		if old, known := longest[one.Matchers]; !known || one.Reach > old.Reach {
			longest[one.Matchers] = one
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", cut(query, 2*cutLine), err)
	}
	out := make([]Selector, 0, len(longest))
	for _, s := range longest {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Selector) int { return strings.Compare(a.Matchers, b.Matchers) })
	return out, nil
}

// affordable counts the instants at which a subquery and those around it are
// evaluated for one answer.
func affordable(sub *parser.SubqueryExpr, path []parser.Node) error {
	steps := time.Duration(1)
	for _, node := range append(path[:len(path):len(path)], sub) {
		s, ok := node.(*parser.SubqueryExpr)
		if !ok {
			continue
		}
		step := s.Step
		if step <= 0 {
			step = time.Minute // Prometheus' own default
		}
		if steps *= max(s.Range/step, 1); steps > maxSubquerySteps {
			return fmt.Errorf("the subquery %s is evaluated too often; allowed: %d steps", cut(sub.String(), 2*cutLine), maxSubquerySteps)
		}
	}
	return nil
}

// matcherText writes a selector without what moves it in time. Its labels come
// out sorted.
func matcherText(v *parser.VectorSelector) string {
	return (&parser.VectorSelector{Name: v.Name, LabelMatchers: v.LabelMatchers}).String()
}

func reach(v *parser.VectorSelector, path []parser.Node) (time.Duration, error) {
	fixed := v.Timestamp != nil || v.StartOrEnd != 0
	total := v.OriginalOffset
	for _, above := range path {
		switch n := above.(type) {
		case *parser.MatrixSelector:
			total += n.Range
		case *parser.SubqueryExpr:
			total += n.Range + n.OriginalOffset
			fixed = fixed || n.Timestamp != nil || n.StartOrEnd != 0
		}
	}
	if fixed {
		return 0, fmt.Errorf("%s reads at a fixed time, by the @ modifier; allowed: times relative to the query's own", matcherText(v))
	}
	return max(total, 0), nil
}
