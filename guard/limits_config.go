package guard

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Algorithm is how a limit counts.
type Algorithm string

// The closed set of algorithms.
const (
	TokenBucket   Algorithm = "token_bucket"   // a rate, and bursts above it
	SlidingWindow Algorithm = "sliding_window" // no more than rate in any window
	LeakyBucket   Algorithm = "leaky_bucket"   // holds requests back so that they leave evenly
	Hybrid        Algorithm = "hybrid"         // burst, sustained rate, and rate per client
	Fair          Algorithm = "fair"           // a rate that clients share max-min fairly
)

var algorithms = []Algorithm{TokenBucket, SlidingWindow, LeakyBucket, Hybrid, Fair}

// LimitConfig is one limit on what comes in. Rate and window are whole numbers,
// so that every boundary is exact: one request in two seconds is rate 1, window
// 2s.
type LimitConfig struct {
	Name        string           `yaml:"name" json:"name"`                 // in metrics, headers and Redis keys
	Algorithm   Algorithm        `yaml:"algorithm" json:"algorithm"`       // default token_bucket
	Rate        int64            `yaml:"rate" json:"rate"`                 // requests in a window
	Window      model.Duration   `yaml:"window" json:"window"`             // default 1s
	Burst       int64            `yaml:"burst" json:"burst"`               // at once, or held back by a leaky bucket; default the rate
	Peak        *RateConfig      `yaml:"peak" json:"peak,omitempty"`       // of hybrid: how fast the burst may be spent
	Client      *RateConfig      `yaml:"client" json:"client,omitempty"`   // of hybrid: rate of each client
	Per         []string         `yaml:"per" json:"per"`                   // global, client, priority, route, header:NAME; together they make the key; default global
	Match       LimitMatch       `yaml:"match" json:"match"`               // requests that it counts; default all
	Reserve     bool             `yaml:"reserve" json:"reserve"`           // lower classes leave tokens to higher ones, as under a shed directive
	Weights     map[string]int64 `yaml:"weights" json:"weights,omitempty"` // of fair: share of named clients; default 1
	Distributed bool             `yaml:"distributed" json:"distributed"`   // one count for all processes, in Redis
	MaxKeys     int              `yaml:"max_keys" json:"max_keys"`         // that are told apart; default 16384
}

// LimitMatch says which requests a limit counts; an empty field matches all.
type LimitMatch struct {
	Path       string   `yaml:"path" json:"path"`             // prefix, by whole segments
	Methods    []string `yaml:"methods" json:"methods"`       // in capitals
	Priorities []string `yaml:"priorities" json:"priorities"` // critical, high, normal, low
}

// ClientConfig is how the client of a request is found that nobody
// authenticated.
type ClientConfig struct {
	Header         string   `yaml:"header" json:"header"`                   // names the client; empty is none
	TrustedProxies []string `yaml:"trusted_proxies" json:"trusted_proxies"` // networks whose header and X-Forwarded-For are believed
}

// RedisConfig is where distributed limits are counted.
type RedisConfig struct {
	Address      string         `yaml:"address" json:"address"`             // host:port or unix:///path; empty is none
	Cluster      bool           `yaml:"cluster" json:"cluster"`             // address is a node of a Redis cluster
	User         string         `yaml:"user" json:"user"`                   // of its access control list
	PasswordFile string         `yaml:"password_file" json:"password_file"` // read again for each connection
	DB           int            `yaml:"db" json:"db"`
	Prefix       string         `yaml:"prefix" json:"prefix"`       // of all keys; default sreguard:
	Timeout      model.Duration `yaml:"timeout" json:"timeout"`     // of one decision, connecting included; default 5ms
	Backoff      model.Duration `yaml:"backoff" json:"backoff"`     // between attempts to reach it again; default 1s
	Processes    int64          `yaml:"processes" json:"processes"` // share the limit while it is away; default 1
	TLS          *RedisTLS      `yaml:"tls" json:"tls,omitempty"`   // nil is none
}

// RedisTLS is how Redis is spoken to over TLS.
type RedisTLS struct {
	CAFile     string `yaml:"ca_file" json:"ca_file"` // empty is the system's
	CertFile   string `yaml:"cert_file" json:"cert_file"`
	KeyFile    string `yaml:"key_file" json:"key_file"`
	ServerName string `yaml:"server_name" json:"server_name"` // empty is the host of the address
}

