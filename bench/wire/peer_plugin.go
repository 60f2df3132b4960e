package main

import (
	"context"
	"io"
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// hashicorp/go-plugin in its gRPC mode, which is what it recommends. It makes
// the Unix socket itself.

type echoPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (echoPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&echoService, grpcEcho{})
	return nil
}

func (echoPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return grpcCall(conn), nil
}

var (
	pluginHandshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BROOD_BENCH", MagicCookieValue: "plugin"}
	pluginSet       = plugin.PluginSet{"echo": echoPlugin{}}
	pluginLogger    = hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Error})
)

func openPlugin() (link, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "child", "plugin")
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: pluginHandshake, Plugins: pluginSet, Cmd: cmd, Logger: pluginLogger,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		GRPCDialOptions:  []grpc.DialOption{grpcClientLimits},
		SyncStderr:       io.Discard,
		SyncStdout:       io.Discard,
	})
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	call, err := protocol.Dispense("echo")
	if err != nil {
		return nil, err
	}
	return pluginLink{callers{pid: cmd.Process.Pid, call: call.(func(payload, last []byte) ([]byte, error))}, client}, nil
}

// pluginLink has to be closed: a plugin does not notice that its host is gone.
type pluginLink struct {
	callers
	client *plugin.Client
}

func (l pluginLink) Close() error {
	l.client.Kill()
	return nil
}

func pluginChild([]string) error {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: pluginHandshake, Plugins: pluginSet, Logger: pluginLogger,
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpcServerLimits...)...)
		},
	})
	return nil
}
