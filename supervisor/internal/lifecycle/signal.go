package lifecycle

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalName is SIGTERM for 15.
func SignalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(s))
}
