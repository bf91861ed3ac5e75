package remediators

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// pipeGrace is how long the output of a program that has ended may be held open
// by what it started, before the pipes are closed and the group is killed.
const pipeGrace = time.Second

// command is the driver of one program. The ledger's lock, which the lever
// holds meanwhile, lets one program run at a time.
type command struct {
	cfg ExecConfig
	env []string
}

func newCommand(c ExecConfig) *command {
	e := &command{cfg: c, env: []string{}} // not nil, which would pass on the agent's own
	for _, name := range sortedKeys(c.Env) {
		e.env = append(e.env, name+"="+c.Env[name])
	}
	return e
}

func (c *command) apply(ctx context.Context, o order) error {
	_, err := c.run(ctx, c.cfg.Apply, o)
	return err
}

func (c *command) revert(ctx context.Context, o order) error {
	_, err := c.run(ctx, *c.cfg.Revert, o)
	return err
}

func (c *command) observe(ctx context.Context, o order) (*observed, error) {
	if c.cfg.Probe == nil {
		return nil, nil //nolint:nilnil // nothing to read is no mistake; the interface says so
	}
	out, err := c.run(ctx, *c.cfg.Probe, o)
	if err != nil {
		return nil, err
	}
	if out.cut {
		return nil, fmt.Errorf("the probe printed more than %d bytes", c.cfg.maxOutput())
	}
	var doc struct {
		Current sre.Params `json:"current"`
		Epoch   uint64     `json:"epoch"`
		Detail  string     `json:"detail"`
	}
	if err := json.Unmarshal(out.kept, &doc); err != nil {
		return nil, fmt.Errorf("the probe printed no JSON: %w", err)
	}
	if doc.Current == nil {
		return nil, errors.New(`the probe printed no "current"`)
	}
	return &observed{current: doc.Current, epoch: doc.Epoch, detail: shorten(doc.Detail)}, nil
}

// arguments fills the placeholders in. A value never becomes an option.
func arguments(form ExecCommand, o order) ([]string, error) {
	out := make([]string, 0, len(form.Argv))
	for i, arg := range form.Argv {
		m := placeholder.FindStringSubmatch(arg)
		if m == nil || i == 0 {
			out = append(out, arg)
			continue
		}
		value, number, err := fill(m[1], m[2], o)
		switch {
		case err != nil:
			return nil, err
		case value == "":
			return nil, sre.Invalidf("%s is empty, and the command needs it", arg)
		case strings.HasPrefix(value, "-") && !number:
			return nil, sre.Invalidf("%s is %q, which a program would read as an option", arg, value)
		case strings.ContainsRune(value, 0):
			return nil, sre.Invalidf("%s holds a zero byte", arg)
		}
		out = append(out, value)
	}
	return out, nil
}

// fill returns the value of a placeholder, and whether it is a number.
func fill(holder, param string, o order) (value string, number bool, err error) {
	t := o.action.Target
	switch holder {
	case "id":
		return o.action.ID, false, nil
	case "service":
		return t.Service, false, nil
	case "callee":
		return t.Callee, false, nil
	case "name":
		return t.Name, false, nil
	case "epoch":
		return strconv.FormatUint(o.epoch, 10), true, nil
	case "seq":
		return strconv.FormatUint(o.seq, 10), true, nil
	case "expires":
		return o.expires.UTC().Format(time.RFC3339), false, nil
	}
	from := o.action.Params
	if holder == "restore" {
		from = o.restore
	}
	v, given := from[param]
	if !given {
		return "", false, sre.Invalidf("%s.%s is not known, and the command needs it", holder, param)
	}
	if f, ok := from.Float(param); ok {
		return strconv.FormatFloat(f, 'f', -1, 64), true, nil
	}
	return fmt.Sprint(v), false, nil
}

// run starts the program and waits for it, its children included.
func (c *command) run(ctx context.Context, form ExecCommand, o order) (*tail, error) {
	argv, err := arguments(form, o)
	if err != nil {
		return nil, err
	}
	if err := checkSum(argv[0], form.SHA256); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.timeout())
	defer cancel()
	stdout, stderr := &tail{limit: c.cfg.maxOutput()}, &tail{limit: c.cfg.maxOutput()}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = c.env, c.cfg.Dir, stdout, stderr, pipeGrace
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		return nil, &sre.ActionError{Code: sre.CodeFailed, Reason: "the program did not start", Err: err}
	}
	if cmd.Wait() != nil {
		// It failed, or something holds its pipes still: what is of its group ends
		// with it, as nobody knows of it any more.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if ctx.Err() != nil && !cmd.ProcessState.Exited() {
		return nil, sre.Unknownf(ctx.Err(), "the program was killed at its time limit")
	}
	return stdout, c.classify(cmd.ProcessState, stderr, stdout)
}

// classify turns the end of a program into what is known.
func (c *command) classify(end *os.ProcessState, stderr, stdout *tail) error {
	said := stderr.kept
	if len(bytes.TrimSpace(said)) == 0 {
		said = stdout.kept
	}
	reason := shorten(strings.ToValidUTF8(string(bytes.TrimSpace(said)), "?"))
	code := end.ExitCode()
	switch {
	case code == 0:
		return nil
	case slices.Contains(c.cfg.ExitCodes.Invalid, code):
		return sre.Invalidf("the program ended with %d: %s", code, reason)
	case slices.Contains(c.cfg.ExitCodes.Refused, code):
		return sre.Refusedf("the program ended with %d: %s", code, reason)
	case slices.Contains(c.cfg.ExitCodes.Failed, code):
		return sre.Failedf("the program ended with %d: %s", code, reason)
	}
	return sre.Unknownf(errors.New(end.String()), "the program ended without a known answer: %s", reason)
}

// shorten keeps the end of what a program said, where the reason usually stands.
func shorten(s string) string {
	s = words(s)
	if r := []rune(s); len(r) > 200 {
		s = "..." + string(r[len(r)-200:])
	}
	return s
}

// checkSum holds the program against its checksum: it guards against an upgrade
// that nobody has looked at. The folder's owner guards against an attacker.
func checkSum(path, want string) error {
	if want == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "the program did not start", Err: err}
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "the program cannot be read", Err: err}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(got, want) {
		return sre.Refusedf("the checksum of %s is %s, not that of the configuration", path, got)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	limit int
	kept  []byte
	cut   bool
}

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > t.limit {
		p, t.cut = p[len(p)-t.limit:], true
	}
	if over := len(t.kept) + len(p) - t.limit; over > 0 {
		t.kept, t.cut = append(t.kept[:0], t.kept[over:]...), true
	}
	t.kept = append(t.kept, p...)
	return n, nil
}

// manual is the command line itself, in the program's environment.
func (c *command) manual(o order) string {
	argv, err := arguments(*c.cfg.Revert, o)
	if err != nil {
		return "# the command to undo it cannot be written: " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	dir := c.cfg.Dir
	if dir == "" {
		dir = "/"
	}
	// The values of the environment may be secrets: whoever runs this brings them.
	words := []string{"cd", shellQuote(dir), "&&", "env", "-i"}
	for _, name := range sortedKeys(c.cfg.Env) {
		words = append(words, name+`="$`+name+`"`)
	}
	for _, arg := range argv {
		words = append(words, shellQuote(arg))
	}
	return strings.Join(words, " ")
}
