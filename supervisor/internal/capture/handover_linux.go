package capture

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
)

// Export is called while the stream is not read, and changes nothing.
func (s *Stream) Export(out *handover.Out) (SavedStream, error) {
	s.io.Lock()
	defer s.io.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	saved := SavedStream{Prefix: s.prefix, FD: -1, Partial: s.partial, Cut: s.cut, Tail: s.tail}
	if s.fd >= 0 {
		saved.FD = out.FD(s.fd)
	}
	return saved.clone(), nil
}

// AdoptStream goes on with a stream of the program before. It is as Pipe gives it,
// and ends in the same way; if it had ended before, it is done. So it is, with an
// error, if it can't be gone on with.
func AdoptStream(in *handover.In, saved SavedStream, to *Sink) (*Stream, error) {
	s := &Stream{
		reader: newReader(-1), prefix: saved.Prefix, to: to, done: make(chan struct{}),
		partial: saved.Partial, cut: saved.Cut, tail: saved.Tail[max(0, len(saved.Tail)-tailLines):],
	}
	if saved.FD < 0 {
		close(s.done)
		return s, nil
	}
	fd, err := in.FD(saved.FD)
	if err == nil {
		if err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, true)); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		s.last()
		return s, fmt.Errorf("%s: %w", s, err)
	}
	s.fd = fd
	return s, nil
}
