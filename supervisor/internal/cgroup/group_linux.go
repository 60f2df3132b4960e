package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the cgroup of one worker process. It holds no descriptor.
type Group struct {
	dir  string
	path string
}

// New makes a group of which one is not there yet. Of the limits it sets those
// that can be enforced; Check tells which can't.
func (t *Tree) New(name string, l Limits) (*Group, error) {
	if name == "" || name == leaf || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "cgroup.") || strings.ContainsAny(name, "/\n") {
		return nil, fmt.Errorf("cgroup: %q can't be the name of a group", name)
	}
	g := &Group{filepath.Join(t.dir, name), filepath.Join(t.path, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	for _, one := range l.list() {
		if t.enable(one.controller) != nil {
			continue
		}
		if err := write(g.dir, one.file, one.value); err != nil && !one.extra {
			_ = unix.Rmdir(g.dir)
			return nil, fmt.Errorf("cgroup: %s: %w", one.words, err)
		}
	}
	return g, nil
}

// Path is the group as /proc/PID/cgroup spells it in the line "0::".
func (g *Group) Path() string { return g.path }

// FD opens the group for SysProcAttr.CgroupFD, with which a process is forked
// right into it (CLONE_INTO_CGROUP, clone(2)). The caller closes it.
func (g *Group) FD() (*os.File, error) {
	fd, err := unix.Open(g.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: g.dir, Err: err}
	}
	return os.NewFile(uintptr(fd), g.dir), nil
}

// Add moves a process into the group, where it could not be forked into it: a
// sandbox may refuse clone3(2). What it has forked before stays behind.
func (g *Group) Add(pid int) error {
	return write(g.dir, "cgroup.procs", strconv.Itoa(pid))
}

// Kill sends SIGKILL to all processes of the group and the groups below it, to
// those just being forked too. It does not wait for their end. A group that is
// gone is no fault.
func (g *Group) Kill() error {
	err := write(g.dir, "cgroup.kill", "1")
	if errors.Is(err, fs.ErrNotExist) {
		if _, gone := os.Stat(g.dir); errors.Is(gone, fs.ErrNotExist) {
			return nil
		}
		err = killFrozen(g.dir)
	}
	if errors.Is(err, unix.ENODEV) { // removed meanwhile
		return nil
	}
	return err
}

// killFrozen is for kernels without cgroup.kill. A frozen process forks no
// more, and does not end by itself, so its pid is not another's.
func killFrozen(dir string) error {
	const most = time.Second // to freeze, which a process in the kernel may delay
	if err := write(dir, "cgroup.freeze", "1"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	_ = awaitEvent(ctx, dir, "frozen 1")
	procs, err := allProcs(dir)
	for _, pid := range procs {
		if killErr := unix.Kill(pid, unix.SIGKILL); killErr != unix.ESRCH {
			err = errors.Join(err, os.NewSyscallError("kill", killErr))
		}
	}
	return errors.Join(err, write(dir, "cgroup.freeze", "0"))
}

// Procs are the pids in the group and the groups below it, zombies not
// included.
func (g *Group) Procs() ([]int, error) { return allProcs(g.dir) }

func allProcs(dir string) ([]int, error) {
	procs, err := readProcs(dir)
	if err != nil {
		return procs, err
	}
	subs, err := subgroups(dir)
	for _, sub := range subs {
		more, subErr := allProcs(sub)
		if subErr != nil && !isGone(subErr) {
			err = errors.Join(err, subErr)
		}
		procs = append(procs, more...)
	}
	return procs, err
}

func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// readProcs leaves out processes of other pid namespaces, which show as 0.
func readProcs(dir string) ([]int, error) {
	list, err := words(dir, "cgroup.procs")
	var procs []int
	for _, w := range list {
		if pid, convErr := strconv.Atoi(w); convErr == nil && pid > 0 {
			procs = append(procs, pid)
		}
	}
	return procs, err
}

// OOMKills is how many processes of the group the kernel has killed for want
// of memory. It fails with fs.ErrNotExist where memory is not limited.
func (g *Group) OOMKills() (int64, error) {
	return eventCount(g.dir, "memory.events", "oom_kill")
}

func eventCount(dir, file, key string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, key+" "); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("cgroup: no %q in %s", key, file)
}

// Remove removes the group, and those below it, once no process is left in it,
// for which it waits until ctx ends. A group that is gone is no fault.
func (g *Group) Remove(ctx context.Context) error {
	for {
		err := removeAll(g.dir)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if waitErr := awaitEvent(ctx, g.dir, "populated 0"); waitErr != nil {
			procs, _ := g.Procs()
			return fmt.Errorf("cgroup: %s still holds processes (%s): %w", g.dir, some(procs), waitErr)
		}
	}
}

// awaitEvent waits, in the runtime's poller, for a line of cgroup.events, the
// change of which poll(2) tells (cgroups(7)).
func awaitEvent(ctx context.Context, dir, line string) error {
	path := filepath.Join(dir, "cgroup.events")
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if isGone(err) {
			return nil
		}
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	events := os.NewFile(uintptr(fd), path)
	defer events.Close()
	raw, err := events.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		var buf [256]byte
		n, e := unix.Pread(int(fd), buf[:], 0)
		if e == unix.EINTR {
			return false
		}
		readErr = e
		return e != nil || strings.Contains("\n"+string(buf[:max(n, 0)]), "\n"+line+"\n")
	})
	if isGone(readErr) {
		return nil
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return errors.Join(err, readErr)
}