const (
	maxLimits      = 16
	defaultMaxKeys = 16384
	defaultWindow  = model.Duration(time.Second)
)

// DefaultRedis returns what a Redis configuration leaves out.
func DefaultRedis() RedisConfig {
	return RedisConfig{Prefix: "sreguard:", Timeout: model.Duration(5 * time.Millisecond), Backoff: model.Duration(time.Second), Processes: 1}
}

// UnmarshalYAML fills what the file leaves out from DefaultRedis.
func (c *RedisConfig) UnmarshalYAML(unmarshal func(any) error) error {
	type plain RedisConfig
	p := plain(DefaultRedis())
	if err := unmarshal(&p); err != nil {
		return err
	}
	*c = RedisConfig(p)
	return nil
}

// sameRedis says whether a and b are one Redis, spoken to in one way: only the
// number of processes can change while a guard runs.
func sameRedis(a, b RedisConfig) bool {
	a.Processes = b.Processes
	return reflect.DeepEqual(a, b)
}

// WithDefaults returns c with what it leaves out.
func (c LimitConfig) WithDefaults() LimitConfig {
	if c.Algorithm == "" {
		c.Algorithm = TokenBucket
	}
	if c.Window == 0 {
		c.Window = defaultWindow
	}
	if c.Burst == 0 {
		c.Burst = c.Rate
	}
	if len(c.Per) == 0 {
		c.Per = []string{"global"}
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = defaultMaxKeys
	}
	for _, r := range []**RateConfig{&c.Peak, &c.Client} {
		if *r == nil {
			continue
		}
		filled := **r
		if filled.Window == 0 {
			filled.Window = defaultWindow
		}
		if filled.Burst == 0 {
			filled.Burst = filled.Rate
		}
		*r = &filled
	}
	return c
}

var limitName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func (c Config) validateLimits(f *faults) {
	names := map[string]bool{}
	rules := 0
	for i, l := range c.Limits {
		path := fmt.Sprintf("limits[%d]", i)
		l = l.WithDefaults()
		l.validate(f, path)
		for _, part := range l.parts() {
			f.check(!names[part.Name], path+".name", "is %q a second time (a hybrid limit also takes NAME-peak and NAME-client); allowed: another name", part.Name)
			names[part.Name] = true
			rules++
		}
		f.check(!l.Distributed || c.Redis.Address != "", path+".distributed", "needs redis.address; allowed: false, or an address")
	}
	f.check(rules <= maxLimits, "limits", "are %d, with the parts of hybrid ones; allowed: %d", rules, maxLimits)
	f.check(c.Client.Header == "" || headerName(c.Client.Header), "client.header", "is %q; allowed: a header name", c.Client.Header)
	for i, network := range c.Client.TrustedProxies {
		_, err := netip.ParsePrefix(network)
		f.check(err == nil, fmt.Sprintf("client.trusted_proxies[%d]", i), "is %q; allowed: a network such as 10.0.0.0/8", network)
	}
	if c.Redis.Address != "" {
		c.Redis.validate(f)
	}
}

