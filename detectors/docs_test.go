package detectors_test

import (
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/detectors"
)

// TestPageShowsTheDefaults: the settings on the page are strict, complete and
// the ones in force.
func TestPageShowsTheDefaults(t *testing.T) {
	page, err := os.ReadFile("../docs/detection.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	block, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page shows no settings")
	}
	var got detectors.Config
	if err := yaml.NewDecoder(strings.NewReader(block), yaml.Strict()).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(detectors.DefaultConfig(), got); diff != "" {
		t.Error(diff)
	}
}
