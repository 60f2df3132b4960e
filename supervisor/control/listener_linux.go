package control

import (
	"hash/fnv"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

func newSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return os.NewFile(uintptr(fd), "control-socket"), nil
}

// bearNarrow lets bind(2) make the node with mode 0600 at most: Linux takes the
// mode of the socket's own inode, less the umask. What keeps clients out until the
// node has its final mode is that the socket does not listen, so where a kernel
// knows no such fchmod nothing is lost.
func bearNarrow(sock *os.File) { _ = unix.Fchmod(int(sock.Fd()), 0o600) }

// placeMark puts a mark for the name base on the open directory, and reports
// whether there is another's. It lasts until dir is closed, and has nothing to do
// with any file in the directory: it is a lock of one byte (fcntl(2), open file
// description locks), at an offset that stands for the name. A directory cannot be
// opened for writing, so the lock is a read lock, which excludes no one; but who
// asks what would be in the way of a write lock is told of it.
//
// On a file system without such locks there is no mark and none is seen.
func placeMark(dir *os.File, base string) (others bool) {
	h := fnv.New64a()
	io.WriteString(h, base)
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: int64(h.Sum64() >> 2), Len: 1}
	if err := unix.FcntlFlock(dir.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		return false
	}
	lock.Type = unix.F_WRLCK
	err := unix.FcntlFlock(dir.Fd(), unix.F_OFD_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK
}

// liftMark takes the marks away that placeMark put on dir.
func liftMark(dir *os.File) {
	_ = unix.FcntlFlock(dir.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
}
