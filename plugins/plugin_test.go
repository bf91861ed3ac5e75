package plugins

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// The bound of the calls that are to reach it, how much longer one may really
// take on a machine that does much else, and the bound of all that are not.
const (
	bound    = 200 * time.Millisecond
	generous = 50
	ample    = model.Duration(time.Minute)
)

var self = sync.OnceValues(func() (Config, error) {
	path, err := os.Executable()
	if err != nil {
		return Config{}, err
	}
	sum, err := Digest(path)
	return Config{Name: "test", Path: path, SHA256: sum}, err
})

// as is this test binary as the plugin of a mode.
func as(t *testing.T, mode string, args ...string) Config {
	t.Helper()
	c, err := self()
	if err != nil {
		t.Fatal(err)
	}
	c.Args = append([]string{modeArg, mode}, args...)
	c.Timeout, c.StartTimeout, c.PingTimeout = ample, ample, ample
	c.PingInterval = model.Duration(time.Hour)
	c.Restart = RestartConfig{Initial: model.Duration(time.Second), Max: model.Duration(time.Minute)}
	return c
}

// clock hands the waits of a plugin to the test.
type clock struct{ asked chan wait }

type wait struct {
	d    time.Duration
	fire chan time.Time
}

func newClock() *clock { return &clock{asked: make(chan wait, 1000)} }

func (c *clock) after(d time.Duration) <-chan time.Time {
	w := wait{d, make(chan time.Time, 1)}
	c.asked <- w
	return w.fire
}

// next is the next wait of a length; others are passed over.
func (c *clock) next(d time.Duration) wait {
	for w := range c.asked {
		if w.d == d {
			return w
		}
	}
	panic("unreachable")
}

func open(t *testing.T, c Config, o Options) *Plugin {
	t.Helper()
	h := start(t, c, o)
	t.Cleanup(h.Close)
	return h.Plugins()[0]
}

func start(t *testing.T, c Config, o Options) *Host {
	t.Helper()
	h, err := New(Configs{c}, o)
	if err == nil {
		err = h.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func up(t *testing.T, c Config, o Options) *Plugin {
	t.Helper()
	p := open(t, c, o)
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	return p
}

func action(service string) sre.Action {
	return sre.Action{ID: "a1", Kind: sre.Shed, Target: sre.Target{Lever: "test", Service: service}, Params: sre.Params{"rps": 7.5}, TTL: time.Minute}
}

func directive(epoch uint64) sre.Directive {
	return sre.Directive{Action: action("shop"), Epoch: epoch, Seq: 1, Expires: time.Unix(1e9, 0).UTC(), Restore: sre.Params{}}
}

func wantCode(t *testing.T, err error, want sre.Code) {
	t.Helper()
	if got := sre.CodeOf(err); got != want {
		t.Errorf("code is %q, want %q: %v", got, want, err)
	}
}

func TestAnHonestPluginIsALever(t *testing.T) {
	reg := prometheus.NewRegistry()
	p := up(t, as(t, "honest"), Options{Registerer: reg})
	ctx := t.Context()
	if err := p.Apply(ctx, directive(3)); err != nil {
		t.Fatal(err)
	}
	got, err := p.Probe(ctx, action("shop"))
	want := sre.TargetState{InEffect: true, Current: sre.Params{"rps": 7.5}, Owner: "a1", Epoch: 3, Expires: time.Unix(1e9, 0).UTC()}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	wantCode(t, p.Apply(ctx, directive(2)), sre.CodeRefused)
	bad := directive(3)
	bad.Action.Params = sre.Params{"rps": -1.0}
	wantCode(t, p.Apply(ctx, bad), sre.CodeInvalid)
	bad.Action.Kind = sre.Drain
	wantCode(t, p.Apply(ctx, bad), sre.CodeInvalid)
	if err := p.Revert(ctx, directive(3)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	if got := testutil.ToFloat64(p.metrics.up.WithLabelValues("test")); got != 1 {
		t.Errorf("up is %v", got)
	}
}

// What is wrong at the start is said in one sentence, and a plugin that does not
// start is a lever that is refused.
func TestAPluginThatDoesNotStartSaysWhy(t *testing.T) {
	changed := as(t, "honest")
	changed.SHA256 = strings.Repeat("ab", 32)
	missing := as(t, "honest")
	missing.Path = filepath.Join(t.TempDir(), "none")
	slow := func(mode string) Config {
		c := as(t, mode)
		c.StartTimeout = model.Duration(2 * time.Second)
		return c
	}
	for name, tc := range map[string]struct {
		c    Config
		want string
	}{
		"wrong checksum":                   {changed, "the configuration wants abab"},
		"no binary":                        {missing, "no such file"},
		"garbage before the handshake":     {as(t, "says hello"), `first line on standard output is "hello, I am a plugin"`},
		"a line that does not end":         {as(t, "endless line"), "handshake"},
		"nothing":                          {slow("silent"), "did not complete it in time"},
		"ends":                             {as(t, "ends at once"), "gave none"},
		"a socket elsewhere":               {as(t, "lies where"), "not at a socket in the folder"},
		"a socket at which nobody answers": {slow("deaf"), "did not"},
		"another protocol version":         {as(t, "version 9"), "the plugin speaks protocol version 9, this sreagent speaks version 1"},
		"another name":                     {as(t, "other name"), `calls itself "somebody-else", the configuration calls it "test"`},
		"hangs when asked to describe":     {slow("hangs at once"), "did not"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			began := time.Now()
			p := open(t, tc.c, Options{After: c.after})
			if took := time.Since(began); took > time.Duration(tc.c.StartTimeout)+bound*generous {
				t.Errorf("starting took %v", took)
			}
			if err := p.Err(); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v\nwant one line with %s", err, tc.want)
			}
			wantCode(t, p.Apply(t.Context(), directive(1)), sre.CodeRefused)
			_, err := p.Describe(t.Context())
			wantCode(t, err, sre.CodeRefused)
		})
	}
}

func TestACallThatHangsEndsAtItsBound(t *testing.T) {
	c := as(t, "hangs")
	c.Timeout = model.Duration(bound)
	p := up(t, c, Options{})
	tight, cancel := context.WithTimeout(t.Context(), bound/10)
	defer cancel()
	for name, call := range map[string]func() error{
		"probe":            func() error { _, err := p.Probe(t.Context(), action("shop")); return err },
		"apply":            func() error { return p.Apply(t.Context(), directive(1)) },
		"revert":           func() error { return p.Revert(t.Context(), directive(1)) },
		"caller's own":     func() error { return p.Apply(tight, directive(1)) },
		"already too late": func() error { return p.Apply(tight, directive(1)) },
	} {
		began := time.Now()
		err := call()
		wantCode(t, err, sre.CodeUnknown)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the deadline", name, err)
		}
		if took := time.Since(began); took > bound*generous {
			t.Errorf("%s took %v, its bound is %v", name, took, bound)
		}
	}
}

