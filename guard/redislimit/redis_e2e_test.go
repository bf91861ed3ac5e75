//go:build e2e

package redislimit

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/sreagent/sreagent/guard"
)

// server is a real Redis on a socket in a directory of its own.
type server struct {
	t      *testing.T
	socket string
	args   []string
	cmd    *exec.Cmd
}

func startRedis(t *testing.T, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is missing: sh deploy/e2e-install.sh installs it")
	}
	dir, err := os.MkdirTemp("", "redis") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &server{t: t, socket: filepath.Join(dir, "redis.sock"), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	args := append([]string{"--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no", "--dir", filepath.Dir(s.socket)}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "ready to accept connections") || strings.Contains(lines.Text(), "Ready to accept connections") ||
			strings.Contains(lines.Text(), "The server is now ready") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
	}
	s.t.Fatal("redis-server ended before it was ready")
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// stop returns when the server stands still: until then it could answer.
func (s *server) stop() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(s.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); {
		case err == nil && status.Stopped():
			return
		case err != nil && !errors.Is(err, syscall.EINTR):
			s.t.Fatal(err)
		case err == nil:
			s.t.Fatalf("the server ended: %v", status)
		}
	}
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) config() guard.RedisConfig {
	cfg := config("unix://" + s.socket)
	cfg.Timeout = model.Duration(2 * time.Second) // a busy machine is not what is tested here
	return cfg
}

// hammer runs a task in so many processes at once.
func hammer(t *testing.T, processes int, what task) (all tally) {
	t.Helper()
	data, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	type worker struct {
		cmd *exec.Cmd
		in  io.WriteCloser
		out *bufio.Reader
	}
	var workers []worker
	for range processes {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), workerEnv+"="+string(data))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		workers = append(workers, worker{cmd, in, bufio.NewReader(out)})
	}
	for _, w := range workers {
		if line, err := w.out.ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("worker says %q, %v", line, err)
		}
	}
	for _, w := range workers {
		if _, err := io.WriteString(w.in, "go\n"); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range workers {
		var one tally
		if err := json.NewDecoder(w.out).Decode(&one); err != nil {
			t.Fatal(err)
		}
		if err := w.cmd.Wait(); err != nil {
			t.Error(err)
		}
		all.Admitted, all.Refused, all.Errors = all.Admitted+one.Admitted, all.Refused+one.Refused, all.Errors+one.Errors
		all.Longest = max(all.Longest, one.Longest)
	}
	return all
}

func TestFourProcessesKeepOneLimitExactly(t *testing.T) {
	redis := startRedis(t)
	for _, l := range []guard.LimitConfig{
		{Name: "bucket", Rate: 1, Burst: 1000, Window: model.Duration(24 * time.Hour)}, // nothing comes back during the test
		{Name: "sliding", Algorithm: guard.SlidingWindow, Rate: 1000, Window: model.Duration(time.Hour)},
	} {
		t.Run(l.Name, func(t *testing.T) {
			got := hammer(t, 4, task{Redis: redis.config(), Limit: l.WithDefaults(), Callers: 8, Calls: 250})
			t.Logf("%+v", got)
			if got.Admitted != 1000 || got.Refused != 7000 || got.Errors != 0 {
				t.Errorf("%+v, want 1000 of 8000 admitted", got)
			}
		})
	}
}

// Within a window the log of grants that all four saw holds the limit too while
// old ones leave it.
func TestFourProcessesNeverExceedASlidingWindow(t *testing.T) {
	redis := startRedis(t)
	l := guard.LimitConfig{Name: "sliding", Algorithm: guard.SlidingWindow, Rate: 100, Window: model.Duration(100 * time.Millisecond)}.WithDefaults()
	began := time.Now()
	got := hammer(t, 4, task{Redis: redis.config(), Limit: l, Callers: 4, Calls: 1000})
	windows := int64(time.Since(began)/(100*time.Millisecond)) + 1
	t.Logf("%+v in at most %d windows", got, windows)
	if got.Errors != 0 || got.Admitted < 100 || got.Admitted > 100*windows {
		t.Errorf("%+v in at most %d windows of 100", got, windows)
	}
}

