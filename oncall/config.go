package oncall

import (
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// DefaultResendInterval is how often a firing alert is sent again to an
// Alertmanager, which forgets alerts that are not repeated.
const DefaultResendInterval = model.Duration(time.Minute)

const minResend = model.Duration(5 * time.Second)

// Config is the section "oncall" of the configuration: who may ask, and who is
// told.
type Config struct {
	ExternalURL     string               `yaml:"external_url,omitempty"` // where people reach this agent; links in alerts point there
	TokensFile      string               `yaml:"tokens_file,omitempty"`  // API tokens; without it nobody can approve over HTTP
	AnonymousViewer bool                 `yaml:"anonymous_viewer"`       // reading needs no token
	Alertmanagers   []AlertmanagerConfig `yaml:"alertmanagers,omitempty"`
	Webhooks        []WebhookConfig      `yaml:"webhooks,omitempty"`
}

// AlertmanagerConfig is one Alertmanager. Each one gets all alerts.
type AlertmanagerConfig struct {
	URL            string                   `yaml:"url"` // base, without /api/v2
	HTTPConfig     *config.HTTPClientConfig `yaml:"http_config,omitempty"`
	ResendInterval model.Duration           `yaml:"resend_interval,omitempty"` // 0 means DefaultResendInterval
}

// WebhookConfig is one receiver of notices as signed JSON.
type WebhookConfig struct {
	URL         string                   `yaml:"url"`
	SecretFile  string                   `yaml:"secret_file,omitempty"` // key of the signature; without it notices are not signed
	HTTPConfig  *config.HTTPClientConfig `yaml:"http_config,omitempty"`
	MinSeverity sre.Severity             `yaml:"min_severity,omitempty"` // empty for all
}

// DefaultConfig returns the configuration of an agent that tells nobody and
// lets everybody read, as Prometheus does.
func DefaultConfig() Config { return Config{AnonymousViewer: true} }

// SetDirectory makes relative file names relative to dir, the folder of the
// configuration file.
func (c *Config) SetDirectory(dir string) {
	c.TokensFile = config.JoinDir(dir, c.TokensFile)
	for i := range c.Alertmanagers {
		c.Alertmanagers[i].HTTPConfig.SetDirectory(dir)
	}
	for i := range c.Webhooks {
		c.Webhooks[i].SecretFile = config.JoinDir(dir, c.Webhooks[i].SecretFile)
		c.Webhooks[i].HTTPConfig.SetDirectory(dir)
	}
}

// Validate returns all that is wrong with the section. It opens no file.
func (c Config) Validate() sre.Faults {
	var faults sre.Faults
	if c.ExternalURL != "" {
		checkURL(&faults, "external_url", c.ExternalURL)
	}
	seen := make(map[string]bool)
	for i, am := range c.Alertmanagers {
		at := sre.Item("alertmanagers", i)
		checkReceiver(&faults, at, am.URL, am.HTTPConfig, seen)
		if am.ResendInterval != 0 && am.ResendInterval < minResend {
			faults.Add(at+".resend_interval", "is "+am.ResendInterval.String(), minResend.String()+" or longer")
		}
	}
	for i, wh := range c.Webhooks {
		at := sre.Item("webhooks", i)
		checkReceiver(&faults, at, wh.URL, wh.HTTPConfig, seen)
		if wh.MinSeverity != "" && wh.MinSeverity.Rank() == 0 {
			faults.Add(at+".min_severity", "unknown severity "+string(wh.MinSeverity), "info, warning, critical")
		}
	}
	return faults
}

func checkReceiver(faults *sre.Faults, at, address string, hc *config.HTTPClientConfig, seen map[string]bool) {
	checkURL(faults, at+".url", address)
	if address != "" && seen[address] {
		faults.Add(at+".url", "stands twice", "one entry per receiver")
	}
	seen[address] = true
	if hc != nil {
		if err := hc.Validate(); err != nil {
			faults.Add(at+".http_config", err.Error(), "")
		}
	}
}

func checkURL(faults *sre.Faults, path, address string) {
	const allowed = "an absolute http or https URL"
	u, err := url.Parse(address)
	switch {
	case address == "":
		faults.Add(path, "is missing", allowed)
	case err != nil:
		// The parser's text repeats the URL, which may hold a password.
		faults.Add(path, "is not a URL", allowed)
	case u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		faults.Add(path, "is not an absolute URL", allowed)
	case u.User != nil:
		faults.Add(path, "holds a user name", "credentials in http_config")
	}
}

func trimSlash(address string) string { return strings.TrimRight(address, "/") }
