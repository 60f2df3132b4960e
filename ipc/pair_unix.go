//go:build unix

package ipc

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pair makes a connected pair of stream sockets, socketpair(2), both
// close-on-exec. The parent's end is non-blocking and rides the runtime's
// poller. The child's end is blocking, for programs that read it with plain
// read(2); package worker sets its own non-blocking once it has it.
//
// The caller owns both. It hands child over through exec.Cmd.ExtraFiles and
// closes its copy at once: there is no EOF before that.
func Pair() (parent, child *os.File, err error) {
	syscall.ForkLock.RLock() // only where SOCK_CLOEXEC is missing would a fork between the calls leak
	fds, err := socketpair()
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "brood-supervisor-end"), os.NewFile(uintptr(fds[1]), "brood-worker-end"), nil
}
