package runbooks

import (
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// formula is a boolean expression with what it must come to: the dumb twin
// walks it from left to right and gives up at the first missing reading.
type formula struct {
	text  string
	judge func() sre.Verdict
}

func atoms() []formula {
	fixed := func(v sre.Verdict) func() sre.Verdict { return func() sre.Verdict { return v } }
	return []formula{
		{`true`, fixed(sre.Pass)},
		{`false`, fixed(sre.Fail)},
		{`errors("stock") > 0.1`, fixed(sre.Pass)},
		{`errors("stock") > 0.9`, fixed(sre.Fail)},
		{`errors("web") < 0.5`, fixed(sre.NoData)},
		{`queue("nobody") < 5.0`, fixed(sre.NoData)},
		{`has_value("web", "errors", "ratio")`, fixed(sre.Fail)},
		{`has_value("stock", "errors", "ratio")`, fixed(sre.Pass)},
	}
}

func drawFormula(t *rapid.T, depth int) formula {
	if depth == 0 || rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
		return rapid.SampledFrom(atoms()).Draw(t, "atom")
	}
	a, b := drawFormula(t, depth-1), drawFormula(t, depth-1)
	switch rapid.SampledFrom([]string{"or", "and", "not", "choose", "long or", "long and"}).Draw(t, "operator") {
	case "or":
		return chain("||", sre.Pass, a, b)
	case "and":
		return chain("&&", sre.Fail, a, b)
	case "long or": // CEL balances long chains into trees
		return chain("||", sre.Pass, a, b, drawFormula(t, 0), drawFormula(t, 0), drawFormula(t, depth-1))
	case "long and":
		return chain("&&", sre.Fail, a, b, drawFormula(t, 0), drawFormula(t, 0), drawFormula(t, depth-1))
	case "choose":
		c := drawFormula(t, depth-1)
		return formula{"((" + a.text + ") ? (" + b.text + ") : (" + c.text + "))", func() sre.Verdict {
			switch a.judge() {
			case sre.Pass:
				return b.judge()
			case sre.Fail:
				return c.judge()
			case sre.Inconclusive, sre.NoData:
			}
			return sre.NoData
		}}
	}
	return formula{"!(" + a.text + ")", func() sre.Verdict {
		switch a.judge() {
		case sre.Pass:
			return sre.Fail
		case sre.Fail:
			return sre.Pass
		case sre.Inconclusive, sre.NoData:
		}
		return sre.NoData
	}}
}

// chain joins parts by an operator that is decided at the first part with the
// verdict decisive.
func chain(operator string, decisive sre.Verdict, parts ...formula) formula {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = "(" + p.text + ")"
	}
	return formula{"(" + strings.Join(texts, " "+operator+" ") + ")", func() sre.Verdict {
		last := sre.NoData
		for _, p := range parts {
			if last = p.judge(); last == decisive || last == sre.NoData {
				return last
			}
		}
		return last
	}}
}

func TestVerdictsAreTheTwins(t *testing.T) {
	l := shipped(t)
	f := newShop(sre.RetryStorm).put("web", "errors", sre.Reading{Value: 0.1, State: sre.Stale}).facts()
	rapid.Check(t, func(t *rapid.T) {
		x := drawFormula(t, 4)
		if len(x.text) > maxExpression {
			t.Skip("too long for the language")
		}
		got, text := l.Evaluate(sre.Check{Expr: x.text}, f)
		if want := x.judge(); got != want {
			t.Fatalf("%s\ngot %q (%s), the twin says %q", x.text, got, text, want)
		}
	})
}

func TestLibraryServesSeveralGoroutines(t *testing.T) {
	l, f := shipped(t), newShop(sre.RetryStorm).facts()
	check := sre.Check{Expr: `errors(root) > 0.1 && queue(root) < 99.0`} // compiled on demand
	verdicts := make([]sre.Verdict, 8)
	var wg sync.WaitGroup
	for i := range verdicts {
		wg.Go(func() {
			l.Match(f)
			verdicts[i], _ = l.Evaluate(check, f)
		})
	}
	wg.Wait()
	for i, v := range verdicts {
		if v != sre.Pass {
			t.Errorf("goroutine %d: %q", i, v)
		}
	}
}
