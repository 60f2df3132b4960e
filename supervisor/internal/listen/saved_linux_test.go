package listen

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/handover/handovertest"
)

// heir is s as the next program has it.
func heir(t *testing.T, s *Socket) *Socket {
	t.Helper()
	var out handover.Out
	saved, err := s.Export(&out)
	if err != nil {
		t.Fatal(err)
	}
	in, saved := handovertest.Carry(t, &out, saved)
	next, err := Adopt(in, saved)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// TestHandedOver: the next program has the same sockets, with those who wait, and
// looks after their nodes.
func TestHandedOver(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tcp://:0", "unix://" + filepath.Join(dir, "s") + "?mode=0600"} {
		spec, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		var waiting net.Conn
		if spec.Network != "udp" {
			if waiting, err = net.Dial(spec.Network, s.Addr()); err != nil {
				t.Fatal(err)
			}
			defer waiting.Close()
		}
		next := heir(t, s)
		if next.Addr() != s.Addr() || next.Spec() != s.Spec() {
			t.Errorf("%v %v was %v %v", next.Spec(), next.Addr(), s.Spec(), s.Addr())
		}
		if pollable(next.File()) {
			t.Errorf("%s: it is watched here", text)
		}
		s.file.Close() // execve(2) closes it, and nothing else of the program before is done
		if flags, err := unix.FcntlInt(next.File().Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("%s: flags %#x, %v", text, flags, err)
		}
		if waiting != nil {
			fd, _, err := unix.Accept(int(next.File().Fd()))
			if err != nil {
				t.Errorf("%s: who waited: %v", text, err)
			}
			unix.Close(fd)
		}
		if spec.Network == "unix" {
			wide := spec
			wide.Mode = 0o666
			if err := next.Change(wide); err != nil {
				t.Error(err)
			}
			if got := describe(t, spec.Path); got[:10] != "Srw-rw-rw-" {
				t.Errorf("the node is %s", got)
			}
		}
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	}
	only(t, dir)
}

// pollable tells whether f is in the runtime's poller, which then wakes up for
// every client.
func pollable(f *os.File) bool { return f.SetReadDeadline(time.Time{}) == nil }

// TestHandedOverAsWorkersHaveIt: a worker has made the socket non-blocking, for
// all that have it. That stays so, and the supervisor keeps out of it.
func TestHandedOverAsWorkersHaveIt(t *testing.T) {
	s := mustOpen(t, "tcp://127.0.0.1:0")
	if err := unix.SetNonblock(int(s.File().Fd()), true); err != nil {
		t.Fatal(err)
	}
	next := heir(t, s)
	defer next.Close()
	if pollable(next.File()) {
		t.Error("it is watched here")
	}
	flags, err := unix.FcntlInt(next.File().Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if flags, err := unix.FcntlInt(next.File().Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("it would be inherited: %#x, %v", flags, err)
	}
	c, err := net.Dial("tcp", next.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestAdoptOfWhatIsNoSocket(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out handover.Out
	in, saved := handovertest.Carry(t, &out, Saved{FD: out.FD(int(f.Fd())), Spec: Spec{Network: "tcp"}})
	if _, err := Adopt(in, saved); !errors.Is(err, unix.ENOTSOCK) {
		t.Error(err)
	}
	if _, err := Adopt(in, saved); !errors.Is(err, handover.ErrTaken) {
		t.Error(err)
	}
}
