package capture

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The worker's end is blocking and handed over on purpose; nothing else is.
func TestPipeEnds(t *testing.T) {
	sink := NewSink(&record{}, nil)
	defer sink.Close()
	s, w := open(t, sink)
	defer s.Finish()
	for name, fd := range map[string]uintptr{"read": uintptr(s.fd), "write": w.Fd()} {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if nonblock := flags&unix.O_NONBLOCK != 0; err != nil || nonblock != (name == "read") {
			t.Errorf("%s end: non-blocking %v, %v", name, nonblock, err)
		}
		if flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s end: not close-on-exec, %v", name, err)
		}
	}
}
