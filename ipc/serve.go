package ipc

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Calls of the peer's.

// serving is a call of the peer's. It counts towards maxInflight until the last
// frame of its answer is about to be written, so that answers nobody reads are
// bounded too. Its fields are guarded by Conn.mu.
type serving struct {
	id       uint32
	ctx      context.Context
	cancel   context.CancelCauseFunc
	started  time.Time
	answered bool          // its answer waits to be written
	credit   int64         // bytes of DATA that the caller still takes
	inline   bool          // the reader is at it: it must not wait
	granted  chan struct{} // closed when there is more; nil while nobody waits for that
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
		call.CloseFiles()
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
		call.CloseFiles()
		return c.reply(errorFrame(id, refusal))
	}
	s := &serving{id: id, started: received, credit: firstCredit}
	s.inline = c.cfg.Inline != nil && c.cfg.Inline(call.Command)
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	c.serving[id] = s
	c.mu.Unlock()
	call.conn, call.serving = c, s
	if s.inline {
		c.work(s, 0, call)
	} else {
		go c.work(s, arg, call)
	}
	return nil
}

// reply puts a short answer ahead of all messages. It is only called by the
// reader.
func (c *Conn) reply(f Frame) *breach {
	b := AppendFrame(nil, f)
	c.mu.Lock()
	if !c.out.room(len(b), maxUrgent) {
		defer c.mu.Unlock()
		return c.out.unread()
	}
	if c.err == nil {
		c.out.urgent = append(c.out.urgent, b...)
	}
	c.mu.Unlock()
	c.flush()
	return nil
}

// errNoReturn is the answer of a handler that has ended its goroutine.
var errNoReturn = errors.New("the command's handler did not return")

// work runs the handler and sends the call's one terminal frame.
func (c *Conn) work(s *serving, arg uint32, call *Call) {
	ctx := s.ctx
	if arg > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, s.started.Add(time.Duration(arg)*time.Millisecond))
		defer stop()
	}
	m, err := Message{}, errNoReturn
	defer func() {
		var fds []int
		if err == nil {
			err = c.sendable(m)
		}
		if err == nil {
			fds, err = c.duplicates(m.Files)
		}
		m.CloseFiles()
		out := &outgoing{Header: Header{Type: TypeResult, ID: s.id, NFDs: uint8(len(fds)), Codec: m.Codec}, payload: m.Payload, fds: fds}
		if err != nil {
			f := errorFrame(s.id, toCallError(ctx, err))
			out = &outgoing{Header: f.Header, name: f.Name, payload: f.Payload}
		}
		c.answer(s, out)
	}()
	m, err = c.cfg.Handler(ctx, call)
}

// sendable is what is wrong with a handler's answer. The peer has said HELLO.
func (c *Conn) sendable(m Message) error {
	peer, _ := c.Peer()
	switch {
	case len(m.Payload) > peer.MaxMessage:
		return &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("the answer is %d bytes, the caller accepts %d", len(m.Payload), peer.MaxMessage), Started: StartedYes}
	case len(m.Files) > peer.FDs:
		return &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("the answer has %d descriptors, the caller accepts %d", len(m.Files), peer.FDs), Started: StartedYes}
	case m.Codec > CodecText:
		return fmt.Errorf("the answer has %v", m.Codec)
	}
	return nil
}

// answer queues the terminal frames of a call of the peer's.
func (c *Conn) answer(s *serving, out *outgoing) {
	c.mu.Lock()
	s.answered = true
	taken := c.err == nil && c.out.failed == nil
	if taken {
		c.out.msgs = append(c.out.msgs, out)
	}
	c.mu.Unlock()
	if !taken {
		closeFDs(out.fds)
	}
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
	body.Message = shorten(body.Message)
	m, err := JSON(body)
	if err != nil || len(m.Payload)+len(code) > DefaultChunk {
		body.Details = nil
		m, _ = JSON(body) // strings alone always encode
	}
	return Frame{Header: Header{Type: TypeError, ID: id, Codec: CodecJSON}, Name: []byte(code), Payload: m.Payload}
}

// maxText bounds a text for people in bytes; JSON may need six for one.
const maxText = 8 << 10

func shorten(text string) string {
	if len(text) > maxText {
		return text[:maxText] + "…"
	}
	return text
}

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
