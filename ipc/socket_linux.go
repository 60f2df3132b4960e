package ipc

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of a connection, without the allocations of the general
// ones. The runtime is not told of those that are brief: in a process that is
// idle between two calls it would wake its monitor thread for each.
//
// What it is not told of holds its processor: no other goroutine has it, and a
// garbage collection waits. So a brief call
//   - does not wait, MSG_DONTWAIT; for memory it may, as whatever touches a new page;
//   - copies no more than briefRead or briefWrite, some ten microseconds;
//   - closes nothing, as that lasts as long as who made the descriptor likes
//     (SO_LINGER, socket(7)). One that comes and is not taken is closed in
//     recvmsg(2), so reading is brief only where the kernel lets none come. Older
//     kernels also close in sendmsg(2), others' that are on their way in circles.

const (
	briefRead  = HeaderSize + DefaultChunk // the usual buffer, which is seldom full
	briefWrite = 16 << 10
)

// prepareBrief finds out what may be brief: nothing before Linux 6.16. Where this end
// takes no descriptors, from now on none comes; who sends some gets EPERM.
func (c *Conn) prepareBrief(fd int) {
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS); err != nil {
		return
	}
	c.sender.vector.brief = true
	if c.cfg.Hello.FDs == 0 {
		c.arrived.vector.refused = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0) == nil
	}
}

// vector is what recvmsg(2) and sendmsg(2) are given. It belongs to the reader,
// or to the writer.
type vector struct {
	msg unix.Msghdr
	iov [16]unix.Iovec
	// brief: its calls may be. refused: no descriptors come any more, so they may be
	// once those from before are read, that is when there was nothing left.
	brief, refused bool
}

// isBrief reports whether a call is brief.
func (v *vector) isBrief(flags, most int, bufs ...[]byte) bool {
	for _, b := range bufs {
		most -= len(b)
	}
	return v.brief && flags&unix.MSG_DONTWAIT != 0 && most >= 0
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
	brief := v.isBrief(flags, briefRead, bufs...)
	var r uintptr
	var errno unix.Errno
	if len(bufs) == 1 && len(control) == 0 {
		r, errno = recv(fd, bufs[0], flags, brief)
	} else {
		v.set(bufs, control)
		if brief {
			r, _, errno = unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), uintptr(flags))
		} else {
			r, _, errno = unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), uintptr(flags))
		}
		controlled, outFlags = int(v.msg.Controllen), int(v.msg.Flags)
		v.forget()
	}
	switch errno {
	case 0:
		return int(r), controlled, outFlags, nil
	case unix.EAGAIN:
		v.brief = v.refused
	}
	return 0, 0, 0, errno
}

// recv is recv(2). Each way is written out, here and below: the address is one only
// within the system call's own arguments (unsafe.Pointer, 4).
func recv(fd int, b []byte, flags int, brief bool) (r uintptr, errno unix.Errno) {
	if brief {
		r, _, errno = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(flags), 0, 0)
	} else {
		r, _, errno = unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(flags), 0, 0)
	}
	return r, errno
}

// send is sendmsg(2); none of bufs is empty.
func (v *vector) send(fd int, bufs [][]byte, control []byte, flags int) (int, error) {
	var r uintptr
	var errno unix.Errno
	if len(bufs) == 1 && len(control) == 0 {
		r, errno = send(fd, bufs[0], flags, v.isBrief(flags, briefWrite, bufs[0]))
	} else {
		v.set(bufs, control)
		r, _, errno = unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), uintptr(flags))
		v.forget()
	}
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

func send(fd int, b []byte, flags int, brief bool) (r uintptr, errno unix.Errno) {
	if brief {
		r, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(flags), 0, 0)
	} else {
		r, _, errno = unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(flags), 0, 0)
	}
	return r, errno
}
