package remediators

import (
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// guardName is the lever name of the guard; every guard is moved by one lever.
const guardName = "guard"

// servicePlaceholder is replaced by the target's service in a URL template.
const servicePlaceholder = "{service}"

// defaultTimeout bounds one request to a guard and one command to HAProxy.
const defaultTimeout = time.Second

// Config is the remediators section of the configuration file. The zero value
// has no lever.
type Config struct {
	// StateDir is the folder of the ledgers, which record what HAProxy cannot
	// hold itself: owner, pre-state and expiry.
	StateDir string          `yaml:"state_dir"`
	Guard    GuardConfig     `yaml:"guard"`
	HAProxy  []HAProxyConfig `yaml:"haproxy"`
	Webhook  []WebhookConfig `yaml:"webhook"`
	Exec     []ExecConfig    `yaml:"exec"`
	// Flags are the feature flag systems, KillSwitches the tree of what may be
	// switched off there.
	Flags        []FlagsConfig `yaml:"flags"`
	KillSwitches SwitchTree    `yaml:"kill_switches"`
}

// GuardConfig says where the guards are. The lever exists when there is a
// target or a template.
type GuardConfig struct {
	Targets     []GuardTarget               `yaml:"targets"`
	URLTemplate string                      `yaml:"url_template"` // with {service}; for services that targets does not name
	TokenFile   string                      `yaml:"token_file"`   // bearer token, read again at each request
	HTTP        promconfig.HTTPClientConfig `yaml:"http_config"`
	Timeout     model.Duration              `yaml:"timeout"` // of one request
}

// GuardTarget is the control address of one service's guard.
type GuardTarget struct {
	Service string `yaml:"service"`
	URL     string `yaml:"url"`
}

// HAProxyConfig is one HAProxy process.
type HAProxyConfig struct {
	Name     string                    `yaml:"name"`    // lever name that targets use
	Socket   string                    `yaml:"socket"`  // unix:/path or tcp:host:port, level admin
	Timeout  model.Duration            `yaml:"timeout"` // of one command; 0 means 1s
	Backends map[string]HAProxyBackend `yaml:"backends"`
	// AdmitMap is the map file as HAProxy names it; without one, classes
	// cannot be shed.
	AdmitMap string `yaml:"admit_map"`
	// AdmitKey is the map key of one class, with {backend} and {priority};
	// empty means {backend}.{priority}.
	AdmitKey string `yaml:"admit_key"`
	// RuntimeOnly leaves the map file alone, for a HAProxy whose files this
	// process cannot write. What a restart of HAProxy undoes, the next sweep
	// sets again.
	RuntimeOnly bool `yaml:"runtime_only"`
	// StateFile is HAProxy's server-state-file; weights and server states are
	// written there too, so that a start of HAProxy finds them. Empty leaves
	// them to the next sweep.
	StateFile string `yaml:"state_file"`
}

// HAProxyBackend is the backend that serves one service.
type HAProxyBackend struct {
	Backend string   `yaml:"backend"`
	Servers []string `yaml:"servers"` // servers that may be moved; empty for all
	// ServerRPS is what a server can take, in requests per second; a shift that
	// would give it more is refused. Without it HAProxy's maxconn counts, and
	// without that the highest rate that the server has had.
	ServerRPS map[string]float64 `yaml:"server_rps"`
	// SlowStart is how long a server that returns takes to get its whole weight
	// back; 0 gives it back at once.
	SlowStart model.Duration `yaml:"slow_start"`
}

// DefaultConfig returns the configuration that a file is read over.
func DefaultConfig() Config {
	return Config{
		StateDir: "data/levers",
		Guard: GuardConfig{
			HTTP:    promconfig.DefaultHTTPClientConfig,
			Timeout: model.Duration(defaultTimeout),
		},
	}
}

func (c GuardConfig) enabled() bool { return len(c.Targets) > 0 || c.URLTemplate != "" }

var (
	leverName   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	serviceName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$`)
	// proxyWord is what may stand in a Runtime API command without quoting:
	// no blank, semicolon, backslash or line end can smuggle in a second one.
	proxyWord = regexp.MustCompile(`^[A-Za-z0-9_.:/@+-]{1,255}$`)
)

// Validate returns every fault of the section.
func (c Config) Validate() sre.Faults {
	var f sre.Faults
	f.Under("guard", c.Guard.validate())
	if len(c.HAProxy) > 0 && c.StateDir == "" {
		f.Add("state_dir", "is empty", "a folder for the ledgers of the HAProxy levers")
	}
	seen := map[string]bool{guardName: true}
	for i, h := range c.HAProxy {
		path := sre.Item("haproxy", i)
		f.Under(path, h.validate())
		if seen[h.Name] {
			f.Add(path+".name", "is taken by another lever", "a name of its own")
		}
		seen[h.Name] = true
	}
	c.validateLeased(&f, seen)
	f.Under("", c.validateFlags(seen))
	return f
}

func (c GuardConfig) validate() sre.Faults {
	var f sre.Faults
	seen := map[string]bool{}
	for i, t := range c.Targets {
		path := sre.Item("targets", i)
		if !serviceName.MatchString(t.Service) {
			f.Add(path+".service", "is not a service name", serviceName.String())
		}
		if seen[t.Service] {
			f.Add(path+".service", "appears twice", "one URL per service")
		}
		seen[t.Service] = true
		if !validURL(t.URL) {
			f.Add(path+".url", "is not a URL of a guard", "http://host:port or https://host:port")
		}
	}
	if c.URLTemplate != "" && (!strings.Contains(c.URLTemplate, servicePlaceholder) ||
		!validURL(strings.ReplaceAll(c.URLTemplate, servicePlaceholder, "a"))) {
		f.Add("url_template", "is not a URL with "+servicePlaceholder, "such as http://{service}:9901")
	}
	if c.Timeout <= 0 {
		f.Add("timeout", "is not above zero", "a duration such as 1s")
	}
	if c.TokenFile != "" && (c.HTTP.Authorization != nil || c.HTTP.BasicAuth != nil || c.HTTP.OAuth2 != nil) {
		f.Add("token_file", "stands beside another credential in http_config", "one of the two")
	}
	http := c.HTTP // Validate moves fields about
	if err := http.Validate(); err != nil {
		f.Add("http_config", err.Error(), "")
	}
	return f
}

func validURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		u.RawQuery == "" && u.Fragment == "" && u.User == nil
}

func (c HAProxyConfig) validate() sre.Faults {
	var f sre.Faults
	if !leverName.MatchString(c.Name) {
		f.Add("name", "is not a lever name", leverName.String())
	}
	if _, _, ok := c.address(); !ok {
		f.Add("socket", "is not an address", "unix:/path or tcp:host:port")
	}
	if c.Timeout < 0 {
		f.Add("timeout", "is negative", "a duration such as 1s")
	}
	if c.AdmitMap != "" && !proxyWord.MatchString(c.AdmitMap) {
		f.Add("admit_map", "holds characters that a command cannot carry", proxyWord.String())
	}
	if c.AdmitMap != "" && !c.RuntimeOnly && !filepath.IsAbs(c.AdmitMap) {
		f.Add("admit_map", "is not an absolute path", "the path as in HAProxy's configuration, or runtime_only")
	}
	if c.AdmitKey != "" && (!strings.Contains(c.AdmitKey, "{priority}") || !proxyWord.MatchString(c.admitKey("b", "p"))) {
		f.Add("admit_key", "is not a key with {priority}", "such as {backend}.{priority}")
	}
	if c.AdmitKey != "" && len(c.Backends) > 1 && !strings.Contains(c.AdmitKey, "{backend}") {
		f.Add("admit_key", "is the same for several backends", "a key with {backend}")
	}
	if c.StateFile != "" && !filepath.IsAbs(c.StateFile) {
		f.Add("state_file", "is not an absolute path", "the path of server-state-file in HAProxy's configuration")
	}
	f.Under("backends", c.validateBackends())
	return f
}

func (c HAProxyConfig) validateBackends() sre.Faults {
	var f sre.Faults
	if len(c.Backends) == 0 {
		f.Add("", "is empty", "service: {backend: name}")
	}
	owner := map[string]string{}
	for _, service := range c.services() {
		b := c.Backends[service]
		if !proxyWord.MatchString(b.Backend) || strings.Contains(b.Backend, "/") {
			f.Add(service+".backend", "is not a backend name", "a name as in HAProxy's configuration")
		}
		if other, taken := owner[b.Backend]; taken {
			f.Add(service+".backend", "already serves "+other, "one service per backend")
		}
		owner[b.Backend] = service
		for _, s := range slices.Sorted(maps.Keys(b.ServerRPS)) {
			if rps := b.ServerRPS[s]; !validServer(s) || !(rps > 0 && rps <= 1e9) {
				f.Add(service+".server_rps."+s, "is not the rate of a server", "server: requests per second above 0")
			}
		}
		if b.SlowStart < 0 {
			f.Add(service+".slow_start", "is negative", "a duration such as 60s")
		}
		for i, s := range b.Servers {
			if !validServer(s) {
				f.Add(sre.Item(service+".servers", i), "is not a server name", "a name as in HAProxy's configuration")
			}
		}
	}
	return f
}

func validServer(s string) bool { return proxyWord.MatchString(s) && !strings.Contains(s, "/") }

// services lists the configured services in order.
func (c HAProxyConfig) services() []string {
	names := make([]string, 0, len(c.Backends))
	for name := range c.Backends {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// address splits the socket into network and address.
func (c HAProxyConfig) address() (network, addr string, ok bool) {
	network, addr, found := strings.Cut(c.Socket, ":")
	switch {
	case !found || addr == "":
		return "", "", false
	case network == "unix":
		return network, addr, filepath.IsAbs(addr)
	case network == "tcp":
		_, port, err := net.SplitHostPort(addr)
		return network, addr, err == nil && port != ""
	}
	return "", "", false
}

// admitParam is the map key of a parameter: a class stands for its share, as in
// the maps that people write by hand, and its cap has a key beside it.
func (c HAProxyConfig) admitParam(backend, param string) string {
	if class, share := strings.CutSuffix(param, shareSuffix); share {
		return c.admitKey(backend, class)
	}
	if param == rpsParam {
		return c.admitKey(backend, param)
	}
	return c.admitKey(backend, param) + "_" + rpsParam
}

func (c HAProxyConfig) admitKey(backend, class string) string {
	key := c.AdmitKey
	if key == "" {
		key = "{backend}.{priority}"
	}
	return strings.NewReplacer("{backend}", backend, "{priority}", class).Replace(key)
}
