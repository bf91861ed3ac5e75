package plugins

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/sreagent/sreagent/plugins/wire"
	"github.com/sreagent/sreagent/sre"
)

// stopGrace is how long a plugin may take to end when it is asked to, before it
// is killed.
const stopGrace = 2 * time.Second

// maxHeaders bounds the headers and trailers of an answer in bytes; the text of
// an error travels there, outside the limit on messages.
const maxHeaders = 64 << 10

// window is how many bytes of one stream, and of all, may wait to be read.
const window = 256 << 10

// session is one process of a plugin with the connection to it.
type session struct {
	client  *plugin.Client
	process *process
	dir     string // of its sockets
	cancel  context.CancelFunc
	conn    *grpc.ClientConn
	lever   *wire.Client
	odd     bool // it describes other kinds than at its start; of the goroutine that pings
}

// Digest returns the SHA-256 of a file in hex, as the configuration wants it.
func Digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// CheckBinary holds the binary against the checksum of the configuration. The
// error gives both.
func CheckBinary(c Config) error {
	have, err := Digest(c.Path)
	switch {
	case err != nil:
		return fmt.Errorf("read the binary: %w", err)
	case !strings.EqualFold(have, c.SHA256):
		return fmt.Errorf("checksum: the SHA-256 of %s is %s, the configuration wants %s", c.Path, have, strings.ToLower(c.SHA256))
	}
	return nil
}

// environment is what a plugin gets of the daemon's: the named variables that
// are set, and nothing else.
func environment(names []string) []string {
	out := []string{}
	for _, name := range names {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// launch starts the binary and connects to it. It returns by the end of ctx,
// with nothing left behind where it fails.
func launch(ctx context.Context, c Config, v *voice) (_ *session, err error) {
	// A bare name would be looked for in PATH, where another file may be found
	// than the one that is checked.
	if c.Path, err = filepath.Abs(c.Path); err != nil {
		return nil, fmt.Errorf("find the binary: %w", err)
	}
	if err := CheckBinary(c); err != nil {
		return nil, err
	}
	sum, err := hex.DecodeString(c.SHA256)
	if err != nil {
		return nil, fmt.Errorf("checksum: %w", err)
	}
	s := &session{process: newProcess()}
	if s.dir, err = os.MkdirTemp("", "sreagent-plugin-"); err != nil {
		return nil, fmt.Errorf("make a folder for its socket: %w", err)
	}
	alive, cancel := context.WithCancel(context.Background()) //nolint:contextcheck // outlives the start
	s.cancel = cancel
	s.client = plugin.NewClient(s.config(alive, c, v, plugin.SecureConfig{Checksum: sum, Hash: sha256.New()}))
	defer context.AfterFunc(ctx, func() {
		_ = s.process.Kill(ctx)
		cancel()
	})()
	defer func() {
		if err != nil {
			s.close(false)
		}
	}()
	err = s.connect()
	if err != nil {
		return nil, explain(ctx, err)
	}
	return s, nil
}

func (s *session) connect() error {
	protocol, err := s.client.Client()
	if err != nil {
		return err
	}
	raw, err := protocol.Dispense(wire.Name)
	if err != nil {
		return err
	}
	s.conn = raw.(*grpc.ClientConn) //nolint:forcetypeassert // our own plugin type returns it
	s.lever = wire.NewClient(s.conn)
	return nil
}

// config is how go-plugin runs the process. Its own log is off: what it would
// say of a failure is in its errors, and the process' output goes through v.
func (s *session) config(alive context.Context, c Config, v *voice, secure plugin.SecureConfig) *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: wire.Version, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{wire.Version: {wire.Name: dialled{}}},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (runner.Runner, error) {
			s.process.socketDir = dir
			s.process.cmd = exec.Command(c.Path, c.Args...) //nolint:gosec,noctx // the configured binary, held by its checksum; process ends it
			s.process.cmd.Env = append(environment(c.Env), spec.Env...)
			return verified{s.process, c.Path, secure}, nil
		},
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: s.dir},
		SkipHostEnv:      true,
		AutoMTLS:         true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		StartTimeout:     time.Duration(c.StartTimeout),
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard}),
		Stderr:           v.stream("stderr"), // its pipe is paced
		SyncStdout:       unhurried(alive, v.stream("stdout")),
		SyncStderr:       unhurried(alive, v.stream("stderr")),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage), grpc.MaxCallSendMsgSize(wire.MaxMessage)),
			grpc.WithMaxHeaderListSize(maxHeaders),
			// Fixed windows: else a plugin that floods grows them.
			grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
			grpc.WithChainUnaryInterceptor(boundShutdown),
			grpc.WithChainStreamInterceptor(boundStreams(alive)),
		},
	}
}

