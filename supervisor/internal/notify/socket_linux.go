package notify

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func newSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fd, os.NewSyscallError("socket", err)
}

func recvmsg(fd int, text, oob []byte) (n, oobn, flags int, err error) {
	n, oobn, flags, _, err = unix.Recvmsg(fd, text, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	return n, oobn, flags, err
}

// refuse has whoever still sends get EPIPE. What is there already can be read.
func refuse(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
}
