package ipc

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Calls of this end's.

// pending is a call of ours. Its fields are guarded by Conn.mu. It is recycled
// once the call is over and its caller has the answer.
type pending struct {
	command string
	streams bool // it is CallStream's, else the pieces are joined
	msg     outgoing
	buf     []byte        // for the answer's payload; nil once that is coming in
	wake    chan struct{} // has room for one: something below has come
	done    bool          // the answer is there, or about to be: wake will tell
	given   bool          // given up: its terminal frame is awaited, and nobody waits
	answer  answer
	stream  *inflow // nil until a piece has come
}

type answer struct {
	msg Message
	err error
}

var pendings = sync.Pool{New: func() any { return &pending{wake: make(chan struct{}, 1)} }}

func (p *pending) recycle() {
	select {
	case <-p.wake: // for pieces that were dropped
	default:
	}
	*p = pending{wake: p.wake}
	pendings.Put(p)
}

func (p *pending) signal() {
	select {
	case p.wake <- struct{}{}:
	default: // it will find this too
	}
}

// Call sends a command and waits for its outcome. ctx's deadline goes along,
// and the callee is told when ctx ends first. Every error is a *[CallError].
// m.Payload must not be written to again if that is canceled, timeout or lost:
// some of the message may still be sent after Call has returned. If the answer is
// streamed, its pieces are put together and what else the callee tells on the
// way is dropped.
func (c *Conn) Call(ctx context.Context, command string, m Message) (Message, error) {
	return c.CallInto(ctx, command, m, nil)
}

// CallInto is Call that takes over buf for the answer's payload, or for a later
// one's: who passes the payload it got at the last call does not allocate. buf
// is not the caller's any more, whatever comes of the call.
func (c *Conn) CallInto(ctx context.Context, command string, m Message, buf []byte) (Message, error) {
	p, err := c.begin(ctx, command, m, buf, false)
	if err != nil {
		return Message{}, err
	}
	if over := ctx.Done(); over == nil {
		<-p.wake
	} else {
		select {
		case <-p.wake:
		case <-over:
			return c.abandon(p, ctxCode(ctx))
		}
	}
	a := p.answer
	if !p.given { // by the reader: it is still among the calls
		p.recycle()
	}
	return a.msg, a.err
}

// CallStream is Call for an answer that comes in pieces. piece is called for
// each in order, on this goroutine; the next ones are held back while it runs,
// at most 256 KiB of them here, the rest at the callee. Its error cancels the
// call and is returned.
func (c *Conn) CallStream(ctx context.Context, command string, m Message, piece func(Piece) error) (Message, error) {
	p, err := c.begin(ctx, command, m, nil, true)
	if err != nil {
		return Message{}, err
	}
	for {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return c.abandon(p, ctxCode(ctx))
		}
		for {
			got, ok := c.takePiece(p)
			if !ok {
				break
			}
			if err := piece(got.Piece); err != nil {
				if m, cerr := c.abandon(p, ErrCanceled); cerr == nil {
					m.CloseFiles()
				}
				return Message{}, err
			}
			c.grant(p, got.cost)
			if ctx.Err() != nil {
				return c.abandon(p, ctxCode(ctx))
			}
		}
		c.mu.Lock()
		over := p.done && (p.stream == nil || len(p.stream.queue) == 0)
		c.mu.Unlock()
		if over {
			return p.answer.msg, p.answer.err
		}
	}
}

// begin registers a call and sends its message.
func (c *Conn) begin(ctx context.Context, command string, m Message, buf []byte, streams bool) (*pending, error) {
	if !ValidName(command) {
		return nil, notBegun(command, ErrUnknownCommand, fmt.Sprintf("a command's name is 1 to %d bytes of printable ASCII without spaces, got %q", maxName, command))
	}
	select {
	case <-c.greeted:
	default:
		if err := c.awaitHello(ctx, command); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, notBegun(command, ctxCode(ctx), "the time was up before it was sent")
	}
	var arg uint32
	if deadline, ok := ctx.Deadline(); ok {
		arg = max(1, millis(time.Until(deadline)))
	}
	fds, err := c.duplicates(m.Files)
	if err != nil {
		return nil, notBegun(command, ErrFailed, err.Error())
	}
	p := pendings.Get().(*pending)
	p.command, p.buf, p.streams = command, buf, streams
	p.msg = outgoing{
		Header: Header{Type: TypeCall, Arg: arg, NFDs: uint8(len(fds)), Codec: m.Codec}, name: command, payload: m.Payload, fds: fds,
	}
	c.mu.Lock()
	if code, text := c.sendableCall(m); code != "" {
		c.mu.Unlock()
		closeFDs(fds)
		p.recycle()
		return nil, notBegun(command, code, text)
	}
	for c.nextID == 0 || c.calls.get(c.nextID) != nil {
		c.nextID += 2
	}
	p.msg.ID = c.nextID
	c.nextID += 2
	c.calls.put(p.msg.ID, p)
	c.out.msgs.push(&p.msg)
	led := c.lead()
	c.mu.Unlock()
	if led {
		c.writeTogether()
	}
	return p, nil
}

func notBegun(command string, code Code, text string) *CallError {
	return &CallError{Command: command, Code: code, Message: text, Started: StartedNo}
}

func (c *Conn) awaitHello(ctx context.Context, command string) error {
	select {
	case <-c.greeted:
	case <-c.ctx.Done():
	case <-ctx.Done():
		return notBegun(command, ctxCode(ctx), "the peer has not said HELLO yet")
	}
	return nil
}

