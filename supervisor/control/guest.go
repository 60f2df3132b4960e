package control

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A guest is one connection, whichever tongue it speaks, and the kernel's word on
// who is at the other end.
type guest struct {
	*net.UnixConn
	raw    syscall.RawConn
	house  *house
	peer   peerResult
	caller *caller // the same as the rights see it
	// asked: its first words are being read, or ask for something whole and wait
	// to be begun with. It is set before they leave the socket.
	asked atomic.Bool
	brevity
	// said belongs to who receives it; while it is parked, to the house.
	said said

	wait    sync.Mutex // guards the two below; nothing is waited for with it
	waiting bool       // await waits for what comes next
	kicked  bool       // await is to let go, see kick

	// Of await, so that it makes nothing anew each time.
	into []byte
	got  int
	err  error
	look func(fd uintptr) bool // readOnce

	// Guarded by house.mu.
	busy       bool        // at work on a request; else it is in a list of idle guests
	gone       bool        // it has left, or was evicted
	limited    bool        // it is in the lobby
	parked     bool        // nobody waits for it, as a hold is on
	upgrades   bool        // it has asked for the upgrade
	timer      *time.Timer // ends its time in the lobby
	at         uint64      // house.clock when it became idle
	next, prev *guest
	// unfollow ends what it follows; nil: it follows nothing.
	unfollow context.CancelCauseFunc
}

// said is what a guest has said that nothing has been done about yet, and what else
// is to be known to go on with it. The zero value is that of one who has just come.
type said struct {
	Tongue tongue      `json:",omitempty"`
	Ahead  []byte      `json:",omitempty"` // off its socket
	Line   *lineMemory `json:",omitempty"` // of who speaks the line protocol
	Owed   *owed       `json:",omitempty"` // an answer that comes first
}

// tongue is what a guest speaks; empty: it has not said a word.
type tongue string

const (
	tongueHTTP tongue = "http"
	tongueLine tongue = "line"
)

// newGuest is c, which came in by the socket at door.
func newGuest(c *net.UnixConn, h *house, door string) (*guest, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	g := &guest{UnixConn: c, raw: raw, house: h}
	g.look = g.readOnce
	g.prepareBrief()
	g.peer.peer, g.peer.err = peerOf(c)
	g.caller = &caller{peer: g.peer.peer, err: g.peer.err, door: door, guest: g}
	return g, nil
}

// uid is -1 where the kernel does not say.
func (g *guest) uid() int {
	if g.peer.err != nil {
		return -1
	}
	return g.peer.peer.UID
}

// hasAsked reports whether it has said something that is not begun with yet.
func (g *guest) hasAsked() bool { return hasInput(g.UnixConn) || g.asked.Load() }

// errHeld is the error of await, and the cause for which following ends, when a
// hold is on. As net/http takes it for that of a deadline, it hangs up without a
// word.
var errHeld = &heldError{}

type heldError struct{}

func (*heldError) Error() string   { return "the control socket is held" }
func (*heldError) Timeout() bool   { return true }
func (*heldError) Temporary() bool { return true }

// await waits for what comes next and reads it, for who is not at work on anything.
// asked is set from then on; the caller takes it back where what has come asks for
// nothing whole. While a hold is on it is errHeld, and there may be bytes with that.
func (g *guest) await(b []byte) (int, error) {
	if !g.mayWait() {
		return 0, errHeld
	}
	g.into, g.got, g.err = b, 0, nil
	rawErr := g.raw.Read(g.look)
	n, err := g.got, g.err
	g.into = nil
	switch {
	case g.isKicked():
		return n, errHeld
	case rawErr != nil:
		return 0, rawErr
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// mayWait is false while a hold is on.
func (g *guest) mayWait() bool {
	g.wait.Lock()
	defer g.wait.Unlock()
	g.kicked = false
	g.waiting = !g.house.isHeld()
	return g.waiting
}

// isKicked ends the waiting. The read deadline has passed if it is true.
func (g *guest) isKicked() bool {
	g.wait.Lock()
	defer g.wait.Unlock()
	g.waiting = false
	return g.kicked
}

// kick has await return, if it waits, and touches nothing if not: a deadline that
// passes would break off what is under way. A hold is on.
func (g *guest) kick() {
	g.wait.Lock()
	defer g.wait.Unlock()
	if g.waiting {
		g.kicked = true
		_ = g.UnixConn.SetReadDeadline(time.Unix(1, 0))
	}
}

// readOnce reads what is there; it is false where there is nothing yet.
func (g *guest) readOnce(fd uintptr) bool {
	g.asked.Store(true)
	g.got, g.err = g.recv(fd, g.into, 0)
	if g.err != nil || g.got == 0 {
		g.asked.Store(false)
	}
	return !errors.Is(g.err, unix.EAGAIN)
}

// Close hangs up and gives the place back. It may be called again.
func (g *guest) Close() error {
	err := g.UnixConn.Close()
	g.house.leave(g)
	return err
}
