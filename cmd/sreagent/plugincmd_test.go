package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/fx"

	"github.com/sreagent/sreagent/plugins"
	"github.com/sreagent/sreagent/plugins/sdk"
	"github.com/sreagent/sreagent/sre"
)

// asPlugin makes this test binary a plugin that answers as the next argument says.
const asPlugin = "serve-as-plugin"

func init() { //nolint:gochecknoinits // before the tests would run in the plugin's process
	if len(os.Args) > 2 && os.Args[1] == asPlugin {
		sdk.Serve(testPlugin(os.Args[2]))
		os.Exit(0)
	}
}

type testPlugin string

func (testPlugin) Describe(context.Context) (sre.Capability, error) {
	return sre.Capability{Name: "flags", Version: "7", Targets: []string{"shop"}, Kinds: []sre.KindSpec{{
		Kind: sre.KillSwitch, Reversible: true, TTL: true,
		Params: []sre.ParamSpec{{Name: "percent", Type: "number", Required: true, Max: 100, Unit: "percent", Help: "share for which it is off"}},
	}}}, nil
}

func (p testPlugin) Probe(_ context.Context, a sre.Action) (sre.TargetState, error) {
	return sre.TargetState{InEffect: p == "liar", Owner: map[bool]string{true: a.ID}[p == "liar"], Current: sre.Params{"percent": 0.0}}, nil
}

func (testPlugin) Apply(context.Context, sre.Directive) error  { return nil }
func (testPlugin) Revert(context.Context, sre.Directive) error { return nil }

var thisBinary = sync.OnceValues(func() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	return plugins.Digest(path)
})

// pluginConfig writes a configuration with this binary as the plugin.
func pluginConfig(t *testing.T, mode, sum string) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if sum == "" {
		if sum, err = thisBinary(); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "sreagent.yml")
	text := fmt.Sprintf("prometheus: {url: \"http://127.0.0.1:1\", warm_up: 0s}\nsignals: {preset: guard}\ninterval: 1s\npolicy: {timing: {lever_timeout: 1s}}\n"+
		"plugins:\n  - {name: flags, path: %q, sha256: %s, args: [%s, %s], start_timeout: 30s}\n", path, sum, asPlugin, mode)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPluginsAreListedDescribedAndChecked(t *testing.T) {
	good, liar := pluginConfig(t, "honest", ""), pluginConfig(t, "liar", "")
	changed := pluginConfig(t, "honest", strings.Repeat("ab", 32))
	none := filepath.Join(t.TempDir(), "none.yml")
	script := filepath.Join(t.TempDir(), "script")
	for file, text := range map[string]string{
		none:   "prometheus: {url: \"http://127.0.0.1:1\"}\nsignals: {preset: guard}\n",
		script: "#!/bin/sh\necho 'good morning'\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil { //nolint:gosec // one of them is run
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args      []string
		code      int
		out, errs string
	}{
		{[]string{"list", "--config.file", good}, exitOK, "flags  good", ""},
		{[]string{"list", "--config.file", changed}, exitOK, "the configuration wants abab", ""},
		{[]string{"list", "--config.file", none}, exitOK, "no plugins", ""},
		{[]string{"list", "--config.file", none + "x"}, exitFailed, "", "no such file"},
		{[]string{"describe", "flags", "--config.file", good}, exitOK, "0 to 100 percent, required", ""},
		{[]string{"describe", "other", "--config.file", good}, exitUsage, "", `no plugin is named "other"`},
		{[]string{"describe", "flags", "--config.file", changed}, exitFailed, "", "the configuration wants abab"},
		{[]string{"check", "--config.file", good}, exitOK, "probe of kill_switch: read, not in effect", ""},
		{[]string{"check", "--config.file", liar}, exitFailed, "never applied is in effect", "1 of 1 plugins are not good"},
		{[]string{"check", "--config.file", changed}, exitFailed, "the configuration wants abab", "not good"},
		{[]string{"check", self, "--arg", asPlugin, "--arg", "honest"}, exitOK, "flags: good; version 7", ""},
		{[]string{"check", script}, exitFailed, `first line on standard output is "good morning"`, "not good"},
		{[]string{"check", script + "x"}, exitUsage, "", "no such file"},
	} {
		code, out, errs := cli(t, append([]string{"plugins"}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
			t.Errorf("%q: exit %d, want %d\n%s%s", c.args, code, c.code, out, errs)
		}
	}
	if code, _, errs := cli(t, "check", "config", changed); code != exitFailed || !strings.Contains(errs, "plugins[0]: checksum") {
		t.Errorf("exit %d\n%s", code, errs)
	}
	_, out, _ := cli(t, "plugins", "check", "-o", "json", "--config.file", good)
	var reports []pluginReport
	if err := json.Unmarshal([]byte(out), &reports); err != nil || len(reports) != 1 || !reports[0].Good || reports[0].Capability.Version != "7" {
		t.Errorf("%v: %s", err, out)
	}
}

// The daemon starts its plugins, has them as levers, and ends them.
func TestTheDaemonRunsItsPlugins(t *testing.T) {
	file := pluginConfig(t, "honest", "")
	cfg, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	var d daemon
	var l levers
	app := fx.New(wire(settings{configFile: file, listen: []string{"127.0.0.1:0"}}, cfg, slog.New(slog.DiscardHandler), &d, &l))
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	lever := l.byName["flags"]
	if c, err := lever.Describe(t.Context()); err != nil || c.Version != "7" {
		t.Errorf("%+v, %v", c, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(d.Bound.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if !strings.Contains(string(text), `sreagent_plugin_up{plugin="flags"} 1`) {
		t.Error("no sreagent_plugin_up")
	}
	if err := app.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, err = lever.Probe(t.Context(), sre.Action{ID: "a", Kind: sre.KillSwitch})
	if sre.CodeOf(err) != sre.CodeRefused {
		t.Errorf("after the end: %v", err)
	}
}