func TestScriptsAgreeWithTheLocalLimits(t *testing.T) {
	redis := startRedis(t)
	s := open(t, redis.config())
	for _, l := range []guard.LimitConfig{
		{Name: "bucket", Rate: 3, Burst: 7, Window: model.Duration(time.Hour)},
		{Name: "sliding", Algorithm: guard.SlidingWindow, Rate: 7, Window: model.Duration(time.Hour)},
	} {
		l = l.WithDefaults()
		local, err := guard.NewRateLimit(l, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(3, 4))
		for i := range 20 {
			n := r.Int64N(3) + 1
			wantOK, wantWait := local.Allow(time.Now(), "", n)
			ok, wait, err := s.Take(t.Context(), l, "", n)
			if err != nil || ok != wantOK || (wait-wantWait).Abs() > 30*time.Second {
				t.Fatalf("%s call %d for %d: %v %v %v, want %v %v", l.Name, i, n, ok, wait, err, wantOK, wantWait)
			}
		}
		s.GiveBack(t.Context(), l, "", 2, time.Minute)
		ok, _, err := s.Take(t.Context(), l, "", 2)
		if err != nil {
			t.Fatal(err)
		}
		if l.Algorithm == guard.SlidingWindow && !ok {
			t.Error("what was given back is not there")
		}
	}
}

func TestWaitingAsLongAsToldSucceeds(t *testing.T) {
	redis := startRedis(t)
	s := open(t, redis.config())
	for _, l := range []guard.LimitConfig{
		{Name: "bucket", Rate: 7, Burst: 2, Window: model.Duration(time.Second)},
		{Name: "sliding", Algorithm: guard.SlidingWindow, Rate: 2, Window: model.Duration(200 * time.Millisecond)},
	} {
		l = l.WithDefaults()
		for range 6 {
			ok, wait, err := s.Take(t.Context(), l, "ann", 1)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				continue
			}
			time.Sleep(wait)
			if ok, more, err := s.Take(t.Context(), l, "ann", 1); err != nil || !ok {
				t.Fatalf("%s: refused after %v (%v more), %v", l.Name, wait, more, err)
			}
		}
	}
}

