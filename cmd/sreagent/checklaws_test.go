package main

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sreagent/sreagent/runbooks"
)

func TestCheckNamesUnknownLawsAndParametersWithTheirPlace(t *testing.T) {
	text, err := fs.ReadFile(runbooks.Shipped(), "overload.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for from, c := range map[string]struct{ to, want string }{
		"law: overload": {"law: overlord", `no control law is named "overlord"`},
		"rps: \"":       {"rpm: \"", `parameter "rpm"`},
	} {
		books := folder(t, map[string]string{"overload.yaml": strings.Replace(string(text), from, c.to, 1)})
		dir := folder(t, map[string]string{
			"sreagent.yaml": "prometheus: {url: \"http://127.0.0.1:1\"}\nsignals: {preset: guard}\nrunbooks: {dir: " + books + "}\n" +
				"remediators: {guard: {url_template: \"http://{service}:1\"}}\n",
		})
		code, _, said := cli(t, "check", "config", filepath.Join(dir, "sreagent.yaml"))
		if code != exitFailed || !strings.Contains(said, c.want) {
			t.Errorf("%s: exit %d, want %q in\n%s", c.to, code, c.want, said)
		}
	}
}
