package runbooks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// fights finds pairs of runbooks for the same trouble that put the same setting
// to different values, where neither priority nor conditions tell which one is
// meant: the name would decide.
func (p *proof) fights(all []*runbook) {
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.Priority != b.Priority || !slices.ContainsFunc(a.Mechanisms, func(m sre.Mechanism) bool { return slices.Contains(b.Mechanisms, m) }) {
				continue
			}
			if exclusive(a.When, b.When) {
				continue
			}
			mine, theirs, found := opposed(a, b)
			if !found {
				continue
			}
			level, why := Doubtful, "their conditions may hold together"
			if a.When == b.When {
				level, why = Wrong, "only their names decide which one is taken"
			}
			p.add(level, "fight", theirs.at.field("kind"),
				fmt.Sprintf("%s and %s set %s of %s for the same trouble to different values, and %s", b.Name, a.Name, mine.kind, mine.place(), why),
				"another priority, or conditions of which only one can hold")
		}
	}
}

// opposed finds two actions on one setting with different values.
func opposed(a, b *runbook) (mine, theirs action, found bool) {
	for st := range a.every() {
		for _, mine := range st.actions {
			for other := range b.every() {
				for _, theirs := range other.actions {
					if mine.touches(theirs) && mine.settings() != theirs.settings() {
						return mine, theirs, true
					}
				}
			}
		}
	}
	return mine, theirs, false
}

// touches reports whether two actions can move one setting. The calls of the
// callers are among those of all callers.
func (a action) touches(b action) bool {
	if a.kind != b.kind || a.lever != b.lever || a.name != b.name {
		return false
	}
	callers := []string{selectCallers, selectAllCallers}
	if slices.Contains(callers, a.target.selector) && slices.Contains(callers, b.target.selector) {
		return true
	}
	return a.target == b.target && a.callee == b.callee
}

// settings are the parameters as they are written.
func (a action) settings() string {
	var out []string
	for _, q := range a.params {
		out = append(out, fmt.Sprintf("%s=%s%v", q.name, q.expr, q.value))
	}
	return strings.Join(append(out, a.law), " ")
}

func (a action) place() string {
	if a.target.service != "" {
		return a.target.service
	}
	return a.target.selector
}

// exclusive reports whether two conditions provably never hold together: one is
// the other's negation, or both ask the same variable for different values.
func exclusive(a, b string) bool {
	negates := func(x, y string) bool { return x == "!("+y+")" || x == "!"+y }
	if a == "" || b == "" {
		return false
	}
	if negates(a, b) || negates(b, a) {
		return true
	}
	if strings.Contains(a, "||") || strings.Contains(b, "||") {
		return false
	}
	for x := range strings.SplitSeq(a, "&&") {
		for y := range strings.SplitSeq(b, "&&") {
			x, y := strings.TrimSpace(x), strings.TrimSpace(y)
			left, one, isEqual := strings.Cut(x, " == ")
			right, two, areEqual := strings.Cut(y, " == ")
			if negates(x, y) || negates(y, x) || isEqual && areEqual && left == right && one != two && quoted(one) && quoted(two) {
				return true
			}
		}
	}
	return false
}

func quoted(s string) bool {
	return len(s) > 1 && s[0] == '"' && strings.Count(s, `"`) == 2 && s[len(s)-1] == '"'
}
