package runbooks

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// written is a runbook around the given items of steps.
func written(steps string) string {
	return `apiVersion: sreagent/v1
kind: Runbook
metadata: {name: tree, not_for: a service that is well}
spec:
  match: {mechanisms: [overload, bad_change]}
  steps:
` + steps + `
  relapse: errors(root) > 0.5
`
}

// stepText is one step at an indent; its target is any selector.
func stepText(indent int, name, target, rest string) string {
	text := fmt.Sprintf(`- name: %s
  actions:
    - {kind: kill_switch, lever: guard, target: %s, name: %s, params: {percent: 50}, ttl: 30s}
  verify: {expr: errors(root) < 0.1, within: 10s}
  lease: 5m
%s`, name, target, name, rest)
	pad := strings.Repeat(" ", indent)
	return pad + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+pad) + "\n"
}

const threeWays = `    - choose:
        - when: errors(root) > %g
          steps:
%s        - when: has_change
          steps:
%s        - otherwise: true
          steps:
%s`

func threeWayed(bound float64) string {
	return written(fmt.Sprintf(threeWays, bound, stepText(12, "one", "root", ""), stepText(12, "two", "root", ""), stepText(12, "three", "root", "")) +
		stepText(4, "last", "root", ""))
}

func names(p *sre.Plan) (out []string) {
	for _, st := range p.Steps {
		out = append(out, st.Name)
	}
	return out
}

func TestAChoiceTakesTheFirstBranchThatHolds(t *testing.T) {
	change := &sre.Change{ID: "c", Kind: sre.Deploy, Service: "cart", At: at.Add(-time.Minute)}
	for _, c := range []struct {
		bound  float64
		change *sre.Change
		want   []string
		says   string
	}{
		{0.1, change, []string{"one", "last"}, "branch 1 of 3, when errors(root) > 0.1"},
		{0.9, change, []string{"two", "last"}, "branch 2 of 3, when has_change"},
		{0.9, nil, []string{"three", "last"}, "the last of 3, as no condition before it holds"},
	} {
		s := newShop(sre.Overload)
		s.diag.Hypotheses[0].Change = c.change
		plan, rejected := fromText(t, threeWayed(c.bound)).Match(s.facts())
		if plan == nil {
			t.Fatalf("no plan: %v", rejected)
		}
		if diff := cmp.Diff(c.want, names(plan)); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
		if !strings.HasSuffix(plan.Reason, "; of its branches it takes "+c.says) {
			t.Errorf("reason %q", plan.Reason)
		}
		if id := plan.Steps[1].Actions[0].ID; id != "inc-1.0.1.0" {
			t.Errorf("second step has action %q, want the index in the plan", id)
		}
	}
}

func TestAChoiceWithoutDataTakesNoLaterBranch(t *testing.T) {
	s := newShop(sre.Overload).put("stock", "errors", sre.Reading{State: sre.Stale})
	plan, rejected := fromText(t, threeWayed(0.1)).Match(s.facts())
	want := "branch 1 cannot be judged: no data: errors(stock) is stale"
	if plan != nil || len(rejected) != 1 || rejected[0].Reason != want {
		t.Errorf("plan %v, rejected %v, want %q", plan, rejected, want)
	}
}

func TestAChoiceThatFitsNothingSaysWhatItSaw(t *testing.T) {
	text := written("    - choose:\n        - when: errors(root) > 0.9\n          steps:\n" + stepText(12, "one", "root", ""))
	plan, rejected := fromText(t, text).Match(newShop(sre.Overload).facts())
	want := "none of its branches fits: errors(root) > 0.9 does not hold: errors(stock) = 0.3"
	if plan != nil || len(rejected) != 1 || rejected[0].Reason != want {
		t.Errorf("plan %v, rejected %v, want %q", plan, rejected, want)
	}
}

func TestSelectorsOfChangesAndCallees(t *testing.T) {
	for _, c := range []struct {
		target, root string
		change       *sre.Change
		want         []sre.Target
		says         string
	}{
		{"suspect_change", "stock", &sre.Change{ID: "new-search", Kind: sre.Flag, Service: "cart"}, []sre.Target{{Lever: "guard", Service: "cart", Name: "new-search"}}, ""},
		{"suspect_change", "stock", &sre.Change{ID: "v9", Kind: sre.Deploy, Service: "cart"}, []sre.Target{{Lever: "guard", Service: "cart"}}, ""},
		{"suspect_change", "stock", nil, nil, `step "s": no change is suspected of being the cause at stock`},
		{"callees", "web", nil, []sre.Target{{Lever: "guard", Service: "web", Callee: "cart"}, {Lever: "guard", Service: "web", Callee: "stock"}}, ""},
		{"callees", "stock", nil, nil, `step "s": stock calls nobody`},
	} {
		s := newShop(sre.Overload)
		s.diag.Hypotheses[0].Service, s.diag.Hypotheses[0].Change = c.root, c.change
		text := strings.ReplaceAll(written(stepText(4, "s", c.target, "")), " name: s,", "")
		plan, rejected := fromText(t, text).Match(s.facts())
		if plan == nil {
			if len(rejected) != 1 || rejected[0].Reason != c.says {
				t.Errorf("%s at %s: rejected %v, want %q", c.target, c.root, rejected, c.says)
			}
			continue
		}
		var got []sre.Target
		for _, a := range plan.Steps[0].Actions {
			got = append(got, a.Target)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s at %s (-want +got):\n%s", c.target, c.root, diff)
		}
	}
}

