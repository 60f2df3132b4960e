//go:build unix && !linux

package ipc

import "golang.org/x/sys/unix"

// socketpair: macOS has no SOCK_CLOEXEC; Pair holds the fork lock meanwhile.
func socketpair() ([2]int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return fds, err
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return fds, nil
}

const (
	sendFlags = unix.MSG_DONTWAIT
	recvFlags = unix.MSG_DONTWAIT
)

// closeOnExec does what macOS has no flag of recvmsg(2) for.
func closeOnExec(fds []int) {
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
}
