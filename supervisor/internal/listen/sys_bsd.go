//go:build darwin || freebsd

package listen

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// newSocket: macOS has no SOCK_CLOEXEC, so no fork may come between the calls.
func newSocket(family, kind int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// replace closes old and gives its number to what fd is. macOS has no dup3.
func replace(old, fd int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Dup2(fd, old); err != nil {
		return os.NewSyscallError("dup2", err)
	}
	unix.CloseOnExec(old)
	return nil
}

// bearClosed: what is missing here is an fchmod(2) that takes sockets, so the
// umask decides with which mode the node is made. Who may connect by it, and is
// just about to when the socket begins to listen, may get in.
func bearClosed(int) {}

// nodeRef is a node's name. What is missing here: there is no O_PATH, so between
// the check and the call somebody who may rename in the directory could put
// another file there; a symbolic link is not followed.
type nodeRef struct{ p *place }

func (p *place) withNode(node fileID, do func(nodeRef) error) error {
	st, err := p.look(p.base)
	if err != nil {
		return err
	}
	if idOf(st) != node {
		return fmt.Errorf("%w: another has taken its place", ErrInUse)
	}
	return do(nodeRef{p})
}

func (n nodeRef) chown(uid, gid int) error {
	return os.NewSyscallError("chown", unix.Fchownat(int(n.p.dir.Fd()), n.p.base, uid, gid, unix.AT_SYMLINK_NOFOLLOW))
}

func (n nodeRef) chmod(mode uint32) error {
	return os.NewSyscallError("chmod", unix.Fchmodat(int(n.p.dir.Fd()), n.p.base, mode, unix.AT_SYMLINK_NOFOLLOW))
}
