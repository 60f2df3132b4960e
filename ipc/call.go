package ipc

import (
	"context"
	"fmt"
	"time"
)

// Calls of this end's.

// pending is a call of ours. Its fields are guarded by Conn.mu.
type pending struct {
	command string
	msg     *outgoing
	wake    chan struct{} // has room for one: something below has come
	done    bool          // answer is there
	given   bool          // given up: its terminal frame is awaited, and nobody waits
	answer  answer
	stream  inflow
}

type answer struct {
	msg Message
	err error
}

func (p *pending) signal() {
	select {
	case p.wake <- struct{}{}:
	default: // it will find this too
	}
}

// Call sends a command and waits for its outcome. ctx's deadline goes along,
// and the callee is told when ctx ends first. Every error is a *[CallError].
// m.Payload must not be written to again: some of a call that is given up may
// still be sent after Call has returned. If the answer is streamed, its pieces
// are put together and what else the callee tells on the way is dropped.
func (c *Conn) Call(ctx context.Context, command string, m Message) (Message, error) {
	id, p, err := c.begin(ctx, command, m, false)
	if err != nil {
		return Message{}, err
	}
	c.flush()
	select {
	case <-p.wake:
		return p.answer.msg, p.answer.err
	case <-ctx.Done():
		return c.abandon(id, p, ctxCode(ctx))
	}
}

// CallInto is Call with buf for the answer's payload, if that has room for it.
func (c *Conn) CallInto(ctx context.Context, command string, m Message, buf []byte) (Message, error) {
	return c.Call(ctx, command, m)
}

// CallStream is Call for an answer that comes in pieces. piece is called for
// each in order, on this goroutine; the next ones are held back while it runs,
// at most 256 KiB of them here, the rest at the callee. Its error cancels the
// call and is returned.
func (c *Conn) CallStream(ctx context.Context, command string, m Message, piece func(Piece) error) (Message, error) {
	id, p, err := c.begin(ctx, command, m, true)
	if err != nil {
		return Message{}, err
	}
	c.flush()
	for {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return c.abandon(id, p, ctxCode(ctx))
		}
		for {
			got, ok := c.takePiece(p)
			if !ok {
				break
			}
			if err := piece(got.Piece); err != nil {
				if m, cerr := c.abandon(id, p, ErrCanceled); cerr == nil {
					m.CloseFiles()
				}
				return Message{}, err
			}
			c.grant(id, p, got.cost)
			if ctx.Err() != nil {
				return c.abandon(id, p, ctxCode(ctx))
			}
		}
		c.mu.Lock()
		over := p.done && len(p.stream.queue) == 0
		c.mu.Unlock()
		if over {
			return p.answer.msg, p.answer.err
		}
	}
}