func TestWhatIsDeclaredReachesThePlan(t *testing.T) {
	text := written(strings.Replace(stepText(4, "s", "root", "  on_fail: escalate"), "ttl: 30s", "ttl: 30s, undo: none", 1)) +
		"  escalate: {after: 5m, message: look at the disks}\n"
	l := fromText(t, text)
	plan, rejected := l.Match(newShop(sre.Overload).facts())
	if plan == nil {
		t.Fatalf("no plan: %v", rejected)
	}
	if plan.Steps[0].Reversible || plan.Steps[0].OnFail != sre.KeepAndEscalate || plan.CallAfter != 5*time.Minute || plan.CallText != "look at the disks" {
		t.Errorf("got %+v", plan)
	}
	if got := l.List()[0].NotFor; got != "a service that is well" {
		t.Errorf("not_for is %q", got)
	}
}

func TestTheSurroundingsOfAService(t *testing.T) {
	s := newShop(sre.BadChange)
	s.diag.Hypotheses[0].Change = &sre.Change{ID: "v9", Kind: sre.Deploy, Service: "cart", At: at.Add(-90 * time.Second)}
	f := s.facts()
	l := fromText(t, written(stepText(4, "s", "root", "")))
	for expr, want := range map[string]sre.Verdict{
		`callers_of(root) == ["cart", "web"]`: sre.Pass, `callees_of("web") == ["cart", "stock"]`: sre.Pass,
		`upstream("cart") == ["web"]`: sre.Pass, `upstream("web") == []`: sre.Pass,
		`is_entry("web") && !is_entry(root)`: sre.Pass, `alternatives == ["cart"]`: sre.Pass,
		`has_change && change_kind == "deploy" && change_service == "cart"`: sre.Pass, `change_age() == 90.0`: sre.Pass,
		`can("shed")`: sre.Pass, `can("scale")`: sre.Fail,
		`size(callers_of("nobody")) == 0`: sre.NoData, `is_entry("nobody")`: sre.NoData, `callees_of("nobody") == []`: sre.NoData,
	} {
		if got, text := l.Evaluate(sre.Check{Expr: expr}, f); got != want {
			t.Errorf("%s: %q (%s), want %q", expr, got, text, want)
		}
	}
	for expr, want := range map[string]sre.Verdict{`change_age() > 1.0`: sre.NoData, `!has_change && change_kind == ""`: sre.Pass, `can("shed")`: sre.Fail} {
		if got, text := l.Evaluate(sre.Check{Expr: expr}, Facts{}); got != want {
			t.Errorf("without facts, %s: %q (%s), want %q", expr, got, text, want)
		}
	}
}

// A random tree takes the same branches as a twin that walks it on paper.
func TestChoicesAgainstATwin(t *testing.T) {
	lang, err := newLanguage()
	if err != nil {
		t.Fatal(err)
	}
	f := newShop(sre.Overload).facts()
	rapid.Check(t, func(t *rapid.T) {
		n := 0
		var build func(depth int, fits bool) (text string, want []string)
		build = func(depth int, fits bool) (text string, want []string) {
			for range rapid.IntRange(1, 2).Draw(t, "items") {
				pad := 4 + 8*depth
				if depth == 2 || rapid.Bool().Draw(t, "plain") {
					n++
					name := fmt.Sprintf("s%d", n)
					text, want = text+stepText(pad, name, "root", ""), append(want, name)
					continue
				}
				text += strings.Repeat(" ", pad) + "- choose:\n"
				chosen := rapid.IntRange(0, 2).Draw(t, "chosen")
				whens := []string{"when: errors(root) > 0.9", "when: errors(root) > 0.9", ""}
				whens[chosen] = "when: errors(root) > 0.1"
				whens[2] = "otherwise: true"
				for i, when := range whens {
					below, names := build(depth+1, fits && i == chosen)
					text += fmt.Sprintf("%s- %s\n%s  steps:\n%s", strings.Repeat(" ", pad+4), when, strings.Repeat(" ", pad+4), below)
					if i == chosen {
						want = append(want, names...)
					}
				}
			}
			return text, want
		}
		text, want := build(0, true)
		l, err := load(lang, fstest.MapFS{"f.yaml": {Data: []byte(written(text))}}, ".")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		plan, rejected := l.Match(f)
		if plan == nil {
			t.Fatalf("no plan: %v", rejected)
		}
		if diff := cmp.Diff(want, names(plan)); diff != "" {
			t.Fatalf("steps (-want +got):\n%s", diff)
		}
	})
}

func TestMistakesInChoices(t *testing.T) {
	deep := written(stepText(4, "s", "root", ""))
	for range maxChoices + 1 {
		head, rest, _ := strings.Cut(deep, "  steps:\n")
		body, tail, _ := strings.Cut(rest, "\n  relapse")
		body = "        " + strings.ReplaceAll(strings.TrimRight(body, "\n"), "\n", "\n        ")
		deep = head + "  steps:\n    - choose:\n        - otherwise: true\n          steps:\n" + body + "\n\n  relapse" + tail
	}
	if _, err := Load(fstest.MapFS{"f.yaml": {Data: []byte(deep)}}, "."); err == nil ||
		!strings.Contains(err.Error(), "a choice inside 3 choices; allowed: at most 3, one inside the other") {
		t.Errorf("too deep: %v", err)
	}
}
