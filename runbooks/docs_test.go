package runbooks

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func page(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The worked example loads, fits the guard and becomes a plan.
func TestWorkedExampleOfThePage(t *testing.T) {
	_, section, _ := strings.Cut(page(t), "\n## A worked example\n")
	_, rest, found := strings.Cut(section, "```yaml\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the page has no example")
	}
	l := fromText(t, strings.ReplaceAll(text, `"catalogue"`, `"stock"`))
	if err := l.CheckLevers([]sre.Capability{guardLever()}); err != nil {
		t.Error(err)
	}
	plan, rejected := l.Match(newShop(sre.Overload).facts())
	if plan == nil {
		t.Fatalf("no plan: %v", rejected)
	}
	if diff := cmp.Diff(sre.Params{"rps": 126.0}, plan.Steps[1].Actions[0].Params); diff != "" {
		t.Errorf("params of the second step:\n%s", diff)
	}
}

// Every word of the language is on the page, and the page knows no others.
func TestPageNamesTheWholeLanguage(t *testing.T) {
	text := page(t)
	r := newReadings(newScene(Facts{}))
	want := map[string]bool{}
	for name := range r.functions() {
		want[name] = true
	}
	got := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)\\(").FindAllStringSubmatch(text, -1) {
		got[m[1]] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("functions (-language +page):\n%s", diff)
	}
	for name := range newScene(Facts{}).variables() {
		if !strings.Contains(text, "| `"+name+"` |") {
			t.Errorf("variable %s is not on the page", name)
		}
	}
	for _, set := range []string{joined(sre.SignalKinds()), joined(sre.Units()), joined(sre.ActionKinds())} {
		for word := range strings.SplitSeq(set, ", ") {
			if !strings.Contains(text, "`"+word+"`") {
				t.Errorf("%s is not on the page", word)
			}
		}
	}
}

// What the page says about missing readings is what happens.
func TestPageIsRightAboutMissingReadings(t *testing.T) {
	s := newShop(sre.RetryStorm).put("web", "errors", sre.Reading{})
	f := s.facts()
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)`[^|]*\\| (true|false) \\| (no data|holds|does not hold)").FindAllStringSubmatch(page(t), -1)
	if len(rows) != 6 {
		t.Fatalf("%d rows, want 6", len(rows))
	}
	want := map[string]sre.Verdict{"no data": sre.NoData, "holds": sre.Pass, "does not hold": sre.Fail}
	for _, row := range rows {
		expr := strings.ReplaceAll(row[1], `\|`, "|")
		if got, text := shipped(t).Evaluate(sre.Check{Expr: expr}, f); got != want[row[3]] {
			t.Errorf("%s: got %q (%s), the page says %s", expr, got, text, row[3])
		}
	}
}

// What the page says about numbers compiles or does not, as it says.
func TestPageIsRightAboutNumbers(t *testing.T) {
	l := shipped(t)
	for expr, fine := range map[string]bool{
		`queue(root) > 10`: true, `queue(root) <= 10`: true, `queue(root) == 10`: false, `queue(root) + 1 > 2.0`: false,
		`math.least(1.0, 2.0) < math.ceil(1.5) + math.round(1.2) + math.abs(-1.0)`: true,
	} {
		if _, err := l.lang.program(expr); (err == nil) != fine {
			t.Errorf("%s: %v", expr, err)
		}
	}
}
