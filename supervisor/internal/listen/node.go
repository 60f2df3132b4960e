package listen

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A unix socket is bound under its own name, not under another that is then
// renamed, because getsockname(2) goes on telling the first: programs print it,
// and sd_is_socket_unix(3) compares it.
//
// That nobody gets in who must not is owed to the order: the node is made with no
// permissions at all, and listens when it has its owner and mode. Not to listen
// yet would not be enough: connect(2) checks the permissions of the node before
// it looks whether the socket listens, and both calls may come between.
//
// That two supervisors which find the same stale node do not remove each other's
// is owed to the lock on the directory.

// fileID names an inode for as long as something keeps it from being freed, such
// as the socket that is bound to it.
type fileID struct{ dev, ino uint64 }

// place is where a node goes: a directory, locked, and a name in it.
type place struct {
	dir  *os.File
	base string
	path string
}

// lockWait bounds the wait for another supervisor that is just opening or
// closing a socket in the same directory.
const lockWait = 5 * time.Second

// openPlace locks the directory of path against other supervisors (flock(2)).
func openPlace(path string) (*place, error) {
	name := filepath.Dir(path)
	dir, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no directory %s; make it, with the owner and mode that fit: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open its directory: %w", err)
	}
	for deadline := time.Now().Add(lockWait); ; {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &place{dir, filepath.Base(path), path}, nil
		}
		if err != unix.EINTR && (err != unix.EWOULDBLOCK || time.Now().After(deadline)) {
			dir.Close()
			return nil, fmt.Errorf("another program holds a lock on its directory %s: %w", name, os.NewSyscallError("flock", err))
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *place) close() { p.dir.Close() } // which unlocks it

// look is lstat(2) of a name in the directory.
func (p *place) look(name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(int(p.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		err = &os.PathError{Op: "lstat", Path: filepath.Join(p.dir.Name(), name), Err: err}
	}
	return st, err
}

func idOf(st unix.Stat_t) fileID { return fileID{uint64(st.Dev), uint64(st.Ino)} }

func isSocket(st unix.Stat_t) bool { return uint32(st.Mode)&unix.S_IFMT == unix.S_IFSOCK }

func (p *place) unlink(name string) error {
	if err := unix.Unlinkat(int(p.dir.Fd()), name, 0); err != nil {
		return &os.PathError{Op: "unlink", Path: filepath.Join(p.dir.Name(), name), Err: err}
	}
	return nil
}

// vacate removes a stale socket. Anything else in the place stays as it is and
// is an error.
func (p *place) vacate() error {
	st, err := p.look(p.base)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !isSocket(st) {
		return fmt.Errorf("there is something else in its place, which is left alone; move it away, or choose another path")
	}
	switch err := probe(p.path); {
	case err == nil:
		return fmt.Errorf("%w: another program answers there; stop it, or choose another path", ErrInUse)
	case errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: it cannot be told whether the socket in its place is stale; remove it if it is, or choose another path: %w", ErrInUse, os.NewSyscallError("connect", err))
	}
	return p.removeStale(st)
}

// removeStale removes the node that was found stale, and no other: it is moved
// aside, looked at again, and put back if a program that knows nothing of the
// lock has just put its own there. Inode numbers are used again, so the time it
// was made counts too.
func (p *place) removeStale(found unix.Stat_t) error {
	dir := int(p.dir.Fd())
	aside := fmt.Sprintf(".%s.%d", p.base, os.Getpid())
	if err := unix.Renameat(dir, p.base, dir, aside); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return fmt.Errorf("the stale socket in its place can't be removed; remove it by hand: %w", os.NewSyscallError("rename", err))
	}
	st, err := p.look(aside)
	if err == nil && idOf(st) == idOf(found) && st.Mtim == found.Mtim {
		return p.unlink(aside)
	}
	if err := unix.Linkat(dir, aside, dir, p.base, 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("another program's socket is now called %s: %w", aside, os.NewSyscallError("link", err))
	}
	return errors.Join(fmt.Errorf("%w: another program has just put a socket there", ErrInUse), p.unlink(aside))
}

// probe asks whether somebody listens on path: nil, or the error of connect(2). It
// does not wait.
func probe(path string) error {
	fd, err := newSocket(unix.AF_UNIX, unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	switch err {
	case unix.EAGAIN, unix.EINPROGRESS: // its queue is full, so somebody listens
		return nil
	case unix.EPROTOTYPE: // a live socket of another type
		return nil
	}
	return err
}
