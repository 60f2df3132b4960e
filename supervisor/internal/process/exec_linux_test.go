package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
)

// The children live through it that the program executes itself, again and
// again; their ends are told to the program that is there, also of one that ended
// in between; and they die with it in the end, whichever thread has forked them.
func TestExecKeepsChildren(t *testing.T) {
	for name, env := range tables {
		t.Run(name, func(t *testing.T) {
			l := found(t, env...)
			early, openEarly := gate(t)
			between, openBetween := gate(t)
			later := l.start("start read line <" + early + "; exit 7")
			zombie := l.start("start read line <" + between + "; exit 9")
			children := []*child{l.start("start exec sleep 1000"), l.start("shim exec sleep 1000")}
			l.next(2, "exec")
			alive(t, append(children, later, zombie))
			children = append(children, l.start("start exec sleep 1000"), l.start("shim exec sleep 1000"))

			l.order("zombie %d", zombie.pid)
			l.await("paused")
			openBetween()
			l.arrive(3)
			l.await(fmt.Sprintf("exit %d {Code:9 ", zombie.pid))
			alive(t, append(children, later))
			children = append(children, l.start("start exec sleep 1000"), l.start("shim exec sleep 1000"))
			openEarly()
			l.await(fmt.Sprintf("exit %d {Code:7 ", later.pid))

			l.order("close") // which does not end the main thread
			l.await("closed")
			alive(t, children)
			children = append(children, l.start("start exec sleep 1000"))
			l.next(4, "exec")
			alive(t, children)
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", l.cmd.Process.Pid))
			if err != nil || len(fds) < 5 { // the streams, and what of the children it watches
				t.Errorf("/proc shows %d descriptors, %v", len(fds), err)
			}
			if err := l.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for i, c := range children {
				if !c.ended(t, time.Minute) {
					t.Errorf("child %d outlives it", i)
				}
			}
		})
	}
}

// A program that dies with its own parent goes on to do so.
func TestExecDiesWithItsParent(t *testing.T) {
	spawner := NewSpawner(nil)
	closed := false
	defer func() {
		if !closed {
			spawner.Close()
		}
	}()
	s := spec(t, asProgram("generations")...)
	stdin, orders, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer orders.Close()
	s.Stdin = stdin
	out := output(t, &s)
	p, err := spawner.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	for number := 1; number <= 3; number++ {
		if got, want := line(t, out), fmt.Sprintf("generation %d of pid %d", number, p.PID); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		if number < 3 {
			fmt.Fprintln(orders, "exec")
		}
	}
	closed = true
	spawner.Close()
	late := time.AfterFunc(time.Minute, func() {
		t.Error("it outlives its parent")
		_ = p.Signal(unix.SIGKILL)
	})
	defer late.Stop()
	if e, err := p.Wait(); err != nil || e.Signal != unix.SIGKILL {
		t.Errorf("%+v, %v", e, err)
	}
}

// What Main was given says how the program ends, and then nothing is started any
// more, and nobody waits for it.
func TestMainEnds(t *testing.T) {
	l := found(t)
	l.next(2, "exec")
	l.order("return 5")
	if got := l.await("at the end: "); !strings.Contains(got, "about to end") {
		t.Error(got)
	}
	if err := l.cmd.Wait(); l.cmd.ProcessState.ExitCode() != 5 {
		t.Error(err)
	}
}

// Thousands of descriptors go along, from a table of its own and from the
// program's.
func TestExecCarriesDescriptors(t *testing.T) {
	const n = 2000
	l := found(t)
	var limit unix.Rlimit
	if err := unix.Prlimit(l.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil || limit.Cur < n+100 {
		t.Skip("the limit of open files is", limit.Cur, err)
	}
	for number := 2; number <= 3; number++ {
		l.next(number, fmt.Sprintf("many %d", n))
		l.order("check")
		if got := l.await("checked "); got != strconv.Itoa(n+2) {
			t.Errorf("%s descriptors", got)
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", l.cmd.Process.Pid))
		if err != nil || len(fds) > 20 {
			t.Errorf("%d descriptors besides, %v", len(fds), err)
		}
	}
}

// Where the table is shared no process is forked elsewhere while it has
// descriptors that are not close-on-exec.
func TestExecHoldsForksOff(t *testing.T) {
	unshare = func(int) error { return unix.EPERM }
	defer func() { unshare = unix.Unshare }()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := NewSpawner(nil)
	defer s.Close()
	tried := make(chan error, 1)
	syscall.ForkLock.Lock() // as who forks does
	go func() { tried <- s.Exec(text, asProgram("unexpected"), nil, &handover.Out{}, asBefore) }()
	select {
	case err := <-tried:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
		defer func() {
			if err := <-tried; !errors.Is(err, unix.ENOEXEC) {
				t.Error(err)
			}
		}()
	}
	syscall.ForkLock.Unlock()
}
