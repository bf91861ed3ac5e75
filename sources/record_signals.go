package sources

import (
	"fmt"
	"slices"
	"strings"
)

// OnePerName returns queries of which no two have one name, as a bundle wants
// them. Where two presets fill one column, their queries become one that gives
// for each service or edge the first number that any of them gives, which is
// how the daemon reads them.
func OnePerName(queries []SignalQuery) []SignalQuery {
	var out []SignalQuery
	at := make(map[string]int, len(queries))
	alike := make(map[string][]SignalQuery)
	for _, q := range queries {
		if _, known := at[q.Name]; !known {
			at[q.Name] = len(out)
			out = append(out, q)
		}
		alike[q.Name] = append(alike[q.Name], q)
	}
	for i, q := range out {
		if same := alike[q.Name]; len(same) > 1 {
			out[i].Query = firstNumber(same)
		}
	}
	return out
}

// firstNumber joins queries under the labels of the first. Numbers come first
// and then whatever else was said, so that "no number" is not mistaken for
// silence.
func firstNumber(queries []SignalQuery) string {
	first := queries[0]
	texts := make([]string, 0, 2*len(queries))
	for i, q := range queries {
		text := "(" + q.Query + ")"
		if i > 0 {
			text = relabel(text, q.labels(), first.labels())
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		// No comparison holds for what is not a number.
		texts = append(texts, "("+text+" < Inf)")
	}
	n := len(queries)
	return strings.Join(append(texts[n:len(texts):len(texts)], texts[:n]...), " or ")
}

// labels are those that name what a sample is of.
func (q SignalQuery) labels() []string {
	if q.Edge() {
		return []string{q.ClientLabel, q.ServerLabel}
	}
	return []string{q.ServiceLabel}
}

// relabel makes a query name its samples by other labels. It goes by way of
// labels that nobody has, so that two may change places.
func relabel(text string, from, to []string) string {
	if slices.Equal(from, to) {
		return text
	}
	replace := func(target, source string) {
		text = fmt.Sprintf("label_replace(%s, %q, %q, %q, %q)", text, target, "$1", source, "(.*)")
	}
	for i, label := range from {
		replace(fmt.Sprintf("sreagent_%d", i), label)
	}
	for i, label := range to {
		replace(label, fmt.Sprintf("sreagent_%d", i))
	}
	return "sum by (" + strings.Join(to, ", ") + ") (" + text + ")"
}
