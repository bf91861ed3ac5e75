package guard

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/common/model"
)

// Config is what a guard enforces by itself, and to which it returns when no
// directive is in force.
type Config struct {
	Service       string              `yaml:"service" json:"service"`               // own name; the label of all metrics
	Workers       int                 `yaml:"workers" json:"workers"`               // requests worked on at once; 0 is no bound
	Queue         int                 `yaml:"queue" json:"queue"`                   // requests that may wait for a worker
	Timeout       model.Duration      `yaml:"timeout" json:"timeout"`               // of handling, without the wait; 0 is none
	DropAbandoned bool                `yaml:"drop_abandoned" json:"drop_abandoned"` // forget a waiting request when its caller goes away
	Token         string              `yaml:"token" json:"-"`                       // bearer token of the control endpoints
	TokenFile     string              `yaml:"token_file" json:"token_file"`         // a file that holds it instead
	StateFile     string              `yaml:"state_file" json:"state_file"`         // keeps the highest accepted epoch; empty keeps it in memory
	Return        ReturnConfig        `yaml:"return" json:"return"`
	Pressure      PressureConfig      `yaml:"pressure" json:"pressure"`
	Auth          AuthConfig          `yaml:"auth" json:"auth"`
	TLS           TLSConfig           `yaml:"tls" json:"tls"`
	Upstreams     map[string]Upstream `yaml:"upstreams" json:"upstreams"` // by callee
	Limits        []LimitConfig       `yaml:"limits" json:"limits"`       // on what comes in
	Client        ClientConfig        `yaml:"client" json:"client"`       // who made a request
	Redis         RedisConfig         `yaml:"redis" json:"redis"`         // for distributed limits
}

// ReturnConfig is how fast a setting goes back to its default after its
// directive has lapsed or was deleted.
type ReturnConfig struct {
	Steps int            `yaml:"steps" json:"steps"`
	Every model.Duration `yaml:"every" json:"every"`
}

// Upstream is how calls to one callee are made.
type Upstream struct {
	Timeout     model.Duration `yaml:"timeout" json:"timeout"`             // of one attempt, body included; 0 is none
	Retries     int            `yaml:"retries" json:"retries"`             // after the first attempt
	Backoff     model.Duration `yaml:"backoff" json:"backoff"`             // before the first retry; doubles, with jitter
	RetryBudget float64        `yaml:"retry_budget" json:"retry_budget"`   // retries as a share of first attempts; negative is no budget
	RetryUnsafe bool           `yaml:"retry_unsafe" json:"retry_unsafe"`   // retry POST and PATCH too
	Breaker     *BreakerConfig `yaml:"breaker" json:"breaker,omitempty"`   // nil is no breaker; each backend has its own
	Backends    []Backend      `yaml:"backends" json:"backends,omitempty"` // empty: calls go where they are addressed
	SlowStart   model.Duration `yaml:"slow_start" json:"slow_start"`       // of a backend that returns or is added; 0 is none
	Health      *HealthConfig  `yaml:"health" json:"health,omitempty"`     // active checks of the backends; nil is none
}

// Backend is one of several places where a callee is reached.
type Backend struct {
	Name string `yaml:"name" json:"name"` // in metrics and states
	URL  string `yaml:"url" json:"url"`   // http://host:port or https://host:port
}

// HealthConfig is how backends are checked without waiting for calls.
type HealthConfig struct {
	Path      string         `yaml:"path" json:"path"` // of a GET that answers 2xx or 3xx; empty connects by TCP only
	Interval  model.Duration `yaml:"interval" json:"interval"`
	Timeout   model.Duration `yaml:"timeout" json:"timeout"`
	Healthy   int            `yaml:"healthy" json:"healthy"`     // successes in a row before a backend that was down is used
	Unhealthy int            `yaml:"unhealthy" json:"unhealthy"` // failures in a row before it is not
}

// BreakerConfig is when calls to a callee are stopped, and for how long.
type BreakerConfig struct {
	FailureRatio float64        `yaml:"failure_ratio" json:"failure_ratio"` // of the attempts within the window; 0, beside consecutive, is off
	MinRequests  int            `yaml:"min_requests" json:"min_requests"`   // fewer within the window never open it
	Open         model.Duration `yaml:"open" json:"open"`                   // before probes; doubles while they fail
	Window       model.Duration `yaml:"window" json:"window"`
	Probes       int            `yaml:"probes" json:"probes"`           // attempts let through half-open; all must succeed
	Consecutive  int            `yaml:"consecutive" json:"consecutive"` // failures in a row that open it too; 0 is off
	MaxOpen      model.Duration `yaml:"max_open" json:"max_open"`       // the longest pause; 0s is eight times open

	FailureStatuses        []string `yaml:"failure_statuses" json:"failure_statuses,omitempty"` // codes and classes; empty is 5xx
	IgnoredStatuses        []string `yaml:"ignored_statuses" json:"ignored_statuses,omitempty"` // count neither way
	IgnoreTimeouts         bool     `yaml:"ignore_timeouts" json:"ignore_timeouts"`
	IgnoreConnectionErrors bool     `yaml:"ignore_connection_errors" json:"ignore_connection_errors"`
	CountCancelled         bool     `yaml:"count_cancelled" json:"count_cancelled"` // calls that the caller gave up; a failure then
}

