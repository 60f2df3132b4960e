package capture

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pipe: macOS has no pipe2; the fork lock stands in for O_CLOEXEC.
func pipe(fds []int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(fds); err != nil {
		return err
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return nil
}
