package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// drainFor is how long the output of an ended process is still read. Only a
// process that left its group can keep the pipes open for longer.
const drainFor = time.Second

// process is one run of a plugin's binary; it is a runner of go-plugin. Its own
// runner kills one process where a plugin may have forked many, and learns of
// the end only when nobody holds the pipes any more.
type process struct {
	cmd       *exec.Cmd
	socketDir string
	stdout    *paced
	stderr    *paced
	exited    chan struct{} // closed when the process has ended and is reaped
	finished  chan struct{} // closed when its pipes are closed too
	err       error         // how it ended; read after exited

	mu      sync.Mutex
	started bool
	doomed  bool // killed, before the start or after
	reaped  bool
}

func newProcess() *process {
	return &process{exited: make(chan struct{}), finished: make(chan struct{})}
}

// Start starts the process and the goroutine that owns it.
func (p *process) Start(context.Context) error {
	outR, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, outR.Close(), outW.Close())
	}
	p.stdout, p.stderr = newPaced(outR), newPaced(errR)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = nil, outW, errW
	isolate(p.cmd)
	begun := make(chan error)
	go p.own(begun)
	err = <-begun
	_, _ = outW.Close(), errW.Close()
	if err != nil {
		p.stdout.shut()
		p.stderr.shut()
	}
	return err
}

// own starts the process, waits for its end and then ends all that is left of
// its group.
func (p *process) own(begun chan<- error) {
	defer close(p.finished)
	defer pinThread()()
	p.mu.Lock()
	if p.doomed {
		p.mu.Unlock()
		close(p.exited)
		begun <- errors.New("given up before the start")
		return
	}
	err := p.cmd.Start()
	p.started = err == nil
	p.mu.Unlock()
	if err != nil {
		close(p.exited)
		begun <- err
		return
	}
	begun <- nil
	reap := awaitExit(p.cmd)
	p.mu.Lock()
	killGroup(p.cmd)
	p.err = reap()
	p.reaped = true
	p.mu.Unlock()
	close(p.exited)
	timer := time.NewTimer(drainFor)
	defer timer.Stop()
	for _, pipe := range []*paced{p.stdout, p.stderr} {
		select {
		case <-pipe.eof:
		case <-timer.C:
			timer.Reset(0)
		}
		pipe.shut()
	}
}

// begun reports whether the process has an owner that closes finished.
func (p *process) begun() bool { return p.stdout != nil }

// Kill ends the process and its group, now or as soon as it would be started.
func (p *process) Kill(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doomed = true
	if p.started && !p.reaped {
		killGroup(p.cmd)
	}
	return nil
}

// Wait returns when the process has ended.
func (p *process) Wait(context.Context) error {
	<-p.exited
	return p.err
}

// ended says how the process ended; it is called after exited is closed.
func (p *process) ended() string {
	if p.err == nil {
		return "the process ended by itself (exit status 0)"
	}
	return "the process ended: " + p.err.Error()
}

func (p *process) Stdout() io.ReadCloser { return p.stdout }
func (p *process) Stderr() io.ReadCloser { return p.stderr }
func (p *process) Name() string          { return p.cmd.Path }

// ID is the number of the process. It is never empty, as go-plugin would then
// not clean up after a start that failed.
func (p *process) ID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started {
		return "none"
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

// Diagnose adds nothing: the error around it names the file already.
func (*process) Diagnose(context.Context) string { return "" }

// PluginToHost takes the address that the plugin gives in its handshake. It must
// be a socket in the folder made for it, so that no plugin can make the daemon
// connect to where it likes.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	dir, err := filepath.Rel(p.socketDir, filepath.Clean(address))
	if network != "unix" || err != nil || dir == "." || strings.HasPrefix(dir, "..") {
		return "", "", fmt.Errorf("the plugin listens at %s %q, not at a socket in the folder that it was given", network, address)
	}
	return network, address, nil
}

// HostToPlugin returns the address as it is.
func (*process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// The output of a plugin is read at this many bytes per second at most, after a
// first burst; a plugin that writes more waits, and the daemon does not burn a
// core on it.
const (
	outputRate  = 1 << 20
	outputBurst = 256 << 10
)

// paced is the reading end of a pipe, read no faster than outputRate.
type paced struct {
	file  *os.File
	limit *rate.Limiter
	once  sync.Once
	eof   chan struct{}
	ctx   context.Context //nolint:containedctx // ends the waiting of Read, which takes none
	stop  context.CancelFunc
}

func newPaced(f *os.File) *paced {
	ctx, stop := context.WithCancel(context.Background())
	return &paced{file: f, limit: rate.NewLimiter(outputRate, outputBurst), eof: make(chan struct{}), ctx: ctx, stop: stop}
}

// Read reads at most what may be read in one burst, and then waits its share.
func (p *paced) Read(b []byte) (int, error) {
	n, err := p.file.Read(b[:min(len(b), outputBurst)])
	if err != nil {
		p.once.Do(func() { close(p.eof) })
		return n, io.EOF // a pipe that was closed here is at its end too
	}
	_ = p.limit.WaitN(p.ctx, n) // only its end is an error
	return n, nil
}

// Close is the reader's; the owner of the process closes the pipe.
func (p *paced) Close() error { return nil }

func (p *paced) shut() {
	p.stop()
	_ = p.file.Close()
}

// unhurried is a writer that takes no more than outputRate, until alive ends.
func unhurried(alive context.Context, to io.Writer) io.Writer {
	return &slowWriter{alive: alive, to: to, limit: rate.NewLimiter(outputRate, outputBurst)}
}

type slowWriter struct {
	alive context.Context //nolint:containedctx // ends the waiting of Write, which takes none
	to    io.Writer
	limit *rate.Limiter
}

// Write passes everything on, and then waits its share.
func (s *slowWriter) Write(b []byte) (int, error) {
	n, err := s.to.Write(b)
	for left := n; left > 0; left -= outputBurst {
		_ = s.limit.WaitN(s.alive, min(left, outputBurst)) // only its end is an error
	}
	return n, err
}
