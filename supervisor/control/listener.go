package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ErrInUse is wrapped by the error of [Listen] when another supervisor, or
// another program, is at work on the path.
var ErrInUse = errors.New("in use")

// ListenConfig says where a control socket is and whom its file lets in.
type ListenConfig struct {
	// Path of the socket. A relative one counts from the working directory of
	// now. At most 101 bytes on Linux, 97 on macOS and FreeBSD (sun_path, unix(7)).
	Path string
	// Mode of the socket's file, permission bits only; who may write to it may
	// connect (unix(7)). 0 means 0600.
	Mode os.FileMode
	// Group of the socket's file, a name or a number. "" leaves it to the system.
	Group string
	// Log gets what happens to the socket while it is served. nil: nothing is logged.
	Log hclog.Logger

	every time.Duration // between two looks at the file; 0: a second
}

// Listen makes the control socket and serves it until Close.
//
// Who holds flock(2) on Path.lock is the supervisor; everybody else gets an error
// that wraps ErrInUse. The directory is made (0700, and searchable for whom Mode
// lets in) or, where there is one, checked and left as it is; its parents must
// exist. A stale socket in the place is replaced; anything else there is left
// alone and is an error.
//
// The socket appears under its name all at once: with its owner and its mode, and
// already listening. No client can connect to it before that, under any name.
//
// If the socket's file, its lock file or the directory is deleted or replaced
// meanwhile, it is put back; see [Listener.Check].
func Listen(cfg ListenConfig) (*Listener, error) {
	p, err := newPlan(cfg)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", cfg.Path, err)
	}
	l := newListener(p)
	if l.seat, err = takeSeat(p); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", p.path, err)
	}
	l.seat.sweep()
	n, err := l.seat.putNode()
	if err != nil {
		l.seat.release()
		return nil, fmt.Errorf("control socket %s: %w", p.path, err)
	}
	l.serve(n)
	go l.watch()
	return l, nil
}

func newListener(p plan) *Listener {
	l := &Listener{
		plan:    p,
		conns:   make(chan net.Conn),
		checks:  make(chan chan error),
		holds:   make(chan chan struct{}),
		done:    make(chan struct{}),
		watched: make(chan struct{}),
	}
	l.closing = sync.OnceValue(l.close)
	return l
}

// plan is a ListenConfig with its defaults filled in and its names looked up.
type plan struct {
	path  string // absolute
	dir   string // of path, as given: symbolic links are not resolved
	base  string // of path
	mode  os.FileMode
	gid   int // -1: left to the system
	log   hclog.Logger
	every time.Duration
}

func newPlan(cfg ListenConfig) (plan, error) {
	p := plan{mode: cfg.Mode, gid: -1, log: cfg.Log, every: cfg.every}
	if cfg.Path == "" || os.IsPathSeparator(cfg.Path[len(cfg.Path)-1]) {
		return p, errors.New("the path names no file; it must end in a name such as control.sock")
	}
	var err error
	if p.path, err = filepath.Abs(cfg.Path); err != nil {
		return p, err
	}
	p.dir, p.base = filepath.Split(p.path)
	p.dir = filepath.Clean(p.dir)
	if n := len(p.path); n > maxPath {
		return p, fmt.Errorf("the path has %d bytes and the system takes %d; choose a shorter one with --socket or $BROOD_SOCKET", n, maxPath)
	}
	if p.mode&^os.ModePerm != 0 {
		return p, fmt.Errorf("mode %v: only permission bits may be set, such as 0600 or 0660", p.mode)
	}
	if p.mode == 0 {
		p.mode = 0o600
	}
	if cfg.Group != "" {
		if p.gid, err = groupID(cfg.Group); err != nil {
			return p, err
		}
	}
	if p.log == nil {
		p.log = hclog.NewNullLogger()
	}
	if p.every <= 0 {
		p.every = time.Second
	}
	return p, nil
}

func groupID(name string) (int, error) {
	if gid, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return -1, fmt.Errorf("no group %q on this system; make it, or name another or its number: %w", name, err)
	}
	return strconv.Atoi(g.Gid)
}

var _ net.Listener = (*Listener)(nil)

// Listener is a control socket that is being served.
type Listener struct {
	plan plan

	closing func() error       // close, but only once
	conns   chan net.Conn      // from the inlets to Accept
	checks  chan chan error    // from Check to watch; a reply channel has room for its reply
	holds   chan chan struct{} // from hold to watch, which waits until the one sent is closed
	held    chan struct{}      // the one sent, until release; of who calls hold
	done    chan struct{}      // closed: Close began
	watched chan struct{}      // closed: watch has returned
	inlets  sync.WaitGroup
	outlet  // where connections go

	// Owned by watch; before it starts by Listen, when it has ended by close, and
	// between hold and release by who has called these.
	seat     *seat
	node     *node
	retiring []*inlet // of nodes that were deleted, until what had queued there is served
	trouble  string   // what Check found last; "": all is well
}

