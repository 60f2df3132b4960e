//go:build darwin || freebsd

package control

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// newSocket: macOS has no SOCK_CLOEXEC, so no fork may come between the calls.
func newSocket() (*os.File, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "control-socket"), nil
}

// bearNarrow: fchmod(2) refuses sockets here, so the umask decides how the node is
// made. Nobody can connect before it has its mode, as the socket does not listen.
func bearNarrow(*os.File) {}

// placeMark: there are no locks of open file descriptions here, so no marks. A
// supervisor whose lock file was deleted is noticed by its socket, which answers
// unless its queue is full; one whose socket was deleted too is not noticed.
func placeMark(*os.File, string) (others bool) { return false }

func liftMark(*os.File) {}
