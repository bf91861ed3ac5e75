package sources

import (
	"strings"
	"testing"
)

// Files of strangers must not cost more than they weigh: the parser's memory
// grows with the square of the depth.
func TestDeepFilesAreRefused(t *testing.T) {
	deep := func(open string, n int) string { return strings.Repeat(open, n) }
	for _, tc := range []struct {
		name, text string
		refused    bool
	}{
		{"a topology", "edges:\n  - {from: a, to: b}\n", false},
		{"many balanced brackets", "edges:\n" + strings.Repeat("  # (one) [two] {three}\n", 500) + "  - {from: a, to: b}\n", false},
		{"flow sequences", "edges: " + deep("[", 3_000_000), true},
		{"flow mappings", "edges: " + deep("{a: ", 1_000_000), true},
		{"sequences in one line", "edges:\n  " + deep("- ", 100_000), true},
		{"indentation", "edges:\n" + deep(" ", 100_000) + "a: b\n", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseTopology("topology.yaml", []byte(tc.text))
			if refused := err != nil && strings.Contains(err.Error(), "nested too deep"); refused != tc.refused {
				t.Errorf("refused %v: %v", refused, err)
			}
		})
	}
	_, err := ParseSignals([]byte("signals:\n  - {name: a, kind: errors, unit: ratio, query: \"" + strings.Repeat("x", maxQuery+1) + "\"}\n"))
	if err == nil || !strings.Contains(err.Error(), "signals.yaml:2:") || !strings.Contains(err.Error(), "at most 32768") {
		t.Errorf("a query of more than %d bytes: %.200v", maxQuery, err)
	}
}
