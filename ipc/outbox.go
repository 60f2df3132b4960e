package ipc

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Writing. Whoever queues something and finds nobody writing becomes the
// writer: it writes what the socket takes at once, without waiting, and leaves
// the rest to a goroutine that may wait. So a lone caller writes its own frame,
// many callers share one system call, and neither the reader nor a caller with
// a deadline is ever held up by a peer that does not read.

// outbox is what waits to be written. It is guarded by Conn.mu.
type outbox struct {
	urgent  []byte      // encoded frames that go ahead of all messages
	msgs    []*outgoing // in order; only the first may have been begun
	writing bool        // somebody is the writer
}

// outgoing is a CALL, RESULT or ERROR on its way out. Its payload belongs to
// the connection until it is sent.
type outgoing struct {
	Header
	name    []byte
	payload []byte
	sent    int  // bytes of payload taken into a batch
	begun   bool // its first frame was taken into a batch
	written bool // at least one byte of it was written
	cancel  bool // a CANCEL follows its last frame
}

// maxUrgent bounds the frames that wait in the urgent lane, in bytes.
const maxUrgent = 256 << 10

// room reports whether a frame with n bytes of body may still be queued as
// urgent. A single frame always may, however large.
func (o *outbox) room(n int) bool {
	return len(o.urgent) == 0 || len(o.urgent)+HeaderSize+n <= maxUrgent
}

func (o *outbox) drop() {
	o.urgent, o.msgs = nil, nil
}

func (o *outbox) empty() bool { return len(o.urgent) == 0 && len(o.msgs) == 0 }

// withdraw takes m out of the queue if nothing of it has been taken into a
// batch.
func (o *outbox) withdraw(m *outgoing) bool {
	if m.begun {
		return false
	}
	for i, q := range o.msgs {
		if q == m {
			o.msgs = append(o.msgs[:i], o.msgs[i+1:]...)
			return true
		}
	}
	return false
}

// batch is what one write carries.
type batch struct {
	buf    []byte
	starts []start
}

// start is where in a batch a message begins.
type start struct {
	at int
	m  *outgoing
}

var batches = sync.Pool{New: func() any { return &batch{buf: make([]byte, 0, HeaderSize+DefaultChunk)} }}

// fill moves the urgent frames and about one chunk of messages into b. chunk
// is what the peer accepts as a frame's body.
func (o *outbox) fill(b *batch, chunk int) {
	b.buf = append(b.buf[:0], o.urgent...)
	b.starts = b.starts[:0]
	o.urgent = o.urgent[:0]
	if cap(o.urgent) > 4<<10 {
		o.urgent = nil
	}
	for len(o.msgs) > 0 && len(b.buf) < DefaultChunk {
		m := o.msgs[0]
		if !m.begun {
			m.begun = true
			b.starts = append(b.starts, start{len(b.buf), m})
		}
		if !m.frame(b, chunk) {
			return
		}
		if m.cancel {
			b.buf = Header{Type: TypeCancel, ID: m.ID}.append(b.buf)
		}
		o.msgs[0] = nil
		o.msgs = o.msgs[1:]
	}
}

// frame adds m's next frame to b and reports whether it was the last.
func (m *outgoing) frame(b *batch, chunk int) (last bool) {
	h := m.Header
	name := m.name
	if m.sent > 0 {
		name, h.Arg = nil, 0
	}
	n := min(len(m.payload)-m.sent, chunk-len(name))
	last = m.sent+n == len(m.payload)
	if !last {
		h.Flags |= FlagMore
	}
	b.buf = AppendFrame(b.buf, Frame{Header: h, Name: name, Payload: m.payload[m.sent : m.sent+n]})
	m.sent += n
	return last
}

// patience is how many batches a caller writes for others before it leaves the
// rest to a goroutine.
const patience = 8

// flush writes what is queued, as far as that goes without waiting.
func (c *Conn) flush() {
	c.mu.Lock()
	if c.out.writing || c.out.empty() || c.err != nil {
		c.mu.Unlock()
		return
	}
	c.out.writing = true
	c.wg.Add(1) // while the connection lives, so before readLoop waits
	c.mu.Unlock()

	b := batches.Get().(*batch)
	for range patience {
		if !c.nextBatch(b) {
			c.stopWriting(b)
			return
		}
		n, err := c.write(b.buf, false)
		c.wrote(b, n)
		if err == unix.EAGAIN {
			go c.writeLoop(b, n)
			return
		}
		if err != nil {
			c.writeFailed(err)
			c.stopWriting(b)
			return
		}
	}
	go c.writeLoop(b, len(b.buf))
}

// writeLoop is the writer that may wait. b has been written up to n.
func (c *Conn) writeLoop(b *batch, n int) {
	defer c.stopWriting(b)
	for {
		if n < len(b.buf) {
			more, err := c.write(b.buf[n:], true)
			n += more
			c.wrote(b, n)
			if err != nil {
				c.writeFailed(err)
				return
			}
			continue
		}
		if !c.nextBatch(b) {
			return
		}
		n = 0
	}
}

// stopWriting ends a writer that has given its part up.
func (c *Conn) stopWriting(b *batch) {
	batches.Put(b)
	c.wg.Done()
}

// nextBatch fills b. When there is nothing left it gives the writer's part up.
func (c *Conn) nextBatch(b *batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.out.empty() {
		c.out.writing = false
		c.settleIdle()
		return false
	}
	c.out.fill(b, c.peerChunk())
	return true
}

// peerChunk is what the peer accepts as a frame's body. The caller holds mu.
func (c *Conn) peerChunk() int {
	if c.peer.Chunk != 0 {
		return c.peer.Chunk
	}
	return DefaultChunk
}

// wrote notes which messages have had their first byte written.
func (c *Conn) wrote(b *batch, n int) {
	if len(b.starts) == 0 {
		return
	}
	c.mu.Lock()
	for _, s := range b.starts {
		if s.at < n {
			s.m.written = true
		}
	}
	c.mu.Unlock()
}

// farewell is how long a peer that no longer reads may still be read from.
const farewell = time.Second

// writeFailed ends the connection. When the peer has gone the reader does so:
// it may still find the peer's last words.
func (c *Conn) writeFailed(err error) {
	c.mu.Lock()
	c.out.drop()
	c.out.writing = false
	c.settleIdle()
	c.mu.Unlock()
	if err == unix.EPIPE || err == unix.ECONNRESET {
		c.file.SetReadDeadline(time.Now().Add(farewell)) // fails only once the file is closed
		return
	}
	c.end(err)
}

// write sends b and returns how much went. Without wait it stops at EAGAIN.
func (c *Conn) write(b []byte, wait bool) (n int, err error) {
	rawErr := c.raw.Write(func(fd uintptr) bool {
		for n < len(b) {
			var k int
			k, err = unix.SendmsgN(int(fd), b[n:], nil, nil, sendFlags)
			switch err {
			case nil:
				n += k
			case unix.EINTR:
			case unix.EAGAIN:
				return !wait
			default:
				return true
			}
		}
		return true
	})
	if rawErr != nil {
		return n, rawErr
	}
	return n, err
}
