package remediators

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// poolTool is a small program as operators write them: it keeps the size of a
// pool in a file and can be told to misbehave by other files beside it.
const poolTool = `
cd "$1" || exit 99
test -e stall && exec sleep 3600
case "$2" in
read) test -e size && size=$(cat size) || size=0
	echo "{\"current\": {\"size\": $size}, \"detail\": \"pool $3\"}"
	exit 0;;
write) echo "$4" > size; echo x >> writes;;
reset) rm -f size; echo x >> writes;;
esac
test -e cut && kill -9 $$
exit 0
`

type pool struct{ dir, script string }

func newPool(t *testing.T) pool {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("there is no /bin/sh to be the program")
	}
	p := pool{dir: t.TempDir()}
	p.script = p.put(t, "tool.sh", poolTool)
	return p
}

func (p pool) put(t *testing.T, name, content string) string {
	path := filepath.Join(p.dir, name)
	must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func (p pool) drop(t *testing.T, name string) {
	if err := os.Remove(filepath.Join(p.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func (p pool) read(name string) string {
	b, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		return "0"
	}
	return strings.TrimSpace(string(b))
}

func poolAction(id string, size float64) sre.Action {
	return sre.Action{
		ID: id, Kind: sre.Scale, TTL: time.Minute,
		Target: sre.Target{Lever: "pool", Service: "shop"}, Params: sre.Params{"size": size},
	}
}

func (p pool) config(t *testing.T, probed bool) Config {
	form := func(args ...string) *ExecCommand {
		return &ExecCommand{Argv: append([]string{"/bin/sh", p.script, p.dir}, args...)}
	}
	c := ExecConfig{
		Name: "pool", Env: map[string]string{"PATH": "/usr/bin:/bin"}, ExitCodes: ExecExitCodes{Invalid: []int{11}, Refused: []int{10}, Failed: []int{12}},
		Schema: SchemaConfig{Kind: sre.Scale, Services: []string{"shop"}, Params: []ParamConfig{
			{Name: "size", Type: "number", Required: true, Min: 0, Max: 50, Unit: "workers"},
			{Name: "zone", Type: "string", Help: "where"},
		}},
		Apply: *form("write", "{service}", "{params.size}"), Revert: form("reset", "{service}"),
	}
	if probed {
		c.Probe = form("read", "{service}")
		c.Revert = form("write", "{service}", "{restore.size}")
	}
	cfg := DefaultConfig()
	cfg.StateDir = filepath.Join(t.TempDir(), "levers")
	cfg.Exec = []ExecConfig{c}
	return cfg
}

func execSubject(t *testing.T, probed bool) *subject {
	p := newPool(t)
	s := leasedSubject(t, p.config(t, probed), poolAction("inc-1.scale.1", 5), poolAction("inc-2.scale.1", 9), "size")
	s.recorded = !probed
	s.inForce = func() string { return p.read("size") }
	s.writes = func() int {
		if n := p.read("writes"); n != "0" {
			return len(strings.Fields(n))
		}
		return 0
	}
	s.cut = func() { p.put(t, "cut", "") }
	s.stall = func() { p.put(t, "stall", "") }
	s.mend = func() { p.drop(t, "cut"); p.drop(t, "stall") }
	return s
}

// runs opens a lever whose apply is the given script.
func runs(t *testing.T, script string, change func(*ExecConfig)) *leasedLever {
	p := newPool(t)
	cfg := p.config(t, false)
	cfg.Exec[0].Apply.Argv = []string{"/bin/sh", p.put(t, "apply.sh", script), p.dir, "{params.size}"}
	if change != nil {
		change(&cfg.Exec[0])
	}
	return openLeased(t, cfg, testTime)
}

func poolDirective(seq uint64) sre.Directive { return hookDirective(poolAction("a", 5), seq) }

func TestExecEndsAreCodes(t *testing.T) {
	cases := map[string]struct {
		script string
		want   sre.Code
		reason string
	}{
		"success":     {"exit 0", "", ""},
		"refused":     {"echo no room >&2; exit 10", sre.CodeRefused, "no room"},
		"invalid":     {"echo what; exit 11", sre.CodeInvalid, "what"},
		"failed":      {"exit 12", sre.CodeFailed, "12"},
		"other":       {"exit 1", sre.CodeUnknown, "exit status 1"},
		"killed":      {"kill -9 $$", sre.CodeUnknown, "killed"},
		"the end":     {"i=0; while [ $i -lt 2000 ]; do echo 0123456789; i=$((i+1)); done >&2; echo reason >&2; exit 10", sre.CodeRefused, "reason"},
		"not UTF-8":   {`printf '\377' >&2; exit 10`, sre.CodeRefused, "?"},
		"environment": {`test "$(env | grep -v '^PATH=\|^PWD=\|^_=\|^SHLVL=\|^OLDPWD=')" = "" || exit 1`, "", ""},
		"folder":      {`test "$(pwd)" = / || exit 1`, "", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SREAGENT_SECRET", "must not be passed on")
			l := runs(t, c.script, func(e *ExecConfig) { e.MaxOutput = 1000 })
			err := l.Apply(t.Context(), poolDirective(1))
			wantCode(t, err, c.want)
			if err != nil && (!strings.Contains(err.Error(), c.reason) || len(err.Error()) > 400) {
				t.Errorf("%v, want %q in it and not much else", err, c.reason)
			}
		})
	}
}

// A program that hangs is killed with its children, and nothing is claimed.
func TestExecKillsTheGroup(t *testing.T) {
	l := runs(t, `exec 3> "$1/open"; sleep 3600 & echo started >&3; wait`, nil)
	path := filepath.Join(l.driver.(*command).cfg.Apply.Argv[2], "open")
	must(t, syscall.Mkfifo(path, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- l.Apply(ctx, poolDirective(1)) }()
	pipe, err := os.Open(path) // waits for the program to open it too
	must(t, err)
	defer func() { _ = pipe.Close() }()
	if _, err := io.ReadFull(pipe, make([]byte, len("started\n"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	wantCode(t, <-done, sre.CodeUnknown)
	// The pipe ends when the last process that holds it is gone: the child too.
	must(t, pipe.SetReadDeadline(time.Now().Add(time.Minute)))
	if _, err := io.ReadAll(pipe); err != nil {
		t.Errorf("the child lives on: %v", err)
	}
}

func TestExecChecksum(t *testing.T) {
	b, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skip("there is no /bin/sh to be the program")
	}
	sum := sha256.Sum256(b)
	good := runs(t, "exit 0", func(e *ExecConfig) { e.Apply.SHA256 = hex.EncodeToString(sum[:]) })
	must(t, good.Apply(t.Context(), poolDirective(1)))
	bad := runs(t, "exit 0", func(e *ExecConfig) { e.Apply.SHA256 = strings.Repeat("0", 64) })
	wantCode(t, bad.Apply(t.Context(), poolDirective(1)), sre.CodeRefused)
	gone := runs(t, "exit 0", func(e *ExecConfig) { e.Apply.Argv = []string{"/nowhere/tool"} })
	wantCode(t, gone.Apply(t.Context(), poolDirective(1)), sre.CodeFailed)
}

func TestExecNoShell(t *testing.T) {
	form := ExecCommand{Argv: []string{"/t", "{params.zone}", "{service}", "{params.size}", "{expires}", "{epoch}", "{id}"}}
	o := orderOf(opApply, hookDirective(sre.Action{
		ID: "a", Target: sre.Target{Service: "shop"}, Params: sre.Params{"zone": "a b; rm -rf / $(x) *", "size": -2.0},
	}, 1))
	got, err := arguments(form, o)
	must(t, err)
	want := []string{"/t", "a b; rm -rf / $(x) *", "shop", "-2", "2026-03-01T12:01:00Z", "5", "a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("arguments:\n%s", diff)
	}
	for name, p := range map[string]sre.Params{"option": {"zone": "--all", "size": 1.0}, "missing": {"size": 1.0}, "empty": {"zone": "", "size": 1.0}} {
		o.action.Params = p
		_, err := arguments(form, o)
		if sre.CodeOf(err) != sre.CodeInvalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

func TestExecProbeAnswers(t *testing.T) {
	for name, script := range map[string]string{
		"nothing":    "exit 0",
		"no JSON":    "echo hello",
		"no current": "echo '{}'",
		"wrong type": `echo '{"current": {"size": "many"}}'`,
		"flood":      "yes '{}' | head -c 200000",
		"failure":    "exit 3",
	} {
		t.Run(name, func(t *testing.T) {
			l := runs(t, "exit 0", func(e *ExecConfig) {
				path := filepath.Join(filepath.Dir(e.Apply.Argv[1]), "probe.sh")
				must(t, os.WriteFile(path, []byte(script), 0o600))
				e.Probe = &ExecCommand{Argv: []string{"/bin/sh", path}}
			})
			_, err := l.Probe(t.Context(), poolAction("a", 5))
			wantCode(t, err, sre.CodeFailed)
			wantCode(t, l.Apply(t.Context(), poolDirective(1)), sre.CodeFailed)
		})
	}
}

func TestExecManual(t *testing.T) {
	l := runs(t, "exit 0", func(e *ExecConfig) {
		e.Env["TOKEN"] = "hunter2"
		e.Revert = &ExecCommand{Argv: []string{"/usr/local/bin/pool", "reset", "{service}"}}
	})
	if diff := cmp.Diff(`cd '/' && env -i PATH="$PATH" TOKEN="$TOKEN" '/usr/local/bin/pool' 'reset' 'shop'`, l.Manual(poolAction("a", 5), nil)); diff != "" {
		t.Errorf("the command for people:\n%s", diff)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	out := &tail{limit: 4}
	for _, s := range []string{"", "ab", "cd", "e", "fghijkl", "m"} {
		if n, err := out.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if string(out.kept) != "jklm" || !out.cut {
		t.Errorf("kept %q, cut %t", out.kept, out.cut)
	}
}

func TestExecFaults(t *testing.T) {
	cases := map[string]struct {
		change func(*ExecConfig)
		want   string
	}{
		"relative program": {func(c *ExecConfig) { c.Apply.Argv[0] = "sh" }, "exec[0].apply.argv"},
		"climbing program": {func(c *ExecConfig) { c.Apply.Argv[0] = "/bin/../sh" }, "exec[0].apply.argv"},
		"no program":       {func(c *ExecConfig) { c.Apply.Argv = nil }, "exec[0].apply.argv"},
		"mixed":            {func(c *ExecConfig) { c.Apply.Argv[1] = "--size={params.size}" }, "exec[0].apply.argv[1]"},
		"placeholder":      {func(c *ExecConfig) { c.Apply.Argv[1] = "{secret}" }, "exec[0].apply.argv[1]"},
		"parameter":        {func(c *ExecConfig) { c.Apply.Argv[1] = "{params.colour}" }, "exec[0].apply.argv[1]"},
		"pre-state":        {func(c *ExecConfig) { c.Probe = nil }, "exec[0].revert.argv[5]"},
		"checksum":         {func(c *ExecConfig) { c.Apply.SHA256 = "12" }, "exec[0].apply.sha256"},
		"dir":              {func(c *ExecConfig) { c.Dir = "x" }, "exec[0].dir"},
		"env":              {func(c *ExecConfig) { c.Env["A=B"] = "" }, "exec[0].env.A=B"},
		"timeout":          {func(c *ExecConfig) { c.Timeout = -1 }, "exec[0].timeout"},
		"output":           {func(c *ExecConfig) { c.MaxOutput = 1 << 21 }, "exec[0].max_output"},
		"exit code":        {func(c *ExecConfig) { c.ExitCodes.Failed = []int{0} }, "exec[0].exit_codes.failed[0]"},
		"exit code twice":  {func(c *ExecConfig) { c.ExitCodes.Failed = []int{10} }, "exec[0].exit_codes.failed[0]"},
		"name":             {func(c *ExecConfig) { c.Name = "" }, "exec[0].name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := newPool(t).config(t, true)
			if faults := cfg.Validate(); len(faults) > 0 {
				t.Fatal(faults)
			}
			c.change(&cfg.Exec[0])
			_, err := New(cfg, Options{})
			var faults sre.Faults
			if !errors.As(err, &faults) || faults[0].Path != c.want {
				t.Errorf("New says %v, want a fault of %s", err, c.want)
			}
		})
	}
}
