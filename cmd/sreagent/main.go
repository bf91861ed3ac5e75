// Command sreagent is the agent: the daemon, its demo, and the tools of the
// people who live with it.
//
// It owns flags, the configuration file and the wiring of the parts; it holds
// no logic of its own. Read wire.go for how the parts meet, run.go for the
// daemon, and one file per family of subcommands for the rest.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // freezes and budgets name time zones, and a slim image has none

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
)

// Exit codes, as promtool has them: 1 for "it does not hold", 2 for "it could
// not be tried".
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// failure is an error with its exit code.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// failed marks an error as "it does not hold".
func failed(err error) error { return &failure{code: exitFailed, err: err} }

// command is one subcommand: what it runs with.
type command func(ctx context.Context, std streams) error

// streams are the process's own.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// execute parses the arguments and runs the subcommand.
func execute(ctx context.Context, args []string, std streams) int {
	app := kingpin.New("sreagent", "An autonomous SRE agent: it sees cascading failures coming, and acts within its mandate.")
	app.Version(version.Print("sreagent"))
	app.HelpFlag.Short('h')
	answered := false // usage or version was asked for and has been printed
	app.UsageWriter(std.out).ErrorWriter(std.err).Terminate(func(int) { answered = true })
	commands := map[string]command{}
	for _, register := range []func(*kingpin.Application, map[string]command){
		registerRun, registerDemo, registerCheck, registerIncidents, registerExplain, registerOperate, registerSwitch, registerMandate, registerStop, registerAudit, registerToken,
		registerRecord, registerReplay, registerBacktest, registerCalibrate, registerScenario, registerDetect, registerPlugins, registerTest, registerRunbooks,
	} {
		register(app, commands)
	}
	selected, err := app.Parse(joinNegative(args))
	if answered {
		return exitOK
	}
	if err != nil {
		return complain(std.err, exitUsage, fmt.Errorf("%w, try --help", err))
	}
	err = commands[selected](ctx, std)
	var f *failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f):
		return complain(std.err, f.code, err)
	}
	return complain(std.err, exitUsage, err)
}

// joinNegative writes "--from -2h" as "--from=-2h": the parser would take the
// value for a flag of its own.
func joinNegative(args []string) []string {
	out := make([]string, 0, len(args))
	for _, arg := range args {
		n := len(out)
		negative := len(arg) > 1 && arg[0] == '-' && arg[1] >= '0' && arg[1] <= '9'
		if negative && n > 0 && strings.HasPrefix(out[n-1], "--") && len(out[n-1]) > 2 && !strings.Contains(out[n-1], "=") {
			out[n-1] += "=" + arg
			continue
		}
		out = append(out, arg)
	}
	return out
}

// complain says what went wrong where there is somebody to read it.
func complain(w io.Writer, code int, err error) int {
	_, _ = fmt.Fprintf(w, "sreagent: %v\n", err)
	return code
}
