package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/fx"
)

func liveOnce(t *testing.T, set settings, cfg *loaded) string {
	t.Helper()
	var d daemon
	var out bytes.Buffer
	app := fx.New(wire(set, cfg, slog.New(slog.NewTextHandler(&out, nil)), &d))
	if err := app.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := app.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBaselinesOutliveTheDaemon(t *testing.T) {
	set, cfg := minimal(t)
	path := cfg.Detection.StateFile
	if want := filepath.Join(filepath.Dir(set.configFile), "data", "baselines"); path != want {
		t.Fatalf("kept in %s, not in %s", path, want)
	}
	if log := liveOnce(t, set, cfg); strings.Contains(log, "baselines") {
		t.Errorf("at the first start: %s", log)
	}
	kept, err := os.ReadFile(path)
	if err != nil || len(kept) == 0 {
		t.Fatalf("%d bytes, %v", len(kept), err)
	}
	if log := liveOnce(t, set, cfg); !strings.Contains(log, "baselines taken over") {
		t.Errorf("at the second start: %s", log)
	}
	// What cannot be used costs the baselines, not the start.
	kept[len(kept)/2] ^= 1
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	if log := liveOnce(t, set, cfg); !strings.Contains(log, "baselines begin anew") {
		t.Errorf("after damage: %s", log)
	}
	if log := liveOnce(t, set, cfg); !strings.Contains(log, "baselines taken over") {
		t.Errorf("after the damage was replaced: %s", log)
	}
	cfg.Detection.StateFile = ""
	if log := liveOnce(t, set, cfg); strings.Contains(log, "baselines") {
		t.Errorf("with none: %s", log)
	}
}

func TestBaselinesThatCannotBeKeptEndNothing(t *testing.T) {
	set, cfg := minimal(t)
	cfg.Detection.StateFile = filepath.Join(set.configFile, "under-a-file")
	if log := liveOnce(t, set, cfg); !strings.Contains(log, "baselines are not kept") {
		t.Error(log)
	}
}
