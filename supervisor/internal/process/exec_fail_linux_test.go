package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/dawn"
)

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
	table.catch(t, s, func(int, <-chan *Process) bool {
		err := s.Exec(text, asProgram("unexpected"), nil, &handover.Out{}, asBefore)
		if !errors.Is(err, ErrStarting) && !errors.Is(err, unix.ENOEXEC) {
			t.Error(err)
			return true
		}
		return errors.Is(err, ErrStarting)
	})
}
