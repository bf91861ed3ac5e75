package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/sreagent/sreagent/agent"
)

// recall gives the agent the baselines of the run before. A file that cannot be
// used costs the warm-up again and nothing else, so it is logged and left.
func recall(a *agent.Agent, path string, log *slog.Logger) {
	if path == "" {
		return
	}
	state, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = a.Recall(state)
	}
	if err != nil {
		log.Warn("baselines begin anew", "file", path, "err", err)
		return
	}
	log.Info("baselines taken over", "file", path, "bytes", len(state))
}

// runAndKeep runs the agent and leaves its baselines for the next run, also when
// the loop has failed.
func runAndKeep(ctx context.Context, a *agent.Agent, path string, log *slog.Logger) error {
	err := a.Run(ctx)
	if path == "" {
		return err
	}
	state := a.Baselines()
	kept := writeFile(path, func(w io.Writer) error {
		_, err := w.Write(state)
		return err
	})
	if kept != nil {
		log.Warn("baselines are not kept for the next run", "err", kept)
	}
	return err
}
