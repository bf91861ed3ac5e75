//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/sreagent/sreagent/demo"
)

// childEnv makes the test binary one service of the demo shop instead: its
// value is the service's demo.ServiceOptions as JSON.
const childEnv = "SREAGENT_E2E_SERVICE"

func TestMain(m *testing.M) {
	if options, child := os.LookupEnv(childEnv); child {
		if err := serveAsChild(options); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// serveAsChild runs one service until it is told to stop, or until its standard
// input ends, which is when the test that started it is gone.
func serveAsChild(options string) error {
	var o demo.ServiceOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return demo.RunService(ctx, o)
}
