package main

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// ttrpc over a socketpair. The message is protobuf's own BytesValue, so that no
// code needs to be generated.

func openTTRPC() (link, error) {
	conn, cmd, err := connChild("ttrpc")
	if err != nil {
		return nil, err
	}
	client := ttrpc.NewClient(conn)
	return callers{pid: cmd.Process.Pid, call: func(payload, _ []byte) ([]byte, error) {
		var out wrapperspb.BytesValue
		err := client.Call(context.Background(), "bench.Echo", "Echo", wrapperspb.Bytes(payload), &out)
		return out.GetValue(), err
	}}, nil
}

func ttrpcChild([]string) error {
	conn, err := childConn()
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	server.RegisterService("bench.Echo", &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"Echo": func(_ context.Context, decode func(any) error) (any, error) {
			in := new(wrapperspb.BytesValue)
			err := decode(in)
			return in, err
		},
	}})
	l := newOneConn(conn)
	err = server.Serve(context.Background(), l)
	if errors.Is(err, ttrpc.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// oneConn is a listener that has one connection, and ends with it.
type oneConn struct {
	conns chan net.Conn
	addr  net.Addr
	ended sync.Once
}

type endingConn struct {
	net.Conn
	l *oneConn
}

func newOneConn(conn net.Conn) *oneConn {
	l := &oneConn{conns: make(chan net.Conn, 1), addr: conn.LocalAddr()}
	l.conns <- endingConn{conn, l}
	return l
}

func (l *oneConn) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.addr }

// Close ends the listener as well.
func (c endingConn) Close() error {
	c.l.ended.Do(func() { close(c.l.conns) })
	return c.Conn.Close()
}
