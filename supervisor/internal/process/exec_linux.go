package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/dawn"
)

// exec is Spawner.Exec: the thread that forks executes the next program, and
// becomes its main thread. Its children stay its own; when it ended, they would
// be killed.
func (t *thread) exec(path string, argv, env []string, out *handover.Out, last func() error) error {
	if dawn.Came && !t.lasting {
		return errors.New("process: this program came by a handover and its main function does not call supervisor.Main: the workers it was given would die with its main thread")
	}
	if err := executable(path); err != nil {
		return fmt.Errorf("process: exec: %w", err)
	}
	there, made, err := t.carry(out.FDs())
	if err != nil {
		return fmt.Errorf("process: exec: %w", noRoom(len(out.FDs()), err))
	}
	_, err = t.call(nil, func([]int) (int, error) {
		defer closeAll(made)
		if starting.Load() > 0 {
			return 0, ErrStarting
		}
		return 0, t.become(path, argv, env, out, there, last)
	})
	return err
}

// carry sees to it that the thread's table has the descriptors, each once and
// none in the place of a standard stream. Those that were made for that are to be
// closed by the thread.
func (t *thread) carry(fds []int) (there, made []int, err error) {
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return nil, nil, fmt.Errorf("descriptor %d is to be handed over: %w", fd, os.NewSyscallError("fcntl", err))
		}
	}
	if t.to < 0 {
		return duplicates(fds)
	}
	for some := range slices.Chunk(fds, maxRights) {
		_, err := t.ask(request{fds: some, keep: true, do: func(got []int) (int, error) {
			there = append(there, got...)
			return 0, nil
		}})
		if err != nil {
			_, _ = t.call(nil, func([]int) (int, error) { closeAll(there); return 0, nil })
			return nil, nil, err
		}
	}
	return there, there, nil
}

// duplicates are fds, but for those that come again and the standard streams, in
// whose place there are duplicates.
func duplicates(fds []int) (there, made []int, err error) {
	seen := map[int]bool{0: true, 1: true, 2: true}
	for _, fd := range fds {
		if seen[fd] {
			if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
				closeAll(made)
				return nil, nil, os.NewSyscallError("fcntl", err)
			}
			made = append(made, fd)
		}
		seen[fd] = true
		there = append(there, fd)
	}
	return there, made, nil
}

// noRoom says more about running out of descriptors.
func noRoom(n int, err error) error {
	var limit unix.Rlimit
	if !isAny(err, unix.EMFILE, unix.ETOOMANYREFS) || unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return err
	}
	return fmt.Errorf("%d descriptors are to be handed over and the limit of open files is %d; raise it (ulimit -n, LimitNOFILE=): %w", n, limit.Cur, err)
}

// become is execve(2). It is called by the thread itself; fds are out's in its
// table.
func (t *thread) become(path string, argv, env []string, out *handover.Out, fds []int, last func() error) error {
	defer hold()()
	if t.to < 0 { // what is not close-on-exec for a moment must not get into other children
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
	}
	sealed, variable, err := out.Seal(fds)
	if err != nil {
		return fmt.Errorf("process: exec: %w", noRoom(len(fds), err))
	}
	defer unix.Close(sealed)
	inherit, err := inheritable(append([]int{0, 1, 2}, fds...))
	defer closeOnExec(inherit)
	if err != nil {
		return fmt.Errorf("process: exec: %w", err)
	}
	defer dieWithParent()()
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return strings.HasPrefix(kv, handover.Env+"=") })
	defer ownFileLimit()()
	var news error
	_, err = retryBusy(func() (int, error) {
		defer deafen()()
		if news = last(); news != nil {
			return 0, news
		}
		return 0, syscall.Exec(path, argv, append(env, variable))
	})
	if news != nil {
		return news
	}
	return &fs.PathError{Op: "exec", Path: path, Err: err}
}

// dieWithParent has the calling thread, about to become the main thread, die as
// that one would, and returns what undoes that.
func dieWithParent() (undo func()) {
	var was int32
	_ = unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&was)), 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(deathSignal), 0, 0, 0)
	return func() { _ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(was), 0, 0, 0) }
}

// inheritable has descriptors outlive execve(2), and returns those which would
// not have. Standard streams may be closed.
func inheritable(fds []int) (changed []int, err error) {
	for _, fd := range fds {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == unix.EBADF && fd <= 2 || err == nil && flags&unix.FD_CLOEXEC == 0 {
			continue
		}
		if err == nil {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags&^unix.FD_CLOEXEC)
		}
		if err != nil {
			return changed, os.NewSyscallError("fcntl", err)
		}
		changed = append(changed, fd)
	}
	return changed, nil
}

func closeOnExec(fds []int) {
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
}

// fileLimit is RLIMIT_NOFILE as this program was started with, once package
// syscall has forgotten it: it raises the soft limit for itself, and puts it back
// for children and before an exec, but does not for children that are started
// after an exec that has failed.
var fileLimit atomic.Pointer[unix.Rlimit]

// ownFileLimit puts the limit back, for the next program to find, and returns
// what undoes that. A limit that somebody else has set since stays.
func ownFileLimit() (undo func()) {
	var was unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &was) != nil {
		return func() {}
	}
	raise := func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was) }
	own := fileLimit.Load()
	if own == nil {
		own = &unix.Rlimit{}
		_ = syscall.Exec("", []string{""}, nil) // of no file: it is only for the limit
		if unix.Getrlimit(unix.RLIMIT_NOFILE, own) != nil || *own == was {
			return func() {}
		}
	}
	if was.Cur != own.Max-1 || was.Max != own.Max { // it is not what package syscall has set
		raise()
		return func() {}
	}
	fileLimit.Store(own)
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, own)
	return raise
}

// limited are limits with that of open files, if it is for this package to put
// back.
func limited(limits []Limit) []Limit {
	own := fileLimit.Load()
	if own == nil || slices.ContainsFunc(limits, func(l Limit) bool { return l.Resource == unix.RLIMIT_NOFILE }) {
		return limits
	}
	return append(slices.Clone(limits), Limit{unix.RLIMIT_NOFILE, own.Cur, own.Max})
}
