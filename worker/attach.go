//go:build unix

package worker

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// attach takes over the descriptor that BROOD_FD=fd:inode names. The inode
// tells a grandchild that has inherited the variable alone, where the number
// means something else by now, from the worker itself.
func attach() (*os.File, error) {
	value, ok := os.LookupEnv("BROOD_FD")
	if !ok {
		return nil, ErrNotSupervised
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: BROOD_FD=%s: %s; was it inherited from another worker? unset it", ErrNotSupervised, value, fmt.Sprintf(format, args...))
	}
	fdText, inodeText, _ := strings.Cut(value, ":")
	fd, err1 := strconv.Atoi(fdText)
	inode, err2 := strconv.ParseUint(inodeText, 10, 64)
	if err1 != nil || err2 != nil || fd < 3 {
		return nil, bad("it is no FD:INODE")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, bad("descriptor %d: %v", fd, os.NewSyscallError("fstat", err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Ino != inode {
		return nil, bad("descriptor %d is not the socket with inode %d", fd, inode)
	}
	if addr, err := unix.Getsockname(fd); err != nil {
		return nil, bad("descriptor %d: %v", fd, os.NewSyscallError("getsockname", err))
	} else if _, ok := addr.(*unix.SockaddrUnix); !ok {
		return nil, bad("descriptor %d is no AF_UNIX socket", fd)
	}
	if typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || typ != unix.SOCK_STREAM {
		return nil, bad("descriptor %d is no stream socket", fd)
	}
	unix.CloseOnExec(fd)
	os.Unsetenv("BROOD_FD")
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "brood-connection"), nil
}
