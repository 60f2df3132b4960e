package control

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// One socket, two tongues: a connection whose first byte is an upper-case letter
// speaks HTTP, any other the line protocol. The byte is awaited in the
// connection's own goroutine, so that nobody waits for a slow client.

func isHTTP(first byte) bool { return 'A' <= first && first <= 'Z' }

// Serve answers on l until Close, then returns nil. It may be called for several
// listeners.
func (s *Server) Serve(l net.Listener) error {
	if !s.track(l) {
		return nil
	}
	take := func(c net.Conn) { s.letIn(c, l.Addr().String()) }
	if own, ok := l.(interface {
		serveTo(func(net.Conn), func() bool)
	}); ok {
		own.serveTo(take, s.house.makeRoom)
	}
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		take(c)
	}
}

// letIn lets a connection in that came by the socket at door, if there is room.
func (s *Server) letIn(c net.Conn, door string) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close() // who is calling is not known
		return
	}
	var peer peerResult
	peer.peer, peer.err = peerOf(uc)
	g := s.house.admit(uc, peer)
	if g == nil {
		return
	}
	g.caller = &caller{peer: peer.peer, err: peer.err, door: door}
	select {
	case s.crew <- g: // somebody is free
	default:
		s.receivers.Go(func() { s.attend(g) })
	}
}

// maxFree is how many goroutines of the crew wait for another connection when
// theirs has ended: a new one would have to grow its stack again.
const maxFree = 16

// attend receives g, and then others, as one of the crew.
func (s *Server) attend(g *guest) {
	for {
		s.receive(g)
		if s.free.Add(1) > maxFree {
			s.free.Add(-1)
			return
		}
		select {
		case g = <-s.crew:
			s.free.Add(-1)
		case <-s.house.closing:
			return
		}
	}
}

// track remembers l for Close. It is false if that was called already.
func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.Close()
		return false
	}
	s.listeners = append(s.listeners, l)
	s.serveHTTP.Do(func() {
		s.receivers.Go(func() { _ = s.http.Serve(s.web) })
	})
	return true
}

// firstBytes is how much is read at first.
const firstBytes = 4096

// receive reads what comes first and passes the connection on to its tongue.
func (s *Server) receive(g *guest) {
	c := lineConns.Get().(*lineConn)
	_ = g.UnixConn.SetReadDeadline(time.Now().Add(headerTime))
	n, err := g.readFirst(c.first[:])
	web := n > 0 && isHTTP(c.first[0])
	g.asked.Store(n > 0 && bytes.Contains(c.first[:n], endOf(web)))
	switch {
	case err != nil:
		g.Close()
	case !web:
		c.serve(s, g, n)
	default:
		g.ahead = append([]byte(nil), c.first[:n]...)
		_ = g.UnixConn.SetReadDeadline(time.Time{})
		if !s.web.hand(g) {
			g.Close()
		}
	}
	lineConns.Put(c)
}

// endOf is what ends a line, or a request's header.
func endOf(web bool) []byte {
	if web {
		return []byte("\r\n\r\n")
	}
	return []byte{'\n'}
}

// connState tells the house who is idle. HTTP calls a connection active when it
// has a request's whole header.
func connState(c net.Conn, state http.ConnState) {
	g, ok := c.(*guest)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		g.house.begin(g)
	case http.StateIdle:
		g.house.end(g)
	}
}

// handover is the listener of the HTTP server: it accepts what is handed to it.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), done: make(chan struct{})}
}

// hand is false when the server has been closed.
func (h *handover) hand(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

// Accept returns the next connection.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr is nowhere.
func (h *handover) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }
