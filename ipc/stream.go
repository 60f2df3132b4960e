package ipc

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
)

// Streams: DATA frames from the callee, bounded by credit that the caller
// grants with WINDOW.

// Piece is a part of an answer that comes in several, or something that the
// callee tells on the way.
type Piece struct {
	Name string // "": a piece of the answer; "progress" carries a [Progress]; others are the worker's own
	Message
}

// Progress is what a piece named "progress" carries as JSON.
type Progress struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total,omitempty"` // 0: not known
	Text  string `json:"text,omitempty"`
}

const (
	firstCredit = 256 << 10     // bytes of DATA that a call may send before it is granted more
	maxCredit   = math.MaxInt32 // that a call may have left
	grantFrom   = 64 << 10      // consumed bytes that are worth a WINDOW; what is left always fits one DATA
	fdCost      = 4 << 10       // a descriptor's cost, so that credit bounds those too
	maxData     = 1 << 20       // bytes of DATA that wait to be written, of all calls
)

// cost is what a DATA takes of the credit.
func cost(nlen, payload, fds int) int { return HeaderSize + nlen + payload + fdCost*fds }

// inflow is what has come of a call's stream: there is one once a piece has
// come, and so the call has started. It is guarded by Conn.mu.
type inflow struct {
	credit int   // that the callee has left
	owed   int   // consumed and not granted again
	queue  []due // pieces that wait for CallStream
	joined struct {
		any   bool
		codec Codec
		buf   []byte
	}
}

// due is a piece and its cost.
type due struct {
	Piece
	cost int
}

// drop forgets what waits and returns it.
func (s *inflow) drop() []due {
	if s == nil {
		return nil
	}
	queue := s.queue
	s.queue, s.joined.buf = nil, nil
	return queue
}

func closePieces(all []due) {
	for _, d := range all {
		d.CloseFiles()
	}
}

// join puts the pieces in front of the answer.
func (s *inflow) join(m Message, maxMessage int) answer {
	if len(s.joined.buf)+len(m.Payload) > maxMessage {
		m.CloseFiles()
		return answer{err: tooMuch(maxMessage)}
	}
	if len(m.Payload) == 0 {
		m.Codec = s.joined.codec
	}
	m.Payload = append(s.joined.buf, m.Payload...)
	return answer{msg: m}
}

func tooMuch(maxMessage int) *CallError {
	return &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("the pieces of the answer are more than %d bytes together", maxMessage), Started: StartedYes}
}

// acceptData takes a piece. It is only called by the reader.
func (c *Conn) acceptData(f Frame) *breach {
	files := c.arrived.take()
	c.mu.Lock()
	br, unused := c.addPiece(f, files)
	c.mu.Unlock()
	if unused {
		Message{Files: files}.CloseFiles()
	}
	return br
}

// addPiece holds a piece against the credit and keeps it. unused: not with its
// files. The caller holds mu.
func (c *Conn) addPiece(f Frame, files []*os.File) (br *breach, unused bool) {
	if br := c.answerable(f.ID); br != nil {
		return br, true
	}
	p := c.calls.get(f.ID)
	if p == nil { // the connection has ended
		return nil, true
	}
	if p.stream == nil {
		p.stream = &inflow{credit: firstCredit}
	}
	s, n := p.stream, cost(len(f.Name), len(f.Payload), len(files))
	if n > s.credit {
		return broke("credit", 4, "a DATA that costs %d, call %d has %d left", n, f.ID, s.credit), true
	}
	s.credit -= n
	switch {
	case p.given:
		return nil, true
	case p.streams:
		s.queue = append(s.queue, due{Piece{string(f.Name), Message{f.Codec, bytes.Clone(f.Payload), files}}, n})
		p.signal()
		c.woke++
		return nil, false
	case len(f.Name) == 0 && len(s.joined.buf)+len(f.Payload) > c.maxMessage:
		e := tooMuch(c.maxMessage)
		c.giveUp(p, e)
		e.Message, e.Command = tooMuch(c.maxMessage).Message, p.command
		s.drop()
		p.answer, p.done = answer{err: e}, true
		p.signal()
		c.woke++
		return nil, true
	case len(f.Name) == 0:
		if !s.joined.any {
			s.joined.any, s.joined.codec = true, f.Codec
		}
		s.joined.buf = append(s.joined.buf, f.Payload...)
	}
	return c.credit(f.ID, s, n), true
}

// credit returns what was consumed to the callee, much at a time. The caller
// holds mu and flushes.
func (c *Conn) credit(id uint32, s *inflow, n int) *breach {
	if s.owed += n; s.owed < grantFrom {
		return nil
	}
	if !c.out.room(HeaderSize, maxUrgent+c.ownCallFrames()) {
		return c.out.unread(len(c.out.urgent))
	}
	c.out.urgent = Header{Type: TypeWindow, ID: id, Arg: uint32(s.owed)}.append(c.out.urgent)
	s.credit += s.owed
	s.owed = 0
	return nil
}

