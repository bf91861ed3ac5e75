package runbooks

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// proven are the findings of files, as rule, place and problem.
func proven(t *testing.T, files ...string) []string {
	t.Helper()
	fsys := fstest.MapFS{}
	for i, text := range files {
		fsys[fmt.Sprintf("f%d.yaml", i)] = &fstest.MapFile{Data: []byte(text)}
	}
	l, err := Load(fsys, ".")
	if err != nil {
		t.Fatalf("load:\n%v", err)
	}
	var out []string
	for _, f := range l.Prove([]sre.Capability{guardLever()}) {
		if f.Allowed == "" || f.Line == 0 {
			t.Errorf("no place or no advice: %v", f.Fault)
		}
		out = append(out, fmt.Sprintf("%s %s %d: %s", f.Level, f.Rule, f.Line, f.Problem))
	}
	return out
}

func TestShippedRunbooksAreProven(t *testing.T) {
	for _, f := range shipped(t).Prove([]sre.Capability{guardLever()}) {
		t.Error(f.Fault)
	}
}

func TestProofs(t *testing.T) {
	plain := stepText(4, "one", "root", "")
	choice := func(first, second string) string {
		return "    - choose:\n        - when: " + first + "\n          steps:\n" + stepText(12, "one", "root", "") +
			"        - when: " + second + "\n          steps:\n" + stepText(12, "two", "root", "")
	}
	restart := strings.Replace(plain, "kind: kill_switch", "kind: restart", 1)
	for name, c := range map[string]struct {
		steps string
		edit  [2]string
		want  []string
	}{
		"nothing to say":              {steps: plain},
		"no word of its limits":       {steps: plain, edit: [2]string{", not_for: a service that is well", ""}, want: []string{"warning not_for 3: nothing says when it is wrong to use"}},
		"a step after the end":        {steps: plain + stepText(4, "two", "root", "") + stepText(4, "three", "root", ""), want: []string{"error unreachable 12: nothing leads here: what stands before always starts, and does not go on to a next step"}},
		"a step that may not":         {steps: stepText(4, "one", "root", "  when: errors(root) > 0.2") + stepText(4, "two", "root", "")},
		"a step that goes on":         {steps: stepText(4, "one", "root", "  on_fail: next") + stepText(4, "two", "root", "")},
		"a step that never is":        {steps: stepText(4, "one", "root", "  when: 1 > 2") + stepText(4, "two", "root", ""), want: []string{"error unreachable 12: the step is never taken: its condition is always false"}},
		"a step that always is":       {steps: stepText(4, "one", "root", "  when: 2 > 1"), want: []string{"warning constant 12: the step's condition always holds"}},
		"a branch twice":              {steps: choice("has_change", "has_change"), want: []string{"error unreachable 15: branch 2 is never taken: branch 1 has the same condition"}},
		"a branch that never is":      {steps: choice("false && has_change", "has_change"), want: []string{"error unreachable 8: branch 1 is never taken: its condition is always false"}},
		"a branch after all":          {steps: choice("1 < 2", "has_change"), want: []string{"error unreachable 15: branch 2 is never taken: one before it always is"}},
		"steps after a choice":        {steps: choice("has_change", "attempt > 1") + stepText(4, "three", "root", ""), want: []string{"error unreachable 22: nothing leads here: what stands before always starts, and does not go on to a next step"}},
		"what cannot come back":       {steps: restart, want: []string{"warning pace 9: restart is taken back after 20s of calm", "error undo 9: restart of lever guard cannot be taken back, and the action does not say so", "warning pace 10: restart is judged after 10s"}},
		"declared for nothing":        {steps: strings.Replace(plain, "ttl: 30s", "ttl: 30s, undo: none", 1), want: []string{"warning undo 9: undo is none, and lever guard can take kill_switch back"}},
		"a short lease":               {steps: strings.Replace(plain, "lease: 5m", "lease: 30s", 1), edit: [2]string{"  relapse", "  hold: 1m\n  relapse"}, want: []string{"warning lease 11: lease of 30s may end before the plan is through"}},
		"always or never":             {steps: plain, edit: [2]string{"errors(root) > 0.5", "errors(root) > 0.5 && false"}, want: []string{"error constant 13: relapse is always false"}},
		"too dear":                    {steps: plain, edit: [2]string{"errors(root) > 0.5", "affected.exists(a, callers_of(a).exists(b, errors(a) > errors(b)))"}, want: []string{"error cost 13: the expression may cost 225035002 at 5000 services, where evaluation stops at 200000"}},
		"an odd order, with a reason": {steps: strings.Replace(stepText(4, "one", "root", "  on_fail: next"), "- name: one", "- name: one\n      ahead: the flag is at fault", 1) + strings.Replace(stepText(4, "two", "root", ""), "kill_switch, lever: guard, target: root, name: two, params: {percent: 50}", "shed, lever: guard, target: root, params: {rps: 5}", 1)},
		"an odd order":                {steps: stepText(4, "one", "root", "  on_fail: next") + strings.Replace(stepText(4, "two", "root", ""), "kill_switch, lever: guard, target: root, name: two, params: {percent: 50}", "shed, lever: guard, target: root, params: {rps: 5}", 1), want: []string{`warning order 9: kill_switch goes before shed of step "two", and the step does not say why: the agent will ask first`}},
	} {
		t.Run(name, func(t *testing.T) {
			text := written(c.steps)
			if c.edit[0] != "" {
				text = strings.Replace(text, c.edit[0], c.edit[1], 1)
			}
			if diff := cmp.Diff(c.want, proven(t, text)); diff != "" {
				t.Errorf("findings (-want +got):\n%s\n%s", diff, text)
			}
		})
	}
}

