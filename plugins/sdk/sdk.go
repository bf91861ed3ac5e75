// Package sdk turns a lever into a plugin. The main of a plugin is one line:
//
//	func main() { sdk.Serve(lever) }
//
// The lever is any sre.Remediator. The package owns the handshake, the
// transport and the conversion; it decides nothing about actions. Begin with
// plugins/example, and hold the result against plugins/conformance.
package sdk

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sreagent/sreagent/plugins/wire"
	"github.com/sreagent/sreagent/sre"
)

// Version is the version of the plugin protocol that Serve speaks.
const Version = wire.Version

// Serve makes this process the plugin of a lever and returns when sreagent ends
// it. It exits with code 1 where the process was not started by sreagent. What
// the lever writes to standard error goes to sreagent's log, as does standard
// output once Serve runs; before that, nothing may be written to standard
// output, as the first line there is the handshake.
func Serve(lever sre.Remediator) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: Version, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{Version: {wire.Name: &served{lever: lever}}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, limits()...)...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, JSONFormat: true}),
	})
}

func limits() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.MaxRecvMsgSize(wire.MaxMessage), grpc.MaxSendMsgSize(wire.MaxMessage)}
}

// served is a lever as go-plugin wants it.
type served struct {
	plugin.NetRPCUnsupportedPlugin
	lever sre.Remediator
}

// GRPCServer registers the lever's service.
func (s *served) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	wire.Register(g, s.lever)
	return nil
}

// GRPCClient is the host's side, which a plugin does not have.
func (*served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this side serves")
}

// InProcess returns the lever as sreagent sees it through the protocol, without
// a process: over gRPC in memory. It is for tests. The returned function ends
// both sides and waits for them.
func InProcess(lever sre.Remediator) (remote sre.Remediator, stop func(), err error) {
	pipe := bufconn.Listen(1 << 16)
	server := grpc.NewServer(limits()...)
	wire.Register(server, lever)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(pipe) }) // ends with the stop below
	conn, err := grpc.NewClient("passthrough:///in-process",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage), grpc.MaxCallSendMsgSize(wire.MaxMessage)))
	stop = func() {
		if conn != nil {
			_ = conn.Close()
		}
		server.Stop()
		wg.Wait()
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return wire.NewClient(conn), stop, nil
}
