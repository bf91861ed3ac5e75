package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const fixtures = "../../testdata/config"

var placed = regexp.MustCompile(`^[^:]+\.yml:\d+:\d+: .+`)

// Every fixture has one fault, and says in its first line what must be said of
// it.
func TestEachFaultIsFoundPlacedAndNamed(t *testing.T) {
	files, err := filepath.Glob(fixtures + "/*.bad.yml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d fixtures, want at least 30: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(text), "\n")
			want, ok := strings.CutPrefix(first, "# want: ")
			if !ok {
				t.Fatal("the fixture does not say what is wanted")
			}
			_, err = loadConfig(file)
			if err == nil {
				t.Fatal("the file was taken")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != 1 || !strings.Contains(lines[0], want) {
				t.Errorf("got:\n%v\nwant one line with:\n%s", err, want)
			}
			if !placed.MatchString(filepath.Base(lines[0][:strings.Index(lines[0], ".yml")]) + lines[0][strings.Index(lines[0], ".yml"):]) {
				t.Errorf("no file:line:column: %s", lines[0])
			}
		})
	}
}

func TestTenLinesGiveAnAgentThatOnlyWatches(t *testing.T) {
	cfg, err := loadConfig(fixtures + "/minimal.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Policy.Mode != sre.Watch || cfg.library.Len() == 0 || time.Duration(cfg.Interval) != 10*time.Second {
		t.Errorf("mode %q, %d runbooks, interval %s", cfg.Policy.Mode, cfg.library.Len(), cfg.Interval)
	}
}

func TestAnEmptyFileIsToldWhatIsMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "empty.yml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := loadConfig(file)
	var wrong fileError
	if !errors.As(err, &wrong) || len(wrong) != 2 {
		t.Errorf("got %v, want the missing URL and the missing signals", err)
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "many.yml")
	text := "interval: 1h\nprometheus: {url: \"ftp://x\"}\nsignals: {preset: none}\npolicy: {mode: auto}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := loadConfig(file)
	if got := strings.Count(err.Error(), "\n") + 1; got != 4 {
		t.Errorf("%d faults, want 4:\n%v", got, err)
	}
}

func FuzzDecodeLocated(f *testing.F) {
	files, _ := filepath.Glob(fixtures + "/*.yml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg := defaultConfig()
		file, err := decodeLocated("f.yml", text, &cfg)
		if err == nil {
			err = file.place(cfg.validate())
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f.yml:") {
			t.Errorf("an error without a place: %v", err)
		}
	})
}

// The examples of the documentation are read as a user's file would be.
func TestTheDocumentedConfigurationsAreGood(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples, want 2", len(blocks))
	}
	for _, block := range blocks {
		cfg := defaultConfig()
		file, err := decodeLocated("configuration.md", block[1], &cfg)
		if err == nil {
			err = file.place(cfg.validate())
		}
		if err != nil {
			t.Errorf("%v\nin\n%s", err, block[1])
		}
	}
}
