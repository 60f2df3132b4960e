package ipc

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Call sends a command and waits for its outcome. ctx's deadline goes along,
// and the callee is told when ctx ends first. Every error is a *[CallError].
// m.Payload must not be written to again: some of a call that is given up may
// still be sent after Call has returned.
func (c *Conn) Call(ctx context.Context, command string, m Message) (Message, error) {
	id, p, err := c.begin(ctx, command, m)
	if err != nil {
		return Message{}, err
	}
	c.flush()
	select {
	case a := <-p.answer:
		return a.msg, a.err
	case <-ctx.Done():
		return c.abandon(id, p, ctxCode(ctx))
	}
}

// begin registers a call and queues its message.
func (c *Conn) begin(ctx context.Context, command string, m Message) (uint32, *pending, error) {
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
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return refuse(ErrLost, "the connection has ended: %v", c.err)
	case m.Codec > CodecText:
		return refuse(ErrFailed, "%v", m.Codec)
	case c.drained:
		return refuse(ErrUnavailable, "draining")
	case len(m.Payload) > c.peer.MaxMessage:
		return refuse(ErrTooLarge, "%d bytes, the peer accepts %d", len(m.Payload), c.peer.MaxMessage)
	case len(c.calls) >= min(c.peer.MaxInflight, maxOpen):
		return refuse(ErrOverloaded, "%d calls are open, as many as the peer accepts", len(c.calls))
	}
	for c.nextID == 0 || c.calls[c.nextID] != nil {
		c.nextID += 2
	}
	id := c.nextID
	c.nextID += 2
	p := &pending{command: command, answer: make(chan answer, 1), msg: &outgoing{
		Header: Header{Type: TypeCall, ID: id, Arg: arg, Codec: m.Codec}, name: []byte(command), payload: m.Payload,
	}}
	c.calls[id] = p
	c.out.msgs = append(c.out.msgs, p.msg)
	return id, p, nil
}

// abandon gives a call up, unless its answer is there already: it is withdrawn
// if nothing of it was sent, else the callee is told and the entry stays until
// its terminal frame comes.
func (c *Conn) abandon(id uint32, p *pending, code Code) (Message, error) {
	c.mu.Lock()
	select {
	case a := <-p.answer:
		c.mu.Unlock()
		return a.msg, a.err
	default:
	}
	p.answer = nil
	e := &CallError{Command: p.command, Code: code}
	switch {
	case c.out.withdraw(p.msg):
		delete(c.calls, id)
		e.Started = StartedNo
		e.Message = "given up before it was sent"
	case !p.msg.whole:
		p.msg.cancel = true
		e.Message = "given up while it was being sent"
	default:
		e.Message = "given up; the worker was told, but may still be at it"
		c.out.urgent = Header{Type: TypeCancel, ID: id}.append(c.out.urgent)
	}
	c.mu.Unlock()
	c.flush()
	return Message{}, e
}

// finish delivers a call's terminal frame.
func (c *Conn) finish(id uint32, a answer) *breach {
	c.mu.Lock()
	defer c.mu.Unlock()
	if br := c.answerable(id); br != nil {
		return br
	}
	p := c.calls[id]
	delete(c.calls, id)
	if p == nil || p.answer == nil { // the connection has ended, or the call was given up
		return nil
	}
	if e, ok := a.err.(*CallError); ok {
		e.Command = p.command
	}
	p.answer <- a
	return nil
}

// answerable checks that an answer to id may come: its call was sent whole and
// was not answered. The caller holds mu.
func (c *Conn) answerable(id uint32) *breach {
	if p := c.calls[id]; c.err == nil && (p == nil || !p.msg.whole) {
		return broke("answer", 8, "an answer to call %d, which is not open", id)
	}
	return nil
}

// Inflight is how many of the peer's calls are at work, and since when the
// oldest.
func (c *Conn) Inflight() (n int, oldest time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.serving {
		if s.answered {
			continue
		}
		if n == 0 || s.started.Before(oldest) {
			oldest = s.started
		}
		n++
	}
	return n, oldest
}

// Open is how many of this end's calls wait for their terminal frame, those
// given up included: the peer may still be at work on them.
func (c *Conn) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}

