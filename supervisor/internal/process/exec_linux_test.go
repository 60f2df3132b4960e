package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/dawn"
)

// lineage is a program under test, and those that take its place.
type lineage struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
	kept  []string // read, and not yet asked for
}

// softLimit is that of open files of a lineage: less than the runtime raises it
// to, and than is handed over.
const softLimit = 500

// found starts a lineage, which is gone at the end of the test.
func found(t *testing.T, env ...string) *lineage {
	t.Helper()
	script := fmt.Sprintf(`ulimit -Sn %d && exec "$@"`, softLimit)
	l := &lineage{t: t, cmd: exec.Command("sh", append([]string{"-c", script, "sh"}, asProgram("generations")...)...), lines: make(chan string, 1024)}
	l.cmd.Env = append(os.Environ(), env...)
	l.cmd.Stderr = os.Stderr
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l.cmd.Stdout = w
	if l.stdin, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(l.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		_ = l.cmd.Wait()
		for range l.lines { // to the end: the children have died too
		}
		out.Close()
	})
	l.await("generation 1 of pid " + strconv.Itoa(l.cmd.Process.Pid))
	return l
}

func (l *lineage) order(format string, args ...any) {
	l.t.Helper()
	if _, err := fmt.Fprintf(l.stdin, format+"\n", args...); err != nil {
		l.t.Fatal(err)
	}
}

// await returns what comes after prefix in the line that has it, whichever lines
// come before.
func (l *lineage) await(prefix string) string {
	l.t.Helper()
	for i, text := range l.kept {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			l.kept = append(l.kept[:i], l.kept[i+1:]...)
			return rest
		}
	}
	deadline := time.After(time.Minute)
	for {
		select {
		case text, ok := <-l.lines:
			if !ok {
				l.t.Fatalf("it has ended (%v); want %q after %q", l.cmd.Wait(), prefix, l.kept)
			}
			if rest, is := strings.CutPrefix(text, prefix); is {
				return rest
			}
			if strings.HasPrefix(text, "failed") {
				l.t.Fatal(text)
			}
			l.kept = append(l.kept, text)
		case <-deadline:
			l.t.Fatalf("no line %q; there are %q", prefix, l.kept)
		}
	}
}

// next has it execute itself by an order.
func (l *lineage) next(number int, order string) {
	l.t.Helper()
	l.order("%s", order)
	l.arrive(number)
}

func (l *lineage) arrive(number int) {
	l.t.Helper()
	l.await(fmt.Sprintf("generation %d of pid %d", number, l.cmd.Process.Pid))
}

