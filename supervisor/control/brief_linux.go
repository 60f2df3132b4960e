//go:build !race && !msan && !asan

package control

import (
	"cmp"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of clients who ask again and again. The runtime is not told of
// those that are brief: in a process that is idle between two requests it would wake
// its monitor thread for each. What such calls must keep to is said in package ipc:
// they do not wait, copy little and close nothing. The race detector and its like
// have to be told, so none is brief there.

const (
	briefRead  = 64 << 10
	briefWrite = 16 << 10
)

// brevity is what a guest's calls may be.
type brevity struct {
	// refuses: no descriptors come any more. It is not written to again.
	refuses bool
	// readBrief: nor are there any from before. It belongs to who reads.
	readBrief bool
}

// prepareBrief has no descriptors come from now on, where the kernel can see to that
// (Linux 6.16): who sends some gets EPERM.
func (g *guest) prepareBrief() {
	_ = g.raw.Control(func(fd uintptr) {
		g.refuses = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0) == nil
	})
}

// recv is recv(2) of what is there, for who reads. It is brief once there has been
// nothing: what came before prepareBrief may have had descriptors with it.
func (g *guest) recv(fd uintptr, b []byte, flags int) (int, error) {
	b = b[:min(len(b), briefRead)]
	for {
		var n uintptr
		var errno unix.Errno
		if at, size, flags := unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)), uintptr(flags|unix.MSG_DONTWAIT); g.readBrief {
			n, _, errno = unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(at), size, flags, 0, 0)
		} else {
			n, _, errno = unix.Syscall6(unix.SYS_RECVFROM, fd, uintptr(at), size, flags, 0, 0)
		}
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			g.readBrief = g.refuses
		}
		return 0, errno
	}
}

// send writes b. It waits only for what the socket does not take at once.
func (g *guest) send(b []byte) (n int, err error) {
	if !g.refuses || len(b) > briefWrite {
		return g.UnixConn.Write(b)
	}
	rawErr := g.raw.Write(func(fd uintptr) bool {
		for n < len(b) {
			took, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b[n])), uintptr(len(b)-n), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
			switch errno {
			case 0:
				n += int(took)
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				err = os.NewSyscallError("sendto", errno)
				return true
			}
		}
		return true
	})
	return n, cmp.Or(rawErr, err)
}
