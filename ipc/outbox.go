package ipc

import (
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Writing. Whoever queues something and finds nobody writing becomes the
// writer: it writes what the socket takes at once, without waiting, and leaves
// the rest to a goroutine that may wait. So a lone caller writes its own frame,
// many callers share one system call, and neither the reader nor a caller with
// a deadline is ever held up by a peer that does not read.

// outbox is what waits to be written. It is guarded by Conn.mu.
type outbox struct {
	urgent  []byte        // encoded frames that go ahead of all messages
	msgs    []*outgoing   // in order; only the first may have been begun
	events  int           // bytes of the EVENTs and RETIREs among msgs
	data    int           // cost of the DATAs among msgs
	drained chan struct{} // closed when data has become less; nil while nobody waits for that
	alone   bool          // the last batch was the urgent lane alone, for the sake of descriptors
	writing bool          // somebody is the writer
	failed  error         // the peer takes nothing more; set once, nothing is written after
}

// outgoing is a message, or a frame that keeps its place among them, on its
// way out. Its payload belongs to the connection until its last frame is taken
// into a batch, its descriptors until the first one is.
type outgoing struct {
	Header
	name    []byte
	payload []byte
	fds     []int
	sent    int  // bytes of payload taken into a batch
	begun   bool // its first frame was taken into a batch
	whole   bool // its last frame was taken into a batch; payload is nil
	offered bool // the peer may have some of it: it is not false while a system call could take its first byte
	cancel  bool // a CANCEL follows its last frame
}

// What may wait, in bytes. All but the frames of maxUrgent that answer the
// peer are of this end's own making; they leave room for the answers, whose
// want of room is the peer's fault alone.
const (
	maxUrgent = 256 << 10     // the urgent lane
	maxOwn    = maxUrgent / 2 // in it, frames that answer nothing
	maxEvents = 256 << 10     // EVENTs among the messages
)

// room reports whether n more bytes of frames may be queued as urgent. A
// single frame always may, however large.
func (o *outbox) room(n, limit int) bool {
	return len(o.urgent) == 0 || len(o.urgent)+n <= limit
}

// drop forgets all that waits. The descriptors of it are the caller's to close.
func (o *outbox) drop() (fds []int) {
	for _, m := range o.msgs {
		fds = append(fds, m.fds...)
		m.fds = nil
	}
	o.urgent, o.msgs, o.events = nil, nil, 0
	o.lessData(o.data)
	return fds
}

// lessData tells those who wait for room that n bytes have gone.
func (o *outbox) lessData(n int) {
	o.data -= n
	if o.drained != nil {
		close(o.drained)
		o.drained = nil
	}
}

// unread is the breach of a peer that asks and does not read the answers.
func (o *outbox) unread() *breach {
	return broke("unread", 0, "%d bytes of answers wait, at most %d may, and the peer does not read them", len(o.urgent), maxUrgent)
}

func (o *outbox) empty() bool { return len(o.urgent) == 0 && len(o.msgs) == 0 }

// withdraw takes m out of the queue if nothing of it has been taken into a
// batch.
func (o *outbox) withdraw(m *outgoing) bool {
	if m.begun {
		return false
	}
	if i := slices.Index(o.msgs, m); i >= 0 {
		o.msgs = slices.Delete(o.msgs, i, i+1)
	}
	return true
}

// batch is what one write carries. It belongs to the writer.
type batch struct {
	buf      []byte
	sent     int      // bytes of buf that the socket has taken
	starts   []start  // of the messages that begin in it, in order
	offered  bool     // all starts from sent on are marked as offered
	answered []uint32 // calls of the peer's whose terminal frame ends in it
	fds      []int    // to go with the first byte, and then to be closed
}

// start is where in a batch a message begins.
type start struct {
	at int
	m  *outgoing
}

var batches = sync.Pool{New: func() any { return &batch{buf: make([]byte, 0, HeaderSize+DefaultChunk)} }}

// mark notes whether the messages that begin in the rest of b may reach the
// peer. The caller holds mu.
func (b *batch) mark(offered bool) {
	b.offered = offered
	for _, s := range b.starts {
		if s.at >= b.sent {
			s.m.offered = offered
		}
	}
}

// fill moves the urgent frames and about one chunk of messages into b, a
// frame of them at least: neither lane can hold the other up. A frame with
// descriptors begins a batch.
func (o *outbox) fill(b *batch) {
	clear(b.starts)
	b.buf, b.sent, b.starts, b.answered, b.fds = b.buf[:0], 0, b.starts[:0], b.answered[:0], nil
	if o.alone = len(o.urgent) > 0 && o.passes() && !o.alone; !o.passes() || o.alone {
		b.buf = append(b.buf, o.urgent...)
		o.urgent = o.urgent[:0]
		if cap(o.urgent) > 4<<10 {
			o.urgent = nil
		}
	}
	for first := true; len(o.msgs) > 0 && (first || len(b.buf) < DefaultChunk); first = false {
		m := o.msgs[0]
		if len(m.fds) > 0 && len(b.buf) > 0 {
			break
		}
		b.fds = append(b.fds, m.fds...)
		m.fds = nil
		if !m.begun {
			m.begun = true
			b.starts = append(b.starts, start{len(b.buf), m})
		}
		b.buf = m.appendFrame(b.buf)
		if !m.whole {
			continue
		}
		o.msgs[0] = nil
		o.msgs = o.msgs[1:]
		switch m.Type {
		case TypeCall:
			if m.cancel {
				b.buf = Header{Type: TypeCancel, ID: m.ID}.append(b.buf)
			}
		case TypeEvent, TypeRetire:
			o.events -= m.sent
		case TypeData:
			o.lessData(cost(len(m.name), m.sent, int(m.NFDs)))
		case TypeResult, TypeError:
			b.answered = append(b.answered, m.ID)
		}
	}
	b.mark(true)
}

// passes reports whether the next frame of a message has descriptors.
func (o *outbox) passes() bool { return len(o.msgs) > 0 && len(o.msgs[0].fds) > 0 }

// appendFrame adds m's next frame to b. Its body is DefaultChunk bytes at
// most, which every peer accepts: larger ones would only make pings wait.
func (m *outgoing) appendFrame(b []byte) []byte {
	h := m.Header
	name := m.name
	if m.sent > 0 {
		name, h.Arg, h.NFDs = nil, 0, 0
	}
	rest := m.payload[m.sent:]
	n := min(len(rest), DefaultChunk-len(name))
	m.whole = n == len(rest)
	if !m.whole {
		h.Flags |= FlagMore
	}
	b = AppendFrame(b, Frame{Header: h, Name: name, Payload: rest[:n]})
	m.sent += n
	if m.whole {
		m.payload = nil
	}
	return b
}

// patience is how many batches a caller writes for others before it leaves the
// rest to a goroutine.
const patience = 8

// flush writes what is queued, as far as that goes without waiting.
func (c *Conn) flush() {
	c.mu.Lock()
	if c.out.writing || c.out.empty() || c.out.failed != nil || c.err != nil {
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
		switch err := c.write(b, false); err {
		case nil:
		case unix.EAGAIN:
			go c.writeLoop(b)
			return
		default:
			c.writeFailed(err)
			c.stopWriting(b)
			return
		}
	}
	go c.writeLoop(b)
}

// writeLoop is the writer that may wait. It goes on with b.
func (c *Conn) writeLoop(b *batch) {
	defer c.stopWriting(b)
	for {
		if err := c.write(b, true); err != nil {
			c.writeFailed(err)
			return
		}
		if !c.nextBatch(b) {
			return
		}
	}
}

// stopWriting ends a writer that has given its part up.
func (c *Conn) stopWriting(b *batch) {
	clear(b.starts)
	closeFDs(b.fds)
	b.fds = nil
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
	c.out.fill(b)
	for _, id := range b.answered { // before the peer can see the answer and call again
		delete(c.serving, id)
	}
	return true
}

// writeFailed ends the writing. When the peer has gone, or has shut its side,
// the reader ends the connection: it finds the peer's last words, but nothing
// that is sent from now on.
func (c *Conn) writeFailed(err error) {
	cause := os.NewSyscallError("sendmsg", err)
	c.mu.Lock()
	fds := c.out.drop()
	c.out.failed = cause
	c.out.writing = false
	c.mu.Unlock()
	closeFDs(fds)
	if err != unix.EPIPE && err != unix.ECONNRESET {
		c.end(cause)
		return
	}
	c.raw.Control(func(fd uintptr) { // it fails only where the reader finds the end anyway
		unix.Shutdown(int(fd), unix.SHUT_RD)
	})
}

// write sends the rest of b. Without wait it stops at EAGAIN.
func (c *Conn) write(b *batch, wait bool) (err error) {
	if b.sent == len(b.buf) {
		return nil
	}
	rawErr := c.raw.Write(func(fd uintptr) bool {
		err = c.send(int(fd), b)
		return err != unix.EAGAIN || !wait
	})
	if rawErr != nil {
		return rawErr
	}
	return err
}

// send gives the socket as much of b as it takes. Whenever it is not at work,
// exactly the messages whose first byte was taken are marked as offered.
func (c *Conn) send(fd int, b *batch) error {
	if !c.offer(b) {
		return ErrClosed
	}
	for b.sent < len(b.buf) {
		var rights []byte
		if len(b.fds) > 0 {
			rights = unix.UnixRights(b.fds...)
		}
		n, err := unix.SendmsgN(fd, b.buf[b.sent:], rights, nil, sendFlags)
		switch err {
		case nil:
			b.sent += n
			closeFDs(b.fds)
			b.fds = nil
		case unix.EINTR:
		default:
			c.mu.Lock()
			b.mark(false)
			c.mu.Unlock()
			return err
		}
	}
	return nil
}

// offer marks the rest of b as offered. False: the connection has ended, and
// what has been said of its calls must stay true.
func (c *Conn) offer(b *batch) bool {
	if b.offered {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	b.mark(true)
	return true
}
