package ipc

import "sync"

// What waits to be written, and how it becomes frames.

// outbox is what waits to be written. It is guarded by Conn.mu.
type outbox struct {
	urgent  []byte        // encoded frames that go ahead of all messages
	asked   int           // bytes among them that answer the peer; what was carried here is not counted
	msgs    queue         // in order; only the first may have been begun
	events  int           // cost of the EVENTs and RETIREs among msgs
	data    int           // cost of the DATAs among msgs
	drained chan struct{} // closed when data has become less; nil while nobody waits for that
	alone   bool          // the last batch was the urgent lane alone, for the sake of descriptors
	many    bool          // the last batch had several messages
	writing bool          // somebody is the writer
	failed  error         // the peer takes nothing more; set once, nothing is written after
	current *batch        // the writer's, for its starts; nil while there is none
}

// outgoing is a message, or frames that keep their place among them, on its way
// out. Its payload belongs to the connection until its last frame is written,
// its descriptors until the first one is.
type outgoing struct {
	Header
	name    string
	payload []byte
	fds     []int
	served  *serving // the call that this answers
	answers int      // Type 0: payload is encoded frames, which answer so many calls
	sent    int      // bytes of payload taken into a batch
	begun   bool     // its first frame was taken into a batch
	whole   bool     // its last frame was taken into a batch; payload is nil
	offered bool     // the peer may have some of it: it is not false while a system call could take its first byte
	cancel  bool     // a CANCEL follows its last frame
	start   int      // where in the current batch's starts it is, if it is there
}

// queue is a list that is added to at its end and mostly taken from its front.
// It does not allocate while its length stays the same.
type queue struct {
	items []*outgoing
	first int
}

func (q *queue) len() int { return len(q.items) - q.first }

func (q *queue) front() *outgoing { return q.items[q.first] }

// waiting is all of it.
func (q *queue) waiting() []*outgoing { return q.items[q.first:] }

func (q *queue) push(m *outgoing) { q.items = append(q.items, m) }

