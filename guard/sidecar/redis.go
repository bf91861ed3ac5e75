package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sreagent/sreagent/guard"
	"github.com/sreagent/sreagent/guard/redislimit"
)

type nothing struct{}

func (nothing) Close() error { return nil }

// sharedLimits returns the options for a guard whose configuration has a Redis,
// and what to close after the guard.
func sharedLimits(cfg guard.Config, reg prometheus.Registerer, log *slog.Logger) ([]guard.Option, io.Closer, error) {
	if cfg.Redis.Address == "" {
		return nil, nothing{}, nil
	}
	redislimit.LogDriver(log)
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"service": cfg.Service}, reg)
	}
	store, err := redislimit.New(cfg.Redis, redislimit.WithRegisterer(reg), redislimit.WithLogger(log))
	if err != nil {
		return nil, nil, fmt.Errorf("limits: %w", err)
	}
	return []guard.Option{guard.WithSharedLimits(store)}, store, nil
}