// begin registers a call and queues its message.
func (c *Conn) begin(ctx context.Context, command string, m Message, stream bool) (uint32, *pending, error) {
	refuse := func(code Code, format string, args ...any) (uint32, *pending, error) {
		return 0, nil, &CallError{Command: command, Code: code, Message: fmt.Sprintf(format, args...), Started: StartedNo}
	}
	if !ValidName(command) {
		return refuse(ErrUnknownCommand, "a command's name is 1 to %d bytes of printable ASCII without spaces, got %q", maxName, command)
	}
	select {
	case <-c.greeted:
	case <-c.ctx.Done():
	case <-ctx.Done():
		return refuse(ctxCode(ctx), "the peer has not said HELLO yet")
	}
	if ctx.Err() != nil {
		return refuse(ctxCode(ctx), "the time was up before it was sent")
	}
	var arg uint32
	if deadline, ok := ctx.Deadline(); ok {
		arg = max(1, millis(time.Until(deadline)))
	}
	fds, err := c.duplicates(m.Files)
	if err != nil {
		return refuse(ErrFailed, "%v", err)
	}
	c.mu.Lock()
	var code Code
	var text string
	switch {
	case c.err != nil:
		code, text = ErrLost, fmt.Sprintf("the connection has ended: %v", c.err)
	case m.Codec > CodecText:
		code, text = ErrFailed, m.Codec.String()
	case c.drained:
		code, text = ErrUnavailable, "draining"
	case len(m.Payload) > c.peer.MaxMessage:
		code, text = ErrTooLarge, fmt.Sprintf("%d bytes, the peer accepts %d", len(m.Payload), c.peer.MaxMessage)
	case len(fds) > c.peer.FDs:
		code, text = ErrTooLarge, fmt.Sprintf("%d descriptors, the peer accepts %d", len(fds), c.peer.FDs)
	case len(c.calls) >= min(c.peer.MaxInflight, maxOpen):
		code, text = ErrOverloaded, fmt.Sprintf("%d calls are open, as many as the peer accepts", len(c.calls))
	}
	if code != "" {
		c.mu.Unlock()
		closeFDs(fds)
		return refuse(code, "%s", text)
	}
	defer c.mu.Unlock()
	for c.nextID == 0 || c.calls[c.nextID] != nil {
		c.nextID += 2
	}
	id := c.nextID
	c.nextID += 2
	p := &pending{
		command: command, wake: make(chan struct{}, 1), stream: inflow{wanted: stream, credit: firstCredit},
		msg: &outgoing{
			Header: Header{Type: TypeCall, ID: id, Arg: arg, NFDs: uint8(len(fds)), Codec: m.Codec}, name: []byte(command), payload: m.Payload, fds: fds,
		},
	}
	c.calls[id] = p
	c.out.msgs = append(c.out.msgs, p.msg)
	return id, p, nil
}

// abandon gives a call up, unless its answer is there already: it is withdrawn
// if nothing of it was sent, else the callee is told and the entry stays until
// its terminal frame comes.
func (c *Conn) abandon(id uint32, p *pending, code Code) (Message, error) {
	c.mu.Lock()
	unseen := p.stream.drop()
	if p.done {
		c.mu.Unlock()
		closePieces(unseen)
		return p.answer.msg, p.answer.err
	}
	e := &CallError{Command: p.command, Code: code}
	fds := c.giveUp(id, p, e)
	c.mu.Unlock()
	closeFDs(fds)
	closePieces(unseen)
	c.flush()
	return Message{}, e
}

// giveUp does the work of abandon and fills e in. It returns what is to be
// closed. The caller holds mu.
func (c *Conn) giveUp(id uint32, p *pending, e *CallError) (fds []int) {
	p.given = true
	switch {
	case c.out.withdraw(p.msg):
		delete(c.calls, id)
		e.Started = StartedNo
		e.Message = "given up before it was sent"
		return p.msg.fds
	case !p.msg.whole:
		p.msg.cancel = true
		e.Message = "given up while it was being sent"
	default:
		e.Message = "given up; the worker was told, but may still be at it"
		c.out.urgent = Header{Type: TypeCancel, ID: id}.append(c.out.urgent)
	}
	if p.stream.begun {
		e.Started = StartedYes
	}
	return nil
}

// finish delivers a call's terminal frame.
func (c *Conn) finish(id uint32, a answer) *breach {
	c.mu.Lock()
	br := c.answerable(id)
	p := c.calls[id]
	if br != nil || p == nil { // nil: the connection has ended
		c.mu.Unlock()
		a.msg.CloseFiles()
		return br
	}
	delete(c.calls, id)
	if p.given {
		c.mu.Unlock()
		a.msg.CloseFiles()
		return nil
	}
	p.settle(a, c.maxMessage)
	c.mu.Unlock()
	return nil
}

// settle gives a call its outcome. The caller holds mu.
func (p *pending) settle(a answer, maxMessage int) {
	if e, ok := a.err.(*CallError); ok {
		e.Command = p.command
		if p.stream.begun { // whatever it says: a piece has been seen
			e.Started = StartedYes
		}
	}
	if a.err == nil && p.stream.joined.any {
		a = p.stream.join(a.msg, maxMessage)
	}
	p.answer, p.done = a, true
	p.signal()
}

// answerable checks that an answer to id may come: its call was sent whole and
// was not answered. The caller holds mu.
func (c *Conn) answerable(id uint32) *breach {
	if p := c.calls[id]; c.err == nil && (p == nil || !p.msg.whole) {
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
	return len(c.calls)
}
