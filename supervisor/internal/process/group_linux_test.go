package process

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watch returns a function that waits for the end of a process that is not
// this one's child.
func pidfdOf(t testing.TB, pid int) func() {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("pidfd of %d: %v", pid, err)
	}
	return func() {
		t.Helper()
		defer unix.Close(fd)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Minute/time.Millisecond))
			if err == unix.EINTR {
				continue
			}
			if n != 1 || err != nil {
				t.Fatalf("process %d is still there: %v", pid, err)
			}
			return
		}
	}
}

// What the leader leaves of its group dies with it, though nobody signals it.
func TestGroupDiesWithItsLeader(t *testing.T) {
	s := spec(t, "sh", "-c", "sleep 1000 & echo $!; read line")
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	s.Stdin = stdin
	out := output(t, &s)
	p := begin(t, s)
	member := pidIn(t, out)
	gone := pidfdOf(t, member)
	hold.Close() // the leader reads its end and exits
	if e, err := p.Wait(); err != nil || e.Signal != 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	gone()
}

func TestSignalReachesTheGroup(t *testing.T) {
	s := spec(t, "sh", "-c", "sleep 1000 & echo $!; wait")
	out := output(t, &s)
	p := begin(t, s)
	member := pidIn(t, out)
	gone := pidfdOf(t, member)
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	gone()
	if e, err := p.Wait(); err != nil || e.Signal != syscall.SIGTERM {
		t.Fatalf("%+v, %v", e, err)
	}
}

// A leader that has moved to another group is not safe from SIGKILL, even
// though its own group still has a member.
func TestKillFollowsIntoAnotherGroup(t *testing.T) {
	s := spec(t, asProgram("elsewhere")...)
	out := output(t, &s)
	p := begin(t, s)
	other := pidIn(t, out)
	defer func() { _ = unix.Kill(other, unix.SIGKILL) }()
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e, err := p.Wait(); err != nil || e.Signal != unix.SIGKILL {
		t.Fatalf("%+v, %v", e, err)
	}
}

func TestStartHandsOverDescriptorsAndEnvironment(t *testing.T) {
	s := spec(t, "sh", "-c", `echo "$WHO in $(pwd -P)"; cat <&3; ls /proc/self/fd | wc -l`)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	extra, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	fmt.Fprintln(w, "by descriptor 3")
	w.Close()
	s.Dir, s.Extra = dir, []*os.File{extra}
	s.Env = append(s.Env, "WHO=first", "WHO=second")
	out := output(t, &s)
	p := begin(t, s)
	s.Stdout.Close()
	all, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing but the four and that of ls itself, whatever this program has inherited.
	if want := fmt.Sprintf("second in %s\nby descriptor 3\n5\n", dir); string(all) != want {
		t.Errorf("got %q, want %q", all, want)
	}
	if e, err := p.Wait(); err != nil || e != (Exit{}) {
		t.Errorf("%+v, %v", e, err)
	}
}
