package notify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// prefix begins the names of the directories, so that those left behind are
	// known.
	prefix = "brood-notify-"
	// birth is the directory in which a node is made ready, 0700, below the one
	// where it is found.
	birth = ".new"
	// maxPath is how long a socket's path may be, in bytes: 108 on Linux, 104 on
	// the BSDs, less the NUL that ends it.
	maxPath = 103
	// maxNode is how long the name of a node may be, in bytes.
	maxNode = 40
)

// Dir is the directory that holds the sockets of one supervisor. Its mode is
// 0711: a worker of another user gets to the socket it was told of, and sees no
// others. It is held by a lock (flock(2)), which keeps systemd-tmpfiles(8) from
// cleaning it up, and tells the next supervisor that it is not left over from one
// that was killed.
type Dir struct {
	path string
	lock *os.File // the directory; closed by Close

	mu  sync.Mutex
	seq uint64 // of names that had to be made up
}

// NewDir makes the directory, below /run for root, $XDG_RUNTIME_DIR for others,
// else where temporary files go; wherever a path is short enough. What killed
// supervisors of this user have left there is removed.
func NewDir() (*Dir, error) {
	bases := []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"}
	if os.Geteuid() == 0 {
		bases[0] = "/run"
		if runtime.GOOS != "linux" {
			bases[0] = "/var/run"
		}
	}
	return newDir(bases)
}

func newDir(bases []string) (*Dir, error) {
	var errs []error
	for _, base := range bases {
		if !filepath.IsAbs(base) {
			continue
		}
		sweep(base)
		d, err := makeDir(base)
		if err == nil {
			return d, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no directory for the sockets that workers notify: %w", errors.Join(errs...))
}

// makeTries is how often a new directory is made because another supervisor has
// taken the last one, not locked yet, for left over.
const makeTries = 10

func makeDir(base string) (*Dir, error) {
	var err error
	for range makeTries {
		var path string
		path, err = os.MkdirTemp(base, prefix)
		if err != nil {
			return nil, err
		}
		if len(path)+len("/"+birth+"/")+maxNode > maxPath {
			os.Remove(path)
			return nil, fmt.Errorf("%s is too long for a socket's path, which ends after %d bytes", path, maxPath)
		}
		var lock *os.File
		if lock, err = lockDir(path); err != nil {
			os.Remove(path)
			continue
		}
		err = errors.Join(os.Mkdir(filepath.Join(path, birth), 0o700), os.Chmod(path, 0o711))
		if err != nil { // it was swept away in the moment before the lock, or the file system is full
			empty(lock)
			continue
		}
		return &Dir{path: path, lock: lock}, nil
	}
	return nil, err
}

// lockDir opens a directory and takes its lock, which goes with the descriptor.
func lockDir(path string) (*os.File, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
	}
	return dir, nil
}

// sweep removes what supervisors of this user that are no more have left in
// base.
func sweep(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		dir, err := lockDir(filepath.Join(base, e.Name()))
		if err != nil {
			continue // somebody's
		}
		if fi, err := dir.Stat(); err != nil || int(fi.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			dir.Close()
			continue
		}
		empty(dir)
	}
}

// empty removes a locked directory with the sockets in it, and closes it. Should
// there be anything else in it, it stays.
func empty(dir *os.File) {
	defer dir.Close()
	if b, err := os.OpenFile(filepath.Join(dir.Name(), birth), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err == nil {
		removeSockets(b)
		b.Close()
	}
	_ = unix.Unlinkat(int(dir.Fd()), birth, unix.AT_REMOVEDIR)
	removeSockets(dir)
	_ = unix.Rmdir(dir.Name())
}

func removeSockets(dir *os.File) {
	entries, _ := dir.ReadDir(-1)
	for _, e := range entries {
		if e.Type() == fs.ModeSocket {
			_ = unix.Unlinkat(int(dir.Fd()), e.Name(), 0)
		}
	}
}

// Close removes the directory. Sockets still open live on and hear nothing new.
// It is called once.
func (d *Dir) Close() { empty(d.lock) }

// Listen makes the socket of one worker. Its node, named after name where that
// is short enough, belongs to uid and gid (negative: this process's own) and has
// mode 0600: nobody else but root can send to it, and there was no moment when
// anybody could. A name is used for one socket at a time. The caller has the
// result Run, and then closes it; or aborts it.
func (d *Dir) Listen(name string, uid, gid int) (*Socket, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") || name[0] == '.' {
		return nil, fmt.Errorf("notify: %q can't be the name of a socket's node", name)
	}
	fd, err := newSocket()
	if err != nil {
		return nil, fmt.Errorf("notify: %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), "notify-socket")
	raw, err := file.SyscallConn()
	var path string
	if err == nil {
		path, err = d.place(fd, name, uid, gid)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("notify: %s: %w", name, err)
	}
	return &Socket{path: path, file: file, raw: raw, quit: make(chan struct{})}, nil
}

// place binds fd where nobody else gets to, makes the node what it is to be, and
// only then moves it to where it is found.
func (d *Dir) place(fd int, name string, uid, gid int) (path string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(name) > maxNode {
		d.seq++
		name = fmt.Sprintf("%.19s-%d", name, d.seq)
	}
	path = filepath.Join(d.path, name)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", &fs.PathError{Op: "bind", Path: path, Err: unix.EADDRINUSE}
	}
	born := filepath.Join(d.path, birth, name)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: born}); err != nil {
		return "", &fs.PathError{Op: "bind", Path: born, Err: err}
	}
	if err = os.Chmod(born, 0o600); err == nil {
		if err = os.Lchown(born, uid, gid); err == nil {
			err = os.Rename(born, path)
		}
	}
	if err != nil {
		os.Remove(born)
		return "", err
	}
	return path, nil
}