// sendableCall is why a call can't be sent now, or "". The caller holds mu.
func (c *Conn) sendableCall(m Message) (code Code, text string) {
	switch {
	case c.err != nil:
		return ErrLost, fmt.Sprintf("the connection has ended: %v", c.err)
	case m.Codec > CodecText:
		return ErrFailed, m.Codec.String()
	case c.drained:
		return ErrUnavailable, "draining"
	case len(m.Payload) > c.peer.MaxMessage:
		return ErrTooLarge, fmt.Sprintf("%d bytes, the peer accepts %d", len(m.Payload), c.peer.MaxMessage)
	case len(m.Files) > c.peer.FDs:
		return ErrTooLarge, fmt.Sprintf("%d descriptors, the peer accepts %d", len(m.Files), c.peer.FDs)
	case c.calls.n >= min(c.peer.MaxInflight, maxOpen):
		return ErrOverloaded, fmt.Sprintf("%d calls are open, as many as the peer accepts", c.calls.n)
	}
	return "", ""
}

// abandon gives a call up, unless its answer is there already: it is withdrawn
// if nothing of it was sent, else the callee is told and the entry stays until
// its terminal frame comes.
func (c *Conn) abandon(p *pending, code Code) (Message, error) {
	c.mu.Lock()
	if p.done {
		return c.tooLate(p, code)
	}
	unseen := p.stream.drop()
	e := &CallError{Command: p.command, Code: code}
	fds := c.giveUp(p, e)
	led := c.lead()
	c.mu.Unlock()
	closeFDs(fds)
	closePieces(unseen)
	if led {
		c.write()
	}
	return Message{}, e
}

// tooLate is abandon for a call whose answer is there already. It is not one
// without the pieces that CallStream's caller has not seen; those that are to
// be joined are the reader's until wake tells. It lets go of mu.
func (c *Conn) tooLate(p *pending, code Code) (Message, error) {
	var unseen []due
	if p.streams {
		unseen = p.stream.drop()
	}
	c.mu.Unlock()
	closePieces(unseen)
	if !p.streams {
		<-p.wake
	}
	if len(unseen) > 0 && p.answer.err == nil {
		p.answer.msg.CloseFiles()
		return Message{}, &CallError{Command: p.command, Code: code, Message: "given up before all pieces of the answer were taken", Started: StartedYes}
	}
	return p.answer.msg, p.answer.err
}

// giveUp does the work of abandon and fills e in. It returns what is to be
// closed. The caller holds mu.
func (c *Conn) giveUp(p *pending, e *CallError) (fds []int) {
	p.given = true
	switch {
	case c.out.withdraw(&p.msg):
		c.calls.remove(p.msg.ID)
		e.Started = StartedNo
		e.Message = "given up before it was sent"
		return p.msg.fds
	case !p.msg.whole:
		p.msg.cancel = true
		e.Message = "given up while it was being sent"
	default:
		e.Message = "given up; the worker was told, but may still be at it"
		c.out.urgent = Header{Type: TypeCancel, ID: p.msg.ID}.append(c.out.urgent)
	}
	if p.stream != nil {
		e.Started = StartedYes
	}
	return nil
}

// finish delivers a call's terminal frame. own says that the payload is not in
// the reader's buffer. It is only called by the reader.
func (c *Conn) finish(id uint32, a answer, own bool) *breach {
	c.mu.Lock()
	br := c.answerable(id)
	p := c.calls.get(id)
	if br == nil {
		c.calls.remove(id)
	}
	if br != nil || p == nil || p.given { // nil: the connection has ended
		c.mu.Unlock()
		a.msg.CloseFiles()
		return br
	}
	c.out.letGo(&p.msg)
	p.done = true
	c.woke++
	if p.streams { // done means settled to CallStream
		defer c.mu.Unlock()
	} else {
		c.mu.Unlock()
	}
	if !own {
		a.msg.Payload = append(p.buf[:0], a.msg.Payload...)
	}
	p.settle(a, c.maxMessage)
	return nil
}

// settle gives a call that is done its outcome; p may be gone then. The caller
// is the reader, or holds mu.
func (p *pending) settle(a answer, maxMessage int) {
	if e, ok := a.err.(*CallError); ok {
		e.Command = p.command
		if p.stream != nil { // whatever it says: a piece has been seen
			e.Started = StartedYes
		}
	}
	if a.err == nil && p.stream != nil && p.stream.joined.any {
		a = p.stream.join(a.msg, maxMessage)
	}
	p.answer = a
	p.signal()
}

// answerable checks that an answer to id may come: its call was sent whole and
// was not answered. The caller holds mu.
func (c *Conn) answerable(id uint32) *breach {
	if p := c.calls.get(id); c.err == nil && (p == nil || !p.msg.whole) {
		return broke("answer", 8, "an answer to call %d, which is not open", id)
	}
	return nil
}

// lost is the outcome of a call whose connection ended. The caller holds mu,
// and Conn.err is set: what has not been offered by now never will be.
func lost(p *pending, cause error) *CallError {
	e := &CallError{Command: p.command, Code: ErrLost, Message: "the connection ended: " + cause.Error()}
	if !p.msg.offered {
		e.Started = StartedNo
	}
	return e
}

// Open is how many of this end's calls wait for their terminal frame, those
// given up included: the peer may still be at work on them.
func (c *Conn) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls.n
}
