//go:build darwin || freebsd

package notify

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// newSocket holds the fork lock, as macOS has neither SOCK_CLOEXEC nor
// SOCK_NONBLOCK.
func newSocket() (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, nil
}

// recvmsg holds the fork lock, as macOS has no MSG_CMSG_CLOEXEC. It does not
// wait.
func recvmsg(fd int, text, oob []byte) (n, oobn, flags int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	n, oobn, flags, _, err = unix.Recvmsg(fd, text, oob, unix.MSG_DONTWAIT)
	for _, passed := range descriptors(oob[:oobn]) {
		unix.CloseOnExec(passed)
	}
	return n, oobn, flags, err
}

// refuse does nothing: here shutdown(2) would throw away what is there already.
func refuse(syscall.RawConn) {}
