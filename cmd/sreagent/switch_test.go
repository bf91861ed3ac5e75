package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/fx"

	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/sre"
)

const switchConfig = `
prometheus: {url: "http://127.0.0.1:1", warm_up: 0s}
signals: {preset: guard}
interval: 1s
policy: {timing: {lever_timeout: 1s}}
oncall: {tokens_file: tokens.yaml}
remediators:
  state_dir: state
  flags:
    - {name: flags, format: flagd, file: flags.json, drill: {cohort: nobody}}
  kill_switches:
    - {name: shop, service: web, level: 4}
    - {name: shop/checkout, service: web, level: 3}
    - {name: shop/checkout/recs, lever: flags, flag: recs, service: web, level: 1, drill: true}
`

const switchFlags = `{"flags":{"recs":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}}}`

// switchRig is a daemon with a flag file and nothing else that answers.
type switchRig struct {
	t   *testing.T
	dir string
	app *fx.App
	url string
}

func startSwitchRig(t *testing.T) *switchRig {
	t.Helper()
	var tokens strings.Builder
	tokens.WriteString("tokens:\n")
	files := map[string]string{"sreagent.yml": switchConfig, "flags.json": switchFlags}
	for _, role := range []sre.Role{sre.Viewer, sre.Operator, sre.Admin} {
		token, err := oncall.NewToken(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		hash, err := oncall.HashToken(rand.Reader, token)
		if err != nil {
			t.Fatal(err)
		}
		files["token."+string(role)] = token
		tokens.WriteString("  - {name: the-" + string(role) + ", role: " + string(role) + ", hash: \"" + hash + "\"}\n")
	}
	files["tokens.yaml"] = tokens.String()
	r := &switchRig{t: t, dir: folder(t, files)}
	r.start()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		r.stop()
	})
	return r
}

func (r *switchRig) start() {
	r.t.Helper()
	path := filepath.Join(r.dir, "sreagent.yml")
	cfg, err := loadConfig(path)
	if err != nil {
		r.t.Fatal(err)
	}
	var d daemon
	r.app = fx.New(wire(settings{configFile: path, listen: []string{"127.0.0.1:0"}}, cfg, slog.New(slog.DiscardHandler), &d))
	if err := r.app.Start(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.url = d.Bound.URL()
	r.wait("a first tick", func() bool { return d.Desk.View() != nil })
}

func (r *switchRig) stop() {
	r.t.Helper()
	if err := r.app.Stop(context.Background()); err != nil {
		r.t.Error(err)
	}
}

func (r *switchRig) wait(what string, done func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: not within a minute", what)
		}
	}
}

func (r *switchRig) cli(role sre.Role, args ...string) (int, string, string) {
	r.t.Helper()
	return cli(r.t, append([]string{"switch"}, append(args, "--url", r.url, "--token-file", filepath.Join(r.dir, "token."+string(role)))...)...)
}

// flags is what a reader of the flags gets over HTTP.
func (r *switchRig) flags() string {
	r.t.Helper()
	token, err := os.ReadFile(filepath.Join(r.dir, "token.viewer"))
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.url+"/api/v1/flags/flags", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("ETag") == "" {
		r.t.Fatalf("%d %v %s", res.StatusCode, err, text)
	}
	return string(text)
}

// held reports whether a flag carries a lease.
func (r *switchRig) held() bool { return strings.Contains(r.flags(), "holds") }

func (r *switchRig) records() []sre.Record {
	r.t.Helper()
	var out []sre.Record
	for rec, err := range audit.ReadDir(filepath.Join(r.dir, "data", "audit")) {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

func TestOperatorsFlipSwitchesThroughTheDaemon(t *testing.T) {
	r := startSwitchRig(t)
	const recs = "shop/checkout/recs"
	if code, _, said := r.cli(sre.Viewer, "off", recs); code != exitFailed || !strings.Contains(said, "forbidden") {
		t.Errorf("a viewer: %d %s", code, said)
	}
	if code, _, said := r.cli(sre.Operator, "off", "shop"); code != exitFailed || !strings.Contains(said, "role admin is needed") || r.held() {
		t.Errorf("an operator on a platform: %d %s", code, said)
	}
	if code, out, said := r.cli(sre.Admin, "off", "shop", "--immediate"); code != exitOK || !strings.Contains(out, "100 % off until") || !r.held() {
		t.Errorf("an admin on a platform: %d %s%s\n%s", code, out, said, r.flags())
	}
	if code, out, said := r.cli(sre.Admin, "on", "shop"); code != exitOK || !strings.Contains(out, "on again") || r.held() {
		t.Errorf("on: %d %s%s\n%s", code, out, said, r.flags())
	}
	if code, out, said := r.cli(sre.Operator, "off", recs, "--percent", "25", "--for", "1h", "-m", "overload"); code != exitOK || !strings.Contains(out, "in stages to 25 %") {
		t.Fatalf("off: %d %s%s", code, out, said)
	}
	r.stop() // in the middle: the next agent goes on with it
	r.start()
	if !r.held() {
		t.Error("the switch went on again with the agent")
	}
	_, out, _ := r.cli(sre.Viewer, "list", "-o", "json")
	var states []oncall.SwitchState
	if err := json.Unmarshal([]byte(out), &states); err != nil || len(states) != 3 || states[2].By != "the-operator" || states[2].Off < 1 || states[2].Off > 25 {
		t.Errorf("%v %s", err, out)
	}
	if _, out, _ = r.cli(sre.Viewer, "list"); !strings.Contains(out, recs) || !strings.Contains(out, "the-operator") {
		t.Errorf("list:\n%s", out)
	}
	if code, out, said := r.cli(sre.Operator, "on", recs); code != exitOK || r.held() {
		t.Errorf("on after a restart: %d %s%s\n%s", code, out, said, r.flags())
	}
	refused := 0
	for _, rec := range r.records() {
		if rec.Operator != nil && rec.Operator.Refused != "" {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d refusals on record, want the operator's one", refused)
	}
}

func TestADrillAndALeaseEndByThemselves(t *testing.T) {
	r := startSwitchRig(t)
	const recs = "shop/checkout/recs"
	code, out, said := r.cli(sre.Operator, "off", recs, "--drill", "-o", "json")
	var inc sre.Incident
	if err := json.Unmarshal([]byte(out), &inc); err != nil || code != exitOK || inc.State != sre.Closed || inc.Order.Seen == "" || r.held() {
		t.Errorf("drill: %d %v %s%s", code, err, out, said)
	}
	if code, out, said = r.cli(sre.Operator, "off", recs, "--immediate", "--for", "3s"); code != exitOK || !strings.Contains(out, "100 % off until") {
		t.Errorf("off: %d %s%s", code, out, said)
	}
	r.wait("the end of the lease", func() bool { return !r.held() })
}
