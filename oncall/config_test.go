package oncall

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// decode reads a section as cmd does: strict, over the defaults.
func decode(text string) (Config, error) {
	cfg := DefaultConfig()
	err := decodeStrict([]byte(text), &cfg)
	return cfg, err
}

const fullConfig = `
external_url: https://sre.example.com/agent
tokens_file: tokens.yaml
anonymous_viewer: false
alertmanagers:
  - url: http://am-1:9093
  - url: https://am-2:9093/prefix
    resend_interval: 30s
    http_config:
      basic_auth: {username: agent, password_file: am.password}
      tls_config: {ca_file: ca.pem}
webhooks:
  - url: https://hooks.example.com/in
    secret_file: hook.secret
    min_severity: critical
    http_config:
      authorization: {credentials_file: hook.token}
`

func TestConfigDecodes(t *testing.T) {
	cfg, err := decode(fullConfig)
	if err != nil {
		t.Fatal(err)
	}
	if faults := cfg.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	if cfg.AnonymousViewer || len(cfg.Alertmanagers) != 2 || time.Duration(cfg.Alertmanagers[1].ResendInterval) != 30*time.Second {
		t.Errorf("%+v", cfg)
	}
	hc := cfg.Alertmanagers[1].HTTPConfig
	if hc.BasicAuth.Username != "agent" || !hc.FollowRedirects || !hc.EnableHTTP2 {
		t.Errorf("http_config lost its defaults: %+v", hc)
	}
	cfg.SetDirectory("/etc/sreagent")
	got := []string{cfg.TokensFile, hc.BasicAuth.PasswordFile, hc.TLSConfig.CAFile, cfg.Webhooks[0].SecretFile, cfg.Webhooks[0].HTTPConfig.Authorization.CredentialsFile}
	var want []string
	for _, name := range []string{"tokens.yaml", "am.password", "ca.pem", "hook.secret", "hook.token"} {
		want = append(want, filepath.Join("/etc/sreagent", name))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultConfigReadsFreelyAndTellsNobody(t *testing.T) {
	cfg, err := decode("{}")
	if err != nil || !cfg.AnonymousViewer || len(cfg.Validate()) > 0 {
		t.Errorf("%+v %v", cfg, err)
	}
	cfg.SetDirectory("/etc")
	if cfg.TokensFile != "" {
		t.Errorf("no file became %q", cfg.TokensFile)
	}
}

func TestConfigRefusesUnknownKeys(t *testing.T) {
	for _, text := range []string{
		"token_file: x",
		"webhooks: [{url: 'http://x', secret: y}]",
		"alertmanagers: [{url: 'http://x', http_config: {basic_aut: {}}}]",
	} {
		if cfg, err := decode(text); err == nil {
			t.Errorf("%s: taken as %+v", text, cfg)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"external_url: sre.example.com", []string{"external_url: is not an absolute URL; allowed: an absolute http or https URL"}},
		{"alertmanagers: [{}]", []string{"alertmanagers[0].url: is missing; allowed: an absolute http or https URL"}},
		{"alertmanagers: [{url: 'http://a b'}]", []string{"alertmanagers[0].url: is not a URL; allowed: an absolute http or https URL"}},
		{"alertmanagers: [{url: 'unix:///x'}]", []string{"alertmanagers[0].url: is not an absolute URL; allowed: an absolute http or https URL"}},
		{"webhooks: [{url: 'http://u:p@x'}]", []string{"webhooks[0].url: holds a user name; allowed: credentials in http_config"}},
		{"alertmanagers: [{url: 'http://x'}, {url: 'http://x', resend_interval: 1s}]", []string{
			"alertmanagers[1].url: stands twice; allowed: one entry per receiver",
			"alertmanagers[1].resend_interval: is 1s; allowed: 5s or longer",
		}},
		{"webhooks: [{url: 'http://x', min_severity: fatal}]", []string{"webhooks[0].min_severity: unknown severity fatal; allowed: info, warning, critical"}},
	} {
		cfg, err := decode(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		var got []string
		for _, f := range cfg.Validate() {
			got = append(got, f.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
	}
	// What http_config itself finds wrong is found on decoding, or by Validate
	// where it was built in code.
	if _, err := decode("webhooks: [{url: 'http://x', http_config: {basic_auth: {password: a, password_file: b}}}]"); err == nil {
		t.Error("two passwords are taken")
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(fullConfig)
	f.Add("alertmanagers: [{}]")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := decode(text)
		if err != nil || len(cfg.Validate()) > 0 {
			return
		}
		for _, am := range cfg.Alertmanagers {
			if !strings.HasPrefix(strings.ToLower(am.URL), "http") {
				t.Fatalf("taken: %q", am.URL)
			}
		}
	})
}
