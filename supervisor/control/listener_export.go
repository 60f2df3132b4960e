package control

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
)

// How a listener goes to the program that takes the place of this one: its sockets
// with all who queue there, its lock and its directory's mark go along as
// descriptors. All are the same open files there, so there is no moment at which the
// path is anybody else's, or a client is refused.

// SavedListener is a listener as it goes to the next program. It is written as JSON.
// The numbers of descriptors are those of handover.Out.FD.
type SavedListener struct {
	Path   string // as Addr says it
	Passed bool   `json:",omitempty"` // by the service manager; then there is Socket alone
	Socket int

	Retiring  []int       `json:",omitempty"` // sockets whose node was deleted
	Node      fileID      // of the node in place
	Mode      os.FileMode // of that
	GID       int         // -1: left to the system
	Directory int
	Resolved  string // the directory's path without symbolic links
	Lock      int
}

// exporter is a listener of this package.
type exporter interface {
	export(out *handover.Out) (SavedListener, error)
}

var _ exporter = (*Listener)(nil)

// ExportListener gives what [AdoptListener] needs of l, a [Listener] or a [Passed].
// It is called while [Server.Hold] of the server of l is in force. l stays as it is,
// and goes on when the hold is over.
func ExportListener(l net.Listener, out *handover.Out) (SavedListener, error) {
	e, ok := l.(exporter)
	if !ok {
		return SavedListener{}, fmt.Errorf("control socket %s: a %T can't be handed over", l.Addr(), l)
	}
	saved, err := e.export(out)
	if err != nil {
		return SavedListener{}, fmt.Errorf("control socket %s: %w", l.Addr(), err)
	}
	return saved, nil
}

func (l *Listener) export(out *handover.Out) (SavedListener, error) {
	if l.held == nil {
		return SavedListener{}, errors.New("it is exported while a hold is on")
	}
	fd, err := l.node.inlet.fd()
	if err != nil {
		return SavedListener{}, err
	}
	saved := SavedListener{
		Path: l.plan.path, Socket: out.FD(fd), Node: l.node.id, Mode: l.plan.mode, GID: l.plan.gid,
		Directory: out.FD(int(l.seat.dir.Fd())), Resolved: l.seat.dir.Name(), Lock: out.FD(int(l.seat.lock.Fd())),
	}
	for _, in := range l.retiring {
		if fd, err := in.fd(); err == nil { // else it has run dry
			saved.Retiring = append(saved.Retiring, out.FD(fd))
		}
	}
	return saved, nil
}

// fd is the descriptor of the socket, which stays the inlet's.
func (in *inlet) fd() (int, error) {
	ul, ok := in.ul.(*net.UnixListener)
	if !ok {
		return -1, fmt.Errorf("a %T has no descriptor", in.ul)
	}
	return fdOf(ul)
}

// AdoptListener goes on with the listener that the program before has exported: a
// *[Listener], or a *[Passed] where that was one. cfg.Path must be saved.Path; where
// cfg has another mode or group than before the socket's file gets these. What cannot
// be as cfg wants it stays as it was, which is logged: who listens already is not
// given up for that. An error is that of descriptors that are not what they should be.
func AdoptListener(cfg ListenConfig, in *handover.In, saved SavedListener) (net.Listener, error) {
	l, err := adoptListener(cfg, in, saved)
	if err != nil {
		return nil, fmt.Errorf("control socket %s, taken over: %w", saved.Path, err)
	}
	return l, nil
}

