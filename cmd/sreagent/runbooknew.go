package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

type newFlags struct {
	draft                 runbooks.Draft
	mechanism, kind, risk string
	dir                   string
	force                 bool
}

func registerRunbookNew(books *kingpin.CmdClause, commands map[string]command) {
	cmd := books.Command("new", "Begin a runbook and its test. What no flag says is asked for, where the name is not given.")
	var f newFlags
	cmd.Flag("name", "Of the runbook and of its files.").StringVar(&f.draft.Name)
	cmd.Flag("mechanism", "Which trouble it is for.").StringVar(&f.mechanism)
	cmd.Flag("kind", "Which kind of action it takes.").StringVar(&f.kind)
	cmd.Flag("owner", "Team or person.").StringVar(&f.draft.Owner)
	cmd.Flag("service", "The only service that it is for; any where it is left out.").StringVar(&f.draft.Service)
	cmd.Flag("feature", "Of a kill switch.").StringVar(&f.draft.Feature)
	cmd.Flag("risk", "low, medium or high; what suits the kind where it is left out.").StringVar(&f.risk)
	cmd.Flag("out", "Folder for the two files.").Default(".").StringVar(&f.dir)
	cmd.Flag("force", "Overwrite files that exist.").BoolVar(&f.force)
	commands[cmd.FullCommand()] = safely(func(ctx context.Context, std streams) error { return newRunbook(ctx, std, f) })
}

func newRunbook(ctx context.Context, std streams, f newFlags) error {
	d := f.draft
	d.Mechanism, d.Kind, d.Risk = sre.Mechanism(f.mechanism), sre.ActionKind(f.kind), f.risk
	if d.Name == "" {
		if err := askDraft(ctx, std, &d); err != nil {
			return failed(err)
		}
	}
	if d.Owner == "" {
		d.Owner = "sre"
	}
	if faults := d.Validate(); len(faults) > 0 {
		lines := make([]string, len(faults))
		for i, x := range faults {
			lines[i] = draftFault(x)
		}
		return errors.New(strings.Join(lines, "\n  "))
	}
	book, test, err := d.Files()
	if err != nil {
		return failed(err)
	}
	base := filepath.Join(f.dir, d.Name)
	if err := writeBoth(f.force, base+".yaml", book, base+".test.yaml", test); err != nil {
		return failed(err)
	}
	_, err = fmt.Fprintf(std.out, "%s.yaml\n%s.test.yaml\n", base, base)
	return err
}

func draftFault(x sre.Fault) string {
	return fmt.Sprintf("--%s: %s; allowed: %s", x.Path, x.Problem, x.Allowed)
}

// askDraft asks for what is missing, each until the answer is allowed. Nothing is
// written before the last answer, so an end of input leaves nothing behind.
func askDraft(ctx context.Context, std streams, d *runbooks.Draft) error {
	in := bufio.NewScanner(std.in)
	for _, q := range []struct {
		path, ask, usual string
		take             func(string)
		when             func() bool
	}{
		{"name", "Name of the runbook", "", func(s string) { d.Name = s }, nil},
		{"owner", "Who owns it", "sre", func(s string) { d.Owner = s }, func() bool { return d.Owner == "" }},
		{"mechanism", "Which trouble it is for", string(sre.Overload), func(s string) { d.Mechanism = sre.Mechanism(s) }, func() bool { return d.Mechanism == "" }},
		{"kind", "Which kind of action it takes", string(sre.Shed), func(s string) { d.Kind = sre.ActionKind(s) }, func() bool { return d.Kind == "" }},
		{"feature", "Which feature the kill switch is for", "", func(s string) { d.Feature = s }, func() bool { return d.Kind == sre.KillSwitch && d.Feature == "" }},
		{"service", "Only for this service (empty for any)", "", func(s string) { d.Service = s }, func() bool { return d.Service == "" }},
	} {
		if q.when != nil && !q.when() {
			continue
		}
		for {
			if err := ask(ctx, std.out, in, q.ask, q.usual, q.take); err != nil {
				return err
			}
			bad := false
			for _, x := range d.Validate() {
				if x.Path == q.path {
					bad = true
					_, _ = fmt.Fprintf(std.out, "  %s; allowed: %s\n", safe(x.Problem), x.Allowed)
				}
			}
			if !bad {
				break
			}
		}
	}
	return nil
}

func ask(ctx context.Context, w io.Writer, in *bufio.Scanner, question, usual string, take func(string)) error {
	hint := ""
	if usual != "" {
		hint = " [" + usual + "]"
	}
	if _, err := fmt.Fprintf(w, "%s%s: ", question, hint); err != nil {
		return err
	}
	more := make(chan bool, 1)
	go func() { more <- in.Scan() }()
	select {
	case <-ctx.Done():
		return errors.New("stopped: nothing was written")
	case ok := <-more:
		if !ok {
			return errors.Join(errors.New("the answers ended: nothing was written"), in.Err())
		}
	}
	answer := strings.TrimSpace(in.Text())
	if answer == "" {
		answer = usual
	}
	take(answer)
	return nil
}

// writeBoth writes two files or none.
func writeBoth(force bool, first string, one []byte, second string, two []byte) error {
	if !force {
		for _, path := range []string{first, second} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s exists already; --force overwrites it", path)
			}
		}
	}
	if err := writeFile(first, func(w io.Writer) error { _, err := w.Write(one); return err }); err != nil {
		return err
	}
	err := writeFile(second, func(w io.Writer) error { _, err := w.Write(two); return err })
	if err != nil && !force {
		err = errors.Join(err, os.Remove(first))
	}
	return err
}
