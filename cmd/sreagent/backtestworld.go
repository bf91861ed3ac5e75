package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/replay/incidents"
)

// worldFlags are the flags of a back-test over the simulated world.
type worldFlags struct {
	count                 int
	seed                  uint64
	services              string
	benign, rename        bool
	tick, day, clockError time.Duration
	missing               float64
}

func (f *worldFlags) register(cmd *kingpin.CmdClause) {
	cmd.Flag("world", "Simulate that many seeded incidents instead, over all mechanisms.").IntVar(&f.count)
	cmd.Flag("seed", "With --world: seed of the incidents.").Default("1").Uint64Var(&f.seed)
	cmd.Flag("services", "With --world: size of the fleets, LEAST-MOST.").Default("100-1000").StringVar(&f.services)
	cmd.Flag("benign", "With --world: days on which nothing goes wrong, to count false alarms.").BoolVar(&f.benign)
	cmd.Flag("day", "With --benign: length of each.").Default("24h").DurationVar(&f.day)
	cmd.Flag("tick", "With --world: interval of the agent.").Default("10s").DurationVar(&f.tick)
	cmd.Flag("clock-error", "With --world: half of the services are measured late, by up to that.").DurationVar(&f.clockError)
	cmd.Flag("missing", "With --world: share of the series that are never there.").Float64Var(&f.missing)
	cmd.Flag("rename", "With --world: the services have other names.").BoolVar(&f.rename)
}

func (f *worldFlags) options() (incidents.Options, error) {
	o := incidents.Options{
		Count: f.count, Seed: f.seed, Benign: f.benign, Tick: f.tick, Day: f.day,
		Disturb: incidents.Disturbance{ClockError: f.clockError, Missing: f.missing, Rename: f.rename},
	}
	least, most, ranged := strings.Cut(f.services, "-")
	if !ranged {
		most = least
	}
	var err error
	if o.Least, err = strconv.Atoi(least); err == nil {
		o.Most, err = strconv.Atoi(most)
	}
	if err != nil {
		return o, fmt.Errorf("--services is %q, want LEAST-MOST, such as 100-1000", f.services)
	}
	if faults := o.Validate(); len(faults) > 0 {
		return o, fmt.Errorf("--world: %w", faults)
	}
	return o, nil
}
