package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/sre"
)

// drillLook is how often the end of a drill is looked for.
const drillLook = time.Second

func registerSwitch(app *kingpin.Application, commands map[string]command) {
	group := app.Command("switch", "Flip kill switches through the agent: it keeps the lease, the record and the way back.")

	list := group.Command("list", "Show the kill switches, who may flip them, and what is off.")
	lr := remoteFlags(list)
	commands[list.FullCommand()] = func(ctx context.Context, std streams) error {
		c, err := lr.client()
		if err != nil {
			return err
		}
		states, err := c.Switches(ctx)
		if err != nil {
			return asked(err)
		}
		return show(lr, std.out, states, printSwitches)
	}

	off := group.Command("off", "Switch a share off for a time: 1, 5, 25, 100 % in stages.")
	fr := remoteFlags(off)
	name := off.Arg("name", "Name of the switch, such as shop/checkout/recommendations.").Required().String()
	percent := off.Flag("percent", "Percent to be off in the end, 1 to 100.").Default("100").Float64()
	lease := off.Flag("for", "How long; the switch's own duration when left out.").String()
	immediate := off.Flag("immediate", "No stages on the way.").Bool()
	drill := off.Flag("drill", "Only the cohort that has no users, for one look at what a reader sees.").Bool()
	reason := off.Flag("reason", "Why; goes into the audit trail.").Short('m').String()
	commands[off.FullCommand()] = func(ctx context.Context, std streams) error {
		body := oncall.SwitchBody{State: "off", Percent: *percent, Immediate: *immediate, Drill: *drill, Reason: *reason}
		if *drill {
			body.Percent = 0
		} else if !(*percent >= 1 && *percent <= 100) {
			return fmt.Errorf("--percent %v: allowed are 1 to 100", *percent)
		}
		if *lease != "" {
			d, err := model.ParseDuration(*lease)
			if err != nil || d == 0 {
				return fmt.Errorf("--for %q: want a duration such as 10m", *lease)
			}
			body.For = d
		}
		return switchOff(ctx, fr, std.out, *name, body)
	}

	on := group.Command("on", "Take back what `switch off` did, at once.")
	or := remoteFlags(on)
	back := on.Arg("name", "Name of the switch.").Required().String()
	why := on.Flag("reason", "Why; goes into the audit trail.").Short('m').String()
	commands[on.FullCommand()] = func(ctx context.Context, std streams) error {
		return receipt(ctx, or, std.out, func(c *oncall.Client) (oncall.Receipt, error) {
			return c.Switch(ctx, *back, oncall.SwitchBody{State: "on", Reason: *why})
		})
	}
}

func switchOff(ctx context.Context, r *remote, w io.Writer, name string, body oncall.SwitchBody) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	got, err := c.Switch(ctx, name, body)
	if err != nil {
		return asked(err)
	}
	if !body.Drill || got.Incident == "" {
		return show(r, w, got, printReceipt)
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	inc, err := drillResult(ctx, c, got.Incident)
	if err != nil {
		return err
	}
	if err := show(r, w, inc, printDrill); err != nil {
		return err
	}
	if inc.Order.Seen == "" {
		return failed(fmt.Errorf("the drill ended without a look at it, see incident %s", inc.ID))
	}
	return nil
}

// drillResult waits until the drill has been taken back.
func drillResult(ctx context.Context, c *oncall.Client, id string) (sre.Incident, error) {
	tick := time.NewTicker(drillLook)
	defer tick.Stop()
	for {
		inc, err := c.Incident(ctx, id)
		if err != nil {
			return inc, asked(err)
		}
		if inc.State == sre.Closed && inc.Order != nil {
			return inc, nil
		}
		select {
		case <-ctx.Done():
			return inc, failed(fmt.Errorf("the drill is not over yet, incident %s is %s", id, inc.State))
		case <-tick.C:
		}
	}
}

func printDrill(w io.Writer, inc sre.Incident) error {
	_, err := fmt.Fprintf(w, "drill of %s, incident %s: %s\n", inc.Order.Name, inc.ID, inc.Order.Seen+inc.Escalation)
	for _, m := range inc.Mitigations {
		if err == nil {
			_, err = fmt.Fprintf(w, "  %s: %s %s\n", m.Action.Target, m.Phase, m.Err)
		}
	}
	return err
}

func printSwitches(w io.Writer, states []oncall.SwitchState) error {
	if len(states) == 0 {
		_, err := fmt.Fprintln(w, "no kill switch is configured (remediators.kill_switches)")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "SWITCH\tOFF\tUNTIL\tBY\tLEVEL\tCOST\tROLE\tOWNER")
	for _, s := range states {
		off, until := "-", "-"
		if s.Incident != "" {
			off, until = fmt.Sprintf("%g %%", s.Off), s.Until.UTC().Format(time.RFC3339)
		}
		if s.Drilling {
			off = "drill"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%.0f %%\t%s\t%s\n", s.Name, off, until, dash(s.By), s.Level, 100*s.Cost, s.Role, dash(s.Owner))
	}
	return t.Flush()
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
