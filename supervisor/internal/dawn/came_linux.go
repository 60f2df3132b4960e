package dawn

import (
	"strconv"
	"syscall"
)

// Of fcntl(2).
const (
	getSeals = 1034 // F_GET_SEALS
	sealed   = 0xf  // F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE
)

// came tells whether text names a descriptor as handover.Out.Seal makes one: a file in
// memory that can't be changed any more. There need not be a /proc to see it.
func came(text string) bool {
	fd, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return false
	}
	seals, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), getSeals, 0)
	return errno == 0 && seals&sealed == sealed
}
