// Command kubernetes is the lever of a Kubernetes cluster as a plugin of
// sreagent. With --check it says whether the cluster allows what the
// configuration file allows, and with --rbac it prints the roles for that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/sreagent/sreagent/plugins/kubernetes/lever"
	"github.com/sreagent/sreagent/plugins/sdk"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var errMissing = errors.New("the cluster does not allow everything")

func run(ctx context.Context, args []string, out, log io.Writer) error {
	flags := flag.NewFlagSet("kubernetes", flag.ContinueOnError)
	flags.SetOutput(log)
	file := flags.String("config", "", "configuration file, YAML")
	check := flags.Bool("check", false, "ask the cluster what is allowed, and stop")
	rbac := flags.Bool("rbac", false, "print the roles of the allowed actions, and stop")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	cfg, err := lever.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", *file, err)
	}
	if *rbac {
		_, err := io.WriteString(out, lever.Roles(cfg))
		return err
	}
	l, err := lever.Connect(cfg, lever.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		return err
	}
	if *check {
		return report(ctx, l, out)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	sdk.Serve(l)
	cancel()
	<-done
	return nil
}

func report(ctx context.Context, l *lever.Lever, out io.Writer) error {
	missing, err := l.Check(ctx)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w:\n%s", errMissing, strings.Join(missing, "\n"))
	}
	_, err = fmt.Fprintln(out, "the cluster allows every configured action")
	return err
}