// checkCallID holds the id of a CALL against the rules.
func (c *Conn) checkCallID(id uint32) *breach {
	peer := c.cfg.Role.peer()
	if id%2 != uint32(peer)%2 {
		return broke("call-id", 8, "the %v's calls have ids like %d, got %d", peer, peer, id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serving[id] != nil {
		return broke("call-id", 8, "call %d is still open", id)
	}
	return nil
}

// serve starts the handler of a call, or refuses it. It is only called by the
// reader.
func (c *Conn) serve(id uint32, arg uint32, call *Call) *breach {
	received := time.Now()
	c.mu.Lock()
	var refusal *CallError
	switch {
	case c.err != nil:
		c.mu.Unlock()
		return nil
	case c.refusing:
		refusal = &CallError{Code: ErrUnavailable, Message: "draining", Started: StartedNo}
	case len(c.serving) >= c.maxInflight:
		refusal = &CallError{Code: ErrOverloaded, Message: fmt.Sprintf("%d calls are open", len(c.serving)), Started: StartedNo}
	case c.cfg.Handler == nil:
		refusal = &CallError{Code: ErrUnknownCommand, Message: "no commands are served here", Started: StartedNo}
	}
	if refusal != nil {
		c.mu.Unlock()
		return c.reply(errorFrame(id, refusal))
	}
	ctx, cancel := context.WithCancelCause(c.ctx)
	c.serving[id] = &serving{cancel: cancel, started: received}
	c.mu.Unlock()
	go c.work(ctx, id, arg, received, call)
	return nil
}

// reply puts a short answer ahead of all messages. It is only called by the
// reader.
func (c *Conn) reply(f Frame) *breach {
	b := AppendFrame(nil, f)
	c.mu.Lock()
	room := c.out.room(len(b), maxUrgent)
	if room && c.err == nil {
		c.out.urgent = append(c.out.urgent, b...)
	}
	c.mu.Unlock()
	if !room {
		return broke("unread", 0, "more than %d bytes of answers wait and the peer does not read them", maxUrgent-len(b))
	}
	c.flush()
	return nil
}

// errNoReturn is the answer of a handler that has ended its goroutine.
var errNoReturn = errors.New("the command's handler did not return")

// work runs the handler and sends the call's one terminal frame.
func (c *Conn) work(ctx context.Context, id, arg uint32, received time.Time, call *Call) {
	if arg > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, received.Add(time.Duration(arg)*time.Millisecond))
		defer stop()
	}
	m, err := Message{}, errNoReturn
	defer func() {
		if err == nil {
			err = c.sendable(m)
		}
		out := &outgoing{Header: Header{Type: TypeResult, ID: id, Codec: m.Codec}, payload: m.Payload}
		if err != nil {
			f := errorFrame(id, toCallError(ctx, err))
			out = &outgoing{Header: f.Header, name: f.Name, payload: f.Payload}
		}
		c.answer(out)
	}()
	m, err = c.cfg.Handler(ctx, call)
}

// sendable is what is wrong with a handler's answer. The peer has said HELLO.
func (c *Conn) sendable(m Message) error {
	peer, _ := c.Peer()
	switch {
	case len(m.Payload) > peer.MaxMessage:
		return &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("the answer is %d bytes, the caller accepts %d", len(m.Payload), peer.MaxMessage), Started: StartedYes}
	case m.Codec > CodecText:
		return fmt.Errorf("the answer has %v", m.Codec)
	}
	return nil
}

// answer queues the terminal frames of a call of the peer's.
func (c *Conn) answer(out *outgoing) {
	c.mu.Lock()
	s := c.serving[out.ID]
	s.answered = true
	if c.err == nil {
		c.out.msgs = append(c.out.msgs, out)
	}
	c.mu.Unlock()
	s.cancel(nil)
	c.flush()
}

// errorFrame puts e into one frame, shortening what does not fit.
func errorFrame(id uint32, e *CallError) Frame {
	code := e.Code
	if !ValidName(string(code)) {
		code = ErrFailed
	}
	body := errorBody{Message: e.Message, Details: e.Details, Started: e.Started.String()}
	if len(body.Message) > maxErrorText {
		body.Message = body.Message[:maxErrorText] + "…"
	}
	m, err := JSON(body)
	if err != nil || len(m.Payload)+len(code) > DefaultChunk {
		body.Details = nil
		m, _ = JSON(body) // strings alone always encode
	}
	return Frame{Header: Header{Type: TypeError, ID: id, Codec: CodecJSON}, Name: []byte(code), Payload: m.Payload}
}

// maxErrorText bounds an error's message in bytes; JSON may need six for one.
const maxErrorText = 8 << 10

// cancelServing ends a call of the peer's. One that is not there has crossed
// its answer.
func (c *Conn) cancelServing(id uint32) {
	c.mu.Lock()
	s := c.serving[id]
	c.mu.Unlock()
	if s != nil {
		s.cancel(context.Canceled)
	}
}

// Refuse answers every further call of the peer with ErrUnavailable. The
// channel is closed once none is at work and all answers are written, or the
// connection has ended.
func (c *Conn) Refuse() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.refusing {
		c.refusing = true
		c.idle = make(chan struct{})
		c.settleIdle()
	}
	return c.idle
}

// settleIdle closes idle when it is so. The caller holds mu.
func (c *Conn) settleIdle() {
	if !c.refusing || c.err == nil && (len(c.serving) > 0 || !c.out.empty() || c.out.writing || c.out.failed != nil) {
		return
	}
	select {
	case <-c.idle:
	default:
		close(c.idle)
	}
}
