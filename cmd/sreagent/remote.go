package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kingpin/v2"
	promconfig "github.com/prometheus/common/config"
	"golang.org/x/term"

	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/sre"
)

// remote is how a command reaches a running agent.
type remote struct {
	url        string
	token      string
	tokenFile  string
	httpConfig string
	output     string
	timeout    time.Duration
}

// remoteFlags adds the flags that every such command has.
func remoteFlags(cmd *kingpin.CmdClause) *remote {
	r := &remote{}
	cmd.Flag("url", "Where the agent's API is.").Default("http://" + defaultListen).Envar("SREAGENT_URL").StringVar(&r.url)
	cmd.Flag("token-file", "File with the API token.").Envar("SREAGENT_TOKEN_FILE").StringVar(&r.tokenFile)
	cmd.Flag("token", "API token; a file or the environment keeps it out of the process list.").Envar("SREAGENT_TOKEN").StringVar(&r.token)
	cmd.Flag("http.config.file", "TLS and authentication of the client, in Prometheus' format.").StringVar(&r.httpConfig)
	cmd.Flag("timeout", "How long to wait for an answer.").Default("1m").DurationVar(&r.timeout)
	cmd.Flag("output", "text or json.").Short('o').Default("text").EnumVar(&r.output, "text", "json")
	return r
}

func (r *remote) client() (*oncall.Client, error) {
	token := r.token
	if r.tokenFile != "" {
		text, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read token: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	hc := &http.Client{Timeout: r.timeout}
	if r.httpConfig != "" {
		cfg, _, err := promconfig.LoadHTTPConfigFile(r.httpConfig)
		if err != nil {
			return nil, fmt.Errorf("read http configuration: %w", err)
		}
		if hc, err = promconfig.NewClientFromConfig(*cfg, "sreagent"); err != nil {
			return nil, fmt.Errorf("http configuration: %w", err)
		}
		hc.Timeout = r.timeout
		if token != "" {
			// The Authorization header may be wanted for basic authentication.
			hc.Transport, token = tokenBeside{hc.Transport, token}, ""
		}
	}
	return oncall.NewClient(r.url, token, hc), nil
}

// tokenBeside sends the API token in a header of its own.
type tokenBeside struct {
	next  http.RoundTripper
	token string
}

func (t tokenBeside) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set(oncall.TokenHeader, t.token)
	return t.next.RoundTrip(req)
}

// show prints data as JSON or by a text renderer.
func show[T any](r *remote, w io.Writer, data T, text func(io.Writer, T) error) error {
	if r.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(data)
	}
	return text(w, data)
}

// width is that of the terminal, 80 where there is none.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return 80
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func style(w io.Writer) oncall.Style {
	if isTerminal(w) && os.Getenv("NO_COLOR") == "" {
		return oncall.Colour
	}
	return oncall.Plain
}

// asked turns the API's errors into exit codes: a refusal is "it does not
// hold", everything else "it could not be tried".
func asked(err error) error {
	var api *oncall.APIError
	if errors.As(err, &api) {
		return failed(err)
	}
	return err
}

func registerIncidents(app *kingpin.Application, commands map[string]command) {
	list := app.Command("incidents", "List incidents.")
	r := remoteFlags(list)
	all := list.Flag("all", "Closed ones too.").Bool()
	commands[list.FullCommand()] = func(ctx context.Context, std streams) error {
		c, err := r.client()
		if err != nil {
			return err
		}
		incidents, err := c.Incidents(ctx, *all)
		if err != nil {
			return asked(err)
		}
		return show(r, std.out, incidents, func(w io.Writer, is []sre.Incident) error {
			return oncall.RenderIncidents(w, is, width(w), time.Now(), style(w))
		})
	}
	registerStatus(app, commands)
}

// paragraph writes text after first, broken between words at the width of the
// terminal, with later lines indented as far as first is long. Where the output
// is no terminal a line stays whole, so that grep finds all of it.
func paragraph(w io.Writer, first, text string) error {
	columns := width(w)
	if !isTerminal(w) {
		columns = math.MaxInt
	}
	indent := min(utf8.RuneCountInString(first), columns/2)
	line := first
	at, fresh := utf8.RuneCountInString(first), true
	var out strings.Builder
	for word := range strings.SplitSeq(text, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case fresh:
		case at+1+n > columns:
			out.WriteString(strings.TrimRight(line, " ") + "\n")
			line, at = strings.Repeat(" ", indent), indent
		default:
			line, at = line+" ", at+1
		}
		line, at, fresh = line+word, at+n, false
	}
	_, err := io.WriteString(w, out.String()+line+"\n")
	return err
}

func registerStatus(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("status", "Show what the agent sees and may do.")
	r := remoteFlags(cmd)
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		c, err := r.client()
		if err != nil {
			return err
		}
		s, err := c.Status(ctx)
		if err != nil {
			return asked(err)
		}
		return show(r, std.out, s, printStatus)
	}
}

func printStatus(w io.Writer, s oncall.Status) error {
	state := "ready"
	if !s.Ready {
		state = "not ready: " + strings.Join(s.NotReady, "; ")
	}
	mode := string(s.Mode)
	if s.DryRun {
		mode += " (dry run)"
	}
	lines := []string{
		state,
		fmt.Sprintf("mode %s, tick %d at %s, epoch %d, warm %.0f %%", mode, s.Tick, s.At.UTC().Format(time.RFC3339), s.Epoch, 100*s.WarmUp),
		fmt.Sprintf("%s, %s, %s, %d waiting for an answer, %s in force", count(s.Services, "service"), count(s.Edges, "edge"),
			count(s.OpenIncidents, "open incident"), s.AwaitingAnswer, count(s.InForce, "mitigation")),
	}
	for _, p := range s.Pauses {
		verb, until := fmt.Sprintf("paused (%s)", p.Name), ""
		if p.Stop {
			verb = "STOPPED"
		}
		if !p.Until.IsZero() {
			until = " until " + p.Until.UTC().Format(time.RFC3339)
		}
		lines = append(lines, fmt.Sprintf("%s by %s since %s%s: %s", verb, p.By, p.Since.UTC().Format(time.RFC3339), until, p.Reason))
	}
	for _, k := range s.Off {
		lines = append(lines, fmt.Sprintf("%s is %g %% off by %s until %s (%s)", k.Name, k.Off, k.By, k.Until.UTC().Format(time.RFC3339), k.Incident))
	}
	for _, line := range lines {
		if err := paragraph(w, "", line); err != nil {
			return err
		}
	}
	return nil
}

// count is a number of things, in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
