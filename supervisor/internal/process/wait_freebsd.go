package process

import (
	"syscall"
	"unsafe"
)

// blockUntilExit waits with wait6(2) and WNOWAIT, so that the process stays a
// zombie.
func blockUntilExit(pid int) error {
	const pPID, wExited, wNoWait = 0, 16, 8
	var status int32
	_, _, errno := syscall.Syscall6(syscall.SYS_WAIT6, pPID, uintptr(pid), uintptr(unsafe.Pointer(&status)), wExited|wNoWait, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