// A process that ends in the middle of Apply leaves an unknown outcome, the lever
// stays known and is refused until a new process is up, after the back-off.
func TestAPluginThatDiesIsStartedAgain(t *testing.T) {
	c := newClock()
	reg := prometheus.NewRegistry()
	p := up(t, as(t, "ends in apply"), Options{After: c.after, Registerer: reg})
	for restart := range 3 {
		wantCode(t, p.Apply(t.Context(), directive(1)), sre.CodeUnknown)
		again := c.next(time.Second << restart)
		_, err := p.Probe(t.Context(), action("shop"))
		wantCode(t, err, sre.CodeRefused)
		if err := p.Err(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("down for %v", err)
		}
		if _, err := p.Describe(t.Context()); err != nil {
			t.Errorf("the lever is no longer known: %v", err)
		}
		again.fire <- time.Time{}
		c.next(time.Hour) // it waits for the next ping: it is up
		if _, err := p.Probe(t.Context(), action("shop")); err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(p.metrics.restarts.WithLabelValues("test")); got != float64(restart+1) {
			t.Errorf("%v restarts counted after %d", got, restart+1)
		}
	}
}

func TestAPluginThatNoLongerAnswersIsEnded(t *testing.T) {
	config := as(t, "honest")
	config.PingTimeout = model.Duration(bound)
	c := newClock()
	p := up(t, config, Options{After: c.after})
	p.mu.Lock()
	stopped := p.session.process
	p.mu.Unlock()
	freeze(t, stopped)
	for range pingsLost {
		c.next(time.Hour).fire <- time.Time{}
	}
	c.next(time.Second)
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "did not answer 3 pings") {
		t.Errorf("down for %v", err)
	}
	<-stopped.finished
}

// What a process may do is what it said when it started.
func TestAPluginDoesNotWidenItsOwnBounds(t *testing.T) {
	c := newClock()
	p := up(t, as(t, "widens"), Options{After: c.after})
	before, err := p.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.next(time.Hour).fire <- time.Time{}
	c.next(time.Hour) // the ping is over
	after, err := p.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Version == before.Version {
		t.Fatal("it was not asked again: the test cannot fail")
	}
	if diff := cmp.Diff(before.Kinds, after.Kinds); diff != "" {
		t.Errorf("it can do something else now:\n%s", diff)
	}
}

