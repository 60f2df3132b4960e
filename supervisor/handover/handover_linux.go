package handover

import (
	"encoding/json"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Seal makes the descriptor that the next program reads, and returns the variable
// that names it. fds are the descriptors of Out as that program will find them,
// in order. It is called by the thread that executes the next program, whose
// table of descriptors may be its own: so it makes no *os.File.
func (o *Out) Seal(fds []int) (fd int, env string, err error) {
	b, err := json.Marshal(parcel{Version, o.values, fds})
	if err != nil {
		return -1, "", err
	}
	fd, err = unix.MemfdCreate("brood-handover", 0) // not close-on-exec
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
	return fd, Env + "=" + strconv.Itoa(fd), nil
}
