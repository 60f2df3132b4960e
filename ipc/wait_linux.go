package ipc

import (
	"time"

	"golang.org/x/sys/unix"
)

// Waiting for the peer's next words. A worker has one connection: while calls
// come one upon the other its reader waits for the next in the kernel, on its
// own thread, for a moment. That is three system calls and a round of the
// scheduler less than the runtime's poller takes, which waits at other times,
// and in supervisors, whose connections are many.

// moment is how long that is; the kernel rounds it up to its tick.
const moment = time.Millisecond

// badLuck is how often it is not tried again after it was in vain.
const badLuck = 16

// turns is how often it is done without the reader making way. One that never
// does looks to the runtime as if it ran on and on: after 10 ms its processor is
// taken away in every system call, and another thread woken to have it.
const turns = 8

// spell knows whether waiting is worth it. It belongs to the reader.
type spell struct {
	possible bool
	pause    int // so often it is not tried
	waited   int // so often since the reader has made way
}

// prepare makes waiting possible on the worker's end, which is its own to
// change.
func (s *spell) prepare(fd int) {
	tv := unix.NsecToTimeval(int64(moment))
	s.possible = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv) == nil && unix.SetNonblock(fd, false) == nil
}

// flags are those of the next read: it may wait, or not.
func (s *spell) flags() int {
	switch {
	case !s.possible:
		return recvFlags
	case s.pause > 0:
		s.pause--
		return recvFlags
	}
	s.waited++
	return recvFlags &^ unix.MSG_DONTWAIT
}

func (s *spell) inVain() { s.pause = badLuck }

// makesWay reports whether the reader is to make way.
func (s *spell) makesWay() bool {
	if s.waited < turns {
		return false
	}
	s.waited = 0
	return true
}