// Accept returns the next connection, a *net.UnixConn. After Close it returns
// net.ErrClosed, and no other error ever: an Accept that fails for want of
// descriptors is tried again.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "unix", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Addr is the path of the socket, a *net.UnixAddr.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: l.plan.path, Net: "unix"} }

// Check looks now whether the socket, its lock and its directory are what this
// Listener put there, and puts back what is not. It runs by itself once a second.
// An error says what could not be put back; ErrInUse that another took the place.
// Clients who are connected, or already queued, are served in any case.
func (l *Listener) Check() error {
	reply := make(chan error, 1)
	select {
	case l.checks <- reply:
		return <-reply
	case <-l.done:
		return net.ErrClosed
	}
}

// watch is the owner of seat, node and retiring while the Listener lives.
func (l *Listener) watch() {
	defer close(l.watched)
	tick := time.NewTicker(l.plan.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.note(l.restore())
		case reply := <-l.checks:
			err := l.restore()
			l.note(err)
			reply <- err
		case over := <-l.holds:
			select {
			case <-over:
			case <-l.done:
				return
			}
		case <-l.done:
			return
		}
	}
}

// hold has the Listener accept nobody, and leave its files alone, until release,
// which is to be called also after an error.
func (l *Listener) hold(ctx context.Context) error {
	over := make(chan struct{})
	select {
	case l.holds <- over:
		l.held = over
	case <-l.done:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, in := range l.inletsOpen() {
		if err := in.hold(ctx); err != nil {
			return err
		}
	}
	return nil
}

// release ends a hold. Without one it does nothing.
func (l *Listener) release() {
	if l.held == nil {
		return
	}
	for _, in := range l.inletsOpen() {
		in.release()
	}
	close(l.held)
	l.held = nil
}

// inletsOpen are that of the node in place, and those that are being emptied.
func (l *Listener) inletsOpen() []*inlet { return append([]*inlet{l.node.inlet}, l.retiring...) }

// note logs what restore found, but not again and again.
func (l *Listener) note(err error) {
	was := l.trouble
	if err == nil {
		l.trouble = ""
		if was != "" {
			l.plan.log.Info("control socket is in order again", "path", l.plan.path)
		}
		return
	}
	if l.trouble = err.Error(); l.trouble != was {
		l.plan.log.Error("control socket is out of reach; connected clients are still served", "path", l.plan.path, "error", l.trouble)
	}
}

// restore puts back what is gone: first the right to the path, then the node.
func (l *Listener) restore() error {
	l.retiring = slices.DeleteFunc(l.retiring, (*inlet).hasEnded)
	if err := l.keepSeat(); err != nil {
		return err
	}
	if id, err := l.seat.lstat(l.plan.base); err == nil && id == l.node.id {
		return nil
	}
	n, err := l.seat.putNode()
	if err != nil {
		return err
	}
	l.node.inlet.retire()
	l.retiring = append(l.retiring, l.node.inlet)
	l.serve(n)
	l.plan.log.Warn("the control socket was deleted or replaced; it is put back", "path", l.plan.path)
	return nil
}

// keepSeat makes sure that the directory and the lock file are still the ones
// that this Listener holds, or takes those that are there now.
func (l *Listener) keepSeat() error {
	st, err := os.Stat(l.plan.dir)
	if err == nil && idOf(st) == l.seat.dirID {
		return l.seat.keepLock()
	}
	fresh, err := takeSeat(l.plan)
	if err != nil {
		return err
	}
	l.seat.removeNode(l.node.id) // where the old directory was only renamed
	l.seat.release()
	l.seat = fresh
	l.plan.log.Warn("the directory of the control socket was deleted or replaced; it is taken anew", "path", l.plan.path)
	return nil
}

// serve starts to accept from n, which is from now on the node in place.
func (l *Listener) serve(n *node) {
	l.node = n
	l.inlets.Go(func() { n.inlet.run(&l.outlet, l.conns, l.done, l.plan.log) })
}

// Close ends the service. The socket's file is removed if it is still the one this
// Listener put there; the lock file stays, emptied. Connections that were accepted
// are not touched. Close waits until every goroutine of the Listener is gone; a
// second call does nothing and returns what the first did.
func (l *Listener) Close() error { return l.closing() }

func (l *Listener) close() error {
	close(l.done)
	<-l.watched
	// While its socket is open the node's inode cannot be given to another file,
	// so this comes before the inlets end.
	err := l.seat.removeNode(l.node.id)
	l.node.inlet.stop()
	for _, in := range l.retiring {
		in.stop()
	}
	l.inlets.Wait()
	l.seat.release()
	if err != nil {
		return fmt.Errorf("control socket %s: %w", l.plan.path, err)
	}
	return nil
}
