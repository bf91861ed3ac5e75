package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/oncall"
)

// folder writes files and returns where they are.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func cli(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = execute(t.Context(), args, streams{in: strings.NewReader(""), out: &o, err: &e})
	return code, o.String(), e.String()
}

func TestMistakesAreNamedAndCounted(t *testing.T) {
	const head = "prometheus: {url: \"http://127.0.0.1:1\"}\nsignals: {preset: guard}\n"
	const pasted = "sreagent_pasted_by_mistake"
	dir := folder(t, map[string]string{
		"topology.yaml": head + "topology: {file: missing.yaml}\n",
		"guard.yaml":    head + "remediators: {guard: {url_template: \"http://{service}:1\", token_file: missing.token}}\n",
		"webhook.yaml":  head + "oncall: {webhooks: [{url: \"http://127.0.0.1:1\", secret_file: missing.secret}]}\n",
		"runbooks.yaml": head + "runbooks: {dir: missing}\n",
		"tokens.yaml":   head + "oncall: {tokens_file: tokens}\n",
		"web.yaml":      "nonsense: 1\n",
		"good.yaml":     head,
		"tokens":        "tokens:\n  - {name: a, role: viewer, hash: " + pasted + "}\ngarbage\n",
	})
	for _, c := range []struct {
		args string
		code int
		want string // in what is said
	}{
		{"check config topology.yaml", exitFailed, "missing.yaml: no such file"},
		{"check config guard.yaml", exitFailed, "remediators.guard.token_file: open"},
		{"check config webhook.yaml", exitFailed, "missing.secret: no such file"},
		{"check config runbooks.yaml", exitFailed, "runbooks.dir: stat"},
		{"check config tokens.yaml", exitFailed, "tokens:3:1: "},
		{"check tokens tokens", exitFailed, "tokens:3:1: "},
		{"check config good.yaml", exitOK, ""},
		{"run --config.file good.yaml --web.config.file web.yaml", exitFailed, "web configuration"},
		{"audit show missing", exitUsage, "audit.dir"},
		{"audit verify missing", exitUsage, "audit.dir"},
		{"audit prove 1 missing", exitUsage, "audit.dir"},
		{"audit verify good.yaml", exitUsage, "is a file"},
		{"audit show --kind nonsense", exitUsage, "one of start,source"},
	} {
		args := strings.Fields(c.args)
		for i, arg := range args {
			if strings.HasSuffix(arg, ".yaml") || arg == "tokens" && i == 2 || arg == "missing" {
				args[i] = filepath.Join(dir, arg)
			}
		}
		code, _, said := cli(t, args...)
		if code != c.code || !strings.Contains(said, c.want) || strings.Contains(said, pasted) {
			t.Errorf("%s: exit %d, want %d, and %q in\n%s", c.args, code, c.code, c.want, said)
		}
	}
}

func TestAFailedStartNamesTheAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	set, cfg := minimal(t)
	set.listen = []string{taken.Addr().String()}
	p := assemble(set, cfg, slog.New(slog.DiscardHandler))
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) || strings.Contains(err.Error(), "dig") {
		t.Errorf("%v", err)
	}
}

func TestATokenIsMadeForPeopleAndPrograms(t *testing.T) {
	code, out, _ := cli(t, "token", "new", "ada", "--role", "approver", "-o", "json")
	var made struct{ Token, Name, Role, Hash string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || code != exitOK {
		t.Fatal(code, err, out)
	}
	tokens, err := oncall.ParseTokens([]byte("tokens:\n  - {name: " + made.Name + ", role: " + made.Role + ", hash: " + made.Hash + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if who, ok := tokens.Authenticate(made.Token); !ok || who != (oncall.Identity{Name: "ada", Role: "approver"}) {
		t.Errorf("%v %v", who, ok)
	}

	_, out, _ = cli(t, "token", "new", "vic")
	lines := slices.DeleteFunc(strings.Split(out, "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
	if tokens, err = oncall.ParseTokens([]byte("tokens:\n" + strings.Join(lines, "\n"))); err != nil || tokens.Len() != 1 {
		t.Errorf("%v in\n%s", err, out)
	}
}

func TestAReloadTellsWhatItLeavesOut(t *testing.T) {
	const head = "prometheus: {url: \"http://127.0.0.1:1\"}\nsignals: {preset: guard}\n"
	dir := folder(t, map[string]string{
		"start":  head + "policy: {mode: ask}\noncall: {tokens_file: a}\n",
		"taken":  head + "policy: {mode: act, timing: {close_after: 1m}}\nrunbooks: {shipped: true}\noncall: {tokens_file: b}\n",
		"fixed":  head + "interval: 5s\nrunbooks: {confidence: {kappa: 9}}\noncall: {tokens_file: a, anonymous_viewer: false}\n",
		"signal": strings.Replace(head, "guard", "red", 1),
	})
	read := func(name string) *loaded {
		cfg, err := loadConfig(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	for name, want := range map[string][]string{
		"start": nil, "taken": nil, "fixed": {"interval", "oncall", "runbooks"}, "signal": {"signals"},
	} {
		if diff := cmp.Diff(want, read(name).needRestart(read("start"))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestParagraphsStayWholeWhereNobodyLooks(t *testing.T) {
	var out bytes.Buffer
	long := strings.Repeat("word ", 100) + "end"
	if err := paragraph(&out, "  ask   mode  ", long); err != nil || out.String() != "  ask   mode  "+long+"\n" {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestATokenGoesBesideBasicAuthentication(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "joe" || password != "pw" || r.Header.Get(oncall.TokenHeader) != "secret" {
			t.Errorf("%v", r.Header)
		}
		_, _ = w.Write([]byte(`{"status": "success", "data": {"reloaded": true}}`))
	}))
	defer server.Close()
	dir := folder(t, map[string]string{"http.yml": "basic_auth: {username: joe, password: pw}\n", "token": "secret\n"})
	code, out, errs := cli(t, "reload", "-o", "json", "--url", server.URL,
		"--http.config.file", filepath.Join(dir, "http.yml"), "--token-file", filepath.Join(dir, "token"))
	if code != exitOK || !json.Valid([]byte(out)) {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}
