package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/runbooks"
)

func registerRunbooks(app *kingpin.Application, commands map[string]command) {
	books := app.Command("runbooks", "Look at runbooks: the shipped ones by name, your own by file or folder.")

	list := books.Command("list", "List runbooks in the order in which they are tried.")
	listDir := list.Arg("path", "Files, or folders of runbooks; the shipped ones where none is given.").Strings()
	listOutput := list.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	commands[list.FullCommand()] = safely(func(_ context.Context, std streams) error {
		return listRunbooks(std.out, *listDir, *listOutput == "json")
	})

	show := books.Command("show", "Describe a runbook for people, in Markdown.")
	shown := show.Arg("runbook", "Name of a shipped runbook, or a file.").Required().String()
	commands[show.FullCommand()] = safely(func(_ context.Context, std streams) error {
		return writeRunbook(std.out, *shown, (*runbooks.Library).Markdown)
	})

	graph := books.Command("graph", "Draw what a runbook does: its steps, branches and ways out.")
	drawn := graph.Arg("runbook", "Name of a shipped runbook, or a file.").Required().String()
	format := graph.Flag("format", "mermaid or svg.").Default("mermaid").Enum("mermaid", "svg")
	commands[graph.FullCommand()] = safely(func(_ context.Context, std streams) error {
		if *format == "svg" {
			return writeRunbook(std.out, *drawn, (*runbooks.Library).SVG)
		}
		return writeRunbook(std.out, *drawn, (*runbooks.Library).Mermaid)
	})

	registerRunbookNew(books, commands)
	registerRunbookDiff(books, commands)

	schema := books.Command("schema", "Print the JSON Schema of runbook files.")
	commands[schema.FullCommand()] = safely(func(_ context.Context, std streams) error {
		text, err := runbooks.Schema()
		if err != nil {
			return err
		}
		_, err = std.out.Write(text)
		return err
	})
}

// writeRunbook writes one runbook in some form.
func writeRunbook(w io.Writer, which string, form func(*runbooks.Library, string) (string, bool)) error {
	library, name, err := oneRunbook(which)
	if err != nil {
		return err
	}
	text, ok := form(library, name)
	if !ok {
		return fmt.Errorf("there is no shipped runbook %q, and no file of that name; allowed: %s", which, strings.Join(runbookNames(library), ", "))
	}
	_, err = io.WriteString(w, text)
	return err
}

// oneRunbook finds a runbook by file, or among the shipped ones by name.
func oneRunbook(which string) (*runbooks.Library, string, error) {
	content, err := os.ReadFile(which)
	if err != nil {
		library, err := loadRunbooks(runbooksConfig{Shipped: true})
		return library, which, err
	}
	library, err := runbooks.LoadTexts(runbooks.Text{File: which, Content: content})
	if err != nil {
		return nil, "", failed(err)
	}
	return library, library.List()[0].Name, nil
}

func runbookNames(l *runbooks.Library) (names []string) {
	for _, info := range l.List() {
		names = append(names, info.Name)
	}
	return names
}

func listRunbooks(w io.Writer, paths []string, asJSON bool) error {
	library, err := loadRunbooks(runbooksConfig{Shipped: true})
	if len(paths) > 0 {
		texts, unread := readRunbooks(paths)
		if unread != nil {
			return unread
		}
		library, err = runbooks.LoadTexts(texts...)
	}
	if err != nil {
		return failed(err)
	}
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(library.List())
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NAME\tPRIORITY\tRISK\tSTEPS\tMECHANISMS") // errors come out of Flush
	for _, r := range library.List() {
		risk := string(r.Risk)
		if risk == "" {
			risk = "high"
		}
		for i, m := range r.Mechanisms {
			if i == 0 {
				_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%s", r.Name, r.Priority, risk, len(r.Steps), m)
			} else {
				_, _ = fmt.Fprintf(t, ", %s", m)
			}
		}
		_, _ = fmt.Fprintln(t)
	}
	return t.Flush()
}
