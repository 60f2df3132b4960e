package ipc

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Reading. One goroutine reads, checks and hands on. It holds a buffer only
// while there is something in it, so that an idle connection costs none.

// readBuffers hold one frame of the default size; a connection that accepts
// larger ones makes its own.
var readBuffers = sync.Pool{New: func() any { b := make([]byte, HeaderSize+DefaultChunk); return &b }}

// inbuf is the bytes read and not yet used: (*buf)[r:w].
type inbuf struct {
	buf  *[]byte // nil while empty
	r, w int
	size int
}

func (b *inbuf) get() {
	if b.buf != nil {
		return
	}
	if b.size == HeaderSize+DefaultChunk {
		b.buf = readBuffers.Get().(*[]byte)
		return
	}
	own := make([]byte, b.size)
	b.buf = &own
}

func (b *inbuf) put() {
	if b.buf != nil && b.size == HeaderSize+DefaultChunk {
		readBuffers.Put(b.buf)
	}
	b.buf, b.r, b.w = nil, 0, 0
}

func (b *inbuf) bytes() []byte {
	if b.buf == nil {
		return nil
	}
	return (*b.buf)[b.r:b.w]
}

// compact moves what is left to the front, so that a whole frame has room.
func (b *inbuf) compact() {
	if b.r > 0 {
		b.w = copy(*b.buf, (*b.buf)[b.r:b.w])
		b.r = 0
	}
}

// reading is the reader's part of a Conn; nobody else touches it.
type reading struct {
	in      inbuf
	before  []byte // what comes ahead of what is read; see Continue
	read    int64  // bytes before the frame at hand
	got     int64  // bytes that have come
	heard   bool   // the peer has said HELLO
	retired bool   // OnRetire was told
	partial assembly
	usual   int // bytes of the last CALL that was put together
	arrived arrivals
	clocked time.Time // when the last bytes came; zero: not yet asked
	woke    int       // goroutines that have something to do since then

	commands   map[string]*command // by name, as the peer has called them
	gathered   *outgoing           // answers of inline handlers; nil: none
	inline     serving             // the inline handler's
	inlineCall Call

	n      int // what the last try has read
	br     *breach
	err    error
	try    func(fd uintptr) bool // made once: it would be allocated at each use
	layout layout
	spell  spell
	alone  bool // something has come since the last time it had to wait, and nothing else is at work on the connection
}

// errReaderGone is what ended a connection whose inline handler has called
// runtime.Goexit.
var errReaderGone = errors.New("ipc: an inline handler did not return")

func (c *Conn) readLoop() {
	cause := errReaderGone // by a handler that has ended its goroutine, which is the reader
	defer func() {
		if cause == errPaused { // another goroutine goes on
			return
		}
		c.end(cause)
		c.in.put()
		c.arrived.close()
		c.partial.close()
		c.wg.Done()
		c.wg.Wait()
		if c.cfg.OnClose != nil {
			c.cfg.OnClose(c.Err())
		}
		close(c.done)
	}()
	cause = c.readFrames()
}

// readFrames returns what ended the connection.
func (c *Conn) readFrames() error {
	c.in.size = HeaderSize + int(c.chunk)
	for {
		n, err := c.fill()
		if err == os.ErrDeadlineExceeded {
			if c.stopReading() {
				return errPaused
			}
			continue
		}
		if err != nil {
			return err
		}
		if c.br != nil {
			return c.br.located(c.read)
		}
		if n == 0 {
			if len(c.in.bytes()) > 0 || c.partial.active {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		}
		if br := c.acceptAll(); br != nil {
			return br.located(c.read)
		}
		if len(c.arrived.fds) > maxFDs { // a frame's worth may wait for the rest of its frame
			return broke("fds", 0, "%d descriptors wait for a frame that declares them", len(c.arrived.fds)).located(c.read)
		}
		if len(c.in.bytes()) == 0 {
			c.in.put()
		} else {
			c.in.compact()
		}
		c.handIn()
		c.flush()
		c.makeWay()
	}
}

// makeWay lets those run who have got something: what they say to it comes
// together, and their answers are there when the reader looks again.
func (c *Conn) makeWay() {
	if many := c.woke > 1; many != c.crowded.Load() {
		c.crowded.Store(many)
	}
	if c.woke > 0 || c.spell.makesWay() {
		runtime.Gosched()
	}
	c.woke, c.clocked = 0, time.Time{}
	c.mu.Lock()
	c.alone = !c.out.writing && c.serving.n == 0
	c.mu.Unlock()
}

// now is when the bytes at hand came.
func (c *Conn) now() time.Time {
	if c.clocked.IsZero() {
		c.clocked = time.Now()
	}
	return c.clocked
}

// acceptAll acts on all frames that are whole.
func (c *Conn) acceptAll() *breach {
	for c.partial.direct || c.layout.early > 0 {
		if c.partial.missing > 0 {
			return nil
		}
		if br := c.goOnDirect(); br != nil {
			return br
		}
	}
	for {
		f, size, br := parseFrame(c.in.bytes(), c.chunk)
		if br == nil && size > 0 {
			br = c.acceptWithFiles(f)
		}
		if br != nil {
			return br
		}
		if size == 0 {
			return c.beginDirect()
		}
		c.read += int64(size)
		c.in.r += size
	}
}

// fill reads what is there, waiting for at least a byte; 0 is the end. For a
// pause it fails with os.ErrDeadlineExceeded, and has read nothing.
func (c *Conn) fill() (int, error) {
	rawErr := c.raw.Read(c.try)
	switch {
	case rawErr != nil: // a pause; or end has closed the file, and has said why
		return 0, rawErr
	case c.reading.err == unix.ECONNRESET: // the peer closed with unread bytes of ours: no different from EOF
		return 0, nil
	case c.reading.err != nil:
		return 0, os.NewSyscallError("read", c.reading.err)
	}
	n := c.n
	c.got += int64(n)
	if c.arrived.fresh {
		c.arrived.fresh = false
		c.arrived.until = c.got
		if c.br == nil && n <= c.partial.missing {
			c.br = broke("fds", 0, "%d descriptors came within a frame, and no other begins there", len(c.arrived.fds))
		}
	}
	c.place(n)
	return n, nil
}

// tryRead reads once.
func (c *Conn) tryRead(fd uintptr) bool {
	flags := recvFlags
	if c.alone && c.partial.missing == 0 {
		c.alone = false
		flags = c.spell.flags()
	}
	held := c.in.buf != nil
	c.in.get()
	for {
		c.n, c.br, c.reading.err = c.receive(int(fd), flags)
		switch c.reading.err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if flags != recvFlags {
				c.spell.inVain()
				flags = recvFlags
				continue // the poller tells only of what comes after this
			}
			if !held {
				c.in.put()
			}
			return false
		}
		return true
	}
}

// acceptWithFiles acts on one frame and closes those of its descriptors that
// nobody has taken.
func (c *Conn) acceptWithFiles(f Frame) *breach {
	if f.NFDs > 0 || len(c.arrived.fds) > 0 {
		if br := c.arrived.claim(f.Header, c.read, c.cfg.Hello.FDs); br != nil {
			return br
		}
		defer c.arrived.drop()
	}
	return c.accept(f)
}
