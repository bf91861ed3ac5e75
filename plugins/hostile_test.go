package plugins

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	pb "github.com/sreagent/sreagent/plugins/proto"
	"github.com/sreagent/sreagent/plugins/sdk"
	"github.com/sreagent/sreagent/plugins/wire"
	"github.com/sreagent/sreagent/sre"
)

// modeArg makes this test binary a plugin of the mode that follows.
const modeArg = "serve-as-plugin"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == modeArg {
		modes[os.Args[2]](os.Args[3:])
		return
	}
	goleak.VerifyTestMain(m)
}

// modes are the plugins of the tests, honest and not.
var modes map[string]func(args []string)

func init() { //nolint:gochecknoinits // the modes start each other
	modes = map[string]func(args []string){
		"honest":         func([]string) { sdk.Serve(&memory{}) },
		"tells":          func([]string) { sdk.Serve(&teller{}) },
		"widens":         func([]string) { sdk.Serve(&widener{}) },
		"needs nobody":   func([]string) { sdk.Serve(&dropper{}) },
		"says hello":     func([]string) { fmt.Println("hello, I am a plugin"); sdk.Serve(&memory{}) },
		"endless line":   func([]string) { flood(os.Stdout, strings.Repeat("x", 4096)) },
		"silent":         func([]string) { time.Sleep(time.Hour) },
		"ends at once":   func([]string) { fmt.Fprintln(os.Stderr, "no licence"); os.Exit(4) },
		"lies where":     func([]string) { fmt.Println("1|1|tcp|127.0.0.1:1|grpc|"); time.Sleep(time.Hour) },
		"deaf":           func([]string) { deaf() },
		"version 9":      func([]string) { serveVersion(9) },
		"other name":     func([]string) { sdk.Serve(&memory{name: "somebody-else"}) },
		"hangs":          func([]string) { sdk.Serve(&memory{hang: true}) },
		"hangs at once":  func([]string) { sdk.Serve(&memory{hangDescribe: true}) },
		"ends in apply":  func([]string) { sdk.Serve(&memory{exit: true}) },
		"panics":         func([]string) { sdk.Serve(&memory{panics: true}) },
		"floods":         func([]string) { go flood(os.Stderr, "too much\n"); sdk.Serve(&flooder{}) },
		"forks":          func(args []string) { fork(args[0]); sdk.Serve(&memory{}) },
		"child":          func([]string) { time.Sleep(time.Hour) },
		"lies":           func([]string) { serveRaw(&liar{}) },
		"a gigabyte":     func([]string) { serveRaw(&giant{}, grpc.ForceServerCodecV2(gigabyte{encoding.GetCodecV2("proto")})) },
		"tells its env":  func([]string) { sdk.Serve(&memory{detail: strings.Join(os.Environ(), " ")}) },
		"reads stdin":    func([]string) { n, _ := os.Stdin.Read(make([]byte, 1)); sdk.Serve(&memory{detail: fmt.Sprint(n)}) },
		"stays on asked": func([]string) { serveForever() },
	}
}

// widener asks for more each time it is asked what it can do. Its version counts
// how often that was.
type widener struct {
	memory
	asked atomic.Int64
}

func (w *widener) Describe(ctx context.Context) (sre.Capability, error) {
	c, err := w.memory.Describe(ctx)
	n := w.asked.Add(1)
	c.Version = strconv.FormatInt(n, 10)
	c.Kinds[0].Params[0].Max *= float64(n)
	return c, err
}

// dropper needs a person for one name when it starts and for another one later.
type dropper struct{ widener }

func (d *dropper) Describe(ctx context.Context) (sre.Capability, error) {
	c, err := d.memory.Describe(ctx)
	n := d.asked.Add(1)
	c.Version, c.Person = strconv.FormatInt(n, 10), []string{"shop"}
	if n > 1 {
		c.Person = []string{"later"}
	}
	return c, err
}

// memory is a lever over a variable, with the faults that are switched on.
type memory struct {
	name, detail                     string
	hang, hangDescribe, exit, panics bool
	mu                               sync.Mutex
	owner                            string
	epoch                            uint64
	level                            float64
	before                           float64
	expires                          time.Time
}

func (m *memory) Describe(context.Context) (sre.Capability, error) {
	if m.hangDescribe {
		select {}
	}
	name := m.name
	if name == "" {
		name = "test"
	}
	return sre.Capability{Name: name, Version: "1", Kinds: []sre.KindSpec{{
		Kind: sre.Shed, Reversible: true, TTL: true,
		Params: []sre.ParamSpec{{Name: "rps", Type: "number", Required: true, Max: 1e6, Unit: "requests per second"}},
	}}}, nil
}

