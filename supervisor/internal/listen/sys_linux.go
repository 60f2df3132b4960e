package listen

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func newSocket(family, kind int) (int, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	return fd, os.NewSyscallError("socket", err)
}

// replace closes old and gives its number to what fd is.
func replace(old, fd int) error {
	return os.NewSyscallError("dup3", unix.Dup3(fd, old, unix.O_CLOEXEC))
}

// bearClosed has bind(2) make the node with mode 0: Linux takes the mode of the
// socket's own inode, less the umask.
func bearClosed(fd int) { _ = unix.Fchmod(fd, 0) }

// nodeRef is a node held with O_PATH (open(2)): what is done to it is done to no
// other that has taken its name.
type nodeRef int

func (p *place) withNode(node fileID, do func(nodeRef) error) error {
	fd, err := unix.Openat(int(p.dir.Fd()), p.base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: p.path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if idOf(st) != node {
		return fmt.Errorf("%w: another has taken its place", ErrInUse)
	}
	return do(nodeRef(fd))
}

func (n nodeRef) chown(uid, gid int) error {
	return os.NewSyscallError("chown", unix.Fchownat(int(n), "", uid, gid, unix.AT_EMPTY_PATH))
}

func (n nodeRef) chmod(mode uint32) error {
	return os.NewSyscallError("chmod", unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", n), mode))
}
