package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// openUnix opens a unix socket.
func openUnix(s Spec) (*Socket, error) {
	uid, gid, err := owner(s)
	if err != nil {
		return nil, err
	}
	p, err := openPlace(s.Path)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.vacate(); err != nil {
		return nil, err
	}
	fd, err := newSocket(unix.AF_UNIX, unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	sock := &Socket{file: os.NewFile(uintptr(fd), s.String()), spec: s}
	if err := p.bind(fd); err != nil {
		sock.file.Close()
		return nil, err
	}
	if err := sock.equip(p, uid, gid); err != nil {
		return nil, errors.Join(err, sock.removeFrom(p), sock.file.Close())
	}
	return sock, nil
}

func (p *place) bind(fd int) error {
	bearClosed(fd)
	err := unix.Bind(fd, &unix.SockaddrUnix{Name: p.path})
	switch err {
	case nil:
		return nil
	case unix.EADDRINUSE:
		return fmt.Errorf("%w: another program has just taken the path: %w", ErrInUse, os.NewSyscallError("bind", err))
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return fmt.Errorf("uid %d may not make it there; start brood as the owner of the directory, or choose another path: %w", os.Geteuid(), os.NewSyscallError("bind", err))
	}
	return os.NewSyscallError("bind", err)
}

// equip gives the node its owner and mode, and only then lets clients in.
func (s *Socket) equip(p *place, uid, gid int) error {
	st, err := p.look(p.base)
	if err != nil {
		return fmt.Errorf("its directory was replaced in this moment; try again: %w", err)
	}
	s.node = idOf(st)
	if err := p.own(s.node, uid, gid); err != nil {
		return err
	}
	if err := p.chmod(s.node, s.spec.Mode); err != nil {
		return err
	}
	return os.NewSyscallError("listen", unix.Listen(int(s.file.Fd()), backlog))
}

// own gives the node to uid and gid; -1 leaves either.
func (p *place) own(node fileID, uid, gid int) error {
	if uid < 0 && gid < 0 {
		return nil
	}
	err := p.withNode(node, func(n nodeRef) error { return n.chown(uid, gid) })
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("it cannot be given to uid %d and gid %d (-1: unchanged); brood must be root, or for a group a member of it: %w", uid, gid, err)
	}
	return err
}

func (p *place) chmod(node fileID, mode fs.FileMode) error {
	return p.withNode(node, func(n nodeRef) error { return n.chmod(uint32(mode.Perm())) })
}

// Change gives the node of a unix socket the owner and mode of to, which must
// have the same address. Meanwhile it is never open to more than either of both
// lets in.
func (s *Socket) Change(to Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("cannot change %s: %w", s.spec, os.ErrClosed)
	case !s.spec.SameAddress(to):
		return fmt.Errorf("cannot change %s to %s, which is another address", s.spec, to)
	case s.spec == to:
		return nil
	}
	if err := s.change(to); err != nil {
		return fmt.Errorf("cannot change %s to %s: %w", s.spec, to, err)
	}
	s.spec = to
	return nil
}

func (s *Socket) change(to Spec) error {
	uid, gid, err := owner(to)
	if err != nil {
		return err
	}
	if to.User == "" && s.spec.User != "" {
		uid = os.Geteuid()
	}
	if to.Group == "" && s.spec.Group != "" {
		gid = os.Getegid()
	}
	p, err := openPlace(to.Path)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.chmod(s.node, s.spec.Mode&to.Mode); err != nil {
		return err
	}
	if err := p.own(s.node, uid, gid); err != nil {
		return errors.Join(err, p.chmod(s.node, s.spec.Mode))
	}
	return p.chmod(s.node, to.Mode)
}

func (s *Socket) removeNode() error {
	p, err := openPlace(s.spec.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.close()
	return s.removeFrom(p)
}

// removeFrom unlinks the node if it is still the socket's own.
func (s *Socket) removeFrom(p *place) error {
	st, err := p.look(p.base)
	if errors.Is(err, os.ErrNotExist) || err == nil && idOf(st) != s.node {
		return nil
	}
	if err != nil {
		return err
	}
	return p.unlink(p.base)
}

// owner is who the node is for; -1 is whom it belongs to anyway.
func owner(s Spec) (uid, gid int, err error) {
	uid, gid = -1, -1
	if s.User != "" {
		if uid, err = lookup(s.User, func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", fmt.Errorf("the system knows no user %q; make it, or write another: %w", name, err)
			}
			return u.Uid, nil
		}); err != nil {
			return 0, 0, err
		}
	}
	if s.Group != "" {
		if gid, err = lookup(s.Group, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", fmt.Errorf("the system knows no group %q; make it, or write another: %w", name, err)
			}
			return g.Gid, nil
		}); err != nil {
			return 0, 0, err
		}
	}
	return uid, gid, nil
}

// lookup takes a number as it is and has a name found.
func lookup(name string, find func(string) (string, error)) (int, error) {
	digits := name
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			found, err := find(name)
			if err != nil {
				return 0, err
			}
			digits = found
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("%q is no id, which is a number from 0 to 4294967294", digits)
	}
	return int(n), nil
}
