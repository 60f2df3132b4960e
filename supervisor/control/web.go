package control

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The way to net/http, which is given one request at a time: of what a client sends
// it gets no byte beyond the request that it reads, and none of the next before
// the answer has gone out. So what it holds of a guest is known at any time, and the
// guest can be taken back from it between two requests; see Hold.

// webConn is a guest as net/http sees it. A guest that comes back to net/http is
// another webConn. But for over, it belongs to who reads, which net/http has be one
// at a time. When Read has been errHeld once it is never anything else.
type webConn struct {
	*guest
	buf     []byte // off the socket
	given   int    // of buf
	header  []byte // given of a header that is not whole
	began   bool   // the header was given whole
	body    int64  // bytes of the body that may be given
	chunked bool   // how many there are is in the body, see chunks
	chunks  chunks
	over    atomic.Int32

	// Of lookOut, so that it makes nothing anew each time.
	first [1]byte
	gone  error
	look  func(fd uintptr) bool // peekOnce
}

// newWebConn is g, which has said what is given.
func newWebConn(g *guest, ahead []byte) *webConn {
	w := &webConn{guest: g, buf: ahead}
	w.look = w.peekOnce
	return w
}

// webConn.over
const (
	webOpen = iota
	webHeld // Read has told net/http to let go
	webParked
)

var _ net.Conn = (*webConn)(nil)

// Read gives what comes of the request at hand. Between two it is errHeld while a
// hold is on.
func (w *webConn) Read(b []byte) (int, error) {
	switch {
	case w.over.Load() != webOpen:
		return 0, errHeld
	case w.chunked:
		return w.takeChunks(b)
	case w.body > 0:
		n, err := w.take(b[:min(int64(len(b)), w.body)])
		w.body -= int64(n)
		return n, err
	case w.began:
		return w.lookOut()
	}
	return w.readHeader(b)
}

// ahead is what is off the socket and not given yet.
func (w *webConn) ahead() []byte { return w.buf[w.given:] }

// takeAhead gives of it, as there is some.
func (w *webConn) takeAhead(b []byte) int {
	n := copy(b, w.ahead())
	w.given += n
	return n
}

// drained is called before a read of the socket: nothing is ahead.
func (w *webConn) drained() { w.buf, w.given = w.buf[:0], 0 }

// giveBack takes b back, the end of what was read last.
func (w *webConn) giveBack(b []byte) {
	if w.given >= len(b) {
		w.given -= len(b) // it came of buf
		return
	}
	w.buf = append(w.buf, b...) // of the socket, as nothing was ahead
}

// take reads what is there of a body.
func (w *webConn) take(b []byte) (int, error) {
	if len(w.ahead()) > 0 {
		return w.takeAhead(b), nil
	}
	w.drained()
	return w.UnixConn.Read(b)
}

// takeChunks reads what is there of a chunked body, and nothing behind it.
func (w *webConn) takeChunks(b []byte) (int, error) {
	n, err := w.take(b)
	end, over := w.chunks.pass(b[:n])
	if over {
		w.chunked = false
		w.giveBack(b[end:n])
		return end, err
	}
	return n, err
}

// readHeader gives a header, and nothing behind it.
func (w *webConn) readHeader(b []byte) (int, error) {
	for {
		n, err := w.takeHeader(b)
		if err != nil {
			return 0, err
		}
		skipped := 0
		if len(w.header) == 0 { // RFC 9112, 2.2
			skipped = n - len(bytes.TrimLeft(b[:n], "\r\n"))
			n = copy(b, b[skipped:n])
		}
		if n == 0 {
			continue
		}
		end := endOfHeader(w.header, b[:n])
		if end == 0 {
			w.asked.Store(false)
			w.header = append(w.header, b[:n]...)
			return n, nil
		}
		w.giveBack(b[end:n])
		w.header, w.began = w.header[:0], true
		if !w.house.begin(w.guest) {
			return 0, net.ErrClosed // it was evicted
		}
		return end, nil
	}
}

