package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/sre"
)

func registerMandate(app *kingpin.Application, commands map[string]command) {
	group := app.Command("mandate", "What the agent has earned, and what it proposes to be let do.")
	list := group.Command("show", "Show the record of each action, service and runbook, and where it stands.")
	lr := remoteFlags(list)
	commands[list.FullCommand()] = func(ctx context.Context, std streams) error {
		c, err := lr.client()
		if err != nil {
			return err
		}
		lines, err := c.Mandate(ctx)
		if err != nil {
			return asked(err)
		}
		return show(lr, std.out, lines, printMandate)
	}
	for _, v := range []struct {
		verb sre.MandateVerb
		help string
	}{
		{sre.MandateAccept, "Accept what the agent proposes; the evidence is checked again."},
		{sre.MandateDecline, "Decline what the agent proposes; evidence counts anew."},
		{sre.MandateDemote, "Take a stance from the agent at once; one step where --to is left out."},
		{sre.MandateRestore, "Take a demotion back, to what the policy's rule says."},
	} {
		registerMandateVerb(group, commands, v.verb, v.help)
	}
}

func registerMandateVerb(group *kingpin.CmdClause, commands map[string]command, verb sre.MandateVerb, help string) {
	cmd := group.Command(string(verb), help)
	r := remoteFlags(cmd)
	key := cmd.Arg("key", "KIND/SERVICE/RUNBOOK, as `mandate show` has it.").Required().String()
	reason := cmd.Flag("reason", "Why; goes into the audit trail.").Short('m').String()
	to := new(string)
	if verb == sre.MandateDemote {
		cmd.Flag("to", "watch or ask.").EnumVar(to, string(sre.Watch), string(sre.Ask))
	}
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		body, err := mandateBody(*key)
		if err != nil {
			return err
		}
		body.To, body.Reason = sre.Stance(*to), *reason
		return receipt(ctx, r, std.out, func(c *oncall.Client) (oncall.Receipt, error) { return c.ChangeMandate(ctx, verb, body) })
	}
}

// mandateBody takes a key apart. A service's name may hold slashes; a kind and a
// runbook cannot.
func mandateBody(key string) (oncall.MandateBody, error) {
	first, last := strings.Index(key, "/"), strings.LastIndex(key, "/")
	if first <= 0 || last <= first+1 || last == len(key)-1 {
		return oncall.MandateBody{}, fmt.Errorf("%q is no key: want KIND/SERVICE/RUNBOOK, as `sreagent mandate show` has it", key)
	}
	return oncall.MandateBody{Kind: sre.ActionKind(key[:first]), Service: key[first+1 : last], Runbook: key[last+1:]}, nil
}

func printMandate(w io.Writer, lines []sre.MandateLine) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(w, "nothing is on record yet")
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "KEY\tSTANCE\tRULE\tGOOD\tLOWER\tHARM\tCAME BACK\tYES/NO\tWITHHELD")
	for _, l := range lines {
		rule := string(l.Base)
		if l.Earns {
			rule += ", earns"
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%d of %d\t%.2f\t%d\t%d\t%d/%d\t%d\n", l.MandateKey, l.Stance, rule, l.Successes, l.N, l.Lower,
			l.Harm, l.Recurred, l.Approved, l.Rejected, l.Withheld)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, l := range lines {
		var text string
		switch {
		case l.Proposal != nil:
			text = fmt.Sprintf("%s: proposed from %s to %s: %s", l.MandateKey, l.Proposal.From, l.Proposal.To, l.Proposal.Text)
		case l.Cause != "":
			text = fmt.Sprintf("%s: at %s since %s by %s (%s): %s", l.MandateKey, l.Stance, l.Since.UTC().Format(time.RFC3339), l.By, l.Cause, l.Text)
			if l.Regain != "" {
				text += "; to regain it: " + l.Regain
			}
		default:
			continue
		}
		if err := paragraph(w, "", text); err != nil {
			return err
		}
	}
	return nil
}

func registerStop(app *kingpin.Application, commands map[string]command) {
	stop := app.Command("stop", "Stop all automation until `start`, also over restarts. Undo goes on.")
	sr := remoteFlags(stop)
	revert := stop.Flag("revert", "Undo what the agent has in force, too. What people ordered stays.").Bool()
	reason := stop.Arg("reason", "Why; goes into the audit trail.").Required().String()
	commands[stop.FullCommand()] = func(ctx context.Context, std streams) error {
		return receipt(ctx, sr, std.out, func(c *oncall.Client) (oncall.Receipt, error) {
			return c.Stop(ctx, oncall.StopBody{Reason: *reason, Revert: *revert})
		})
	}
	start := app.Command("start", "Lift the global stop; needs the role approver.")
	tr := remoteFlags(start)
	why := start.Arg("reason", "Why; goes into the audit trail.").String()
	commands[start.FullCommand()] = func(ctx context.Context, std streams) error {
		return receipt(ctx, tr, std.out, func(c *oncall.Client) (oncall.Receipt, error) { return c.Start(ctx, *why) })
	}
}

// pauseFor reads how long a pause lasts; nothing is without an end.
func pauseFor(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := model.ParseDuration(text)
	if err != nil || d == 0 {
		return 0, fmt.Errorf("--for %q: want a duration such as 2h", text)
	}
	return time.Duration(d), nil
}
