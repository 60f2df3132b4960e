//go:build unix

package worker

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/brood/ipc"
)

// inherit makes the environment and the descriptor that a supervisor hands to
// a worker, and returns the supervisor's end.
func inherit(t *testing.T) (parent *os.File, fd int) {
	t.Helper()
	parent, child, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	fd = raw(t, child)
	name(t, fd)
	t.Cleanup(func() { parent.Close() })
	return parent, fd
}

// raw is a copy of f's descriptor that no os.File owns and exec would keep.
func raw(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// name has BROOD_FD name fd as it is.
func name(t *testing.T, fd int) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BROOD_FD", fmt.Sprintf("%d:%d", fd, st.Ino))
}

func TestAttachTakesTheDescriptorOver(t *testing.T) {
	_, fd := inherit(t)
	f, err := attach()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if v, ok := os.LookupEnv("BROOD_FD"); ok {
		t.Errorf("BROOD_FD=%s is left for this program's children", v)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("it is not close-on-exec: %#x, %v", flags, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("without O_NONBLOCK it has no deadlines: %#x, %v", flags, err)
	}
	if _, err := attach(); !errors.Is(err, ErrNotSupervised) {
		t.Errorf("a second time: %v", err)
	}
}

// What is not the socket that was handed over is left alone: not closed, its
// flags as they are.
func TestAttachRefuses(t *testing.T) {
	pair := func(domain, typ int) int {
		fds, err := unix.Socketpair(domain, typ, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
		return fds[0]
	}
	other := func(open func() (int, error)) int {
		fd, err := open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	stream := pair(unix.AF_UNIX, unix.SOCK_STREAM)
	for what, fd := range map[string]int{
		"a datagram socket": pair(unix.AF_UNIX, unix.SOCK_DGRAM),
		"a TCP socket":      other(func() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) }),
		"a file":            other(func() (int, error) { return unix.Open(os.Args[0], unix.O_RDONLY, 0) }),
	} {
		name(t, fd)
		refused(t, what)
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			t.Errorf("%s: it was touched: %#x, %v", what, flags, err)
		}
	}
	for _, value := range []string{
		"", "3", ":", "3:", ":5", "three:5", "3:five", "-1:5", "3:5:7", " 3:5",
		"1048576:5",                 // no such descriptor: the variable alone was inherited
		fmt.Sprintf("%d:1", stream), // it means another socket by now
		"2:5", "0:0",                // never the standard ones
	} {
		t.Setenv("BROOD_FD", value)
		refused(t, "BROOD_FD="+value)
	}
	os.Unsetenv("BROOD_FD")
	refused(t, "no variable")
}

func refused(t *testing.T, what string) {
	t.Helper()
	f, err := attach()
	if !errors.Is(err, ErrNotSupervised) {
		t.Errorf("%s: got %v, %v", what, f, err)
	}
	var w Worker
	if err := w.Start(); !errors.Is(err, ErrNotSupervised) {
		t.Errorf("%s: Start: %v", what, err)
	}
}
