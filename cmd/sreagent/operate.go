package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/oncall"
)

// verb is a command about one incident that the agent answers with a receipt.
type verb struct {
	name, help string
	question   bool // about the decision that is waiting
	send       func(ctx context.Context, c *oncall.Client, incident, decision, comment string) (oncall.Receipt, error)
}

var verbs = []verb{
	{"approve", "Approve the plan that waits for an answer.", true, func(ctx context.Context, c *oncall.Client, id, decision, comment string) (oncall.Receipt, error) {
		return c.Approve(ctx, id, decision, comment)
	}},
	{"reject", "Reject the plan that waits for an answer.", true, func(ctx context.Context, c *oncall.Client, id, decision, comment string) (oncall.Receipt, error) {
		return c.Reject(ctx, id, decision, comment)
	}},
	{"undo", "Take back every mitigation of an incident, now.", false, func(ctx context.Context, c *oncall.Client, id, _, comment string) (oncall.Receipt, error) {
		return c.Undo(ctx, id, comment)
	}},
	{"close", "Declare an incident over.", false, func(ctx context.Context, c *oncall.Client, id, _, comment string) (oncall.Receipt, error) {
		return c.Close(ctx, id, comment)
	}},
}

func registerOperate(app *kingpin.Application, commands map[string]command) {
	for _, v := range verbs {
		registerVerb(app, commands, v)
	}
	registerPauses(app, commands)
	approvals := app.Command("approvals", "Show the questions that wait for an answer: evidence, alternatives, blast radius, actions, undo.")
	r := remoteFlags(approvals)
	commands[approvals.FullCommand()] = func(ctx context.Context, std streams) error {
		c, err := r.client()
		if err != nil {
			return err
		}
		return showApprovals(ctx, c, r, std.out)
	}
}

func registerVerb(app *kingpin.Application, commands map[string]command, v verb) {
	cmd := app.Command(v.name, v.help)
	r := remoteFlags(cmd)
	id := cmd.Arg("incident", "ID of the incident.").Required().String()
	comment := cmd.Flag("comment", "Why; goes into the audit trail.").Short('m').String()
	decision := new(string)
	if v.question {
		cmd.Flag("decision", "ID of the decision that you looked at; without it the question is shown and its decision taken.").StringVar(decision)
	}
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		c, err := r.client()
		if err != nil {
			return err
		}
		if v.question && *decision == "" {
			if *decision, err = lookAt(ctx, c, *id, std.err); err != nil {
				return err
			}
		}
		receipt, err := v.send(ctx, c, *id, *decision, *comment)
		if err != nil {
			return asked(err)
		}
		return show(r, std.out, receipt, printReceipt)
	}
}

// lookAt shows the question that an answer is about to be given to.
func lookAt(ctx context.Context, c *oncall.Client, id string, w io.Writer) (string, error) {
	inc, err := c.Incident(ctx, id)
	if err != nil {
		return "", asked(err)
	}
	if inc.Decision == nil {
		return "", failed(fmt.Errorf("incident %s is %s: no answer is awaited", id, inc.State))
	}
	return inc.Decision.ID, oncall.RenderPrompt(w, inc, width(w), time.Now(), style(w))
}

func printReceipt(w io.Writer, r oncall.Receipt) error {
	if r.Queued {
		_, err := fmt.Fprintln(w, "queued: the agent has not answered yet, see its status")
		return err
	}
	_, err := fmt.Fprintln(w, r.Reason)
	return err
}

func showApprovals(ctx context.Context, c *oncall.Client, r *remote, w io.Writer) error {
	if r.output == "json" {
		prompts, err := c.Approvals(ctx)
		if err != nil {
			return asked(err)
		}
		return show(r, w, prompts, nil)
	}
	incidents, err := c.Incidents(ctx, false)
	if err != nil {
		return asked(err)
	}
	waiting := 0
	for _, inc := range incidents {
		if inc.State != "awaiting_approval" {
			continue
		}
		waiting++
		if err := oncall.RenderPrompt(w, inc, width(w), time.Now(), style(w)); err != nil {
			return err
		}
	}
	if waiting == 0 {
		_, err = fmt.Fprintln(w, "no question waits for an answer")
	}
	return err
}

func registerPauses(app *kingpin.Application, commands map[string]command) {
	pause := app.Command("pause", "Start nothing new until resumed. Undo goes on.")
	pr := remoteFlags(pause)
	pname := pause.Flag("name", "Name of the pause; several may hold at once.").Default("manual").String()
	lasts := pause.Flag("for", "After this time it ends by itself; without, it holds until resumed.").String()
	reason := pause.Arg("reason", "Why; goes into the audit trail.").Required().String()
	commands[pause.FullCommand()] = func(ctx context.Context, std streams) error {
		d, err := pauseFor(*lasts)
		if err != nil {
			return err
		}
		return receipt(ctx, pr, std.out, func(c *oncall.Client) (oncall.Receipt, error) { return c.PauseFor(ctx, *pname, *reason, d) })
	}
	resume := app.Command("resume", "Take a pause back.")
	rr := remoteFlags(resume)
	rname := resume.Arg("name", "Name of the pause.").Default("manual").String()
	commands[resume.FullCommand()] = func(ctx context.Context, std streams) error {
		return receipt(ctx, rr, std.out, func(c *oncall.Client) (oncall.Receipt, error) { return c.Resume(ctx, *rname) })
	}
	reload := app.Command("reload", "Make the agent read its configuration again.")
	lr := remoteFlags(reload)
	commands[reload.FullCommand()] = func(ctx context.Context, std streams) error {
		c, err := lr.client()
		if err != nil {
			return err
		}
		if err := c.Reload(ctx); err != nil {
			return asked(err)
		}
		return show(lr, std.out, map[string]bool{"reloaded": true}, func(w io.Writer, _ map[string]bool) error {
			_, err := fmt.Fprintln(w, "reloaded")
			return err
		})
	}
}

func receipt(_ context.Context, r *remote, w io.Writer, send func(*oncall.Client) (oncall.Receipt, error)) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	got, err := send(c)
	if err != nil {
		return asked(err)
	}
	return show(r, w, got, printReceipt)
}