// verified is a process that starts only if go-plugin's own check of the binary
// passes: with a runner of one's own it does not make the check itself.
type verified struct {
	*process
	path   string
	secure plugin.SecureConfig
}

// Start checks and starts.
func (v verified) Start(ctx context.Context) error {
	ok, err := v.secure.Check(v.path)
	if err != nil {
		return fmt.Errorf("checksum: %w", err)
	}
	if !ok {
		return plugin.ErrChecksumsDoNotMatch
	}
	return v.process.Start(ctx)
}

// dialled hands out the connection itself.
type dialled struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCServer is the plugin's side, which the host does not have.
func (dialled) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the host serves nothing")
}

// GRPCClient returns the connection.
func (dialled) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// boundShutdown bounds the one call that go-plugin makes without a deadline: a
// plugin that hangs would keep the daemon from ending.
func boundShutdown(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
	if strings.HasPrefix(method, "/plugin.GRPCController/") {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stopGrace)
		defer cancel()
	}
	return call(ctx, method, request, reply, conn, o...)
}

// boundStreams ends go-plugin's streams with the session, and opens only that
// with the plugin's output. The other one would let a plugin announce
// connections, for each of which go-plugin keeps a record.
func boundStreams(alive context.Context) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
		if !strings.HasPrefix(method, "/plugin.GRPCStdio/") {
			return nil, status.Error(codes.Unimplemented, "not used")
		}
		ctx, cancel := context.WithCancel(ctx)
		context.AfterFunc(alive, cancel)
		stream, err := open(ctx, desc, conn, method, o...)
		if err != nil {
			// go-plugin leaks the connection on any other error, and with this one
			// the first call of ours says what is wrong.
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		return stream, nil
	}
}

// ping asks whether the plugin serves.
func (s *session) ping(ctx context.Context) error {
	r, err := grpc_health_v1.NewHealthClient(s.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	if err != nil {
		return err
	}
	if r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("its health is %s", r.GetStatus())
	}
	return nil
}

// describe asks for the capability and holds its name against the wanted one;
// none is any.
func (s *session) describe(ctx context.Context, want string) (sre.Capability, error) {
	c, err := s.lever.Describe(ctx)
	if err != nil {
		return sre.Capability{}, err
	}
	if want != "" && c.Name != want {
		return sre.Capability{}, fmt.Errorf("the plugin calls itself %q, the configuration calls it %q", c.Name, want)
	}
	return c, nil
}

// close ends the process, everything that it forked, and the connection. A
// process that is well is asked first and has stopGrace to comply.
func (s *session) close(gently bool) {
	if gently {
		timer := time.AfterFunc(stopGrace, func() { _ = s.process.Kill(context.Background()) })
		defer timer.Stop()
	} else {
		_ = s.process.Kill(context.Background())
		s.cancel()
		if s.conn != nil {
			_ = s.conn.Close() // or go-plugin would ask a dead process to end
		}
	}
	s.client.Kill()
	_ = s.process.Kill(context.Background())
	s.cancel()
	if s.conn != nil {
		_ = s.conn.Close() // go-plugin leaves it open where the plugin is gone
	}
	if s.process.begun() {
		<-s.process.finished
	}
	_ = os.RemoveAll(s.dir)
}

// otherVersion is go-plugin's text for a plugin of another protocol version.
var otherVersion = regexp.MustCompile(`incompatible API version with plugin\. Plugin version: (\d+)`)

// explain says in our words why a plugin did not start.
func explain(ctx context.Context, err error) error {
	text := err.Error()
	if hit := otherVersion.FindStringSubmatch(text); hit != nil {
		return fmt.Errorf("handshake: the plugin speaks protocol version %s, this sreagent speaks version %d: rebuild the plugin with the SDK of this release", hit[1], wire.Version)
	}
	line, isLine := strings.CutPrefix(text, "Unrecognized remote plugin message: ")
	line, _, _ = strings.Cut(line, "\n")
	switch {
	case ctx.Err() != nil || strings.Contains(text, "timeout while waiting for plugin to start"):
		return errors.New("handshake: the plugin did not complete it in time")
	case strings.Contains(text, "plugin exited before"), isLine && line == "":
		return errors.New("handshake: the plugin gave none: it ended, or its first line on standard output does not; what it wrote to standard error is in the log")
	case isLine:
		return fmt.Errorf("handshake: the plugin's first line on standard output is %s, which is none; nothing may be printed before sdk.Serve", strconv.Quote(wire.Clean(line, 80)))
	}
	return errors.New(wire.Clean(text, 512))
}
