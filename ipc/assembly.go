package ipc

import (
	"os"
	"sync"
)

// Messages, of one frame or several.

// assembly is the one message that is coming in over several frames, or in one
// that is read straight to where it belongs. A second may not begin before it
// is whole, so one buffer, bounded by maxMessage, is all that a peer can make
// this end hold.
type assembly struct {
	active  bool
	first   Header
	command *command // of a CALL
	buf     []byte
	files   []*os.File

	direct  bool  // the frame at hand is read straight into buf
	more    bool  // and further ones follow
	missing int   // bytes of it that have not come
	size    int64 // of all of it
}

func (a *assembly) close() {
	Message{Files: a.files}.CloseFiles()
	*a = assembly{}
}

// largeBuffers are recycled by whoever has them last: a message of the size of
// the last one finds its room.
var largeBuffers sync.Pool // of *[]byte

// getBuffer is an empty buffer with room for n bytes.
func getBuffer(n int) []byte {
	if b, ok := largeBuffers.Get().(*[]byte); ok {
		if cap(*b) >= n {
			return (*b)[:0]
		}
	}
	return make([]byte, 0, n)
}

func putBuffer(b []byte) {
	if cap(b) >= largePayload {
		b = b[:0]
		largeBuffers.Put(&b)
	}
}

// reserve has room in buf for n more bytes.
func (c *Conn) reserve(n int) {
	a := &c.partial
	need := len(a.buf) + n
	if need <= cap(a.buf) {
		return
	}
	size := min(max(need, 2*cap(a.buf)), max(c.maxMessage, need))
	if a.first.Type == TypeResult { // it will be the caller's
		a.buf = append(make([]byte, 0, size), a.buf...)
		return
	}
	grown := append(getBuffer(max(size, c.usual)), a.buf...)
	putBuffer(a.buf)
	a.buf = grown
}

// beginMessage starts the assembly of a message with its first frame.
func (c *Conn) beginMessage(h Header, name []byte) {
	a := &c.partial
	*a = assembly{active: true, first: h, files: c.arrived.take()}
	if h.Type == TypeCall {
		a.command = c.commandOf(name)
		return
	}
	c.mu.Lock()
	if p := c.calls.get(h.ID); p != nil {
		a.buf, p.buf = p.buf[:0], nil
	}
	c.mu.Unlock()
}

// acceptPart takes a frame of a CALL or a RESULT, which may go on.
func (c *Conn) acceptPart(f Frame) *breach {
	if br := c.checkPart(f.Header, len(f.Payload)); br != nil {
		return br
	}
	more := f.Flags&FlagMore != 0
	a := &c.partial
	switch continues := a.continues(f.Header); {
	case !continues && !more: // the message is in the reader's buffer
		return c.acceptMessage(f.Header, c.calledBy(f), f.Payload, false, c.arrived.take())
	case !continues:
		c.beginMessage(f.Header, f.Name)
	}
	c.reserve(len(f.Payload))
	a.buf = append(a.buf, f.Payload...)
	if more {
		return nil
	}
	return c.complete()
}

// calledBy is the command of a CALL.
func (c *Conn) calledBy(f Frame) *command {
	if f.Type != TypeCall {
		return nil
	}
	return c.commandOf(f.Name)
}

// complete hands the message on.
func (c *Conn) complete() *breach {
	whole := c.partial
	c.partial = assembly{}
	if whole.first.Type == TypeCall {
		c.usual = len(whole.buf)
	}
	return c.acceptMessage(whole.first, whole.command, whole.buf, true, whole.files)
}

// continues reports whether a frame goes on with the message that has begun.
func (a *assembly) continues(h Header) bool {
	return a.active && a.first.Type == h.Type && a.first.ID == h.ID
}

// checkPart holds a frame of a CALL or a RESULT, with n bytes of payload,
// against the rules.
func (c *Conn) checkPart(h Header, n int) *breach {
	a := &c.partial
	if a.continues(h) {
		if h.NLen != 0 || h.Arg != 0 || h.NFDs != 0 || h.Codec != a.first.Codec {
			return broke("continuation", 12, "the next frame of %v %d repeats type, id and codec and leaves arg, name and descriptors out", h.Type, h.ID)
		}
		return c.checkSize(h, len(a.buf)+n)
	}
	if br := c.checkSize(h, n); br != nil {
		return br
	}
	if br := c.checkFirst(h); br != nil {
		return br
	}
	if h.Flags&FlagMore != 0 && a.active {
		return broke("interleave", 3, "%v %d begins before %v %d is whole", h.Type, h.ID, a.first.Type, a.first.ID)
	}
	return nil
}

// checkFirst holds the first frame of a CALL or a RESULT against the rules.
func (c *Conn) checkFirst(h Header) *breach {
	if h.Type == TypeCall {
		if h.NLen == 0 {
			return broke("name", 16, "CALL needs a name")
		}
		return c.checkCallID(h.ID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answerable(h.ID)
}

// checkSize bounds a message of n bytes so far.
func (c *Conn) checkSize(h Header, n int) *breach {
	if n > c.maxMessage {
		return broke("message", 4, "%v %d is longer than %d bytes", h.Type, h.ID, c.maxMessage)
	}
	return nil
}

// acceptMessage acts on a message that is whole. own says that the payload is
// not in the reader's buffer and goes with it.
func (c *Conn) acceptMessage(h Header, k *command, payload []byte, own bool, files []*os.File) *breach {
	if h.Type == TypeResult {
		return c.finish(h.ID, answer{msg: Message{h.Codec, payload, files}}, own)
	}
	return c.serve(incoming{h.ID, h.Arg, k, h.Codec, payload, own, files})
}