// takeHeader reads what is there of one, if that may be begun with.
func (w *webConn) takeHeader(b []byte) (n int, err error) {
	switch {
	case len(w.ahead()) == 0:
		w.drained()
		n, err = w.await(b)
		if errors.Is(err, errHeld) {
			w.header = append(w.header, b[:n]...)
		}
	case w.house.isHeld():
		err = errHeld
	default:
		n = w.takeAhead(b)
	}
	if errors.Is(err, errHeld) {
		w.over.CompareAndSwap(webOpen, webHeld)
	}
	return n, err
}

// endOfHeader is where in b the header ends that began with before, or 0: at an
// empty line, whose ends net/http takes with and without CR.
func endOfHeader(before, b []byte) int {
	const look = 3 // "\n\r\n"
	from := max(0, len(before)-look+1)
	all := b
	if len(before) > 0 {
		all = append(bytes.Clone(before[from:]), b...)
	}
	for at := 0; ; {
		i := bytes.IndexByte(all[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		rest := bytes.TrimPrefix(all[at:], []byte{'\r'})
		if len(rest) > 0 && rest[0] == '\n' {
			end := len(all) - len(rest) + 1
			return end - (len(all) - len(b))
		}
	}
}

// lookOut waits until the client has hung up, or the read deadline passes. It takes
// nothing off the socket.
func (w *webConn) lookOut() (int, error) {
	w.gone = nil
	if err := w.raw.Read(w.look); err != nil {
		return 0, err
	}
	return 0, cmp.Or(w.gone, io.EOF)
}

// peekOnce is true when the client has hung up.
func (w *webConn) peekOnce(fd uintptr) bool {
	n, err := w.recv(fd, w.first[:], unix.MSG_PEEK)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return false
	case err == nil && n > 0: // the next request
		return hungUp(fd)
	}
	w.gone = err
	return true
}

// Close hangs up, unless net/http was told to let go.
func (w *webConn) Close() error {
	if w.over.CompareAndSwap(webHeld, webParked) {
		w.house.park(w.guest, w.unbegun())
		return nil
	}
	if w.over.Load() == webParked {
		return nil
	}
	return w.guest.Close()
}

// unbegun is what w has said and nobody has begun with.
func (w *webConn) unbegun() said {
	return said{Tongue: tongueHTTP, Ahead: slices.Concat(w.header, w.ahead())}
}

// begins is called with each request, before anything of its body is read.
func (w *webConn) begins(r *http.Request) {
	if r.Body != http.NoBody { // else net/http is reading
		w.body, w.chunked, w.chunks = max(r.ContentLength, 0), r.ContentLength < 0, chunks{}
	}
}

// ends is called when the answer has gone out.
func (w *webConn) ends() { w.began, w.body, w.chunked = false, 0, false }

type webKey struct{}

// webFrom is the connection of a request, nil where there is none.
func webFrom(ctx context.Context) *webConn {
	w, _ := ctx.Value(webKey{}).(*webConn)
	return w
}

// oneAtATime tells the connection of each request. What net/http would answer by
// itself, it answers here.
func oneAtATime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w := webFrom(r.Context()); w != nil {
			w.begins(r)
		}
		if r.Method == http.MethodOptions && r.RequestURI == "*" {
			rw.Header().Set("Content-Length", "0")
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// connState tells the house who is idle. HTTP calls a connection active when it
// has a request's whole header.
func connState(c net.Conn, state http.ConnState) {
	w, ok := c.(*webConn)
	if !ok || w.over.Load() != webOpen {
		return
	}
	switch state {
	case http.StateActive:
		w.house.begin(w.guest)
	case http.StateIdle:
		w.ends()
		w.house.end(w.guest)
	}
}

// webDoor is the listener of the HTTP server: it accepts what is handed to it.
type webDoor struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newWebDoor() *webDoor {
	return &webDoor{conns: make(chan net.Conn), done: make(chan struct{})}
}

// hand is false when the server has been closed.
func (h *webDoor) hand(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

// Accept returns the next connection.
func (h *webDoor) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (h *webDoor) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr is nowhere.
func (h *webDoor) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }
