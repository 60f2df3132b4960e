package control

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	spec "example.com/brood/supervisor/internal/listen"
)

const (
	tempLen = spec.ControlTemp    // how much longer a socket's temporary name is than its own
	maxPath = spec.MaxControlPath // how long the path of a socket may be
)

// backlog is how many clients may wait to be accepted. The system makes less of it
// where it allows no more (listen(2), /proc/sys/net/core/somaxconn).
const backlog = 1 << 15

// A node is a socket's file and the socket behind it.
type node struct {
	id    fileID
	inlet *inlet
}

// putNode makes a listening socket and puts it into place under the name of the
// plan. The order is the promise: the node gets its owner and mode while it has a
// temporary name and the socket refuses everybody because it does not listen yet
// (ECONNREFUSED, connect(2)). Then it listens, then it gets its name. The mode that
// the system's umask would have given the node never matters.
func (s *seat) putNode() (*node, error) {
	if err := s.vacate(); err != nil {
		return nil, err
	}
	sock, err := newSocket()
	if err != nil {
		return nil, err
	}
	defer sock.Close() // net.FileListener has its own copy
	temp := tempName(s.plan.base)
	if err := s.bind(sock, temp); err != nil {
		return nil, err
	}
	n, err := s.listen(sock, temp)
	if err != nil {
		s.unlink(temp)
		return nil, err
	}
	dir := int(s.dir.Fd())
	if err := unix.Renameat(dir, temp, dir, s.plan.base); err != nil {
		n.inlet.stop()
		s.unlink(temp)
		return nil, fmt.Errorf("cannot give the socket its name: %w", s.linkError("rename", temp, err))
	}
	return n, nil
}

// bind gives the socket its node, under a temporary name.
func (s *seat) bind(sock *os.File, temp string) error {
	bearNarrow(sock)
	path := filepath.Join(s.dir.Name(), temp)
	if n := len(path) - tempLen; n > maxPath {
		return fmt.Errorf("the path has %d bytes with its symbolic links resolved and the system takes %d; choose a shorter one with --socket or $BROOD_SOCKET", n, maxPath)
	}
	if err := unix.Bind(int(sock.Fd()), &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("cannot make the socket; run as the owner of the directory, or choose another path with --socket or $BROOD_SOCKET: %w",
			&os.PathError{Op: "bind", Path: path, Err: err})
	}
	return nil
}

// listen gives the node its owner and mode and then opens the socket for clients.
func (s *seat) listen(sock *os.File, temp string) (*node, error) {
	dir := int(s.dir.Fd())
	id, err := s.lstat(temp)
	if err != nil {
		return nil, fmt.Errorf("the directory was replaced in this moment; try again: %w", err)
	}
	if s.plan.gid >= 0 {
		if err := unix.Fchownat(dir, temp, -1, s.plan.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, fmt.Errorf("cannot give the socket to group %d; run as root or as a member of the group: %w", s.plan.gid, s.linkError("chown", temp, err))
		}
	}
	if err := unix.Fchmodat(dir, temp, uint32(s.plan.mode), 0); err != nil {
		return nil, fmt.Errorf("cannot give the socket its mode: %w", s.linkError("chmod", temp, err))
	}
	if err := unix.Listen(int(sock.Fd()), backlog); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	ln, err := net.FileListener(sock)
	if err != nil {
		return nil, err
	}
	ul := ln.(*net.UnixListener)
	ul.SetUnlinkOnClose(false) // only removeNode may remove it
	return &node{id: id, inlet: newInlet(ul)}, nil
}

// vacate makes sure that there is nothing in the place but perhaps a stale socket,
// which the rename then replaces. A socket that answers is not stale, whatever
// the lock says: it is another program's, or a supervisor's whose lock file is lost.
func (s *seat) vacate() error {
	st, err := s.stat(s.plan.base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("there is something else in its place, %s; it is left alone: move it away, or choose another path with --socket or $BROOD_SOCKET", kindOf(uint32(st.Mode)))
	}
	path := filepath.Join(s.dir.Name(), s.plan.base)
	switch err := probe(path); {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return nil
	case err == nil:
		return fmt.Errorf("%w: a program that does not hold %s answers on %s; stop it, or choose another path with --socket or $BROOD_SOCKET", ErrInUse, s.lockPath(), path)
	default:
		return fmt.Errorf("%w: cannot tell that the socket in its place is stale; remove it if it is, or choose another path with --socket or $BROOD_SOCKET: %w", ErrInUse, &os.PathError{Op: "connect", Path: path, Err: err})
	}
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a regular file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a FIFO"
	}
	return "a device"
}

// probe asks whether somebody listens: nil, or the error of connect(2). It does
// not wait.
func probe(path string) error {
	sock, err := newSocket()
	if err != nil {
		return err
	}
	defer sock.Close()
	err = unix.Connect(int(sock.Fd()), &unix.SockaddrUnix{Name: path})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINPROGRESS) {
		return nil // its queue is full, so it is alive
	}
	return err
}

// removeNode removes the node if it is the one with this id. Until the socket that
// is bound to that node is closed, no other file can have the id.
func (s *seat) removeNode(id fileID) error {
	if at, err := s.lstat(s.plan.base); err != nil || at != id {
		return nil
	}
	return s.unlink(s.plan.base)
}

// sweep removes what supervisors of this path left under temporary names when they
// were killed halfway.
func (s *seat) sweep() {
	entries, err := os.ReadDir(s.dir.Name())
	if err != nil {
		return // only litter stays
	}
	for _, e := range entries {
		if e.Type() == fs.ModeSocket && isTempName(e.Name(), s.plan.base) {
			s.unlink(e.Name())
		}
	}
}

func tempName(base string) string { return "." + base + "." + rand.Text()[:4] }

func isTempName(name, base string) bool {
	return len(name) == len(base)+tempLen && strings.HasPrefix(name, "."+base+".")
}

func (s *seat) unlink(name string) error {
	if err := unix.Unlinkat(int(s.dir.Fd()), name, 0); err != nil {
		return s.linkError("unlink", name, err)
	}
	return nil
}

func (s *seat) linkError(op, name string, err error) error {
	return &os.PathError{Op: op, Path: filepath.Join(s.dir.Name(), name), Err: err}
}