func (q *queue) pop() {
	q.items[q.first] = nil
	q.first++
	switch {
	case q.first == len(q.items):
		q.items, q.first = q.items[:0], 0
		if cap(q.items) > 1<<10 {
			q.items = nil
		}
	case q.first >= 64 && 2*q.first >= len(q.items):
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
}

// remove takes m out wherever it is.
func (q *queue) remove(m *outgoing) {
	for i, other := range q.items[q.first:] {
		if other == m {
			copy(q.items[q.first+1:], q.items[q.first:q.first+i])
			q.pop()
			return
		}
	}
}

// What may wait, in bytes. That answers pile up is the peer's fault alone, so
// what is of this end's own making does not count towards them.
const (
	maxUrgent = 256 << 10     // answers in the urgent lane
	maxOwn    = maxUrgent / 2 // the lane, where a frame that answers nothing joins it
	maxEvents = 256 << 10     // EVENTs among the messages
)

// room reports whether n more bytes of frames may be queued as urgent. A
// single frame always may, however large.
func (o *outbox) room(n, limit int) bool {
	return len(o.urgent) == 0 || len(o.urgent)+n <= limit
}

// drop forgets all that waits. The descriptors of it are the caller's to close.
func (o *outbox) drop() (fds []int) {
	for _, m := range o.msgs.waiting() {
		fds = append(fds, m.fds...)
		m.fds = nil
	}
	o.urgent, o.asked, o.msgs, o.events = nil, 0, queue{}, 0
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

// unread is the breach of a peer that asks and does not read the answers, of
// which n bytes wait.
func (o *outbox) unread(n int) *breach {
	return broke("unread", 0, "%d bytes of answers wait, at most %d may, and the peer does not read them", n, maxUrgent)
}

func (o *outbox) empty() bool { return len(o.urgent) == 0 && o.msgs.len() == 0 }

// withdraw takes m out of the queue if nothing of it has been taken into a
// batch.
func (o *outbox) withdraw(m *outgoing) bool {
	if m.begun {
		return false
	}
	o.msgs.remove(m)
	return true
}

// batch is what one write carries. It belongs to the writer.
type batch struct {
	buf     []byte   // frames, but for large payloads
	cuts    []cut    // large payloads, in order
	parts   [][]byte // buf, with the cuts where they belong; from next on it is still to be written
	next    int
	size    int        // bytes of it all
	sent    int        // bytes that the socket has taken
	starts  []start    // of the calls that begin in it, in order
	offered bool       // all starts from sent on are marked as offered
	served  []*serving // calls of the peer's whose answer ends in it
	answers int        // further ones
	fds     []int      // to go with the first byte, and then to be closed
}

// cut is a payload that is written from where it is.
type cut struct {
	at      int // in batch.buf
	payload []byte
}

// start is where in a batch a call begins. Unlike the rest of a batch it is
// guarded by Conn.mu: a call may be over before the writer is.
type start struct {
	at int
	m  *outgoing // nil once it is over
}

// largePayload is from how many bytes on a payload is not copied into a batch.
const largePayload = 8 << 10

var batches = sync.Pool{New: func() any { return &batch{buf: make([]byte, 0, HeaderSize+DefaultChunk)} }}

func (b *batch) reset() {
	clear(b.cuts)
	clear(b.parts)
	clear(b.starts)
	clear(b.served)
	b.buf, b.cuts, b.size, b.sent, b.starts, b.served, b.answers, b.fds = b.buf[:0], b.cuts[:0], 0, 0, b.starts[:0], b.served[:0], 0, nil
}

// mark notes whether the calls that begin in the rest of b may reach the
// peer. The caller holds mu.
func (b *batch) mark(offered bool) {
	b.offered = offered
	for _, s := range b.starts {
		if s.at >= b.sent && s.m != nil {
			s.m.offered = offered
		}
	}
}

// fullBatch is how many bytes a batch has at least if more are waiting, and one
// frame less at most: what comes into the urgent lane waits for so much.
const fullBatch = 128 << 10

// fill moves the urgent frames and a batch of messages into b, a
// frame of them at least: neither lane can hold the other up. A frame with
// descriptors begins a batch.
func (o *outbox) fill(b *batch) {
	b.reset()
	if o.alone = len(o.urgent) > 0 && o.passes() && !o.alone; !o.passes() || o.alone {
		b.buf = append(b.buf, o.urgent...)
		b.size = len(b.buf)
		o.urgent, o.asked = o.urgent[:0], 0
		if cap(o.urgent) > 4<<10 {
			o.urgent = nil
		}
	}
	n := 0
	for ; o.msgs.len() > 0 && (n == 0 || b.size < fullBatch); n++ {
		m := o.msgs.front()
		if len(m.fds) > 0 && b.size > 0 {
			break
		}
		b.fds, m.fds = append(b.fds, m.fds...), nil
		o.move(m, b)
	}
	o.many = n > 1
	b.assemble()
	b.mark(true)
	o.current = b
}

// letGo has the writer forget m, which is about to be another call's.
func (o *outbox) letGo(m *outgoing) {
	if b := o.current; b != nil && m.start < len(b.starts) && b.starts[m.start].m == m {
		b.starts[m.start].m = nil
	}
}

// move moves m's next frame into b.
func (o *outbox) move(m *outgoing, b *batch) {
	if m.Type == 0 { // frames already
		b.buf = append(b.buf, m.payload...)
		b.size += len(m.payload)
		b.answers += m.answers
		o.msgs.pop()
		m.recycle()
		return
	}
	if !m.begun {
		m.begun = true
		if m.Type == TypeCall {
			m.start = len(b.starts)
			b.starts = append(b.starts, start{b.size, m})
		}
	}
	b.frame(m)
	if !m.whole {
		return
	}
	o.msgs.pop()
	switch m.Type {
	case TypeCall:
		if m.cancel {
			b.buf = Header{Type: TypeCancel, ID: m.ID}.append(b.buf)
			b.size += HeaderSize
		}
	case TypeEvent, TypeRetire:
		o.events -= cost(len(m.name), m.sent, 0)
	case TypeData:
		o.lessData(cost(len(m.name), m.sent, int(m.NFDs)))
	case TypeResult, TypeError:
		b.served = append(b.served, m.served)
	}
}

// passes reports whether the next frame of a message has descriptors.
func (o *outbox) passes() bool { return o.msgs.len() > 0 && len(o.msgs.front().fds) > 0 }

// frame adds m's next frame to b. Its body is DefaultChunk bytes at most, which
// every peer accepts: larger ones would only make pings wait.
func (b *batch) frame(m *outgoing) {
	h, name := m.Header, m.name
	if m.sent > 0 {
		name, h.Arg, h.NFDs = "", 0, 0
	}
	rest := m.payload[m.sent:]
	n := min(len(rest), DefaultChunk-len(name))
	m.whole = n == len(rest)
	if !m.whole {
		h.Flags |= FlagMore
	}
	h.NLen, h.Length = uint16(len(name)), uint32(len(name)+n)
	b.buf = h.append(b.buf)
	b.buf = append(b.buf, name...)
	if n < largePayload {
		b.buf = append(b.buf, rest[:n]...)
	} else {
		b.cuts = append(b.cuts, cut{len(b.buf), rest[:n]})
	}
	b.size += HeaderSize + int(h.Length)
	m.sent += n
	if m.whole {
		m.payload = nil
	}
}

// assemble puts buf and the cuts in order.
func (b *batch) assemble() {
	b.parts, b.next = b.parts[:0], 0
	from := 0
	for _, c := range b.cuts {
		b.parts = append(b.parts, b.buf[from:c.at], c.payload)
		from = c.at
	}
	if from < len(b.buf) {
		b.parts = append(b.parts, b.buf[from:])
	}
}

// took notes that the socket has taken n bytes.
func (b *batch) took(n int) {
	b.sent += n
	for n > 0 {
		if n < len(b.parts[b.next]) {
			b.parts[b.next] = b.parts[b.next][n:]
			return
		}
		n -= len(b.parts[b.next])
		b.next++
	}
}

// replies are recycled, with the memory of their payload.
var replies = sync.Pool{New: func() any { return &outgoing{} }}

func (m *outgoing) recycle() {
	*m = outgoing{payload: m.payload[:0]}
	replies.Put(m)
}
