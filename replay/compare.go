package replay

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Comparison is how the decisions of a replay differ from recorded ones.
type Comparison struct {
	Recorded int       `json:"recorded"` // decisions in the recorded trail
	Replayed int       `json:"replayed"`
	Same     int       `json:"same"`
	Missing  []Digest  `json:"missing"` // recorded, and not made again
	Extra    []Digest  `json:"extra"`   // made, and not recorded
	Changed  []Changed `json:"changed"`
}

// Changed is a decision that was made again, and differently.
type Changed struct {
	Recorded Digest   `json:"recorded"`
	Replayed Digest   `json:"replayed"`
	What     []string `json:"what"` // one difference each, in words
}

// Equal reports whether nothing differs.
func (c *Comparison) Equal() bool { return len(c.Missing)+len(c.Extra)+len(c.Changed) == 0 }

// Compare pairs decisions: first those with one ID, which is made of the
// incident, the attempt and the time; then, among the rest, those about one
// cause that stand within slack of each other, each with the earliest. What is
// left has no partner.
func Compare(recorded, replayed []Digest, slack time.Duration) *Comparison {
	c := &Comparison{Recorded: len(recorded), Replayed: len(replayed), Missing: []Digest{}, Extra: []Digest{}, Changed: []Changed{}}
	partner := make([]int, len(recorded))
	taken := make([]bool, len(replayed))
	pair := func(fits func(a, b *Digest) bool) {
		for i := range recorded {
			for j := range replayed {
				if partner[i] == 0 && !taken[j] && fits(&recorded[i], &replayed[j]) {
					partner[i], taken[j] = j+1, true
				}
			}
		}
	}
	pair(func(a, b *Digest) bool { return a.ID == b.ID })
	pair(func(a, b *Digest) bool {
		return a.Cause == b.Cause && a.Mechanism == b.Mechanism && a.At.Sub(b.At).Abs() <= slack
	})
	pair(func(a, b *Digest) bool { return a.Cause == b.Cause && a.At.Sub(b.At).Abs() <= slack })
	for i := range recorded {
		if partner[i] == 0 {
			c.Missing = append(c.Missing, recorded[i])
			continue
		}
		again := replayed[partner[i]-1]
		if what := differences(&recorded[i], &again); len(what) > 0 {
			c.Changed = append(c.Changed, Changed{Recorded: recorded[i], Replayed: again, What: what})
		} else {
			c.Same++
		}
	}
	for j := range replayed {
		if !taken[j] {
			c.Extra = append(c.Extra, replayed[j])
		}
	}
	return c
}

// differences names what of a decision is not the same. The reasons' words are
// left out: they carry readings, which a recording rounds.
func differences(a, b *Digest) []string {
	var out []string
	note := func(name string, was, is any) {
		if w, i := fmt.Sprint(was), fmt.Sprint(is); w != i {
			out = append(out, fmt.Sprintf("%s was %s, is %s", name, orNone(w), orNone(i)))
		}
	}
	note("time", a.At.UTC().Format(time.RFC3339), b.At.UTC().Format(time.RFC3339))
	note("verdict", a.Verdict, b.Verdict)
	note("cause", a.Cause, b.Cause)
	note("mechanism", a.Mechanism, b.Mechanism)
	note("runbook", a.Runbook, b.Runbook)
	note("step", a.Step, b.Step)
	if a.Verdict != b.Verdict {
		note("confidence", fmt.Sprintf("%.2f", a.Confidence.Lower), fmt.Sprintf("%.2f", b.Confidence.Lower))
	}
	note("actions", actionsText(a.Actions), actionsText(b.Actions))
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// actionsText writes actions with their parameters to four digits: readings
// that differ in the last bit are no other decision.
func actionsText(actions []Planned) string {
	var b strings.Builder
	for i, a := range actions {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(a.Kind) + " " + a.Target + " " + paramsText(a.Params))
	}
	return b.String()
}

func paramsText(params sre.Params) string {
	rounded := make(map[string]any, len(params))
	for name, v := range params {
		if f, ok := params.Float(name); ok { // what was read back from a trail has floats only
			v = json.Number(fmt.Sprintf("%.4g", f))
		}
		rounded[name] = v
	}
	text, err := json.Marshal(rounded) // sorted by name
	if err != nil {
		return err.Error()
	}
	return string(text)
}
