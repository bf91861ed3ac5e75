//go:build e2e

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a process that a test started, in a process group of its own.
type server struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	log   *output
	ended chan struct{} // closed when it was waited for
}

// output keeps what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts a process that ends with the test at the latest. What it wrote
// is shown when the test has failed.
func start(t *testing.T, name string, env []string, argv ...string) *server {
	t.Helper()
	c := &server{name: name, cmd: exec.Command(argv[0], argv[1:]...), log: &output{}, ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := c.cmd.StdinPipe()
	must(t, err)
	c.stdin = stdin
	must(t, c.cmd.Start())
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait()
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", c.name, tail(c.log.String(), 12_000))
		}
	})
	return c
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "[...]" + s[len(s)-n:]
}

// kill ends the process group at once, as kill -9 does, and waits for its end.
func (c *server) kill() {
	if !c.over() {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	}
	<-c.ended
}

func (c *server) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *server) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	must(t, c.cmd.Process.Signal(s))
}

// terminate asks the process to stop, and returns its exit code.
func (c *server) terminate(t *testing.T, within time.Duration) int {
	t.Helper()
	c.signal(t, syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(within):
		t.Fatalf("%s did not stop within %v", c.name, within)
	}
	return c.cmd.ProcessState.ExitCode()
}

// run runs a command to its end and returns its exit code and what it wrote.
func run(t *testing.T, stdin string, argv ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewBufferString(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", argv, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until done holds; it fails the test when that does not
// happen in time.
func eventually(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// loopback is an address of this run alone. All of 127/8 leads here, and nobody
// else listens on it or connects from it: a port that was free stays free until
// the process that it is meant for has it, and while that is started again.
var loopback = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))

// given are the addresses that were handed out.
var given sync.Map

// freeAddress returns a loopback address on which nobody listens, another one
// each time.
func freeAddress(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
		must(t, err)
		address := l.Addr().String()
		must(t, l.Close())
		if _, again := given.LoadOrStore(address, true); !again {
			return address
		}
	}
}

// client keeps no connections, so that none outlives a test.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 40 * time.Second}

// get returns the status and the body, 0 where nobody answers.
func get(url string) (int, string) {
	res, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

func answers(t *testing.T, c *server, url string) {
	t.Helper()
	eventually(t, time.Minute, c.name+" answers", func() bool {
		if c.over() {
			t.Fatalf("%s has ended", c.name)
		}
		code, _ := get(url)
		return code == http.StatusOK
	})
}

// binary builds a command once for all tests, as `make build` has it, and
// returns its path.
var binary = func() func(t *testing.T, name, pkg string) string {
	var mu sync.Mutex
	return func(t *testing.T, name, pkg string) string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		path, err := filepath.Abs("../../bin/" + name)
		must(t, err)
		if _, err := os.Stat(path); err != nil {
			if code, _, stderr := run(t, "", "go", "build", "-o", path, pkg); code != 0 {
				t.Fatal(stderr)
			}
		}
		return path
	}
}()

func sreagentBinary(t *testing.T) string {
	t.Helper()
	return binary(t, "sreagent", "github.com/sreagent/sreagent/cmd/sreagent")
}

// installed returns the path of one of the real servers.
func installed(t *testing.T, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: run deploy/e2e-install.sh", name)
	return ""
}