// start has it start a child by an order, which must have no signal blocked.
func (l *lineage) start(order string) *child {
	l.t.Helper()
	l.order("%s", order)
	pid, err := strconv.Atoi(strings.TrimSpace(l.await("started")))
	if err != nil {
		l.t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { unix.Close(fd) })
	if set := maskOf(fmt.Sprintf("/proc/%d/status", pid), "SigBlk"); set != 0 {
		l.t.Errorf("%s: it has signals blocked: %#x", order, set)
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil || limit.Cur != softLimit {
		l.t.Errorf("%s: its limit of open files is %d, %v", order, limit.Cur, err)
	}
	return &child{pid, fd}
}

type child struct{ pid, fd int }

// ended waits for the end up to limit.
func (c *child) ended(t *testing.T, limit time.Duration) bool {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, int(limit.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	}
}

func alive(t *testing.T, children []*child) {
	t.Helper()
	for _, c := range children {
		if c.ended(t, 0) {
			t.Fatalf("child %d has ended", c.pid)
		}
	}
}

// gate makes a FIFO; a child that reads it goes on when open is called.
func gate(t *testing.T) (path string, open func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, func() {
		if _, err := f.WriteString("\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// tables are the two ways in which the first generation may have descriptors.
var tables = map[string][]string{"own table": nil, "shared table": {"TEST_SHARED_TABLE=1"}}

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

// An exec that fails leaves everything as it was.
func TestExecFails(t *testing.T) {
	dir := t.TempDir()
	for name, env := range tables {
		t.Run(name, func(t *testing.T) {
			l := found(t, env...)
			children := []*child{l.start("start exec sleep 1000")}
			for number := 2; number <= 3; number++ {
				l.order("fail %s", dir)
				l.await("tried")
				alive(t, children)
				children = append(children, l.start("start exec sleep 1000"))
				l.next(number, "exec")
				children = append(children, l.start("start exec sleep 1000"))
			}
			alive(t, children)
		})
	}
}

// failures tries what must fail, and returns what is wrong about how it does.
func failures(s *Spawner, dir string) (wrong []error) {
	blame := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	text, secret := filepath.Join(dir, "text"), filepath.Join(dir, "secret")
	if err := errors.Join(os.WriteFile(text, []byte("no program"), 0o755), os.WriteFile(secret, []byte("#!/bin/sh\n"), 0)); err != nil {
		return []error{err}
	}
	busy := filepath.Join(dir, fmt.Sprint("busy", time.Now().UnixNano()))
	writer, err := os.OpenFile(busy, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return []error{err}
	}
	defer writer.Close()
	many := make([]int, 300)
	for i := range many {
		if many[i], err = unix.MemfdCreate("many", unix.MFD_CLOEXEC); err != nil {
			return []error{err}
		}
	}
	defer closeAll(many)
	gone := int(writer.Fd()) + 10000
	long := []string{"LONG=" + strings.Repeat("x", 1<<18)}
	for _, c := range []struct {
		path  string
		env   []string
		extra []int
		limit uint64
		news  error
		want  error
	}{
		{path: filepath.Join(dir, "missing"), want: unix.ENOENT},
		{path: dir},
		{path: secret, want: unix.EACCES},
		{path: text, want: unix.ENOEXEC},
		{path: busy, want: unix.ETXTBSY},
		{path: "/proc/self/exe", news: ErrStarting, want: ErrStarting},
		{path: "/proc/self/exe", env: long, want: unix.E2BIG},
		{path: "/proc/self/exe", env: []string{"NUL=\x00"}, want: unix.EINVAL},
		{path: "/proc/self/exe", extra: []int{gone}, want: unix.EBADF},
		{path: "/proc/self/exe", limit: 20, want: unix.EMFILE},
		{path: "/proc/self/exe", limit: 290, want: unix.EMFILE}, // after the first message
	} {
		facts, err := factsOf(s)
		if err != nil {
			blame("%w", err)
			return wrong
		}
		var out handover.Out
		for _, fd := range append(append([]int{2, 2}, many...), c.extra...) {
			out.FD(fd)
		}
		lift := func() error { return nil }
		if c.limit > 0 {
			if lift, err = lower(c.limit); err != nil {
				blame("%w", err)
				return wrong
			}
		}
		last := asBefore
		if c.news != nil {
			last = func() error { return c.news }
		}
		err = s.Exec(c.path, asProgram("unexpected"), c.env, &out, last)
		if lifted := lift(); lifted != nil {
			blame("%w", lifted)
		}
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			blame("%s: %w, want %w", c.path, err, c.want)
		}
		if c.want == unix.EMFILE && !strings.Contains(err.Error(), "ulimit") {
			blame("%w does not say what to do", err)
		}
		if after, err := factsOf(s); err != nil || after != facts {
			blame("%s: after it %w\n%s\nbefore it\n%s", c.path, err, after, facts)
		}
	}
	return wrong
}

// lower sets a limit of open files that has no room for what is handed over, and
// returns what undoes that.
func lower(limit uint64) (lift func() error, err error) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		return nil, err
	}
	set := func(l unix.Rlimit) error { // package syscall, if asked, would forget the limit from before it raised it
		if _, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&l)), 0, 0, 0); errno != 0 {
			return errno
		}
		return nil
	}
	return func() error { return set(was) }, set(unix.Rlimit{Cur: limit, Max: was.Max})
}

