package process

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/watch"
)

// A child that something else has started is taken over, running or ended, and
// its end is told.
func TestAdopt(t *testing.T) {
	set, err := watch.New()
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	go set.Run()
	for _, ended := range []bool{false, true} {
		cmd := exec.Command("sh", "-c", "read line; exit 7")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if ended {
			stdin.Close()
			if err := peek(unix.P_PID, cmd.Process.Pid, 0, nil); err != nil {
				t.Fatal(err)
			}
		}
		p, err := Adopt(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		exits := make(chan Exit, 1)
		p.OnExit(set, func(_ int, wait func()) { wait() }, func(e Exit) { exits <- e })
		stdin.Close()
		if e := <-exits; e != (Exit{Code: 7}) {
			t.Errorf("ended %v: %+v", ended, e)
		}
		if err := p.Signal(syscall.SIGTERM); !errors.Is(err, ErrEnded) {
			t.Errorf("once reaped: %v", err)
		}
	}
}

// What is no child of this program is refused, and left alone.
func TestAdoptRefuses(t *testing.T) {
	s := spec(t, "sh", "-c", "sleep 1000 & echo $!; read line")
	out := output(t, &s)
	p := begin(t, s)
	grandchild := pidIn(t, out)
	gone := begin(t, spec(t, "true"))
	if _, err := gone.Wait(); err != nil {
		t.Fatal(err)
	}
	before := openDescriptors(t)
	for _, c := range []struct {
		pid  int
		want error
	}{{grandchild, unix.ECHILD}, {os.Getppid(), unix.ECHILD}, {os.Getpid(), unix.ECHILD}, {gone.PID, unix.ESRCH}, {0, unix.EINVAL}, {-1, unix.EINVAL}, {-p.PID, unix.EINVAL}} {
		if _, err := Adopt(c.pid); !errors.Is(err, c.want) {
			t.Errorf("%d: %v, want %v", c.pid, err, c.want)
		}
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
	if err := unix.Kill(grandchild, 0); err != nil {
		t.Errorf("the grandchild: %v", err)
	}
}
