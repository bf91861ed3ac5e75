package redislimit

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/sreagent/sreagent/guard"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		work()
		return
	}
	LogDriver(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// workerEnv makes the test binary a process that takes from one limit.
const workerEnv = "REDISLIMIT_TEST_WORKER"

func config(address string) guard.RedisConfig {
	cfg := guard.DefaultRedis()
	cfg.Address, cfg.Timeout, cfg.Backoff = address, model.Duration(20*time.Millisecond), model.Duration(20*time.Millisecond)
	return cfg
}

func open(t *testing.T, cfg guard.RedisConfig, opts ...Option) *Store {
	t.Helper()
	s, err := New(cfg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func api(rate int64) guard.LimitConfig {
	return guard.LimitConfig{Name: "api", Rate: rate, Distributed: true}.WithDefaults()
}

func TestWithoutRedisNothingIsDecided(t *testing.T) {
	s := open(t, config("unix://"+filepath.Join(t.TempDir(), "nobody.sock")))
	if _, _, err := s.Take(t.Context(), api(5), "", 1); err == nil {
		t.Fatal("decided without Redis")
	}
	if _, _, err := s.Take(t.Context(), api(5), "", 1); !errors.Is(err, ErrAway) {
		t.Errorf("got %v, want ErrAway", err)
	}
	if up := testutil.ToFloat64(s.metrics.up); up != 0 {
		t.Errorf("guard_redis_up is %v", up)
	}
	s.GiveBack(t.Context(), api(5), "", 1, 0)
	if kept := testutil.ToFloat64(s.metrics.kept); kept != 1 {
		t.Errorf("guard_redis_not_given_back_total is %v", kept)
	}
}

// A server that accepts and says nothing is what a stopped one looks like.
func TestASilentServerCostsOneTimeout(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "mute.sock"))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	})
	s, err := New(config("unix://" + l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var timeout net.Error
	if _, _, err := s.Take(t.Context(), api(5), "", 1); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
	if d := time.Since(began); d > dialTimeout {
		t.Errorf("waited %v", d)
	}
	if _, _, err := s.Take(t.Context(), api(5), "", 1); !errors.Is(err, ErrAway) {
		t.Errorf("got %v, want ErrAway", err)
	}
	if err := s.Close(); err != nil { // ends the probe, which waits for the same server
		t.Error(err)
	}
	_ = l.Close()
	serving.Wait()
	for _, c := range conns {
		_ = c.Close()
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*guard.RedisConfig){
		"read password file": func(c *guard.RedisConfig) { c.PasswordFile = filepath.Join(dir, "none") },
		"is empty":           func(c *guard.RedisConfig) { c.PasswordFile = empty },
		"read CA file":       func(c *guard.RedisConfig) { c.TLS = &guard.RedisTLS{CAFile: filepath.Join(dir, "none")} },
		"no certificate":     func(c *guard.RedisConfig) { c.TLS = &guard.RedisTLS{CAFile: empty} },
		"client certificate": func(c *guard.RedisConfig) { c.TLS = &guard.RedisTLS{CertFile: empty, KeyFile: empty} },
	} {
		cfg := config("127.0.0.1:6379")
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestKeysOfALimitShareASlot(t *testing.T) {
	s := open(t, config("127.0.0.1:6379"))
	l := api(5)
	if got, want := s.key(l, "ann"), "sreguard:{api}:b:5:1000000:5:ann"; got != want {
		t.Errorf("key %q, want %q", got, want)
	}
	l.Algorithm = guard.SlidingWindow
	if got, want := s.key(l, ""), "sreguard:{api}:s:5:1000000:5:"; got != want {
		t.Errorf("key %q, want %q", got, want)
	}
}

func TestMoreThanTheLimitIsNeverGranted(t *testing.T) {
	s := open(t, config("unix:///nowhere"))
	ok, wait, err := s.Take(t.Context(), api(5), "", 6)
	if ok || wait != guard.Never || err != nil {
		t.Errorf("got %v %v %v", ok, wait, err)
	}
}
