package notify

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
)

// What is handed over to the program that takes this one's place. See package
// handover.

// SavedSocket is a Socket as it is handed over. What the worker has sent and
// nobody has received stays in it.
type SavedSocket struct {
	Path    []byte // need not be UTF-8
	FD      int    // as handover.Out names it
	Ignored uint64
}

// SavedDir is a Dir as it is handed over.
type SavedDir struct {
	Path []byte // need not be UTF-8
	Lock int    // as handover.Out names it; the lock (flock(2)) goes with it
	Seq  uint64
}

// standstill is one pause of Run.
type standstill struct {
	still  chan struct{} // closed by Run, once it stands
	resume chan struct{} // closed by Resume
}

// Pause has Run hand over what it has received, answer what is to be answered,
// and then stand until Resume, which is called after it whatever it returns. It
// waits for that until ctx ends; then, or if the socket is being closed, there is
// an error. A Run that has not begun yet is waited for too.
func (s *Socket) Pause(ctx context.Context) error {
	s.mu.Lock()
	if s.pause == nil {
		s.pause = &standstill{make(chan struct{}), make(chan struct{})}
	}
	p := s.pause
	s.mu.Unlock()
	_ = s.file.SetReadDeadline(over)
	select {
	case <-p.still:
		return nil
	case <-s.quit:
		return fmt.Errorf("notify: %s: %w", s.path, os.ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("notify: %s: what the worker has sent is still being dealt with: %w", s.path, context.Cause(ctx))
	}
}

// Resume ends a pause, if there is one.
func (s *Socket) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pause != nil {
		close(s.pause.resume)
		s.pause = nil
	}
}

func (s *Socket) pausing() *standstill {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pause
}

// stand waits for the end of a pause, or for Close.
func (in *intake) stand(p *standstill) {
	in.flush()
	close(p.still)
	select {
	case <-p.resume:
	case <-in.s.quit:
	}
}

// Export is called during a pause. It changes nothing: the node stays.
func (s *Socket) Export(out *handover.Out) (SavedSocket, error) {
	saved := SavedSocket{Path: []byte(s.path), Ignored: s.Ignored()}
	if s.leaving() {
		return SavedSocket{}, fmt.Errorf("notify: %s: %w", s.path, os.ErrClosed)
	}
	if err := s.raw.Control(func(fd uintptr) { saved.FD = out.FD(int(fd)) }); err != nil {
		return SavedSocket{}, fmt.Errorf("notify: %s: %w", s.path, err)
	}
	return saved, nil
}

// AdoptSocket goes on with a socket of the program before. It is as Listen gives
// it: the caller has it Run, and then closes it; or aborts it.
func AdoptSocket(in *handover.In, saved SavedSocket) (*Socket, error) {
	fd, err := in.FD(saved.FD)
	if err != nil {
		return nil, fmt.Errorf("notify: %s: %w", saved.Path, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // it is
		unix.Close(fd)
		return nil, fmt.Errorf("notify: %s: %w", saved.Path, os.NewSyscallError("fcntl", err))
	}
	file := os.NewFile(uintptr(fd), "notify-socket")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("notify: %s: %w", saved.Path, err)
	}
	s := &Socket{path: string(saved.Path), file: file, raw: raw, quit: make(chan struct{})}
	s.ignored.Store(saved.Ignored)
	return s, nil
}

// Export changes nothing: the directory, its sockets and its lock stay.
func (d *Dir) Export(out *handover.Out) SavedDir {
	d.mu.Lock()
	defer d.mu.Unlock()
	return SavedDir{Path: []byte(d.path), Lock: out.FD(int(d.lock.Fd())), Seq: d.seq}
}

// AdoptDir goes on with the directory of the program before, which the caller
// closes. Until then, or until In is closed, no other supervisor takes it for left
// over.
func AdoptDir(in *handover.In, saved SavedDir) (*Dir, error) {
	lock, err := in.File(saved.Lock, string(saved.Path))
	if err != nil {
		return nil, fmt.Errorf("notify: %s: %w", saved.Path, err)
	}
	return &Dir{path: string(saved.Path), lock: lock, seq: saved.Seq}, nil
}

// underWay is what UnderWay tells.
var underWay atomic.Int64

// UnderWay is how many times something is still being closed that workers have
// sent, by all sockets of the program, those that are gone included. Nothing is
// executed in this program's place while there is any: execve(2) waits until all
// other threads have ended, and one that waits for a file system's server in
// close(2), which may be the worker itself, does not end before that has answered.
func UnderWay() int { return int(underWay.Load()) }