// DefaultConfig returns a configuration that measures and limits almost
// nothing: no bound on concurrency, no timeout, no callee.
func DefaultConfig() Config {
	return Config{
		Queue:  100_000,
		Return: ReturnConfig{Steps: 5, Every: model.Duration(20 * time.Second)},

		Pressure: PressureConfig{Mode: PressureBlock, Order: OrderFIFO},
	}
}

// DefaultUpstream returns how a callee is called that the configuration does
// not name: one attempt, no timeout. A budget of 0.1 stands ready for those who
// add retries.
func DefaultUpstream() Upstream {
	return Upstream{Backoff: model.Duration(25 * time.Millisecond), RetryBudget: 0.1}
}

// DefaultBreaker returns a breaker that opens for five seconds when half of at
// least twenty attempts within ten seconds have failed.
func DefaultBreaker() BreakerConfig {
	return BreakerConfig{
		FailureRatio: 0.5, MinRequests: 20, Probes: 3,
		Open: model.Duration(5 * time.Second), Window: model.Duration(10 * time.Second),
	}
}

// DefaultHealth returns checks by TCP every five seconds.
func DefaultHealth() HealthConfig {
	return HealthConfig{Interval: model.Duration(5 * time.Second), Timeout: model.Duration(time.Second), Healthy: 2, Unhealthy: 3}
}

// UnmarshalYAML fills what the file leaves out from DefaultHealth.
func (h *HealthConfig) UnmarshalYAML(unmarshal func(any) error) error {
	type plain HealthConfig
	p := plain(DefaultHealth())
	if err := unmarshal(&p); err != nil {
		return err
	}
	*h = HealthConfig(p)
	return nil
}

// UnmarshalYAML fills what the file leaves out from DefaultUpstream.
func (u *Upstream) UnmarshalYAML(unmarshal func(any) error) error {
	type plain Upstream
	p := plain(DefaultUpstream())
	if err := unmarshal(&p); err != nil {
		return err
	}
	*u = Upstream(p)
	return nil
}

// UnmarshalYAML fills what the file leaves out from DefaultBreaker.
func (b *BreakerConfig) UnmarshalYAML(unmarshal func(any) error) error {
	type plain BreakerConfig
	p := plain(DefaultBreaker())
	if err := unmarshal(&p); err != nil {
		return err
	}
	*b = BreakerConfig(p)
	return nil
}

// Fault is one thing that is wrong with a configuration or a directive.
type Fault struct {
	Path    string // of the key, as in upstreams.ledger.backends[0].url
	Problem string // what is wrong, and what is allowed
}

// Error returns the path and the problem.
func (f *Fault) Error() string { return f.Path + ": " + f.Problem }

// faults gathers what is wrong with a configuration, in the order of its fields.
type faults []error

func (f *faults) check(ok bool, path, problem string, args ...any) {
	if !ok {
		*f = append(*f, &Fault{path, fmt.Sprintf(problem, args...)})
	}
}

// Validate returns every fault of the configuration joined into one error, each
// a *Fault with its YAML path and what is allowed, or nil.
func (c Config) Validate() error {
	var f faults
	f.check(c.Service != "", "service", "is missing; allowed: the service's own name")
	f.check(c.Workers >= 0, "workers", "is %d; allowed: 0 for no bound, or more", c.Workers)
	f.check(c.Queue >= 0, "queue", "is %d; allowed: 0 or more", c.Queue)
	f.check(c.Timeout >= 0, "timeout", "is %s; allowed: 0s for none, or more", c.Timeout)
	f.check(c.Token == "" || c.TokenFile == "", "token_file", "stands beside token; allowed: one of them")
	f.check(c.Return.Steps >= 1 && c.Return.Steps <= 100, "return.steps", "is %d; allowed: 1 to 100", c.Return.Steps)
	f.check(c.Return.Every > 0, "return.every", "is %s; allowed: more than 0s", c.Return.Every)
	c.Pressure.validate(&f, c.Queue)
	c.Auth.validate(&f, c.TLS)
	c.TLS.validate(&f)
	for _, callee := range slices.Sorted(maps.Keys(c.Upstreams)) {
		f.check(callee != "", "upstreams", "names a callee with an empty name; allowed: the callee's name")
		c.Upstreams[callee].validate(&f, "upstreams."+callee)
	}
	c.validateLimits(&f)
	return errors.Join(f...)
}

