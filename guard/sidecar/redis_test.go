package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sreagent/sreagent/guard"
)

func TestLimitsOfTheDocumentationAreValid(t *testing.T) {
	page, err := os.ReadFile("../../docs/guard.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "<!-- limits.yaml, read by a test -->\n```yaml\n")
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/guard.md has no limits.yaml")
	}
	cfg, err := parseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Limits) != 5 || cfg.Limits[3].Client.Rate != 10 || cfg.Redis.Processes != 4 {
		t.Errorf("read %+v", cfg)
	}
	redis := guard.DefaultRedis()
	cfg, err = parseConfig([]byte("service: a\nredis: {address: 'r:1'}\nlimits: [{name: api, rate: 1}]\n"))
	if redis.Address = "r:1"; err != nil || cfg.Redis != redis {
		t.Errorf("defaults are %+v, want %+v: %v", cfg.Redis, redis, err)
	}
}

func TestLimitsWithTheirPlaces(t *testing.T) {
	for text, want := range map[string]string{
		"service: a\nlimits:\n  - {name: api, rate: 1, window: soon}\n": "soon",
		"service: a\nlimits:\n  - {name: api, rates: 1}\n":              "3:17",
		"service: a\nlimits:\n  - {name: api, rate: x}\n":               "3:23",
		"service: a\nlimits:\n  - {name: api, rate: 0}\n":               "limits[0].rate",
	} {
		if _, err := parseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestSharedLimitsAreMadeWhereThereIsARedis(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cfg := guard.DefaultConfig()
	cfg.Service = "checkout"
	opts, store, err := sharedLimits(cfg, prometheus.NewRegistry(), log)
	if err != nil || len(opts) != 0 || store.Close() != nil {
		t.Errorf("without Redis: %d options, %v", len(opts), err)
	}
	cfg.Redis = guard.DefaultRedis()
	cfg.Redis.Address = "unix://" + filepath.Join(t.TempDir(), "nobody.sock")
	cfg.Limits = []guard.LimitConfig{{Name: "api", Rate: 1, Distributed: true}}
	opts, store, err = sharedLimits(cfg, prometheus.NewRegistry(), log)
	if err != nil || len(opts) != 1 {
		t.Fatalf("%d options, %v", len(opts), err)
	}
	g, err := guard.New(cfg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	cfg.Redis.PasswordFile = "/nowhere"
	if _, _, err := sharedLimits(cfg, prometheus.NewRegistry(), log); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("got %v", err)
	}
}
