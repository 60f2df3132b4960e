package ipc

import (
	"time"

	"golang.org/x/sys/unix"
)

// Waiting for the peer's next words. When they usually come soon, the reader
// waits for them in the kernel, on its own thread, for a moment: that is two
// system calls and a round of the scheduler less than the runtime's poller
// takes.

// moment is how long that is. The thread may keep its P meanwhile, so it is no
// longer than others can well wait.
const moment = 50 * time.Microsecond

// badLuck is how often it is not tried again after it was in vain.
const badLuck = 16

// spell knows whether waiting is worth it. It belongs to the reader.
type spell struct {
	pause int // so often it is not tried
	fds   [1]unix.PollFd
	time  unix.Timespec
}

// linger waits for a moment for something to read, if that is worth it.
func (s *spell) linger(fd int) {
	if s.pause > 0 {
		s.pause--
		return
	}
	s.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	s.time = unix.NsecToTimespec(int64(moment))
	if n, err := unix.Ppoll(s.fds[:], &s.time, nil); n == 0 && err == nil {
		s.pause = badLuck
	}
}
