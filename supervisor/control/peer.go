package control

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Peer is who is at the other end of a connection, in the kernel's words: the
// process that called connect(2), as it was then. The zero Peer is nobody; it has
// no role whatever its numbers say.
type Peer struct {
	UID    int   // effective
	GID    int   // effective
	Groups []int // supplementary; GID need not be among them
	// PID is for people who read the log, and decides nothing: its process may be
	// gone and the number with another. 0: the kernel does not say, or the process
	// is in another PID namespace.
	PID int

	known bool // set by peerOf alone
}

// peerOf asks the kernel who called. Once per connection is enough: the answer
// does not change, not even when the descriptor is passed on to another process.
func peerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var p Peer
	var perr error
	if err := raw.Control(func(fd uintptr) { p, perr = readPeer(int(fd)) }); err != nil {
		return Peer{}, err
	}
	if perr != nil {
		return Peer{}, fmt.Errorf("the kernel does not say who is calling: %w", perr)
	}
	p.known = true
	return p, nil
}

var errNoPeer = errors.New("nobody asked the kernel who is calling; set http.Server.ConnContext to withPeer")

type peerKey struct{}

type peerResult struct {
	peer Peer
	err  error
}

// withPeer is made for http.Server.ConnContext: it asks once who is at the other
// end of c. Where that fails the connection goes on, and peerFrom tells the error.
// A wrapped connection is known by its NetConn method, as tls.Conn has one.
// A guest has been asked about already.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if w, ok := c.(*webConn); ok {
		return context.WithValue(context.WithValue(ctx, peerKey{}, w.peer), webKey{}, w)
	}
	for {
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = w.NetConn()
	}
	var r peerResult
	if uc, ok := c.(*net.UnixConn); ok {
		r.peer, r.err = peerOf(uc)
	} else {
		r.err = fmt.Errorf("a connection of type %T does not come from a Unix socket, so who is calling is not known", c)
	}
	return context.WithValue(ctx, peerKey{}, r)
}

// peerFrom is who is calling. With an error the Peer is the zero one, which has
// RoleNone.
func peerFrom(ctx context.Context) (Peer, error) {
	r, ok := ctx.Value(peerKey{}).(peerResult)
	if !ok {
		return Peer{}, errNoPeer
	}
	return r.peer, r.err
}
