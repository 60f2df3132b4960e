//go:build darwin || freebsd

package control

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// readPeer asks for LOCAL_PEERCRED (unix(4)). Missing against Linux:
//
//   - Groups has 15 at most, which is what struct xucred holds.
//   - PID is 0 on FreeBSD, where x/sys does not give the field a name. macOS has
//     LOCAL_PEERPID.
func readPeer(fd int) (Peer, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt LOCAL_PEERCRED", err)
	}
	n := min(int(cred.Ngroups), len(cred.Groups))
	if n < 1 {
		return Peer{}, os.NewSyscallError("getsockopt LOCAL_PEERCRED", unix.EINVAL)
	}
	p := Peer{UID: int(cred.Uid), GID: int(cred.Groups[0])} // the first is the effective one
	for _, g := range cred.Groups[1:n] {
		p.Groups = append(p.Groups, int(g))
	}
	if runtime.GOOS == "darwin" {
		const localPeerPID = 2 // LOCAL_PEERPID of <sys/un.h>
		if pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, localPeerPID); err == nil {
			p.PID = pid
		}
	}
	return p, nil
}
