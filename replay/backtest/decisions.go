package backtest

import (
	"fmt"
	"io"
	"time"
)

// Decisions keeps of a comparison what the agent decided otherwise: which plan, how
// far it might go, and with which actions. What is left counts as equal.
func (c *Comparison) Decisions() *Comparison {
	out := &Comparison{A: c.A, B: c.B, Differences: []Difference{}, Summary: []Delta{}, Equal: c.Equal}
	before, after := map[string]bool{}, map[string]bool{}
	for _, d := range c.Differences {
		before[d.Bundle] = true
		if d.About == AboutDecision || d.About == AboutAction || d.About == AboutBundle {
			after[d.Bundle] = true
			out.Differences = append(out.Differences, d)
		}
	}
	out.Equal += len(before) - len(after)
	return out
}

// Made is how many decisions a result has.
func (r *Result) Made() int {
	n := 0
	for i := range r.Bundles {
		n += len(r.Bundles[i].OtherDecisions)
		for k := range r.Bundles[i].Faults {
			n += len(r.Bundles[i].Faults[k].Decisions)
		}
	}
	return n
}

// WriteDecisions writes for people what two libraries of runbooks decide otherwise.
func WriteDecisions(w io.Writer, a, b *Result, c *Comparison) error {
	if err := WriteComparison(w, c); err != nil {
		return err
	}
	p := &page{w: w}
	type instant struct {
		bundle string
		at     time.Time
	}
	changed := map[instant]bool{}
	for _, d := range c.Differences {
		if d.About != AboutBundle {
			changed[instant{d.Bundle, d.At}] = true
		}
	}
	p.line("%d recordings; the old runbooks lead to %d decisions, the new ones to %d; they differ at %d instants", len(a.Bundles), a.Made(), b.Made(), len(changed))
	if len(changed) > 0 {
		p.line("%s", "A recording goes on as it went: it shows what would have been decided, not what it would have done.")
	}
	if p.err != nil {
		return fmt.Errorf("write decisions: %w", p.err)
	}
	return nil
}
