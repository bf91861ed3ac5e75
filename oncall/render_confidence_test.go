package oncall

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sreagent/sreagent/sre"
)

func TestAnExplanationShowsHowItsConfidenceCameAbout(t *testing.T) {
	inc := storm()
	inc.Confidence.Factors = []sre.Factor{
		{Name: "diagnosis", Value: 0.9, After: 0.9, Text: "the first cause of two"},
		{Name: "experience", Value: 0.8, After: 0.72, Text: "5 of 6 like it were cured at services of the same class, weighed with 40 of the mechanism"},
		{Name: "novelty", Value: 1, After: 0.72},
	}
	inc.Confidence.Suspects = []sre.Suspect{{Service: "checkout", Probability: 0.7, Possible: true}, {Probability: 0.2, Possible: true}, {Service: "web", Probability: 0.1}}
	inc.Confidence.Abstain = "nothing like it was ever seen"
	for _, width := range []int{40, 80} {
		var b bytes.Buffer
		if err := RenderExplain(&b, explained(inc, nil), width, noon); err != nil {
			t.Fatal(err)
		}
		checkLines(t, b.String(), width)
		flat := strings.Join(strings.Fields(b.String()), " ")
		for _, want := range []string{
			"HOW SURE, AND WHY", "- diagnosis 90%, so 90%: the first cause of two", "- experience 80%, so 72%: 5 of 6 like it", "- novelty 100%, so 72%",
			"- 2 possible causes, one of them a service that is not seen", "- a person must decide: nothing like it was ever seen",
		} {
			if !strings.Contains(flat, want) {
				t.Errorf("%d columns lack %q:\n%s", width, want, b.String())
			}
		}
	}
	inc.Confidence = sre.Confidence{P: 0.8, Lower: 0.6}
	var b bytes.Buffer
	if err := RenderExplain(&b, explained(inc, nil), 80, noon); err != nil || strings.Contains(b.String(), "HOW SURE") {
		t.Errorf("%v: says how sure without a factor:\n%s", err, b.String())
	}
}
