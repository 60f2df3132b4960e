package config

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// asNobody calls f without the rights of root: where the tests have these, from a
// thread that has given them up and ends with f. setresuid(2) itself is of one
// thread.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		const nobody, unchanged = 65534, ^uintptr(0)
		if os.Geteuid() == 0 {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, unchanged, nobody, unchanged); errno != 0 {
				t.Error(os.NewSyscallError("setresuid", errno))
				return
			}
		}
		f()
	}()
	<-done
}
