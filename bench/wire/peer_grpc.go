package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// gRPC over a Unix socket. As with ttrpc the message is protobuf's BytesValue.

type echoServer interface {
	Echo(ctx context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)
}

type grpcEcho struct{}

func (grpcEcho) Echo(_ context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return in, nil
}

const echoMethod = "/bench.Echo/Echo"

// echoService is what protoc-gen-go-grpc would generate.
var echoService = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*echoServer)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.BytesValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			if intercept == nil {
				return srv.(echoServer).Echo(ctx, in)
			}
			info := &grpc.UnaryServerInfo{Server: srv, FullMethod: echoMethod}
			return intercept(ctx, in, info, func(ctx context.Context, in any) (any, error) {
				return srv.(echoServer).Echo(ctx, in.(*wrapperspb.BytesValue))
			})
		},
	}},
}

var (
	grpcClientLimits = grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32))
	grpcServerLimits = []grpc.ServerOption{grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32)}
)

func grpcCall(conn *grpc.ClientConn) func(payload, last []byte) ([]byte, error) {
	return func(payload, _ []byte) ([]byte, error) {
		var out wrapperspb.BytesValue
		err := conn.Invoke(context.Background(), echoMethod, wrapperspb.Bytes(payload), &out)
		return out.GetValue(), err
	}
}

func openGRPC() (link, error) {
	dir, err := os.MkdirTemp("", "brood-bench-grpc-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "socket")
	lives, childLives, err := os.Pipe() // its EOF tells the child that we are gone
	if err != nil {
		return nil, err
	}
	cmd, err := startChild("grpc", lives, path)
	if err != nil {
		return nil, err
	}
	holdOpen = append(holdOpen, childLives)
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()), grpcClientLimits)
	if err != nil {
		return nil, err
	}
	var out wrapperspb.BytesValue
	if err := conn.Invoke(context.Background(), echoMethod, wrapperspb.Bytes(nil), &out, grpc.WaitForReady(true)); err != nil {
		return nil, fmt.Errorf("the first call: %w", err)
	}
	os.RemoveAll(dir)
	return callers{pid: cmd.Process.Pid, call: grpcCall(conn)}, nil
}

// holdOpen keeps descriptors from being closed by the garbage collector.
var holdOpen []*os.File

func grpcChild(args []string) error {
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpcServerLimits...)
	server.RegisterService(&echoService, grpcEcho{})
	go func() {
		io.Copy(io.Discard, os.NewFile(3, "parent-lives"))
		server.Stop()
	}()
	return server.Serve(l)
}
