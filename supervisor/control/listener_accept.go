package control

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// retireAfter is how long a socket whose node is gone must have been without a
// new client before it is closed. A client that had looked the old node up just
// before it went is in the queue long before that.
const retireAfter = time.Second

// Waits after an accept that failed for want of descriptors or memory.
const (
	acceptWaitMin = 5 * time.Millisecond
	acceptWaitMax = time.Second
)

// acceptLook is how long a look at the queue may hold up a Close.
const acceptLook = 50 * time.Millisecond

// acceptLogEvery keeps a shortage that comes and goes from filling the log.
const acceptLogEvery = time.Minute

// An inlet is one listening socket and the goroutine that accepts from it, run.
// A Listener has one, and a second one for a while when its node was deleted:
// the clients that queue at the old socket are served too.
type inlet struct {
	ul      acceptor
	retired chan struct{} // closed by retire
	stopped chan struct{} // closed by stop
	ended   chan struct{} // closed: run has returned, the socket is closed
	stop    func()        // closes the socket; run returns soon after

	mu        sync.Mutex
	accepting bool          // run is between accept(2) and what becomes of the connection
	held      chan struct{} // not nil: run does not accept until it is closed
	let       chan struct{} // not nil: closed when it has stopped accepting
	woken     bool          // hold has had the deadline pass
}

// acceptor is what an inlet needs of *net.UnixListener.
type acceptor interface {
	Accept() (net.Conn, error)
	SetDeadline(time.Time) error
	Close() error
}

func newInlet(ul acceptor) *inlet {
	in := &inlet{ul: ul, retired: make(chan struct{}), stopped: make(chan struct{}), ended: make(chan struct{})}
	in.stop = sync.OnceFunc(func() {
		close(in.stopped)
		in.ul.Close()
	})
	return in
}

// retire says that no client can find the socket any more: run serves what is
// queued and then closes it. Called once at most.
func (in *inlet) retire() {
	in.ul.SetDeadline(time.Unix(1, 0)) // wakes run; it fails only on a closed socket
	close(in.retired)
}

// hold has run stop accepting, and returns when it has: what it had accepted has
// been passed on. It ends with release, also after an error. Who is not accepted
// waits in the kernel's queue.
func (in *inlet) hold(ctx context.Context) error {
	in.mu.Lock()
	in.held = make(chan struct{})
	if !in.accepting {
		in.mu.Unlock()
		return nil
	}
	let := make(chan struct{})
	in.let, in.woken = let, true
	in.ul.SetDeadline(time.Unix(1, 0)) // it fails only on a closed socket
	in.mu.Unlock()
	select {
	case <-let:
		return nil
	case <-in.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release has run go on. Without a hold it does nothing.
func (in *inlet) release() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.held == nil {
		return
	}
	close(in.held)
	in.held = nil
	select {
	case <-in.retired: // run sets deadlines, or is woken by one
	default:
		in.ul.SetDeadline(time.Time{})
	}
}

// beginAccept waits while there is a hold. It is false when done is closed, or the
// socket. With draining the accept ends when nobody comes for a while.
func (in *inlet) beginAccept(draining bool, done <-chan struct{}) bool {
	in.mu.Lock()
	for in.held != nil {
		held := in.held
		in.mu.Unlock()
		select {
		case <-held:
		case <-in.stopped:
			return false
		case <-done:
			return false
		}
		in.mu.Lock()
	}
	defer in.mu.Unlock()
	in.accepting = true
	if draining {
		in.ul.SetDeadline(time.Now().Add(retireAfter))
	}
	return true
}

// endAccept reports whether a hold has ended the accept.
func (in *inlet) endAccept() (woken bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.accepting = false
	if in.let != nil {
		close(in.let)
		in.let = nil
	}
	woken, in.woken = in.woken, false
	return woken
}

func (in *inlet) hasEnded() bool {
	select {
	case <-in.ended:
		return true
	default:
		return false
	}
}

// outlet is where an inlet's connections go: to a server that takes them at once,
// or to whoever calls Accept.
type outlet struct {
	taker  atomic.Pointer[func(net.Conn)]
	relief atomic.Pointer[func() bool]
}

// serveTo has f called for each connection from now on, instead of Accept. It must
// not take long. makeRoom is called when descriptors have run out; it says whether
// it has closed one.
func (o *outlet) serveTo(f func(net.Conn), makeRoom func() bool) {
	o.relief.Store(&makeRoom)
	o.taker.Store(&f)
}

// give passes c on; it is false when done is closed first.
func (o *outlet) give(c net.Conn, out chan<- net.Conn, done <-chan struct{}) bool {
	if f := o.taker.Load(); f != nil {
		(*f)(c)
		return true
	}
	select {
	case out <- c:
		return true
	case <-done:
		c.Close()
		return false
	}
}

func (o *outlet) isRelieved() bool {
	f := o.relief.Load()
	return f != nil && (*f)()
}

// run hands connections to o, or to out, until the socket is closed, done is, or
// the inlet is retired and has run dry. No other error ends it. Where descriptors
// have run out, o may close one; then it is tried again at once.
func (in *inlet) run(o *outlet, out chan<- net.Conn, done <-chan struct{}, log hclog.Logger) {
	defer close(in.ended)
	defer in.stop()
	var (
		draining bool
		wait     = acceptWaitMin
		logged   time.Time
	)
	for in.beginAccept(draining, done) {
		c, err := in.ul.Accept()
		given := err == nil && o.give(c, out, done)
		woken := in.endAccept()
		switch {
		case given:
			wait = acceptWaitMin
		case err == nil, errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && woken:
		case errors.Is(err, os.ErrDeadlineExceeded) && draining:
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			<-in.retired // only retire sets a deadline before, and closes this right after
			draining = true
		default:
			if time.Since(logged) > acceptLogEvery {
				logged = time.Now()
				log.Warn("cannot accept clients of the control socket for now; raise the limit of open files (ulimit -n) if this goes on", "error", err)
			}
			if isShort(err) && in.awaitClient() && o.isRelieved() {
				continue
			}
			if !pause(wait, done) {
				return
			}
			wait = min(2*wait, acceptWaitMax)
		}
	}
}

// awaitClient waits until somebody is in the queue, which accept(2) does not look
// at where there is no descriptor for them. It is false where that can't be told,
// the inlet is retired, or its socket closed.
func (in *inlet) awaitClient() bool {
	sc, ok := in.ul.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn() // of a listener it can't wait, so poll(2) does
	if err != nil {
		return false
	}
	for queued := false; !queued; {
		select {
		case <-in.retired:
			return false
		default:
		}
		if raw.Control(func(fd uintptr) { queued = hasClient(fd, acceptLook) }) != nil {
			return false
		}
	}
	return true
}

// isShort reports whether err is for want of descriptors.
func isShort(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }

// pause waits for d and says whether it did; done cuts it short.
func pause(d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
		return false
	}
}
