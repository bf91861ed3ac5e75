package bundle

import (
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

var nan = math.NaN()

func errorsIs(err, target error) bool { return errors.Is(err, target) }

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, text)
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// queriesOf stands for the daemon's grammar of signals.yaml.
func queriesOf(content []byte) ([]string, error) {
	var f struct {
		Signals []struct {
			Query string `yaml:"query"`
			Unit  string `yaml:"unit"`
		} `yaml:"signals"`
	}
	if err := yaml.Unmarshal(content, &f); err != nil {
		return nil, err
	}
	var out []string
	for _, s := range f.Signals {
		if s.Unit == "furlongs" {
			return nil, errors.New(`signals.yaml:2:5: signals[0].unit: unknown unit "furlongs"; allowed: seconds, ratio`)
		}
		out = append(out, s.Query)
	}
	return out, nil
}
