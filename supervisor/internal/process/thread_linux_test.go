package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/shim"
)

// TestPdeathsigThread: PR_SET_PDEATHSIG fires when the thread that forked
// ends, not the program. So one thread that outlives them starts all
// processes.
func TestPdeathsigThread(t *testing.T) {
	t.Run("the trap", func(t *testing.T) {
		var p *Process
		var err error
		done := make(chan struct{})
		var start func()
		start = func() {
			runtime.LockOSThread()            // and never unlocked: the thread ends with the goroutine
			if unix.Gettid() == os.Getpid() { // but for the first one, which stays
				go start()
				<-done
				return
			}
			defer close(done)
			p, err = Start(spec(t, "sleep", "1000"))
		}
		go start()
		<-done
		if err != nil {
			t.Fatal(err)
		}
		if e, err := p.Wait(); err != nil || e.Signal != unix.SIGKILL {
			t.Fatalf("%+v, %v, want killed with its thread", e, err)
		}
	})
	t.Run("the spawner", func(t *testing.T) {
		spawner := NewSpawner(nil)
		const n = 50
		started := make(chan *Process, n)
		var storm sync.WaitGroup
		for range n { // each asked for by a thread that ends at once
			storm.Go(func() {
				runtime.LockOSThread()
				p, err := spawner.Start(spec(t, "sleep", "1000"))
				if err != nil {
					t.Error(err)
				}
				started <- p
			})
		}
		storm.Wait()
		for range n {
			p := <-started
			if p == nil {
				continue
			}
			var ws unix.WaitStatus
			if pid, err := unix.Wait4(p.PID, &ws, unix.WNOHANG, nil); pid != 0 || err != nil {
				t.Errorf("process %d has ended: %v, %v", p.PID, ws, err)
			}
			defer func() {
				if e, err := p.Wait(); err != nil || e.Signal != unix.SIGKILL {
					t.Errorf("after the spawner: %+v, %v", e, err)
				}
			}()
		}
		spawner.Close() // which ends the thread, and with it all of them
	})
}

// What is queued is begun in order, and has run before Close returns: when one
// runs, no more of those before it are left than can be under way beside it.
func TestSpawnerRunsWhatIsQueued(t *testing.T) {
	s := NewSpawner(nil)
	var mu sync.Mutex
	var order []int
	for i := range 100 {
		s.Do(func() {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, i)
		})
	}
	s.Close()
	if len(order) != 100 {
		t.Fatalf("%d of 100 have run", len(order))
	}
	for i, n := range order {
		if n-i >= sideBySide {
			t.Fatalf("order %v", order)
		}
	}
}

