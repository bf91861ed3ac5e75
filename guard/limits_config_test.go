package guard

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
)

func TestValidateTellsEveryFaultOfLimits(t *testing.T) {
	good := LimitConfig{Name: "api", Rate: 10}
	change := func(f func(*LimitConfig)) Config {
		l := good
		f(&l)
		return limitedConfig(l)
	}
	redis := func(f func(*RedisConfig)) Config {
		cfg := limitedConfig(good)
		cfg.Redis = DefaultRedis()
		cfg.Redis.Address = "127.0.0.1:6379"
		f(&cfg.Redis)
		return cfg
	}
	client := func(c ClientConfig) Config {
		cfg := limitedConfig(good)
		cfg.Client = c
		return cfg
	}
	many := make([]LimitConfig, 17)
	for i := range many {
		many[i] = LimitConfig{Name: "a" + strings.Repeat("b", i), Rate: 1}
	}
	for _, c := range []struct {
		cfg  Config
		want string // paths
	}{
		{limitedConfig(good), ""},
		{limitedConfig(many...), "limits"},
		{limitedConfig(good, good), "limits[1].name"},
		{limitedConfig(LimitConfig{Name: "api-client", Rate: 1}, LimitConfig{Name: "api", Algorithm: Hybrid, Rate: 1, Client: &RateConfig{Rate: 1}}), "limits[1].name"},
		{change(func(l *LimitConfig) { l.Name = "A b" }), "limits[0].name"},
		{change(func(l *LimitConfig) { l.Algorithm = "magic" }), "limits[0].algorithm"},
		{change(func(l *LimitConfig) { l.Rate = 0 }), "limits[0].rate limits[0].burst"},
		{change(func(l *LimitConfig) { l.Window = model.Duration(time.Millisecond) }), "limits[0].window"},
		{change(func(l *LimitConfig) { l.Window = model.Duration(25 * time.Hour) }), "limits[0].window"},
		{change(func(l *LimitConfig) { l.Window, l.Burst = model.Duration(24*time.Hour), 30_000 }), "limits[0].burst"},
		{change(func(l *LimitConfig) { l.Burst = -1 }), "limits[0].burst"},
		{change(func(l *LimitConfig) { l.Peak, l.Client = &RateConfig{Rate: 1}, &RateConfig{Rate: 1} }), "limits[0].peak limits[0].client"},
		{change(func(l *LimitConfig) { l.Algorithm = Hybrid }), "limits[0].algorithm"},
		{change(func(l *LimitConfig) { l.Algorithm, l.Peak = Hybrid, &RateConfig{Rate: -1} }), "limits[0].peak.rate limits[0].peak.burst"},
		{change(func(l *LimitConfig) { l.Algorithm, l.Reserve = SlidingWindow, true }), "limits[0].reserve"},
		{change(func(l *LimitConfig) { l.Reserve, l.Burst = true, 9 }), "limits[0].reserve"},
		{change(func(l *LimitConfig) { l.Algorithm = Fair }), "limits[0].per"},
		{change(func(l *LimitConfig) { l.Algorithm, l.Per, l.Burst = Fair, []string{"client"}, 9 }), "limits[0].burst"},
		{change(func(l *LimitConfig) { l.Weights = map[string]int64{"ann": 2} }), "limits[0].weights"},
		{change(func(l *LimitConfig) {
			l.Algorithm, l.Per, l.Weights = Fair, []string{"header:x-tenant"}, map[string]int64{"ann": 0}
		}), "limits[0].weights.ann"},
		{change(func(l *LimitConfig) { l.MaxKeys = -1 }), "limits[0].max_keys"},
		{change(func(l *LimitConfig) { l.Per = []string{"client", "user", "header:"} }), "limits[0].per[1] limits[0].per[2]"},
		{change(func(l *LimitConfig) { l.Match.Path = "api" }), "limits[0].match.path"},
		{change(func(l *LimitConfig) { l.Match.Methods = []string{"GET", "post"} }), "limits[0].match.methods[1]"},
		{change(func(l *LimitConfig) { l.Match.Priorities = []string{"Low"} }), "limits[0].match.priorities[0]"},
		{change(func(l *LimitConfig) { l.Distributed = true }), "limits[0].distributed"},
		{redis(func(*RedisConfig) {}), ""},
		{redis(func(c *RedisConfig) { c.Timeout, c.Backoff, c.Processes, c.DB, c.Prefix = 0, 0, 0, -1, "{" }), "redis.timeout redis.backoff redis.processes redis.db redis.prefix"},
		{redis(func(c *RedisConfig) { c.Cluster, c.DB, c.Address = true, 1, "unix:///r" }), "redis.db redis.address"},
		{redis(func(c *RedisConfig) { c.TLS = &RedisTLS{CertFile: "a"} }), "redis.tls.key_file"},
		{client(ClientConfig{Header: "a b", TrustedProxies: []string{"10.0.0.1"}}), "client.header client.trusted_proxies[0]"},
	} {
		var got []string
		if err := c.cfg.Validate(); err != nil {
			for line := range strings.Lines(err.Error()) {
				path, rest, _ := strings.Cut(line, ":")
				got = append(got, path)
				if !strings.Contains(rest, "allowed") {
					t.Errorf("%q does not say what is allowed", line)
				}
			}
		}
		if diff := cmp.Diff(strings.Fields(c.want), got); len(got)+len(c.want) > 0 && diff != "" {
			t.Errorf("faults (-want +got):\n%s", diff)
		}
	}
}

func TestFairAndDistributedExcludeEachOther(t *testing.T) {
	l := LimitConfig{Name: "api", Algorithm: Fair, Rate: 10, Per: []string{"client"}, Reserve: true, Distributed: true}
	cfg := limitedConfig(l)
	cfg.Redis = DefaultRedis()
	cfg.Redis.Address = "127.0.0.1:6379"
	err := cfg.Validate()
	if err == nil || !strings.Contains(err.Error(), "limits[0].distributed: is not possible for fair") || !strings.Contains(err.Error(), "limits[0].reserve") {
		t.Errorf("got %v", err)
	}
	if _, err := NewRateLimit(LimitConfig{Name: "api"}, epochStart); err == nil || !strings.Contains(err.Error(), "limit.rate") {
		t.Errorf("got %v", err)
	}
}
