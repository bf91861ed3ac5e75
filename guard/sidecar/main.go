// Command sidecar runs a guard beside a service: it forwards what arrives at
// --listen to --upstream within the guard's limits, and serves directives,
// metrics and health at --control.listen. It decides nothing by itself. Read
// run.go first.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, reload, nil)
	stop()
	os.Exit(code)
}