// factsOf is what an exec that fails must not change: the descriptors of both
// tables with their flags, the thread's mask, the limits, and those of a child.
func factsOf(s *Spawner) (string, error) {
	var b strings.Builder
	list := func([]int) (int, error) {
		for fd := range 1000 {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err != nil {
				continue
			}
			buf := make([]byte, 256)
			n, _ := unix.Readlink(fmt.Sprintf("/proc/thread-self/fd/%d", fd), buf)
			fmt.Fprintf(&b, "%d %s %d, ", fd, buf[:max(n, 0)], flags)
		}
		var limit unix.Rlimit
		err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
		var mask unix.Sigset_t
		_ = unix.PthreadSigmask(unix.SIG_BLOCK, nil, &mask)
		var death int32
		_ = unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&death)), 0, 0, 0)
		fmt.Fprintf(&b, "limit %d %d, mask %x, death signal %d", limit.Cur, limit.Max, mask.Val[0], death)
		for _, sig := range ignored {
			var h handler
			_ = sigaction(sig, nil, &h)
			fmt.Fprintf(&b, ", %v %x", sig, h)
		}
		fmt.Fprintln(&b)
		return 0, err
	}
	if _, err := s.thread.call(nil, list); err != nil {
		return "", err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := list(nil); err != nil {
		return "", err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	p, err := s.Start(Spec{Command: []string{"/bin/sh", "-c", "ulimit -n; ulimit -Hn; ls /proc/self/fd | wc -l"}, Env: os.Environ(), Stdout: w})
	w.Close()
	if err != nil {
		return "", err
	}
	child, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	e, err := p.Wait()
	fmt.Fprintf(&b, "child %q %+v", child, e)
	return b.String(), err
}

// A program that came by a handover and knows nothing of Main can't hand over: it
// would kill what it was given.
func TestExecWithoutMain(t *testing.T) {
	s := NewSpawner(nil)
	defer s.Close()
	dawn.Came = true
	defer func() { dawn.Came = false }()
	if err := s.Exec("/proc/self/exe", asProgram("unexpected"), nil, &handover.Out{}, asBefore); err == nil || !strings.Contains(err.Error(), "supervisor.Main") {
		t.Error(err)
	}
}

// While a process is being started there is no exec: nobody would know of it.
func TestExecWhileOneIsStarted(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	table := &stopper{forked: make(chan int, 1)}
	s := NewSpawner(table)
	defer s.Close()
	shimmed := spec(t, "sleep", "1000")
	shimmed.Attr.Umask = ptr(uint32(0o22))
	for range 50 { // it may be quicker than its stop
		started := make(chan *Process, 1)
		go func() {
			p, err := s.Start(shimmed)
			if err != nil {
				t.Error(err)
			}
			started <- p
		}()
		pid := <-table.forked
		err := s.Exec(text, asProgram("unexpected"), nil, &handover.Out{}, asBefore)
		if err := unix.Kill(pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if p := <-started; p != nil {
			p.discard(table, false)
		}
		if errors.Is(err, ErrStarting) {
			return
		}
		if !errors.Is(err, unix.ENOEXEC) {
			t.Fatal(err)
		}
	}
	t.Error("it was never refused")
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

// A signal that comes in the middle, until the next program asks for it, is told
// to it.
func TestExecKeepsSignals(t *testing.T) {
	for name, env := range tables {
		t.Run(name, func(t *testing.T) {
			l := found(t, env...)
			number := 1
			for range 2 { // from the first generation and from one that came by a handover
				const all = "hangup, interrupt, terminated, user defined signal 1, user defined signal 2"
				l.order("deaf")
				l.await("deaf")
				for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1} {
					if err := l.cmd.Process.Signal(sig); err != nil {
						t.Fatal(err)
					}
				}
				number++
				l.arrive(number)
				l.order("signals")
				if got := l.await("signals "); got != all {
					t.Errorf("before it asks for any: %s", got)
				}
				number++
				l.order("dozing")
				l.await("dozing")
				l.arrive(number)
				l.order("signals")
				if got := l.await("signals "); got != all {
					t.Errorf("after its main function has begun: %s", got)
				}
				number++
				l.next(number, "late")
				l.order("signals")
				if got := l.await("signals "); got != all {
					t.Errorf("as it executes itself: %s", got)
				}
			}
			l.start("start exec sleep 1000")
		})
	}
}

// It does not matter when an order comes: it never kills, and there is always
// somebody to whom it is told.
func TestExecInStormOfSignals(t *testing.T) {
	for name, env := range tables {
		t.Run(name, func(t *testing.T) {
			l := found(t, env...)
			lives := l.start("start exec sleep 1000")
			const last = 30
			for range last {
				l.order("storm %d", last)
			}
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				tick := time.NewTicker(300 * time.Microsecond)
				defer tick.Stop()
				orders := []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, 40}
				for i := 0; ; i++ {
					select {
					case <-tick.C:
						_ = l.cmd.Process.Signal(orders[i%len(orders)])
					case <-stop:
						return
					}
				}
			}()
			l.await("weathered")
			close(stop)
			<-stopped
			alive(t, []*child{lives})
			l.order("return 6")
			if err := l.cmd.Wait(); l.cmd.ProcessState.ExitCode() != 6 {
				t.Error(err)
			}
		})
	}
}