func TestRunbooksThatFight(t *testing.T) {
	book := func(name, when, percent string, priority int) string {
		text := strings.Replace(written(stepText(4, "one", "root", "")), "name: tree", "name: "+name, 1)
		text = strings.Replace(text, "percent: 50", "percent: "+percent, 1)
		return strings.Replace(text, "bad_change]}", fmt.Sprintf("bad_change], when: '%s'}\n  priority: %d", when, priority), 1)
	}
	for _, c := range []struct{ one, two, want string }{
		{book("a", "has_change", "50", 1), book("b", "has_change", "20", 1), "error fight"},
		{book("a", "has_change", "50", 1), book("b", "attempt > 0", "20", 1), "warning fight"},
		{book("a", "has_change", "50", 1), book("b", "has_change", "20", 2), ""},
		{book("a", "has_change", "50", 1), book("b", "has_change", "50", 1), ""},
		{book("a", "has_change", "50", 1), book("b", "!has_change", "20", 1), ""},
		{book("a", `change_kind == "flag"`, "50", 1), book("b", `has_change && change_kind == "deploy"`, "20", 1), ""},
		{book("a", `change_kind == "flag"`, "50", 1), book("b", `change_kind == "deploy" || has_change`, "20", 1), "warning fight"},
	} {
		got := strings.Join(proven(t, c.one, c.two), "\n")
		if !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("got %q, want %q of\n%s\n%s", got, c.want, c.one, c.two)
		}
	}
}

// Lists in lists of literals would keep folding busy for years.
func TestFoldingIsBounded(t *testing.T) {
	expr := "true"
	for i := range 8 {
		expr = fmt.Sprintf("[%s0].all(v%d, %s)", strings.Repeat("0,", 59), i, expr)
	}
	l := shipped(t)
	if _, err := l.lang.program(expr); err != nil {
		t.Fatal(err)
	}
	if worst := l.lang.worstCost(expr); worst <= costLimit {
		t.Fatalf("costs %d", worst)
	}
	if _, constant := l.lang.constant(expr); constant {
		t.Error("was folded")
	}
}

// What folding calls constant is never seen to be otherwise.
func TestConstantConditionsAreConstant(t *testing.T) {
	l := shipped(t)
	for _, expr := range []string{"true", "1 > 2", "errors(root) > 0.1 || true", "has_change", "errors(root) > 0.1", `root == "stock"`, "size(affected) > 0"} {
		always, constant := l.lang.constant(expr)
		want := expr == "true" || expr == "1 > 2" || strings.HasSuffix(expr, "|| true")
		if constant != want || constant && always != (expr != "1 > 2") {
			t.Errorf("%s: %t %t", expr, always, constant)
		}
	}
}