// ownCallFrames is how many bytes of WINDOW and CANCEL of this end's calls may
// wait besides the rest of the urgent lane. A peer that keeps to its credit does
// not bring about more: until it reads, what it sends for a call is bounded by
// the credit that it has. And a CALL is written behind what waits there, but for
// one with descriptors, which may pass it once; so those calls are at most twice
// as many as the peer accepts.
func (c *Conn) ownCallFrames() int {
	const each = (firstCredit/grantFrom + 1) * HeaderSize
	return 2 * each * min(c.peer.MaxInflight, maxOpen)
}

// takePiece takes the next piece that waits for CallStream.
func (c *Conn) takePiece(p *pending) (due, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.stream == nil || len(p.stream.queue) == 0 {
		return due{}, false
	}
	q := p.stream.queue
	d := q[0]
	q[0] = due{}
	p.stream.queue = q[1:]
	return d, true
}

// grant returns the credit of a piece that CallStream's caller has dealt with.
func (c *Conn) grant(p *pending, n int) {
	id := p.msg.ID
	c.mu.Lock()
	if c.err == nil && !p.done {
		c.credit(id, p.stream, n) // no room: it has sent more than it was granted, and may wait
	}
	c.mu.Unlock()
	c.flush()
}

// acceptWindow takes credit for a call of the peer's.
func (c *Conn) acceptWindow(f Frame) *breach {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.serving.get(f.ID)
	if s == nil { // it has crossed the terminal frame
		return nil
	}
	if s.credit += int64(f.Arg); s.credit > maxCredit {
		return broke("window", 12, "call %d has credit for %d bytes with this, at most %d may be left", f.ID, s.credit, maxCredit)
	}
	if s.granted != nil {
		close(s.granted)
		s.granted = nil
	}
	return nil
}

// Send sends a piece ahead of the answer. It waits until the caller takes it,
// and fails when ctx, which is the handler's, ends first. The piece is copied.
func (call *Call) Send(ctx context.Context, p Piece) error {
	c := call.conn
	switch {
	case c == nil:
		return fmt.Errorf("ipc: Send: this call was not received from a connection")
	case p.Name != "" && !ValidName(p.Name):
		return fmt.Errorf("ipc: a piece's name %q: up to %d bytes of printable ASCII without spaces", p.Name, maxName)
	case p.Codec > CodecText:
		return fmt.Errorf("ipc: a piece in %v", p.Codec)
	case len(p.Name)+len(p.Payload) > DefaultChunk:
		return &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("a piece of %d bytes, at most %d", len(p.Name)+len(p.Payload), DefaultChunk), Started: StartedYes}
	}
	if peer, _ := c.Peer(); len(p.Files) > peer.FDs {
		return &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("a piece with %d descriptors, the caller accepts %d", len(p.Files), peer.FDs), Started: StartedYes}
	}
	fds, err := c.duplicates(p.Files)
	if err != nil {
		return err
	}
	out := &outgoing{Header: Header{Type: TypeData, NFDs: uint8(len(fds)), Codec: p.Codec}, name: p.Name, payload: bytes.Clone(p.Payload), fds: fds}
	if err := c.queuePiece(ctx, call, out); err != nil {
		closeFDs(fds)
		return err
	}
	if !call.inline {
		c.flush()
	}
	return nil
}

// queuePiece waits for credit, and for room in the outbox.
func (c *Conn) queuePiece(ctx context.Context, call *Call, out *outgoing) error {
	n := cost(len(out.name), len(out.payload), len(out.fds))
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.mu.Lock()
		var more chan struct{}
		s := call.serving
		switch {
		case c.err != nil || c.out.failed != nil:
			c.mu.Unlock()
			return &CallError{Code: ErrLost, Message: "the connection has ended", Started: StartedYes}
		case s == nil:
			c.mu.Unlock()
			return fmt.Errorf("ipc: a piece after the answer")
		case s.credit < int64(n):
			more = waitFor(&s.granted)
		case c.out.data > 0 && c.out.data+n > maxData:
			more = waitFor(&c.out.drained)
		default:
			s.credit -= int64(n)
			c.out.data += n
			out.ID = s.id
			c.out.msgs.push(out)
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		if call.inline {
			return &CallError{Code: ErrOverloaded, Message: "the caller takes no more for now, and an inline handler can't wait", Started: StartedYes}
		}
		select {
		case <-more:
		case <-ctx.Done():
		case <-c.ctx.Done():
		}
	}
}

// waitFor is a channel that is closed at the next event of its kind.
func waitFor(ch *chan struct{}) chan struct{} {
	if *ch == nil {
		*ch = make(chan struct{})
	}
	return *ch
}