// The thread has a table of descriptors of its own, which holds nothing open
// that this program has closed, and a process gets what it is to have and
// nothing else. What the runtime does on that thread all the same, such as to
// collect garbage and to wake its poller, goes on working.
func TestThreadHasItsOwnTable(t *testing.T) {
	var held [2]int
	if err := unix.Pipe2(held[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held[0])
	spawner := NewSpawner(nil)
	defer spawner.Close()
	if spawner.thread.to < 0 {
		t.Fatal("it shares the program's table")
	}
	unix.Close(held[1])
	if n, err := unix.Read(held[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("a closed pipe is held open: %d, %v", n, err)
	}

	many := make([]*os.File, 300) // more than go into one message
	for i := range many {
		many[i] = os.Stderr
	}
	for _, c := range []struct {
		extra []*os.File
		want  string
	}{{nil, "4"}, {many[:5], "9"}, {many, "304"}} {
		s := spec(t, "sh", "-c", `set -- /proc/self/fd/*; echo $#`) // it opens the directory
		s.Extra = c.extra
		out := output(t, &s)
		for range 3 { // what is handed over is closed again
			p, err := spawner.Start(s)
			if err != nil {
				t.Fatal(err)
			}
			if got := line(t, out); got != c.want {
				t.Errorf("with %d further descriptors it has %s, want %s", len(c.extra), got, c.want)
			}
			if _, err := p.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := tableSize(t, spawner)
	timer := time.NewTimer(0)
	for range 100 {
		_, _ = spawner.thread.call(nil, func([]int) (int, error) {
			timer.Reset(time.Millisecond) // which wakes the poller
			runtime.GC()
			runtime.Gosched()
			return 0, nil
		})
		<-timer.C
	}
	if after := tableSize(t, spawner); after != before || after > 8 {
		t.Errorf("%d descriptors in its table, before %d", after, before)
	}
}

// tableSize is the number of descriptors in the thread's table.
func tableSize(t *testing.T, s *Spawner) int {
	n, err := s.thread.call(nil, func([]int) (n int, err error) {
		dir, err := unix.Open("/proc/thread-self/fd", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return 0, err
		}
		defer unix.Close(dir)
		err = closeIn(dir, func(int, string) bool { n++; return true })
		return n - 1, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What can't be handed over is said, and the next start is none the worse.
func TestThreadOutOfDescriptors(t *testing.T) {
	spawner := NewSpawner(nil)
	defer spawner.Close()
	many := make([]*os.File, 200)
	for i := range many {
		many[i] = os.Stderr
	}
	full, few := spec(t, "true"), spec(t, "true")
	full.Extra = many
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 100, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	for range 3 {
		if p, err := spawner.Start(full); !errors.Is(err, unix.EMFILE) {
			t.Fatalf("%v, %v", p, err)
		}
		p, err := spawner.Start(few)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := p.Wait(); err != nil || e.Code != 0 {
			t.Fatalf("%+v, %v", e, err)
		}
	}
}

// Of a hand-over that fails half way nothing is left for the next one.
func TestThreadAfterHalfAHandOver(t *testing.T) {
	spawner := NewSpawner(nil)
	defer spawner.Close()
	before := tableSize(t, spawner)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fds := make([]int, maxRights+1)
	for i := range fds {
		fds[i] = int(null.Fd())
	}
	fds[maxRights] = 1 << 20 // there is none
	if _, err := spawner.thread.call(fds, nothing); !errors.Is(err, unix.EBADF) {
		t.Fatal(err)
	}
	if after := tableSize(t, spawner); after != before {
		t.Errorf("%d descriptors in its table, before %d", after, before)
	}
	s := spec(t, "sh", "-c", "echo whole")
	out := output(t, &s)
	p, err := spawner.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	if got := line(t, out); got != "whole" {
		t.Errorf("got %q", got)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
}

// Where the poller can't watch the pidfd a thread waits, and nothing is
// reported before its time.
func TestWaitWithoutThePoller(t *testing.T) {
	p := begin(t, spec(t, "sleep", "1000"))
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(p.pidfd)
	p.pidfd = null // which Wait closes
	ended := make(chan Exit, 1)
	go func() {
		e, err := p.Wait()
		if err != nil {
			t.Error(err)
		}
		ended <- e
	}()
	select {
	case e := <-ended:
		t.Fatalf("%+v while it runs", e)
	default:
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := <-ended; e.Signal != syscall.SIGTERM {
		t.Errorf("%+v", e)
	}
}

// A start that fails leaves no descriptor behind, nor does a process that was
// waited for.
func TestNoDescriptorIsLeft(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	good, bad := spec(t, "true"), spec(t, "true")
	bad.Command = []string{"/dev/null/no"}
	once := func() {
		if _, err := Start(bad); err == nil {
			t.Fatal("started")
		}
		p, err := Start(good)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	once() // the runtime's own descriptors are made at the first use
	before := count()
	for range 20 {
		once()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

// A program that is still open for writing somewhere (ETXTBSY) is tried again.
func TestBusyProgramIsTriedAgain(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fresh")
	if err := os.WriteFile(path, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	tries := 0
	fork := func(p *program) (int, error) {
		if tries++; tries == 3 && writer != nil {
			writer.Close()
		}
		return forkHere(p)
	}
	kept := writer
	writer = nil
	if _, err := spec(t, path, "1000").start(fork, nil); !errors.Is(err, unix.ETXTBSY) || tries != busyTries {
		t.Fatalf("while it is written: %v after %d tries", err, tries)
	}
	tries, writer = 0, kept
	runtime.LockOSThread() // it dies with its thread
	defer runtime.UnlockOSThread()
	p, err := spec(t, path, "1000").start(fork, nil)
	if err != nil || tries != 3 {
		t.Fatalf("closed before the third try: %v after %d tries", err, tries)
	}
	p.discard(nil, false)
}

// stopper is a Table that stops each process as soon as it is forked.
type stopper struct {
	forked chan int
	inside atomic.Int32
}

func (s *stopper) Fork(fork func() (int, error)) error {
	s.inside.Add(1)
	pid, err := fork()
	if err == nil {
		err = unix.Kill(pid, unix.SIGSTOP)
	}
	s.inside.Add(-1)
	s.forked <- pid
	return err
}

func (s *stopper) Reap(_ int, wait func()) { wait() }

// catch has a process with a shim started, which is stopped meanwhile, and calls
// caught with its pid and where it will be, again and again until that is true: a
// shim may be quicker than its stop.
func (s *stopper) catch(t *testing.T, spawner *Spawner, caught func(pid int, started <-chan *Process) bool) {
	t.Helper()
	shimmed := spec(t, "sleep", "1000")
	shimmed.Attr.Umask = ptr(uint32(0o22))
	for range 50 {
		started := make(chan *Process, 1)
		go func() {
			p, err := spawner.Start(shimmed)
			if err != nil {
				t.Error(err)
			}
			started <- p
		}()
		pid := <-s.forked
		done := caught(pid, started)
		if err := unix.Kill(pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if p := <-started; p != nil {
			p.discard(s, false)
		}
		if done {
			return
		}
	}
	t.Error("no shim was caught")
}

// A shim that hangs, as on a file system that does not answer, holds up neither
// who reaps others nor the next start.
func TestHungShimHoldsNobodyUp(t *testing.T) {
	table := &stopper{forked: make(chan int, 1)}
	spawner := NewSpawner(table)
	defer spawner.Close()
	table.catch(t, spawner, func(pid int, started <-chan *Process) bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if len(started) > 0 || err != nil || !strings.HasPrefix(string(name), shim.Name) {
			return false
		}
		if n := table.inside.Load(); n != 0 {
			t.Error("the table is held while the shim hangs")
		}
		next := make(chan *Process, 1)
		go func() {
			p, err := spawner.Start(spec(t, "sleep", "1000"))
			if err != nil {
				t.Error(err)
			}
			next <- p
		}()
		<-table.forked
		(<-next).discard(table, false)
		return true
	})
}

// Where the thread can't have a table of its own, as in a container whose
// seccomp(2) rules forbid it, everything works all the same.
func TestThreadWithoutItsOwnTable(t *testing.T) {
	unshare = func(int) error { return unix.EPERM }
	defer func() { unshare = unix.Unshare }()
	before := openDescriptors(t)
	spawner := NewSpawner(nil)
	if spawner.thread.to >= 0 {
		t.Fatal("it has one")
	}
	s := spec(t, "sh", "-c", "cat <&4")
	text, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "by descriptor 4")
	w.Close()
	s.Extra = []*os.File{os.Stderr, text}
	out := output(t, &s)
	for _, umask := range []*uint32{nil, ptr(uint32(0o22))} { // without a shim and with one
		s.Attr.Umask = umask
		p, err := spawner.Start(s)
		if err != nil {
			t.Fatal(err)
		}
		if umask == nil {
			if got := line(t, out); got != "by descriptor 4" {
				t.Errorf("got %q", got)
			}
		}
		if e, err := p.Wait(); err != nil || e != (Exit{}) {
			t.Errorf("%+v, %v", e, err)
		}
	}
	spawner.Close()
	text.Close()
	if after := openDescriptors(t); after > before+3 { // the test's own: null and a pipe
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// What comes after starts waits for those that are queued and under way, but not
// for ever.
func TestAfter(t *testing.T) {
	s := NewSpawner(nil)
	defer s.Close()
	ran := make(chan int, 2*maxAfter)
	s.After(func() { ran <- -1 })
	if n := <-ran; n != -1 {
		t.Fatal(n)
	}
	release := make(chan struct{})
	var starts sync.WaitGroup
	for range 2 * sideBySide {
		starts.Add(1)
		s.Do(func() { defer starts.Done(); <-release })
	}
	s.After(func() { ran <- 0 })
	select {
	case <-ran:
		t.Fatal("it did not wait")
	default:
	}
	for i := range maxAfter {
		s.After(func() { ran <- i + 1 })
	}
	for i := range maxAfter + 1 {
		if n := <-ran; n != i {
			t.Fatalf("%d in place of %d", n, i)
		}
	}
	s.After(func() { ran <- -2 })
	close(release)
	starts.Wait()
	if n := <-ran; n != -2 {
		t.Fatal(n)
	}
}