func TestKeysVanish(t *testing.T) {
	redis := startRedis(t)
	s := open(t, redis.config())
	for _, l := range []guard.LimitConfig{
		{Name: "bucket", Rate: 100, Burst: 10, Window: model.Duration(time.Second)},
		{Name: "sliding", Algorithm: guard.SlidingWindow, Rate: 5, Window: model.Duration(100 * time.Millisecond)},
	} {
		if _, _, err := s.Take(t.Context(), l.WithDefaults(), "ann", 5); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		n, err := s.client.DBSize(t.Context()).Result()
		if err == nil && n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d keys are left, %v", n, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// guards are some of one service that share a Redis.
func guards(t *testing.T, redis *server, n int) ([]http.Handler, []*Store) {
	t.Helper()
	var handlers []http.Handler
	var stores []*Store
	for range n {
		cfg := guard.DefaultConfig()
		cfg.Service = "checkout"
		cfg.Limits = []guard.LimitConfig{{Name: "api", Rate: 1, Burst: 100, Window: model.Duration(24 * time.Hour), Distributed: true}}
		cfg.Redis = config("unix://" + redis.socket)
		cfg.Redis.Timeout, cfg.Redis.Processes = model.Duration(guardTimeout), int64(n)
		s := open(t, cfg.Redis)
		g, err := guard.New(cfg, guard.WithSharedLimits(s))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Close)
		handlers = append(handlers, g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		stores = append(stores, s)
	}
	return handlers, stores
}

// volley sends calls to every guard at once; it returns how many passed and the
// longest that one took.
func volley(t *testing.T, handlers []http.Handler, callers, calls int) (passed int, longest time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, h := range handlers {
		for range callers {
			wg.Go(func() {
				for range calls {
					began := time.Now()
					w := httptest.NewRecorder()
					h.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil))
					took := time.Since(began)
					mu.Lock()
					if w.Code == http.StatusOK {
						passed++
					}
					longest = max(longest, took)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return passed, longest
}

func awaitUp(t *testing.T, stores []*Store, up float64) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, s := range stores {
		for testutil.ToFloat64(s.metrics.up) != up {
			if time.Now().After(deadline) {
				t.Fatalf("guard_redis_up is not %v", up)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// guardTimeout is long enough for Redis on a busy machine, and slack is what such a
// machine may add to it.
const (
	guardTimeout = time.Second
	slack        = 2 * time.Second
)

func TestLimitsAreLocalWhileRedisIsDead(t *testing.T) {
	redis := startRedis(t)
	handlers, stores := guards(t, redis, 4)
	if passed, _ := volley(t, handlers, 4, 25); passed != 100 {
		t.Fatalf("%d of 100 passed with Redis", passed)
	}
	redis.kill()
	passed, longest := volley(t, handlers, 4, 25)
	t.Logf("killed: %d passed, longest %v", passed, longest)
	if passed != 4*25 {
		t.Errorf("%d passed locally, want 25 of each of 4 processes", passed)
	}
	if longest > guardTimeout+slack {
		t.Errorf("a request took %v", longest)
	}
	awaitUp(t, stores, 0)
	redis.start()
	awaitUp(t, stores, 1)
	if passed, _ := volley(t, handlers, 4, 25); passed != 100 { // it came back empty
		t.Errorf("%d of 100 passed when Redis was back", passed)
	}
}

func TestLimitsAreLocalWhileRedisIsStopped(t *testing.T) {
	redis := startRedis(t)
	handlers, stores := guards(t, redis, 4)
	if passed, _ := volley(t, handlers, 2, 10); passed != 80 {
		t.Fatalf("%d of 80 passed with Redis", passed)
	}
	redis.stop()
	passed, longest := volley(t, handlers, 4, 25)
	redis.signal(syscall.SIGCONT)
	t.Logf("stopped: %d passed, longest %v", passed, longest)
	if passed != 4*25 {
		t.Errorf("%d passed locally, want 25 of each of 4 processes", passed)
	}
	if longest > guardTimeout+slack {
		t.Errorf("a request took %v", longest)
	}
	awaitUp(t, stores, 1)
	passed, _ = volley(t, handlers, 4, 25)
	if passed > 20 { // some of those that gave up were counted when it went on
		t.Errorf("%d passed, want what was left of 100", passed)
	}
}

func TestUserAndPassword(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(users, []byte("user default off\nuser guard on >open-sesame ~sreguard:* +eval +evalsha +time +get +set +lindex +llen +lpop +rpush +lrem +pexpire\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	redis := startRedis(t, "--aclfile", users)
	cfg := redis.config()
	cfg.User, cfg.PasswordFile = "guard", filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(cfg.PasswordFile, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg)
	if _, _, err := s.Take(t.Context(), api(5), "", 1); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("got %v, want the server's refusal", err)
	}
	if err := os.WriteFile(cfg.PasswordFile, []byte("open-sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	awaitUp(t, []*Store{s}, 1)                                                            // the probe reads the file again
	for _, algorithm := range []guard.Algorithm{guard.TokenBucket, guard.SlidingWindow} { // with the rights that docs/guard.md names
		l := api(5)
		l.Algorithm = algorithm
		if ok, _, err := s.Take(t.Context(), l, "", 5); err != nil || !ok {
			t.Errorf("%s: got %v %v", algorithm, ok, err)
		}
		s.GiveBack(t.Context(), l, "", 1, time.Second)
	}
	if kept := testutil.ToFloat64(s.metrics.kept); kept != 0 {
		t.Errorf("%v could not be given back", kept)
	}
}

// A TLS end before the socket stands for a Redis that speaks TLS itself, whose
// port would have to be chosen before it listens.
func TestTLS(t *testing.T) {
	redis := startRedis(t)
	front := httptest.NewUnstartedServer(nil) // has a certificate for 127.0.0.1
	front.StartTLS()
	pair, ca := front.TLS.Certificates[0], front.Certificate()
	front.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", redis.socket)
			if err != nil {
				_ = in.Close()
				continue
			}
			relays.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			relays.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
	cfg := redis.config()
	cfg.Address = l.Addr().String()
	cfg.TLS = &guard.RedisTLS{CAFile: filepath.Join(t.TempDir(), "ca.pem")}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	if err := os.WriteFile(cfg.TLS.CAFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	good, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := good.Take(t.Context(), api(5), "", 1); err != nil || !ok {
		t.Errorf("got %v %v", ok, err)
	}
	cfg.TLS = &guard.RedisTLS{} // the system does not know the authority
	bad, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := bad.Take(t.Context(), api(5), "", 1); err == nil {
		t.Error("a certificate of an unknown authority is taken")
	}
	_, _ = good.Close(), bad.Close()
	_ = l.Close()
	relays.Wait()
}
