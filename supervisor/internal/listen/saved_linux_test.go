package listen

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/handover/handovertest"
)

// TestHandedOver: the next program has the same sockets, with those who wait, and
// looks after their nodes.
func TestHandedOver(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://" + filepath.Join(dir, "s") + "?mode=0600"} {
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
		var out handover.Out
		saved, err := s.Export(&out)
		if err != nil {
			t.Fatal(err)
		}
		in, read := handovertest.Carry(t, &out, saved)
		next, err := Adopt(in, read)
		if err != nil {
			t.Fatal(err)
		}
		if next.Addr() != s.Addr() || next.Spec() != s.Spec() {
			t.Errorf("%v %v was %v %v", next.Spec(), next.Addr(), s.Spec(), s.Addr())
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

func TestAdoptOfWhatIsNoSocket(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out handover.Out
	in, saved := handovertest.Carry(t, &out, Saved{FD: out.FD(int(f.Fd()))})
	if _, err := Adopt(in, saved); !errors.Is(err, unix.ENOTSOCK) {
		t.Error(err)
	}
	if _, err := Adopt(in, saved); !errors.Is(err, handover.ErrTaken) {
		t.Error(err)
	}
}