func (m *memory) Probe(_ context.Context, a sre.Action) (sre.TargetState, error) {
	if m.hang {
		select {}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return sre.TargetState{
		InEffect: m.owner != "" && m.owner == a.ID, Owner: m.owner, Epoch: m.epoch, Detail: m.detail,
		Current: sre.Params{"rps": m.level}, Expires: m.expires,
	}, nil
}

func (m *memory) Apply(_ context.Context, d sre.Directive) error {
	switch {
	case m.hang:
		select {}
	case m.exit:
		os.Exit(3)
	case m.panics:
		panic("no such thing")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.Epoch < m.epoch {
		return sre.Refusedf("epoch %d is older than %d", d.Epoch, m.epoch)
	}
	m.epoch, m.expires = d.Epoch, d.Expires
	if m.owner != d.Action.ID {
		m.owner, m.before = d.Action.ID, m.level
	}
	m.level, _ = d.Action.Params.Float("rps")
	return nil
}

func (m *memory) Revert(_ context.Context, d sre.Directive) error {
	if m.hang {
		select {}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner == d.Action.ID {
		m.owner, m.level, m.expires = "", m.before, time.Time{}
	}
	return nil
}

func flood(f *os.File, text string) {
	for {
		if _, err := f.WriteString(text); err != nil {
			return
		}
	}
}

// flooder floods what the SDK redirects, too.
type flooder struct{ memory }

func (f *flooder) Apply(ctx context.Context, d sre.Directive) error {
	go flood(os.Stdout, strings.Repeat("y", 100)+"\n")
	go flood(os.Stderr, strings.Repeat("z", 1<<16))
	return f.memory.Apply(ctx, d)
}

// deaf completes the handshake with a socket at which nobody answers.
func deaf() {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		os.Exit(1)
	}
	fmt.Printf("1|1|unix|%s|grpc|\n", path)
	_, _ = l.Accept()
	time.Sleep(time.Hour)
}

// fork leaves a child behind that holds the pipes, and notes its number.
func fork(file string) {
	self, _ := os.Executable()
	child := exec.Command(self, modeArg, "child")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		os.Exit(1)
	}
	_ = os.WriteFile(file, fmt.Append(nil, child.Process.Pid), 0o600)
}

type rawPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server pb.RemediatorServer
}

func (r rawPlugin) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	pb.RegisterRemediatorServer(g, r.server)
	return nil
}

func (rawPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil //nolint:nilnil // never called
}

func handshake(version uint) plugin.HandshakeConfig {
	return plugin.HandshakeConfig{ProtocolVersion: version, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue}
}

// serveRaw serves messages that the SDK would not make.
func serveRaw(server pb.RemediatorServer, o ...grpc.ServerOption) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake(1),
		VersionedPlugins: map[int]plugin.PluginSet{1: {wire.Name: rawPlugin{server: server}}},
		GRPCServer:       func(more []grpc.ServerOption) *grpc.Server { return grpc.NewServer(append(more, o...)...) },
	})
}

func serveVersion(v int) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake(uint(v)),
		VersionedPlugins: map[int]plugin.PluginSet{v: {wire.Name: rawPlugin{server: &liar{}}}},
		GRPCServer:       plugin.DefaultGRPCServer,
	})
}

// serveForever is asked to end and does not.
func serveForever() {
	sdk.Serve(&memory{})
	time.Sleep(time.Hour)
}

// liar describes itself well and answers nonsense, by the target's service.
type liar struct {
	pb.UnimplementedRemediatorServer
}

func (*liar) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return &pb.DescribeResponse{Capability: &pb.Capability{Name: "test", Version: "1", Kinds: []*pb.KindSpec{{Kind: "shed", Params: []*pb.ParamSpec{{Name: "rps", Type: "number", Max: 10}}}}}}, nil
}

func (*liar) Probe(_ context.Context, r *pb.ProbeRequest) (*pb.ProbeResponse, error) {
	s := &pb.TargetState{Current: &pb.Params{Values: map[string]*pb.Value{}}}
	switch r.GetAction().GetTarget().GetService() {
	case "nothing":
		return &pb.ProbeResponse{}, nil
	case "both":
		s.InEffect, s.Foreign = true, true
	case "owner":
		s.InEffect, s.Owner = true, "another"
	case "nan":
		s.Current.Values["rps"] = &pb.Value{Kind: &pb.Value_Number{Number: math.NaN()}}
	case "kindless":
		s.Current.Values["rps"] = &pb.Value{}
	case "many":
		for i := range 1000 {
			s.Current.Values[fmt.Sprint(i)] = &pb.Value{Kind: &pb.Value_Flag{}}
		}
	case "long owner":
		s.Owner = strings.Repeat("o", 1000)
	case "terminal":
		s.Owner = "\x1b[2Jnobody"
	case "code":
		return &pb.ProbeResponse{Error: &pb.ActionError{Code: 77, Reason: "seventy-seven"}}, nil
	case "long text":
		s.Detail = strings.Repeat("d", 1<<19) + "\n"
	}
	return &pb.ProbeResponse{State: s}, nil
}

func (*liar) Apply(context.Context, *pb.ApplyRequest) (*pb.ApplyResponse, error) {
	return &pb.ApplyResponse{Error: &pb.ActionError{Code: -5, Reason: strings.Repeat("long\n", 1<<16)}}, nil
}

// giant answers Probe with a message of one gigabyte.
type giant struct{ liar }

// gigabyte is the codec that writes it, without having it in memory.
type gigabyte struct{ encoding.CodecV2 }

func (g gigabyte) Marshal(v any) (mem.BufferSlice, error) {
	if _, ok := v.(*pb.ProbeResponse); !ok {
		return g.CodecV2.Marshal(v)
	}
	piece := make([]byte, 1<<20)
	var out mem.BufferSlice
	for range 1024 {
		out = append(out, mem.SliceBuffer(piece))
	}
	return out, nil
}
