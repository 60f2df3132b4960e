//go:build !race && !msan && !asan

package control

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// guestAndClient is a guest and who is at its other end.
func guestAndClient(t *testing.T) (*guest, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		ends[i] = c.(*net.UnixConn)
	}
	raw, err := ends[0].SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return &guest{UnixConn: ends[0], raw: raw}, ends[1]
}

// Reading is brief only once no descriptor can come with it: closing one lasts as
// long as its sender likes.
func TestGuestIsReadBrieflyWithoutDescriptors(t *testing.T) {
	g, client := guestAndClient(t)
	own, err := fdOf(client)
	if err != nil {
		t.Fatal(err)
	}
	send := func() error {
		_, _, err := client.WriteMsgUnix([]byte("x"), unix.UnixRights(own), nil)
		return err
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	g.prepareBrief()
	for _, x := range []struct {
		flags int
		want  error
		brief bool
	}{{unix.MSG_PEEK, nil, false}, {0, nil, false}, {0, unix.EAGAIN, g.refuses}} {
		var err error
		if cerr := g.raw.Control(func(fd uintptr) { _, err = g.recv(fd, make([]byte, 10), x.flags) }); cerr != nil || err != x.want || g.readBrief != x.brief {
			t.Errorf("%v, want %v; reading is brief: %v, want %v", err, x.want, g.readBrief, x.brief)
		}
	}
	if err := send(); errors.Is(err, unix.EPERM) != g.refuses {
		t.Errorf("one more is sent: %v", err)
	}
}

// What the socket does not take at once is sent when there is room, and no longer
// than the deadline.
func TestSendWaits(t *testing.T) {
	g, client := guestAndClient(t)
	g.prepareBrief()
	if err := g.UnixConn.SetWriteBuffer(1); err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("0123456789abcdef"), briefWrite/16)
	const times = 4
	read := make(chan []byte, 1)
	go func() {
		b := make([]byte, times*len(text))
		_, _ = io.ReadFull(client, b)
		read <- b
	}()
	g.SetWriteDeadline(time.Now().Add(time.Minute))
	for range times {
		if n, err := g.send(text); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := <-read; !bytes.Equal(got, bytes.Repeat(text, times)) {
		t.Error("something else came")
	}
	g.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := g.send(text); n == len(text) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nobody reads: %d bytes, %v", n, err)
	}
	g.SetWriteDeadline(time.Time{})
	client.Close()
	if _, err := g.send(text); !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("nobody is there: %v", err)
	}
}
