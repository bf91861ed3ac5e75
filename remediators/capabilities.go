package remediators

import (
	"cmp"
	"context"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// Capabilities returns what the levers of a configuration can do, sorted by
// name, and opens none of them: no file is read and nothing is asked of a
// target. Where no guard is configured it tells of one that moves any service,
// so that a rehearsal can plan with it.
func Capabilities(cfg Config) ([]sre.Capability, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, faults
	}
	g := &guardLever{cfg: cfg.Guard, urls: make(map[string]string, len(cfg.Guard.Targets))}
	for _, t := range cfg.Guard.Targets {
		g.urls[t.Service] = t.URL
	}
	guard, err := g.Describe(context.Background())
	if err != nil {
		return nil, err
	}
	out := []sre.Capability{guard}
	for _, c := range cfg.HAProxy {
		proxy, err := (&haproxyLever{cfg: c}).Describe(context.Background())
		if err != nil {
			return nil, err
		}
		out = append(out, proxy)
	}
	out = append(out, leasedCapabilities(cfg)...)
	for _, c := range cfg.Flags {
		flags, err := describedFlags(c, cfg.KillSwitches).Describe(context.Background())
		if err != nil {
			return nil, err
		}
		out = append(out, flags)
	}
	slices.SortFunc(out, func(a, b sre.Capability) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}
