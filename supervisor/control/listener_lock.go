package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A seat is the right to be the supervisor of a path. Three things make it, each
// for a case that the one before leaves open.
//
//  1. flock(2) on the lock file decides. It ends with the process, however that
//     ends, so nothing is ever stale.
//  2. A lock file can be deleted (tmp cleaners do), and the next supervisor would
//     make and lock a new one. So a seat also has a mark on the directory itself,
//     one that cannot be deleted by name (see placeMark), and who finds another's
//     mark goes away.
//  3. Where marks do not exist or prove nothing, a socket that still answers is
//     not taken away from whoever answers (see vacate).
//
// The holder looks at the lock file once a second and takes the lock anew when the
// file is gone or another one. So two supervisors at a time need all of: both files
// deleted, the second one started before that look, and no mark (not Linux, or a
// directory that others may read, or one that was itself deleted). Then the older
// one loses the path: it says so in its log, serves the clients it has, touches
// nothing that is not its own, and takes the path back when the other is gone.
//
// The lock file is never removed, not even by its holder: whoever has opened it and
// is about to lock it would hold a file that nobody else sees.
type seat struct {
	plan   plan
	dir    *os.File // the directory; carries the mark
	dirID  fileID
	lock   *os.File // locked
	lockID fileID
}

// takeSeat gets the right to plan.path, or an error that wraps ErrInUse.
func takeSeat(p plan) (*seat, error) {
	dir, err := openDir(p)
	if err != nil {
		return nil, err
	}
	s := &seat{plan: p, dir: dir}
	if err := s.take(); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func (s *seat) take() error {
	fi, err := s.dir.Stat()
	if err != nil {
		return err
	}
	s.dirID = idOf(fi)
	if err := s.takeLock(); err != nil {
		return err
	}
	// The mark comes before the question, so of two who do this at a time with
	// two lock files at least one sees the other.
	others := placeMark(s.dir, s.plan.base)
	// Whoever may read the directory can put marks on it.
	private := fi.Mode()&0o044 == 0
	if others && private {
		return fmt.Errorf("%w: a supervisor whose lock file and socket were deleted is still at work there, and puts both back within a second; stop it first, or choose another path with --socket or $BROOD_SOCKET", ErrInUse)
	}
	return nil
}

// release gives the right up.
func (s *seat) release() {
	// A child between fork and exec has copies of both descriptors, so to close
	// them is not enough.
	if s.lock != nil {
		s.lock.Truncate(0) // the process it names does not hold it any more
		unix.Flock(int(s.lock.Fd()), unix.LOCK_UN)
		s.lock.Close()
	}
	liftMark(s.dir)
	s.dir.Close()
}

// keepLock makes sure that the lock file's name still leads to the file that is
// locked, or locks the one that is there now.
func (s *seat) keepLock() error {
	if id, err := s.lstat(s.lockName()); err == nil && id == s.lockID {
		return nil
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	s.plan.log.Warn("the lock file of the control socket was deleted or replaced; it is locked anew", "path", s.lockPath())
	return nil
}

func (s *seat) lockName() string { return s.plan.base + ".lock" }
func (s *seat) lockPath() string { return filepath.Join(s.dir.Name(), s.lockName()) }

// takeLock makes or opens the lock file and locks it. What was locked before is
// let go only then.
func (s *seat) takeLock() error {
	for range 100 { // a round ends without a lock only if the file was deleted in its course
		f, err := s.openLock()
		if err != nil {
			return err
		}
		id, err := s.lockFile(f)
		if err != nil {
			f.Close()
			return err
		}
		if at, err := s.lstat(s.lockName()); err != nil || at != id {
			f.Close()
			continue
		}
		if s.lock != nil {
			s.lock.Close()
		}
		s.lock, s.lockID = f, id
		s.signLock()
		return nil
	}
	return fmt.Errorf("somebody keeps deleting the lock file %s; find out who (a tmp cleaner?), or choose another path with --socket or $BROOD_SOCKET", s.lockPath())
}

func (s *seat) openLock() (*os.File, error) {
	// O_NONBLOCK: a FIFO in the place must not hang the open. Cleared below, since
	// it would have the file ride the runtime's poller.
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := unix.Openat(int(s.dir.Fd()), s.lockName(), flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open its lock file; it must be a plain file of this user in a directory where this user may make files: %w",
			&os.PathError{Op: "open", Path: s.lockPath(), Err: err})
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), s.lockPath()), nil
}

// lockFile checks and locks f.
func (s *seat) lockFile(f *os.File) (fileID, error) {
	fi, err := f.Stat()
	if err != nil {
		return fileID{}, err
	}
	if !fi.Mode().IsRegular() {
		return fileID{}, fmt.Errorf("the lock file %s is no regular file but %v; it is left alone, move it away", f.Name(), fi.Mode())
	}
	if uid := ownerOf(fi); uid != os.Geteuid() {
		return fileID{}, fmt.Errorf("the lock file %s belongs to uid %d and this process is uid %d; run as that user, remove the file, or choose another path with --socket or $BROOD_SOCKET", f.Name(), uid, os.Geteuid())
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fileID{}, fmt.Errorf("%w: %s holds %s; stop that supervisor, or choose another path with --socket or $BROOD_SOCKET", ErrInUse, lockHolder(f), f.Name())
	}
	if err != nil {
		return fileID{}, fmt.Errorf("cannot lock; choose a path on a file system with locks: %w", &os.PathError{Op: "flock", Path: f.Name(), Err: err})
	}
	return idOf(fi), nil
}

// signLock writes this process's id into the lock file. It is for people only, so
// a full disk does not keep a supervisor from starting.
func (s *seat) signLock() {
	s.lock.Truncate(0)
	s.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
}

// lockHolder says who signed the lock file.
func lockHolder(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	pid, perr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || perr != nil || pid <= 0 {
		return "another process" // it is just about to sign
	}
	return "process " + strconv.Itoa(pid)
}

// lstat is fstatat(2) of a name in the directory; it follows no link.
func (s *seat) lstat(name string) (fileID, error) {
	st, err := s.stat(name)
	return fileID{uint64(st.Dev), st.Ino}, err
}

func (s *seat) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(s.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		err = &os.PathError{Op: "lstat", Path: filepath.Join(s.dir.Name(), name), Err: err}
	}
	return st, err
}
