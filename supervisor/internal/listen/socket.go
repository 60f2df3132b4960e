package listen

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Socket is a socket that listens, or, for udp, is bound.
type Socket struct {
	file *os.File // the socket; closed by Close alone

	mu     sync.Mutex
	spec   Spec
	node   fileID // of a unix socket; lasts as long as file is open
	closed bool
}

// ErrInUse is in the chain of the error of Open when somebody else has the
// address.
var ErrInUse = errors.New("it is in use")

// backlog asks for the longest queue there is: all systems cut it down to
// theirs (net.core.somaxconn on Linux, listen(2)).
const backlog = 1<<31 - 1

// Open makes the socket. It is close-on-exec and blocking. The caller closes it.
func Open(s Spec) (*Socket, error) {
	open := openInet
	if s.Network == "unix" {
		open = openUnix
	}
	sock, err := open(s)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", s, err)
	}
	return sock, nil
}

// File is what children inherit, through the Extra of a process. It stays the
// Socket's: the receiver neither closes it nor sets deadlines.
func (s *Socket) File() *os.File { return s.file }

// Spec is what s was opened for, or last changed to.
func (s *Socket) Spec() Spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spec
}

// Addr is the address as clients use it, with the port that the kernel chose.
func (s *Socket) Addr() string {
	if spec := s.Spec(); spec.Network == "unix" {
		return spec.Path
	}
	sa, err := unix.Getsockname(int(s.file.Fd()))
	if err != nil {
		return ""
	}
	return addrPort(sa).String()
}

// Lost reports whether clients can't find a unix socket any more: its node is gone,
// as after a cleaner of temporary files, or another has taken its place. A socket
// can't be given another node; Open makes another socket.
func (s *Socket) Lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spec.Network != "unix" {
		return false
	}
	var st unix.Stat_t
	err := unix.Lstat(s.spec.Path, &st)
	return err == unix.ENOENT || err == nil && idOf(st) != s.node
}

// Close closes the supervisor's copy, and removes the node of a unix socket
// unless another has taken its place. Workers that still have the socket go on
// accepting what is in its queue.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.spec.Network == "unix" {
		err = s.removeNode() // first: the node's id is its own only while the socket is open
	}
	return errors.Join(err, s.file.Close())
}
