package ipc

import "golang.org/x/sys/unix"

func socketpair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

const (
	// sendFlags: no signal for a peer that is gone, no waiting for one that
	// does not read.
	sendFlags = unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT
	recvFlags = unix.MSG_CMSG_CLOEXEC | unix.MSG_DONTWAIT
)

func closeOnExec([]int) {} // recvFlags has seen to it
