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

// Selectors returns what a PromQL query reads, each set of series once, with
// its longest reach, in the order of Matchers. A query that does not parse is
// an error, and so is one that reads at a fixed time, by the @ modifier: what it
// needs cannot be told from when it is asked.
func Selectors(query string) ([]Selector, error) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return nil, fmt.Errorf("parse query %q: %w", cut(query, 2*cutLine), err)
	}
	longest := map[string]Selector{}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
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
