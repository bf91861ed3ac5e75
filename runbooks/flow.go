package runbooks

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// maxChoices is how deep choices may be nested: a tree that a person has to
// approve at night must fit into a head.
const maxChoices = 3

const (
	undoRestore = "restore"
	undoNone    = "none"
)

// stage is one item of steps: a step, or a choice between branches.
type stage struct {
	at     cursor
	step   *step
	choose []branch
}

// branch is one way of a choice. An empty condition takes what is left.
type branch struct {
	at    cursor
	when  string
	steps []stage
}

// every yields each step, those of all branches, in the order of the file.
func (rb *runbook) every() iter.Seq[*step] {
	return func(yield func(*step) bool) { eachStep(rb.flow, yield) }
}

func eachStep(flow []stage, yield func(*step) bool) bool {
	for _, g := range flow {
		if g.step != nil && !yield(g.step) {
			return false
		}
		for _, b := range g.choose {
			if !eachStep(b.steps, yield) {
				return false
			}
		}
	}
	return true
}

// route flattens a flow for one scene: of each choice the first branch whose
// condition holds. A person approves one concrete plan, so the choice is made
// with the plan and not later.
func (l *Library) route(flow []stage, s *scene) (steps []*step, taken []string, reason string) {
	for _, g := range flow {
		if g.step != nil {
			steps = append(steps, g.step)
			continue
		}
		b, word, reason := l.pick(g.choose, s)
		if reason != "" {
			return nil, nil, reason
		}
		below, deeper, reason := l.route(b.steps, s)
		if reason != "" {
			return nil, nil, reason
		}
		steps, taken = append(steps, below...), append(append(taken, word), deeper...)
	}
	return steps, taken, ""
}

// pick returns the first branch whose condition holds. One that cannot be
// judged ends the search: a later branch would be taken for want of data.
func (l *Library) pick(branches []branch, s *scene) (b branch, word, reason string) {
	var against []string
	for i, b := range branches {
		if b.when == "" {
			return b, fmt.Sprintf("the last of %d, as no condition before it holds", len(branches)), ""
		}
		switch verdict, text := l.judge(b.when, s, false); verdict {
		case sre.Pass:
			return b, fmt.Sprintf("branch %d of %d, when %s", i+1, len(branches), b.when), ""
		case sre.Fail:
			against = append(against, fmt.Sprintf("%s %s", b.when, text))
		case sre.Inconclusive, sre.NoData:
			return branch{}, "", fmt.Sprintf("branch %d cannot be judged: %s", i+1, text)
		}
	}
	return branch{}, "", "none of its branches fits: " + strings.Join(against, "; ")
}

// flowPlace is where a list of steps stands.
type flowPlace struct {
	last  bool // nothing follows it
	depth int  // choices around it
}

// flow checks a list of steps and choices.
func (v *validator) flow(parts []stepPart, c cursor, p flowPlace) []stage {
	if len(parts) == 0 {
		v.add(c, "no steps", "at least one step")
	}
	var out []stage
	for i, part := range parts {
		at := c.item(i)
		end := p.last && i == len(parts)-1
		if len(part.Choose) > 0 || at.field("choose").node != nil {
			out = append(out, stage{at: at, choose: v.choice(part, at, flowPlace{last: end, depth: p.depth + 1})})
			continue
		}
		st := v.step(part, at)
		if st.name != "" && v.taken[st.name] {
			v.add(at.field("name"), fmt.Sprintf("step name %q is used twice", st.name), "names that are unique in the runbook")
		}
		v.taken[st.name] = true
		if end && st.onFail == sre.NextStep {
			v.add(at.field("on_fail"), "the last step has no next one", "undo, escalate")
		}
		out = append(out, stage{at: at, step: &st})
	}
	return out
}

func (v *validator) choice(part stepPart, c cursor, p flowPlace) []branch {
	for _, pair := range pairs(c.node) {
		if name := keyOf(pair); name != "choose" {
			v.add(c.at(pair.Key), fmt.Sprintf("a choice has no field %q", name), "choose alone; the steps of its branches carry the rest")
		}
	}
	list := c.field("choose")
	if p.depth > maxChoices {
		v.add(list, fmt.Sprintf("a choice inside %s", numbered(p.depth-1, "choice")), fmt.Sprintf("at most %d, one inside the other", maxChoices))
		return nil
	}
	if len(part.Choose) == 0 {
		v.add(list, "no branches", "at least one of when and steps")
	}
	var out []branch
	for i, b := range part.Choose {
		at := list.item(i)
		made := branch{at: at, when: strings.TrimSpace(b.When)}
		switch {
		case b.Otherwise && made.when != "":
			v.add(at.field("otherwise"), "a branch has both a condition and otherwise", "when, or otherwise: true")
		case b.Otherwise && i < len(part.Choose)-1:
			v.add(at.field("otherwise"), "branches after otherwise are never taken", "otherwise as the last branch")
		case !b.Otherwise && made.when == "":
			v.add(at, "a branch has no condition", "when: expression, or otherwise: true as the last branch")
		}
		v.condition(at.field("when"), made.when, false)
		made.steps = v.flow(b.Steps, at.field("steps"), p)
		out = append(out, made)
	}
	return out
}

// target checks a selector and what goes with it.
func (v *validator) target(p actionPart, c cursor) {
	if p.Target.service == "" && !slices.Contains(selectors, p.Target.selector) {
		v.add(c.field("target"), fmt.Sprintf("target is %q", p.Target.selector), allowedTargets)
	}
	callee := c.field("callee")
	switch {
	case p.Callee == "":
	case p.Target.selector == selectCallers && p.Callee != selectRoot:
		v.add(callee, fmt.Sprintf("callee is %q, but callers are those of the root", p.Callee), "root, or nothing")
	case p.Target.selector == selectAllCallers:
		v.add(callee, fmt.Sprintf("callee is %q, but each of these calls has its own", p.Callee), "nothing")
	case p.Target.selector == selectCallees:
		v.add(callee, fmt.Sprintf("callee is %q, but callees are those of the root", p.Callee), "nothing")
	case p.Target.selector == selectRoot && p.Callee == selectRoot:
		v.add(callee, "the root is its own callee", "target: callers for the calls into the root")
	}
}
