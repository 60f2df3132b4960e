package process

import (
	"syscall"
	"unsafe"
)

// blockUntilExit waits with waitid(2) and WNOWAIT, so that the process stays a
// zombie.
func blockUntilExit(pid int) error {
	const pPID, wExited, wNoWait = 1, 4, 0x20
	var info [128]byte
	_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pPID, uintptr(pid), uintptr(unsafe.Pointer(&info)), wExited|wNoWait, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