func TestAPanicIsAnAnswer(t *testing.T) {
	p := up(t, as(t, "panics"), Options{})
	err := p.Apply(t.Context(), directive(1))
	wantCode(t, err, sre.CodeUnknown)
	if !strings.Contains(err.Error(), "no such thing") {
		t.Error(err)
	}
	if _, err := p.Probe(t.Context(), action("shop")); err != nil {
		t.Errorf("the plugin is gone: %v", err)
	}
}

func TestLiesAreNotTaken(t *testing.T) {
	p := up(t, as(t, "lies"), Options{})
	for _, lie := range []string{"nothing", "both", "owner", "nan", "kindless", "many", "long owner", "terminal", "code"} {
		st, err := p.Probe(t.Context(), action(lie))
		wantCode(t, err, sre.CodeUnknown)
		if diff := cmp.Diff(sre.TargetState{}, st); diff != "" {
			t.Errorf("%s was taken:\n%s", lie, diff)
		}
	}
	st, err := p.Probe(t.Context(), action("long text"))
	if err != nil || len(st.Detail) > 1100 {
		t.Errorf("%d bytes of text, %v", len(st.Detail), err)
	}
	err = p.Apply(t.Context(), directive(1))
	wantCode(t, err, sre.CodeUnknown)
	if len(err.Error()) > 1200 || strings.Contains(err.Error(), "\n") {
		t.Errorf("%d bytes of reason", len(err.Error()))
	}
	wantCode(t, p.Revert(t.Context(), directive(1)), sre.CodeUnknown) // not served at all
}

func TestAGigabyteIsAnErrorAndNotMemory(t *testing.T) {
	p := up(t, as(t, "a gigabyte"), Options{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := p.Probe(t.Context(), action("shop"))
	runtime.ReadMemStats(&after)
	wantCode(t, err, sre.CodeUnknown)
	if !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Error(err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 32<<20 {
		t.Errorf("%d bytes were allocated for it", got)
	}
}

// safeBuffer is a log that several goroutines write.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Len()
}

func TestAFloodIsCut(t *testing.T) {
	var log safeBuffer
	p := up(t, as(t, "floods"), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	began := time.Now()
	for i := range 100 { // the flood is on its way; calls still work
		if err := p.Apply(t.Context(), directive(uint64(i))); err != nil {
			t.Fatal(err)
		}
	}
	most := (linesBurst + linesPerSecond*(int(time.Since(began).Seconds())+20)) * (lineLength + 400)
	if got := log.Len(); got > most {
		t.Errorf("%d bytes were logged, at most %d may be", got, most)
	}
}

func TestNothingThatAPluginForkedIsLeft(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("process groups are used on Linux")
	}
	file := filepath.Join(t.TempDir(), "pid")
	h := start(t, as(t, "forks", file), Options{})
	if err := h.Plugins()[0].Err(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil || !alive(pid) {
		t.Fatalf("no child %s: %v", text, err)
	}
	h.Close()
	// It has been killed; the kernel may take a moment to say so.
	for deadline := time.Now().Add(bound * generous); alive(pid); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("child %d is still there", pid)
		}
	}
}

// alive reports whether a process runs; one that only waits to be reaped does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

func TestAPluginThatDoesNotEndIsKilled(t *testing.T) {
	h := start(t, as(t, "stays on asked"), Options{})
	began := time.Now()
	h.Close()
	if took := time.Since(began); took > stopGrace*10 {
		t.Errorf("closing took %v", took)
	}
}

func TestOnlyTheNamedVariablesArePassedOn(t *testing.T) {
	t.Setenv("SRE_SECRET", "s3cret")
	t.Setenv("SRE_SHARED", "shared")
	c := as(t, "tells its env")
	c.Env = []string{"SRE_SHARED", "SRE_ABSENT"}
	p := up(t, c, Options{})
	st, err := p.Probe(t.Context(), action("shop"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(st.Detail, "SRE_SHARED=shared") || strings.Contains(st.Detail, "s3cret") || strings.Contains(st.Detail, "PATH=") {
		t.Errorf("the plugin sees %s", st.Detail)
	}
}

func TestAPluginDoesNotReadTheDaemonsInput(t *testing.T) {
	p := up(t, as(t, "reads stdin"), Options{})
	if st, err := p.Probe(t.Context(), action("shop")); err != nil || st.Detail != "0" {
		t.Errorf("it read %q: %v", st.Detail, err)
	}
}

func TestTheBackOffDoublesUpToItsMaximum(t *testing.T) {
	c := as(t, "honest")
	c.Path = filepath.Join(t.TempDir(), "none")
	k := newClock()
	open(t, c, Options{After: k.after})
	var got []time.Duration
	for range 9 {
		w := <-k.asked
		got = append(got, w.d)
		w.fire <- time.Time{}
	}
	want := []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 60e9, 60e9, 60e9}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
