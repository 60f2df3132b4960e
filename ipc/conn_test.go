package ipc

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// connect joins two Conns.
func connect(t *testing.T, sup, wrk Config) (s, w *Conn) {
	t.Helper()
	p, c, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	sup.Role, wrk.Role = Supervisor, Worker
	if s, err = NewConn(p, sup); err != nil {
		t.Fatal(err)
	}
	if w, err = NewConn(nonblocking(t, c), wrk); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); w.Close() })
	return s, w
}

// nonblocking does for the child's end what package worker does.
func nonblocking(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "worker-end")
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	t.Cleanup(cancel)
	return ctx
}

func echo(_ context.Context, c *Call) (Message, error) { return c.Message, nil }

func TestCallBothDirections(t *testing.T) {
	s, w := connect(t, Config{Handler: echo}, Config{Handler: echo})
	for _, c := range []*Conn{s, w} {
		got, err := c.Call(within(t), "echo", Text("hello"))
		if err != nil || string(got.Payload) != "hello" || got.Codec != CodecText {
			t.Fatalf("%v: got %q %v, %v", c.cfg.Role, got.Payload, got.Codec, err)
		}
	}
}

func TestLargeMessageTravelsInChunks(t *testing.T) {
	s, _ := connect(t, Config{}, Config{Handler: echo})
	big := make([]byte, DefaultMaxMessage)
	for i := range big {
		big[i] = byte(i >> 8)
	}
	got, err := s.Call(within(t), "echo", Bytes(big))
	if err != nil || string(got.Payload) != string(big) {
		t.Fatalf("%d bytes back, %v", len(got.Payload), err)
	}
	if _, err := s.Call(within(t), "echo", Bytes(append(big, 0))); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("one byte too many: %v", err)
	}
}
