//go:build !linux

package capture

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/watch"
)

// reader reads by a goroutine of its own.
type reader struct {
	file    *os.File // closed by the goroutine, or by Finish where there is none
	started bool
}

func newReader(fd int) reader { return reader{file: os.NewFile(uintptr(fd), "worker-output")} }

// Start has the pipe read from now on.
func (s *Stream) Start(*watch.Set) error {
	s.started = true
	go s.run()
	return nil
}

func (s *Stream) run() {
	defer s.last()
	defer s.file.Close()
	raw, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		var got reading
		err := raw.Read(func(fd uintptr) bool {
			got = s.read(int(fd))
			return got != readNothing
		})
		if got == readEnd {
			return
		}
		if err != nil { // Finish: the time is over
			break
		}
	}
	_ = raw.Control(func(fd uintptr) {
		for n := 0; n < restReads && s.read(int(fd)) == readSome; n++ {
		}
	})
}

// Finish reads what is left of a worker that has ended, and ends the stream,
// even though a grandchild may hold the other end for ever.
func (s *Stream) Finish() {
	if s.Ended() {
		return
	}
	if !s.started {
		s.file.Close()
		s.last()
		return
	}
	_ = s.file.SetReadDeadline(time.Now()) // fails once it is closed
	<-s.done
}

// Export fails with an error that wraps [errors.ErrUnsupported]. What is missing
// here: the reading of a stream can't be paused.
func (s *Stream) Export(*handover.Out) (SavedStream, error) {
	return SavedStream{}, fmt.Errorf("%s can't be handed over on %s: %w", s, runtime.GOOS, errors.ErrUnsupported)
}

// AdoptStream fails in the same way. The stream has ended.
func AdoptStream(_ *handover.In, saved SavedStream, to *Sink) (*Stream, error) {
	s := &Stream{prefix: saved.Prefix, to: to, done: make(chan struct{})}
	s.last()
	return s, fmt.Errorf("%s can't be taken over on %s: %w", s, runtime.GOOS, errors.ErrUnsupported)
}
