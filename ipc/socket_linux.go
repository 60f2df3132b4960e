package ipc

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of a connection, without the allocations of the general
// ones.

// vector is what recvmsg(2) and sendmsg(2) are given. It belongs to the reader,
// or to the writer.
type vector struct {
	msg unix.Msghdr
	iov [16]unix.Iovec
}

// set has v name the first of bufs, and control.
func (v *vector) set(bufs [][]byte, control []byte) {
	n := 0
	for _, b := range bufs[:min(len(bufs), len(v.iov))] {
		if len(b) > 0 {
			v.iov[n].Base = &b[0]
			v.iov[n].SetLen(len(b))
			n++
		}
	}
	v.msg = unix.Msghdr{Iov: &v.iov[0]}
	v.msg.SetIovlen(n)
	if len(control) > 0 {
		v.msg.Control = &control[0]
		v.msg.SetControllen(len(control))
	}
}

// forget lets go of the memory.
func (v *vector) forget() {
	clear(v.iov[:v.msg.Iovlen])
	v.msg = unix.Msghdr{}
}

// receive is recvmsg(2); the first of bufs is not empty.
func (v *vector) receive(fd int, bufs [][]byte, control []byte, flags int) (n, controlled, outFlags int, err error) {
	if len(bufs) == 1 && len(control) == 0 {
		n, err := recv(fd, bufs[0], flags)
		return n, 0, 0, err
	}
	v.set(bufs, control)
	r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), uintptr(flags))
	controlled, outFlags = int(v.msg.Controllen), int(v.msg.Flags)
	v.forget()
	if errno != 0 {
		return 0, 0, 0, errno
	}
	return int(r), controlled, outFlags, nil
}

func recv(fd int, b []byte, flags int) (int, error) {
	r, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// send is sendmsg(2); none of bufs is empty.
func (v *vector) send(fd int, bufs [][]byte, control []byte, flags int) (int, error) {
	if len(bufs) == 1 && len(control) == 0 {
		r, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&bufs[0][0])), uintptr(len(bufs[0])), uintptr(flags), 0, 0)
		if errno != 0 {
			return 0, errno
		}
		return int(r), nil
	}
	v.set(bufs, control)
	r, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), uintptr(flags))
	v.forget()
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
