package listen

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
)

// Saved is a Socket as it goes to the program that takes this one's place. It is
// written as JSON.
type Saved struct {
	FD   int // as handover.Out names it
	Spec Spec
	// Dev and Inode are of the node of a unix socket, fstat(2).
	Dev, Inode uint64
}

// Export gives what Adopt needs. The socket goes on here.
func (s *Socket) Export(out *handover.Out) (Saved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Saved{}, fmt.Errorf("cannot hand over %s: %w", s.spec, os.ErrClosed)
	}
	return Saved{FD: out.FD(int(s.file.Fd())), Spec: s.spec, Dev: s.node.dev, Inode: s.node.ino}, nil
}

// Adopt goes on with a socket of the program before. Who waits in its queue does
// not notice.
func Adopt(in *handover.In, saved Saved) (*Socket, error) {
	fd, err := in.FD(saved.FD)
	if err != nil {
		return nil, fmt.Errorf("cannot go on with %s: %w", saved.Spec, err)
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot go on with %s: %w", saved.Spec, os.NewSyscallError("getsockopt", err))
	}
	file, err := unwatched(fd, saved.Spec.String())
	if err != nil {
		return nil, fmt.Errorf("cannot go on with %s: %w", saved.Spec, err)
	}
	return &Socket{file: file, spec: saved.Spec, node: fileID{saved.Dev, saved.Inode}}, nil
}

// unwatched makes a file of fd, which it takes, without the runtime's poller: where
// a worker has made the socket non-blocking, os.NewFile would have this program
// wake up for every client of the workers. So the file is made of another
// socket, and fd put in the place of that.
func unwatched(fd int, name string) (*os.File, error) {
	defer unix.Close(fd)
	other, err := newSocket(unix.AF_UNIX, unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(other), name)
	if err := replace(other, fd); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
