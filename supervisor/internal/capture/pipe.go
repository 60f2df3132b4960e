//go:build unix && !darwin

package capture

import "golang.org/x/sys/unix"

func pipe(fds []int) error { return unix.Pipe2(fds, unix.O_CLOEXEC) }