func (c LimitConfig) validate(f *faults, path string) {
	f.check(limitName.MatchString(c.Name), path+".name", "is %q; allowed: a-z, 0-9, - and _", c.Name)
	f.check(slices.Contains(algorithms, c.Algorithm), path+".algorithm", "is %q; allowed: %s", c.Algorithm, oneOf(algorithms))
	RateConfig{c.Rate, c.Window, c.Burst}.validate(f, path)
	f.check(c.Algorithm == Hybrid || c.Peak == nil, path+".peak", "stands in a %s limit; allowed: in hybrid", c.Algorithm)
	f.check(c.Algorithm == Hybrid || c.Client == nil, path+".client", "stands in a %s limit; allowed: in hybrid", c.Algorithm)
	f.check(c.Algorithm != Hybrid || c.Peak != nil || c.Client != nil, path+".algorithm", "is hybrid without peak and client; allowed: one of them or both")
	if c.Peak != nil {
		c.Peak.validate(f, path+".peak")
	}
	if c.Client != nil {
		c.Client.validate(f, path+".client")
	}
	bucket := c.Algorithm == TokenBucket || c.Algorithm == Fair
	f.check(!c.Reserve || bucket && c.Burst >= 10, path+".reserve", "needs token_bucket or fair with a burst of 10 or more; allowed: false")
	f.check(c.Algorithm != Fair || c.Burst >= 10, path+".burst", "is %d, too little to share; allowed: 10 or more for fair", c.Burst)
	f.check(c.Algorithm != Fair || slices.Equal(c.Per, []string{"client"}) || len(c.Per) == 1 && strings.HasPrefix(c.Per[0], "header:"),
		path+".per", "is %s; allowed for fair: [client] or [header:NAME]", strings.Join(c.Per, ", "))
	f.check(!c.Distributed || c.Algorithm == TokenBucket || c.Algorithm == SlidingWindow || c.Algorithm == Hybrid,
		path+".distributed", "is not possible for %s; allowed: token_bucket, sliding_window, hybrid", c.Algorithm)
	f.check(!c.Distributed || !c.Reserve, path+".reserve", "is not possible beside distributed; allowed: false")
	f.check(len(c.Weights) == 0 || c.Algorithm == Fair, path+".weights", "stand in a %s limit; allowed: in fair", c.Algorithm)
	for _, client := range slices.Sorted(maps.Keys(c.Weights)) {
		w := c.Weights[client]
		f.check(w >= 1 && w <= 1000, path+".weights."+client, "is %d; allowed: 1 to 1000", w)
	}
	f.check(c.MaxKeys >= 1 && c.MaxKeys <= 1<<20, path+".max_keys", "is %d; allowed: 1 to %d", c.MaxKeys, 1<<20)
	for i, per := range c.Per {
		name, isHeader := strings.CutPrefix(per, "header:")
		f.check(isHeader && headerName(name) || slices.Contains([]string{"global", "client", "priority", "route"}, per),
			fmt.Sprintf("%s.per[%d]", path, i), "is %q; allowed: global, client, priority, route, header:NAME", per)
	}
	c.Match.validate(f, path+".match")
}

func (c RateConfig) validate(f *faults, path string) {
	f.check(c.Rate >= 1 && c.Rate <= 1e9, path+".rate", "is %d; allowed: 1 to 1000000000 in a window", c.Rate)
	window := time.Duration(c.Window)
	f.check(window >= 10*time.Millisecond && window <= 24*time.Hour, path+".window", "is %s; allowed: 10ms to 1d", c.Window)
	most := int64(math.MaxInt64) / 4 / int64(max(window, 1))
	f.check(c.Burst >= 1 && c.Burst <= most, path+".burst", "is %d; allowed: 1 to %d with this window", c.Burst, most)
}

func (m LimitMatch) validate(f *faults, path string) {
	f.check(m.Path == "" || strings.HasPrefix(m.Path, "/"), path+".path", "is %q; allowed: a prefix that begins with /", m.Path)
	for i, method := range m.Methods {
		f.check(method != "" && method == strings.ToUpper(method), fmt.Sprintf("%s.methods[%d]", path, i), "is %q; allowed: a method in capitals", method)
	}
	for i, p := range m.Priorities {
		f.check(slices.Contains(priorityNames[:], p), fmt.Sprintf("%s.priorities[%d]", path, i), "is %q; allowed: critical, high, normal, low", p)
	}
}

func (c RedisConfig) validate(f *faults) {
	f.check(c.Timeout > 0, "redis.timeout", "is %s; allowed: more than 0s", c.Timeout)
	f.check(c.Backoff > 0, "redis.backoff", "is %s; allowed: more than 0s", c.Backoff)
	f.check(c.Processes >= 1 && c.Processes <= 10_000, "redis.processes", "is %d; allowed: 1 to 10000", c.Processes)
	f.check(c.DB >= 0 && (c.DB == 0 || !c.Cluster), "redis.db", "is %d; allowed: 0 or more, and 0 in a cluster", c.DB)
	f.check(!strings.ContainsAny(c.Prefix, "{}"), "redis.prefix", "is %q; allowed: anything without braces", c.Prefix)
	f.check(!c.Cluster || !strings.HasPrefix(c.Address, "unix:"), "redis.address", "is %q; allowed in a cluster: host:port", c.Address)
	if c.TLS != nil {
		f.check((c.TLS.CertFile == "") == (c.TLS.KeyFile == ""), "redis.tls.key_file", "stands alone or is missing; allowed: both cert_file and key_file, or none")
	}
}

func headerName(s string) bool {
	return s != "" && !strings.ContainsAny(s, " \t:\r\n") && http.CanonicalHeaderKey(s) != ""
}

func oneOf[S ~string](all []S) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}