// A signal that this program is told while it executes the next one is told to
// that one too; where that fails it was told once.
func TestHold(t *testing.T) {
	for _, c := range []struct{ sig, waits unix.Signal }{{unix.SIGUSR1, unix.SIGUSR1}, {unix.SIGHUP, 62}, {unix.SIGINT, 63}, {unix.SIGTERM, 64}} {
		t.Run(c.sig.String(), func(t *testing.T) { testHold(t, c.sig, c.waits) })
	}
}

func testHold(t *testing.T, sig, waits unix.Signal) {
	told := make(chan os.Signal, 16)
	signal.Notify(told, sig)
	defer signal.Stop(told)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const status = "/proc/thread-self/status"
	before := maskOf(status, "SigBlk")
	for range 20 {
		undo := hold()
		if set := setOf(held...); maskOf(status, "SigBlk") != before|uint64(set.Val[0]) {
			t.Errorf("mask %#x, before %#x", maskOf(status, "SigBlk"), before)
		}
		if err := unix.Kill(unix.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		<-told
		for deadline := time.Now().Add(time.Minute); !pending("SigPnd", waits); {
			if time.Now().After(deadline) {
				t.Fatal("it does not wait for the next program")
			}
			runtime.Gosched()
		}
		undo()
		if pending("SigPnd", waits) {
			t.Error("it still waits")
		}
		if after := maskOf(status, "SigBlk"); after != before {
			t.Errorf("mask %#x, before %#x", after, before)
		}
	}
	if len(told) > 0 {
		t.Errorf("%d were told again", len(told))
	}
}

// The runtime does with signals what hold relies on: of a program that was just
// executed it honours the mask, but for signals that it would die of, and of
// those it leaves the ones ignored that are.
func TestRuntimeAndSignals(t *testing.T) {
	l := found(t, "TEST_NO_SIGNALS=1")
	l.next(2, "exec")
	status := fmt.Sprintf("/proc/%d/status", l.cmd.Process.Pid)
	if set := maskOf(status, "SigBlk"); set != 0 { // once it has a Spawner
		t.Errorf("the main thread has signals blocked: %#x", set)
	}
	if set := maskOf(status, "SigIgn"); set != 0 {
		t.Errorf("ignored: %#x", set)
	}
	for _, c := range []struct {
		sig     unix.Signal
		ignored bool
		dies    bool
	}{
		{unix.SIGUSR1, false, false}, {unix.SIGALRM, false, false}, {64, false, false},
		{unix.SIGHUP, false, true}, {unix.SIGINT, false, true}, {unix.SIGTERM, false, true},
		{unix.SIGHUP, true, false}, {unix.SIGINT, true, false},
	} {
		program := asProgram("pending")
		out, err := exec.Command(program[0], append(program[1:], strconv.Itoa(int(c.sig)), strconv.FormatBool(c.ignored))...).CombinedOutput()
		if died := err != nil; died != c.dies {
			t.Errorf("%v, ignored %v: %v, %s", c.sig, c.ignored, err, out)
		}
	}
}