func (u Upstream) validate(f *faults, path string) {
	f.check(u.Timeout >= 0, path+".timeout", "is %s; allowed: 0s for none, or more", u.Timeout)
	f.check(u.Retries >= 0 && u.Retries <= 20, path+".retries", "is %d; allowed: 0 to 20", u.Retries)
	f.check(u.Backoff >= 0, path+".backoff", "is %s; allowed: 0s or more", u.Backoff)
	f.check(!math.IsNaN(u.RetryBudget) && !math.IsInf(u.RetryBudget, 0), path+".retry_budget", "is not a number; allowed: a share, or -1 for none")
	f.check(u.Retries == 0 || u.RetryBudget != 0, path+".retry_budget",
		"is 0, which forbids the %d retries; allowed: a share such as 0.1, or -1 for none", u.Retries)
	f.check(u.SlowStart >= 0, path+".slow_start", "is %s; allowed: 0s for none, or more", u.SlowStart)
	f.check(u.Health == nil || len(u.Backends) > 0, path+".health", "has nothing to check; allowed: beside backends")
	if u.Breaker != nil {
		u.Breaker.validate(f, path+".breaker")
	}
	names := make(map[string]bool)
	for i, b := range u.Backends {
		b.validate(f, fmt.Sprintf("%s.backends[%d]", path, i))
		f.check(!names[b.Name], fmt.Sprintf("%s.backends[%d].name", path, i), "is %q a second time; allowed: each once", b.Name)
		names[b.Name] = true
	}
	if u.Health != nil {
		u.Health.validate(f, path+".health")
	}
}

func (b Backend) validate(f *faults, path string) {
	f.check(validName(b.Name), path+".name", "is %q; allowed: 1 to %d bytes without control characters", b.Name, maxName)
	u, err := url.Parse(b.URL)
	ok := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.User == nil
	f.check(ok, path+".url", "is %q; allowed: http://host:port or https://host:port", b.URL)
}

func (h HealthConfig) validate(f *faults, path string) {
	f.check(h.Path == "" || h.Path[0] == '/', path+".path", "is %q; allowed: a path that begins with /, or none for TCP", h.Path)
	f.check(h.Interval > 0, path+".interval", "is %s; allowed: more than 0s", h.Interval)
	f.check(h.Timeout > 0, path+".timeout", "is %s; allowed: more than 0s", h.Timeout)
	f.check(h.Healthy >= 1, path+".healthy", "is %d; allowed: 1 or more", h.Healthy)
	f.check(h.Unhealthy >= 1, path+".unhealthy", "is %d; allowed: 1 or more", h.Unhealthy)
}

func (b BreakerConfig) validate(f *faults, path string) {
	f.check(b.FailureRatio >= 0.01 && b.FailureRatio <= 1 || b.FailureRatio == 0 && b.Consecutive > 0, path+".failure_ratio",
		"is %v; allowed: 0.01 to 1, or 0 beside consecutive", b.FailureRatio)
	f.check(b.MinRequests >= 1, path+".min_requests", "is %d; allowed: 1 or more", b.MinRequests)
	f.check(b.Open > 0, path+".open", "is %s; allowed: more than 0s", b.Open)
	f.check(time.Duration(b.Window) >= time.Second, path+".window", "is %s; allowed: 1s or more", b.Window)
	f.check(b.Probes >= 1, path+".probes", "is %d; allowed: 1 or more", b.Probes)
	f.check(b.Consecutive >= 0, path+".consecutive", "is %d; allowed: 0 for off, or more", b.Consecutive)
	f.check(b.MaxOpen == 0 || b.MaxOpen >= b.Open, path+".max_open", "is %s; allowed: 0s for eight times open, or %s and more", b.MaxOpen, b.Open)
	statuses := func(name string, list []string) {
		for i, s := range list {
			_, ok := parseStatus(s)
			f.check(ok, fmt.Sprintf("%s.%s[%d]", path, name, i), "is %q; allowed: a status such as 503, or a class such as 5xx", s)
		}
	}
	statuses("failure_statuses", b.FailureStatuses)
	statuses("ignored_statuses", b.IgnoredStatuses)
}
