package diagnosis_test

import (
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/diagnosis"
)

// TestPageShowsTheDefaults: the settings on the page are strict, complete and
// the ones in force.
func TestPageShowsTheDefaults(t *testing.T) {
	page, err := os.ReadFile("../docs/detection.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "under `detection.diagnosis`:")
	_, rest, _ = strings.Cut(rest, "```yaml\n")
	block, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page shows no settings")
	}
	var got diagnosis.Config
	if err := yaml.NewDecoder(strings.NewReader(block), yaml.Strict()).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(diagnosis.DefaultConfig(), got); diff != "" {
		t.Error(diff)
	}
}
