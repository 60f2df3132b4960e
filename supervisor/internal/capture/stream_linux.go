package capture

import (
	"sync"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/watch"
)

// reader reads by the goroutine of a watch.Set.
type reader struct {
	io  sync.Mutex // held while the descriptor is read or closed
	fd  int        // -1: closed
	set *watch.Set // nil before Start
	key watch.Key
}

func newReader(fd int) reader { return reader{fd: fd} }

// Start has the pipe read from now on, by set's goroutine.
func (s *Stream) Start(set *watch.Set) error {
	s.io.Lock()
	defer s.io.Unlock()
	if s.fd < 0 { // it had ended before it was adopted
		return nil
	}
	key, err := set.Add(s.fd, s.readable)
	if err != nil {
		return err
	}
	s.set, s.key = set, key
	return nil
}

func (s *Stream) readable() {
	s.io.Lock()
	defer s.io.Unlock()
	if s.fd >= 0 && s.read(s.fd) == readEnd {
		s.end()
	}
}

// Finish reads what is left of a worker that has ended, and ends the stream,
// even though a grandchild may hold the other end for ever.
func (s *Stream) Finish() {
	s.io.Lock()
	defer s.io.Unlock()
	if s.fd < 0 {
		return
	}
	for n := 0; n < restReads && s.read(s.fd) == readSome; n++ {
	}
	s.end()
}

// end closes the pipe. The caller holds io.
func (s *Stream) end() {
	if s.set != nil {
		s.set.Remove(s.fd, s.key)
	}
	unix.Close(s.fd)
	s.fd = -1
	s.last()
}