func adoptListener(cfg ListenConfig, in *handover.In, saved SavedListener) (net.Listener, error) {
	if saved.Passed {
		return adoptPassed(in, saved, cfg.Log)
	}
	p, err := newPlan(cfg)
	if err == nil && p.path != saved.Path {
		return nil, fmt.Errorf("%s is asked for", p.path)
	}
	if err != nil {
		if cfg.Log != nil {
			cfg.Log.Error("control socket keeps its mode and group", "path", saved.Path, "error", err)
		}
		before := ListenConfig{Path: saved.Path, Mode: saved.Mode, Log: cfg.Log, every: cfg.every}
		if p, err = newPlan(before); err != nil {
			return nil, err
		}
		p.gid = saved.GID
	}
	l := newListener(p)
	if l.seat, err = adoptSeat(p, in, saved); err != nil {
		return nil, err
	}
	ul, err := adoptSocket(in, saved.Socket)
	if err != nil {
		l.seat.abandon()
		return nil, err
	}
	l.adoptRetiring(in, saved.Retiring)
	n := &node{id: saved.Node, inlet: newInlet(ul)}
	if err := l.seat.change(n.id, saved); err != nil {
		p.log.Error("control socket keeps its mode and group", "path", p.path, "error", err)
	}
	l.serve(n)
	l.note(l.restore())
	go l.watch()
	return l, nil
}

func adoptSocket(in *handover.In, n int) (*net.UnixListener, error) {
	f, err := in.File(n, "control-socket")
	if err != nil {
		return nil, err
	}
	defer f.Close() // net.FileListener has its own copy
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	ul, ok := ln.(*net.UnixListener)
	if !ok {
		ln.Close()
		return nil, fmt.Errorf("it is a %T, no Unix socket", ln)
	}
	ul.SetUnlinkOnClose(false) // only removeNode may remove it
	return ul, nil
}

// adoptSeat is the right to the path as it was: both its files are open and locked.
func adoptSeat(p plan, in *handover.In, saved SavedListener) (s *seat, err error) {
	s = &seat{plan: p}
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	if s.dir, err = in.File(saved.Directory, saved.Resolved); err != nil {
		return nil, err
	}
	if s.lock, err = in.File(saved.Lock, s.lockPath()); err != nil {
		return nil, err
	}
	dir, err := s.dir.Stat()
	if err != nil {
		return nil, err
	}
	lock, err := s.lock.Stat()
	if err != nil {
		return nil, err
	}
	s.dirID, s.lockID = idOf(dir), idOf(lock)
	return s, nil
}

// abandon closes what the seat is made of, and gives nothing up that another
// descriptor of the same files holds.
func (s *seat) abandon() {
	s.dir.Close() // nil is no file, and none is closed
	s.lock.Close()
}

// change gives the node, if it is still in place, the mode and the group of the plan.
// At no moment is it open wider than before, or than asked.
func (s *seat) change(id fileID, saved SavedListener) error {
	if s.plan.mode == saved.Mode && s.plan.gid == saved.GID {
		return nil
	}
	if at, err := s.lstat(s.plan.base); err != nil || at != id {
		return nil // it is put back as the plan says
	}
	dir, base := int(s.dir.Fd()), s.plan.base
	if err := unix.Fchmodat(dir, base, uint32(s.plan.mode&saved.Mode), 0); err != nil {
		return s.linkError("chmod", base, err)
	}
	if s.plan.gid != saved.GID {
		gid := s.plan.gid
		if gid < 0 {
			gid = os.Getegid()
		}
		if err := unix.Fchownat(dir, base, -1, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			_ = unix.Fchmodat(dir, base, uint32(saved.Mode), 0) // as it was
			return s.linkError("chown", base, err)
		}
	}
	if err := unix.Fchmodat(dir, base, uint32(s.plan.mode), 0); err != nil {
		return s.linkError("chmod", base, err)
	}
	return nil
}

// adoptRetiring serves those who queue at sockets that nobody can find any more.
func (l *Listener) adoptRetiring(in *handover.In, sockets []int) {
	for _, n := range sockets {
		ul, err := adoptSocket(in, n)
		if err != nil {
			l.plan.log.Warn("clients of a control socket that was deleted are lost", "path", l.plan.path, "error", err)
			continue
		}
		old := newInlet(ul)
		old.retire()
		l.retiring = append(l.retiring, old)
		l.inlets.Go(func() { old.run(&l.outlet, l.conns, l.done, l.plan.log) })
	}
}
