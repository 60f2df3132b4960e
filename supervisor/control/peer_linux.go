package control

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readPeer asks for SO_PEERCRED and SO_PEERGROUPS (unix(7), socket(7)). An id that
// this user namespace does not know shows as the overflow id, 65534.
//
// SO_PEERPIDFD is left alone: rights go by user and group and nothing by process,
// so the descriptor would only have to be kept and closed.
func readPeer(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERGROUPS", err)
	}
	return Peer{UID: int(cred.Uid), GID: int(cred.Gid), Groups: groups, PID: int(cred.Pid)}, nil
}

// peerGroups: the kernel answers ERANGE and the size it needs where there is too
// little room. Before Linux 4.13 there is no such option: no groups are known then.
func peerGroups(fd int) ([]int, error) {
	const gidSize = uint32(unsafe.Sizeof(uint32(0)))
	gids := make([]uint32, 32)
	for {
		size := uint32(len(gids)) * gidSize
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&gids[0])), uintptr(unsafe.Pointer(&size)), 0)
		n := size / gidSize
		switch {
		case errno == 0:
			groups := make([]int, n)
			for i, g := range gids[:n] {
				groups[i] = int(g)
			}
			return groups, nil
		case errors.Is(errno, unix.ENOPROTOOPT):
			return nil, nil
		case errors.Is(errno, unix.ERANGE) && n > uint32(len(gids)):
			gids = make([]uint32, n)
		default:
			return nil, errno
		}
	}
}
