package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/replay/calibration"
)

type calibrateFlags struct {
	incidents, jobs int
	seed            uint64
	drift, output   string
}

func registerCalibrate(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("calibrate", "Measure the agent's confidence over simulated incidents: what it predicts against what comes true.")
	var f calibrateFlags
	cmd.Flag("incidents", "How many incidents happen, four on each virtual day.").Default("2000").IntVar(&f.incidents)
	cmd.Flag("seed", "Seed of the fleets and of what befalls them.").Default("1").Uint64Var(&f.seed)
	cmd.Flag("drift", "half: from the middle on some levers do nothing and new mechanisms appear; none: all stays.").Default("half").EnumVar(&f.drift, "half", "none")
	cmd.Flag("jobs", "Incidents played at once; 0 is one per core.").IntVar(&f.jobs)
	cmd.Flag("output", "text or json.").Short('o').Default("text").EnumVar(&f.output, "text", "json")
	commands[cmd.FullCommand()] = safely(func(ctx context.Context, std streams) error { return runCalibrate(ctx, std, f) })
}

func runCalibrate(ctx context.Context, std streams, f calibrateFlags) error {
	if f.incidents < 1 || f.incidents > 100_000 {
		return fmt.Errorf("--incidents is %d, want 1 to 100000", f.incidents)
	}
	o := calibration.Options{Incidents: f.incidents, Seed: f.seed, Drift: calibration.Drift(f.drift), Jobs: f.jobs}
	if f.jobs <= 0 {
		o.Jobs = runtime.NumCPU()
	}
	step, done := watchedMeter(std.err, "calibrate", f.incidents)
	o.Done = step
	report, err := calibration.Run(ctx, o)
	done()
	switch {
	case errors.Is(err, context.Canceled):
		return failed(errors.New("stopped"))
	case err != nil:
		return failed(err)
	}
	if f.output == "json" {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		return enc.Encode(report)
	}
	return report.WriteText(std.out)
}
