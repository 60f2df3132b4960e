package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Tree is the cgroup below which the groups of one supervisor are. Its methods
// may be called from any goroutine.
type Tree struct {
	base string   // directory of the cgroup that is the supervisor's, or was handed to it
	dir  string   // base/brood-<pid>
	path string   // of dir, as /proc/PID/cgroup spells it
	lock *os.File // dir, with a flock(2) that says that the owner lives; closed by Close
	v1   map[string]string

	leftovers []string

	mu       sync.Mutex
	verdicts map[string]error // by controller: nil once it works for groups
	switched []string         // controllers that were enabled in base here
	moved    bool             // this process sits in dir/supervisor
}

// leaf is the group that this process moves to where it must not stay in base.
const leaf = "supervisor"

// Open makes brood-<pid> in base, or, if that is empty, in the cgroup of this
// process. The error says why there can't be groups. What dead supervisors
// have left there is removed as far as it is empty.
func Open(base string) (*Tree, error) {
	dir, path, m, err := locate(base)
	if err != nil {
		return nil, fmt.Errorf("cgroup: workers have none of their own: %w", err)
	}
	// Nothing may be moved or forked into a group below by who can't write here
	// (cgroups(7), "delegation containment").
	if err := unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK); err != nil {
		return nil, notOurs(dir, fmt.Errorf("cgroup.procs: %w", err))
	}
	t := &Tree{base: dir, v1: m.v1, verdicts: map[string]error{}}
	t.leftovers = sweep(dir)
	if t.dir, t.lock, err = settle(dir, os.Getpid()); err != nil {
		return nil, notOurs(dir, err)
	}
	t.path = filepath.Join(path, filepath.Base(t.dir))
	return t, nil
}

func notOurs(dir string, err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("cgroup: workers have none of their own: %s is not ours to write (under systemd, Delegate=yes makes it so): %w", dir, err)
	}
	return fmt.Errorf("cgroup: workers have none of their own: %s: %w", dir, err)
}

// Leftovers are directories of dead supervisors that still hold processes.
func (t *Tree) Leftovers() []string { return t.leftovers }

// ours are the names that settle gives.
var ours = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^brood-[0-9]+(-[0-9]+)?$`) })

// settle makes brood-<pid> and locks it. A program with several supervisors,
// or pid namespaces that share a cgroup, may find the name taken: then it is
// brood-<pid>-2 and so on.
func settle(base string, pid int) (dir string, lock *os.File, err error) {
	const most = 1000
	for n := 1; n <= most; n++ {
		dir = filepath.Join(base, fmt.Sprintf("brood-%d", pid))
		if n > 1 {
			dir += fmt.Sprintf("-%d", n)
		}
		err = os.Mkdir(dir, 0o755)
		fresh := err == nil
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return "", nil, err
		}
		lock, err = hold(dir)
		switch {
		case err == nil && (fresh || isEmpty(dir)):
			return dir, lock, nil
		case err == nil: // a dead one's, which is not empty
			lock.Close()
		case errors.Is(err, errGone), errors.Is(err, unix.EWOULDBLOCK): // another's; or fresh, and another is removing it as nobody held it yet
		default:
			return "", nil, err
		}
	}
	return "", nil, fmt.Errorf("%d directories named brood-%d are taken", most, pid)
}

// errGone is that a directory was removed while it was being locked.
var errGone = errors.New("it was removed")

// hold opens and locks dir. The lock goes with the descriptor, and so with the
// process. It fails with EWOULDBLOCK if another holds it.
func hold(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errGone
		}
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, os.NewSyscallError("flock", err)
	}
	held, err := f.Stat()
	if err == nil {
		var now os.FileInfo
		if now, err = os.Stat(dir); err != nil || !os.SameFile(held, now) {
			err = errGone
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func isEmpty(dir string) bool {
	subs, err := subgroups(dir)
	procs, _ := readProcs(dir)
	return err == nil && len(subs) == 0 && len(procs) == 0
}

// sweep removes what dead supervisors have left in base, and tells what could
// not be removed as there are still processes in it. Whether one is dead is
// told by its lock, not by its pid, which may be another's by now.
func sweep(base string) (full []string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if !e.IsDir() || !ours().MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(base, e.Name())
		lock, err := hold(dir)
		if err != nil {
			continue
		}
		if err := removeAll(dir); errors.Is(err, unix.EBUSY) {
			full = append(full, dir)
		}
		lock.Close()
	}
	return full
}

// removeAll removes dir and what is below it, as far as it holds no process.
func removeAll(dir string) error {
	subs, err := subgroups(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, sub := range subs {
		if err := removeAll(sub); err != nil {
			return err
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

func subgroups(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var subs []string
	for _, e := range entries {
		if e.IsDir() {
			subs = append(subs, filepath.Join(dir, e.Name()))
		}
	}
	return subs, nil
}

// Close removes the tree, which must hold no groups any more, and puts the
// supervisor back where it was.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.lock.Close()
	var faults []error
	if len(t.switched) > 0 {
		off := "-" + strings.Join(t.switched, " -")
		faults = append(faults, write(t.dir, "cgroup.subtree_control", off), write(t.base, "cgroup.subtree_control", off))
	}
	if t.moved {
		faults = append(faults, write(t.base, "cgroup.procs", "0"))
	}
	if err := errors.Join(append(faults, removeAll(t.dir))...); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// write gives an interface file one value, in one write(2).
func write(dir, name, value string) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}
