package ipc

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Reading is brief only once no descriptor can come with it: closing one lasts as
// long as its sender likes.
func TestReadsAreBriefWithoutDescriptors(t *testing.T) {
	noLeaks(t)
	for what, x := range map[string]struct {
		takes int
		brief bool
	}{
		"it takes none": {0, true},
		"it takes some": {16, false},
	} {
		f, other, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		send := func(with ...int) (err error) {
			control(t, other, func(fd int) error { err = unix.Sendmsg(fd, []byte("x"), unix.UnixRights(with...), nil, 0); return nil })
			return err
		}
		var fds [1]int
		control(t, other, func(fd int) error { fds[0] = fd; return nil })
		if err := send(fds[0]); err != nil { // before the other end is a Conn
			t.Fatal(err)
		}
		c, err := makeConn(f, Config{Role: Supervisor, Hello: Hello{FDs: x.takes}.withDefaults()})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		brief := x.brief && c.sender.vector.brief // nothing is, before Linux 6.16
		v, buf := &c.arrived.vector, [][]byte{make([]byte, 10)}
		read := func(want error) {
			control(t, f, func(fd int) error {
				if _, _, _, err := v.receive(fd, buf, nil, recvFlags); err != want {
					t.Errorf("%s: %v, want %v", what, err, want)
				}
				return nil
			})
		}
		if read(nil); v.brief {
			t.Errorf("%s: there may be descriptors, and reading is brief", what)
		}
		if read(unix.EAGAIN); v.brief != brief {
			t.Errorf("%s: there is nothing, and reading is brief: %v", what, v.brief)
		}
		if err := send(fds[0]); (err == unix.EPERM) != brief {
			t.Errorf("%s: one more is sent: %v", what, err)
		}
	}
}

// Nothing is brief that may wait, or copies much.
func TestBrief(t *testing.T) {
	v := vector{brief: true}
	for _, x := range []struct {
		flags int
		bufs  [][]byte
		brief bool
	}{
		{recvFlags, [][]byte{make([]byte, briefRead)}, true},
		{recvFlags, [][]byte{make([]byte, briefRead), make([]byte, 1)}, false},
		{recvFlags &^ unix.MSG_DONTWAIT, [][]byte{make([]byte, 1)}, false},
	} {
		if got := v.isBrief(x.flags, briefRead, x.bufs...); got != x.brief {
			t.Errorf("%#x, %d buffers: %v", x.flags, len(x.bufs), got)
		}
	}
	if new(vector).isBrief(recvFlags, briefRead) {
		t.Error("it may not, and is")
	}
}
