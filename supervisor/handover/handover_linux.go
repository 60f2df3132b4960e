package handover

import (
	"encoding/json"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Seal makes the descriptor that the next program reads, and returns the variable
// that names it. It is sealed (fcntl(2)), by which package dawn knows it. fds are the
// descriptors of Out as that program will find them, in order. It is called by the
// thread that executes the next program, whose table of descriptors may be its own:
// so it makes no *os.File.
func (o *Out) Seal(fds []int) (fd int, env string, err error) {
	b, err := json.Marshal(parcel{Version, o.values, fds})
	if err != nil {
		return -1, "", err
	}
	const name, flags = "brood-handover", unix.MFD_ALLOW_SEALING // not close-on-exec
	fd, err = unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // Linux before 6.3 does not know the flag that later ones may demand
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return -1, "", os.NewSyscallError("memfd_create", err)
	}
	for at := 0; at < len(b); {
		n, err := unix.Pwrite(fd, b[at:], int64(at))
		if err != nil && err != unix.EINTR {
			unix.Close(fd)
			return -1, "", os.NewSyscallError("pwrite", err)
		}
		at += max(n, 0)
	}
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, all); err != nil {
		unix.Close(fd)
		return -1, "", os.NewSyscallError("fcntl", err)
	}
	return fd, Env + "=" + strconv.Itoa(fd), nil
}
