package ipc

import (
	"bytes"
	"io"
	"os"
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

func (c *Conn) readLoop() {
	cause := c.readFrames()
	c.end(cause)
	c.arrived.close()
	c.partial.close()
	c.wg.Done()
	c.wg.Wait()
	if c.cfg.OnClose != nil {
		c.cfg.OnClose(c.Err())
	}
	close(c.done)
}

// readFrames returns what ended the connection.
func (c *Conn) readFrames() error {
	in := &inbuf{size: HeaderSize + int(c.chunk)}
	defer in.put()
	for {
		n, br, err := c.fill(in)
		if err != nil {
			return err
		}
		if br != nil {
			return br.located(c.read)
		}
		if n == 0 {
			if len(in.bytes()) > 0 || c.partial.active {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		}
		for {
			f, size, br := parseFrame(in.bytes(), c.chunk)
			if br == nil && size > 0 {
				br = c.acceptWithFiles(f)
			}
			if br != nil {
				return br.located(c.read)
			}
			if size == 0 {
				break
			}
			c.read += int64(size)
			in.r += size
		}
		if len(c.arrived.fds) > maxFDs { // a frame's worth may wait for the rest of its frame
			return broke("fds", 0, "%d descriptors wait for a frame that declares them", len(c.arrived.fds)).located(c.read)
		}
		if len(in.bytes()) == 0 {
			in.put()
		} else {
			in.compact()
		}
	}
}

// fill reads what is there, waiting for at least a byte; 0 is the end.
func (c *Conn) fill(in *inbuf) (n int, br *breach, err error) {
	rawErr := c.raw.Read(func(fd uintptr) bool {
		held := in.buf != nil
		in.get()
		for {
			if c.cfg.Hello.FDs == 0 { // what comes unasked is closed by the system
				n, err = unix.Read(int(fd), (*in.buf)[in.w:])
			} else {
				n, br, err = c.arrived.receive(int(fd), (*in.buf)[in.w:])
			}
			if err == unix.EINTR {
				continue
			}
			if err == unix.EAGAIN {
				if !held {
					in.put()
				}
				return false
			}
			return true
		}
	})
	switch {
	case rawErr != nil: // end has closed the file, and has said why
		return 0, nil, rawErr
	case err == unix.ECONNRESET: // the peer closed with unread bytes of ours: no different from EOF
		return 0, nil, nil
	case err != nil:
		return 0, nil, os.NewSyscallError("read", err)
	}
	in.w += n
	if c.arrived.fresh {
		c.arrived.fresh = false
		c.arrived.until = c.read + int64(in.w-in.r)
	}
	return n, br, nil
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

// accept acts on one frame. Frame bytes are the reader's buffer: what outlives
// the call is copied.
func (c *Conn) accept(f Frame) *breach {
	_, greeted := c.Peer()
	if !greeted && f.Type != TypeHello {
		return broke("hello-first", 2, "the first frame is HELLO, got %v", f.Type)
	}
	if !f.Type.known() {
		return nil
	}
	if from := shapes[f.Type].from; from != 0 && from != c.cfg.Role.peer() {
		return broke("direction", 2, "%v is not the %v's to send", f.Type, c.cfg.Role.peer())
	}
	if shapes[f.Type].more {
		return c.acceptPart(f)
	}
	if shapes[f.Type].name == needed && len(f.Name) == 0 {
		return broke("name", 16, "%v needs a name", f.Type)
	}
	switch f.Type {
	case TypeHello:
		return c.acceptHello(f)
	case TypeReady:
		if c.cfg.OnReady != nil {
			c.cfg.OnReady()
		}
	case TypePing:
		return c.answerPing(f.Arg)
	case TypePong:
		var p Pong
		if br := decodeJSON(f, &p); br != nil {
			return br
		}
		c.onPong(f.Arg, p)
	case TypeError:
		return c.acceptError(f)
	case TypeCancel:
		c.cancelServing(f.ID)
	case TypeEvent:
		if c.cfg.OnEvent != nil {
			c.cfg.OnEvent(Event{string(f.Name), Message{Codec: f.Codec, Payload: f.Payload}})
		}
	case TypeData:
		return c.acceptData(f)
	case TypeWindow:
		return c.acceptWindow(f)
	case TypeRetire:
		return c.acceptRetire(f)
	case TypeDrain:
		c.Refuse()
		if c.cfg.OnDrain != nil {
			c.cfg.OnDrain(time.Duration(f.Arg) * time.Millisecond)
		}
	}
	return nil
}

func (c *Conn) acceptHello(f Frame) *breach {
	if _, greeted := c.Peer(); greeted {
		return broke("hello", 2, "HELLO comes once")
	}
	var h Hello
	if len(f.Payload) == 0 {
		return broke("hello", 4, "HELLO carries JSON")
	}
	if br := decodeJSON(f, &h); br != nil {
		return br
	}
	h = h.withDefaults()
	if bad := h.check(); bad != "" {
		return broke("hello", HeaderSize, "%s", bad)
	}
	c.mu.Lock()
	c.peer = h
	c.mu.Unlock()
	close(c.greeted)
	if c.cfg.OnHello != nil {
		c.cfg.OnHello(h)
	}
	return nil
}

func (c *Conn) acceptRetire(f Frame) *breach {
	var r retirement
	if br := decodeJSON(f, &r); br != nil {
		return br
	}
	if !c.retired && c.cfg.OnRetire != nil {
		c.retired = true
		c.cfg.OnRetire(string(f.Name), r.Text)
	}
	return nil
}

func (c *Conn) answerPing(token uint32) *breach {
	f := Frame{Header: Header{Type: TypePong, Arg: token}}
	var p Pong
	if c.cfg.Pong != nil {
		p = c.cfg.Pong()
	}
	var oldest time.Time
	if p.Inflight, oldest = c.Inflight(); p.Inflight > 0 {
		p.OldestMS = time.Since(oldest).Milliseconds()
	}
	if p != (Pong{}) {
		m, err := JSON(p)
		if err == nil && len(m.Payload) <= DefaultChunk {
			f.Codec, f.Payload = CodecJSON, m.Payload
		}
	}
	return c.reply(f)
}

func (c *Conn) acceptError(f Frame) *breach {
	var body errorBody
	if br := decodeJSON(f, &body); br != nil {
		return br
	}
	code := Code(f.Name)
	if code == ErrLost { // it is not lost: it has answered
		code = ErrFailed
	}
	return c.finish(f.ID, answer{err: &CallError{
		Code: code, Message: body.Message, Details: body.Details, Started: ParseStarted(body.Started),
	}})
}

// assembly is the one message that is coming in over several frames. A second
// may not begin before it is whole, so one buffer, bounded by maxMessage, is
// all that a peer can make this end hold.
type assembly struct {
	active bool
	first  Header
	name   string
	buf    []byte
	files  []*os.File
}

func (a *assembly) close() { Message{Files: a.files}.CloseFiles() }

// acceptPart takes a frame of a CALL or a RESULT, which may go on.
func (c *Conn) acceptPart(f Frame) *breach {
	a := &c.partial
	more := f.Flags&FlagMore != 0
	if a.active && a.first.Type == f.Type && a.first.ID == f.ID {
		if f.NLen != 0 || f.Arg != 0 || f.NFDs != 0 || f.Codec != a.first.Codec {
			return broke("continuation", 12, "the next frame of %v %d repeats type, id and codec and leaves arg, name and descriptors out", f.Type, f.ID)
		}
		if br := c.checkSize(f, len(a.buf)); br != nil {
			return br
		}
		a.buf = append(a.buf, f.Payload...)
		if more {
			return nil
		}
		whole := *a
		*a = assembly{}
		return c.acceptMessage(whole.first, whole.name, Message{whole.first.Codec, whole.buf, whole.files})
	}
	if br := c.checkFirst(f); br != nil {
		return br
	}
	if more && a.active {
		return broke("interleave", 3, "%v %d begins before %v %d is whole", f.Type, f.ID, a.first.Type, a.first.ID)
	}
	payload := bytes.Clone(f.Payload)
	if !more {
		return c.acceptMessage(f.Header, string(f.Name), Message{f.Codec, payload, c.arrived.take()})
	}
	*a = assembly{active: true, first: f.Header, name: string(f.Name), buf: payload, files: c.arrived.take()}
	return nil
}

// checkFirst holds the first frame of a CALL or a RESULT against the rules.
func (c *Conn) checkFirst(f Frame) *breach {
	if br := c.checkSize(f, 0); br != nil {
		return br
	}
	if f.Type == TypeCall {
		if f.NLen == 0 {
			return broke("name", 16, "CALL needs a name")
		}
		return c.checkCallID(f.ID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answerable(f.ID)
}

// checkSize bounds a message of which held bytes were there before f.
func (c *Conn) checkSize(f Frame, held int) *breach {
	if held+len(f.Payload) > c.maxMessage {
		return broke("message", 4, "%v %d is longer than %d bytes", f.Type, f.ID, c.maxMessage)
	}
	return nil
}

func (c *Conn) acceptMessage(h Header, name string, m Message) *breach {
	if h.Type == TypeResult {
		return c.finish(h.ID, answer{msg: m})
	}
	return c.serve(h.ID, h.Arg, &Call{Command: name, Message: m})
}
