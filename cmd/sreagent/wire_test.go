package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/fx"
)

func minimal(t *testing.T) (settings, *loaded) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sreagent.yml")
	text := "prometheus: {url: \"http://127.0.0.1:1\", warm_up: 0s}\nsignals: {preset: guard}\ninterval: 1s\npolicy: {timing: {lever_timeout: 1s}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	return settings{configFile: path, listen: []string{"127.0.0.1:0"}}, cfg
}

func TestTheGraphIsWhole(t *testing.T) {
	set, cfg := minimal(t)
	var d daemon
	if err := fx.ValidateApp(wire(set, cfg, slog.New(slog.DiscardHandler), &d)); err != nil {
		t.Fatal(err)
	}
}

func TestTheDaemonStartsAnswersAndStops(t *testing.T) {
	set, cfg := minimal(t)
	var d daemon
	app := fx.New(wire(set, cfg, slog.New(slog.DiscardHandler), &d))
	if err := app.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]int{
		"/-/healthy": http.StatusOK, "/healthz": http.StatusOK, "/metrics": http.StatusOK,
		"/-/ready": http.StatusServiceUnavailable, // nobody answers where the metric store should be
	} {
		response, err := client.Get(d.Bound.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, want)
		}
	}
	if err := app.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
}
