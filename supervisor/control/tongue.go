package control

import (
	"bytes"
	"errors"
	"net"
	"runtime"
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
	s.receivers.Go(func() { s.letInHeirs(l.Addr().String()) })
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
	s.welcome(arrival{conn: uc, door: door})
}

// welcome lets in who has come, unless a hold is on.
func (s *Server) welcome(a arrival) {
	if s.house.enter(a) {
		s.place(a)
		s.house.entered()
	}
}

// place finds a place for who has come, and has it attended to.
func (s *Server) place(a arrival) {
	g, err := newGuest(a.conn, s.house, a.door)
	if err != nil {
		a.conn.Close()
		return
	}
	g.said = a.said
	if s.house.admit(g) {
		s.attendTo(g)
	}
}

// attendTo gives g to who is free, or to another.
func (s *Server) attendTo(g *guest) {
	select {
	case s.crew <- g:
		runtime.Gosched() // first it, and then a look for who comes next
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

// receive goes on with g, which in most cases has just come: it reads what comes
// first and passes the connection on to its tongue.
func (s *Server) receive(g *guest) {
	c := lineConns.Get().(*lineConn)
	defer lineConns.Put(c)
	was := g.said
	g.said = said{}
	if was.Tongue == tongueLine {
		c.resume(s, g, was)
		return
	}
	if was.Owed != nil && !s.payHTTP(g, was.Owed) {
		g.Close()
		return
	}
	first, err := c.readFirst(g, was)
	switch {
	case errors.Is(err, errHeld):
		g.house.park(g, said{Tongue: was.Tongue, Ahead: bytes.Clone(first)})
	case err != nil:
		g.Close()
	case was.Tongue == tongueHTTP || isHTTP(first[0]):
		_ = g.UnixConn.SetReadDeadline(time.Time{})
		if !s.web.hand(newWebConn(g, bytes.Clone(first))) {
			g.Close()
		}
	default:
		c.serve(s, g, len(first))
	}
}

// readFirst is the first bytes, which are in c.first. With errHeld there may be some.
func (c *lineConn) readFirst(g *guest, was said) ([]byte, error) {
	if len(was.Ahead) > len(c.first) {
		return was.Ahead, nil // of a long header, so it is not copied
	}
	n, err := copy(c.first[:], was.Ahead), error(nil)
	if n == 0 {
		wait := headerTime
		if was.Tongue != "" {
			wait = idleTime
		}
		_ = g.UnixConn.SetReadDeadline(time.Now().Add(wait))
		n, err = g.await(c.first[:])
	}
	first := c.first[:n]
	g.asked.Store(n > 0 && bytes.Contains(first, endOf(isHTTP(c.first[0]))))
	return first, err
}

// endOf is what ends a line, or a request's header.
func endOf(web bool) []byte {
	if web {
		return []byte("\r\n\r\n")
	}
	return []byte{'\n'}
}
