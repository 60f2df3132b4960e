package control

import (
	"errors"
	"net"
	"os"
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
	ended   chan struct{} // closed: run has returned, the socket is closed
}

// acceptor is what an inlet needs of *net.UnixListener.
type acceptor interface {
	Accept() (net.Conn, error)
	SetDeadline(time.Time) error
	Close() error
}

func newInlet(ul acceptor) *inlet {
	return &inlet{ul: ul, retired: make(chan struct{}), ended: make(chan struct{})}
}

// retire says that no client can find the socket any more: run serves what is
// queued and then closes it. Called once at most.
func (in *inlet) retire() {
	in.ul.SetDeadline(time.Unix(1, 0)) // wakes run; it fails only on a closed socket
	close(in.retired)
}

// stop closes the socket; run returns soon after.
func (in *inlet) stop() { in.ul.Close() }

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
	defer in.ul.Close()
	var (
		draining bool
		wait     = acceptWaitMin
		logged   time.Time
	)
	for {
		if draining {
			in.ul.SetDeadline(time.Now().Add(retireAfter))
		}
		c, err := in.ul.Accept()
		switch {
		case err == nil:
			wait = acceptWaitMin
			if !o.give(c, out, done) {
				return
			}
		case errors.Is(err, net.ErrClosed):
			return
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
