//go:build unix && !linux

package ipc

import "golang.org/x/sys/unix"

// vector is for the system calls that need none of their own here.
type vector struct{}

func (*Conn) prepareBrief(int) {}

func (*vector) receive(fd int, bufs [][]byte, control []byte, flags int) (n, controlled, outFlags int, err error) {
	n, controlled, outFlags, _, err = unix.RecvmsgBuffers(fd, bufs, control, flags)
	return n, controlled, outFlags, err
}

func (*vector) send(fd int, bufs [][]byte, control []byte, flags int) (int, error) {
	return unix.SendmsgBuffers(fd, bufs, control, nil, flags)
}
