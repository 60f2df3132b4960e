package ipc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Calls of the peer's.

// serving is a call of the peer's that a goroutine is at. It counts towards
// maxInflight until the last frame of its answer is about to be written, so
// that answers nobody reads are bounded too; it is recycled when that is
// written. Its fields are guarded by Conn.mu.
type serving struct {
	id       uint32
	call     *Call
	started  time.Time
	answered bool          // its answer waits to be written
	credit   int64         // bytes of DATA that the caller still takes
	granted  chan struct{} // closed when there is more; nil while nobody waits for that
	out      outgoing      // the answer
	buf      []byte        // where the call's payload is; an answer may be a part of it
	run      func()        // made once: it would be allocated at each use
}

var servings sync.Pool // of *serving

func newServing() *serving {
	if s, ok := servings.Get().(*serving); ok {
		return s
	}
	s := &serving{}
	s.run = func() { s.call.conn.work(s) }
	return s
}

// keptBuffer is how much memory a serving keeps when it is recycled.
const keptBuffer = 64 << 10

func (s *serving) recycle() {
	buf := s.buf
	if cap(buf) > keptBuffer {
		putBuffer(buf)
		buf = nil
	}
	*s = serving{run: s.run, buf: buf[:0]}
	servings.Put(s)
}

// Inflight is how many of the peer's calls are at work, and since when the
// oldest.
func (c *Conn) Inflight() (n int, oldest time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving.each(func(_ uint32, s *serving) {
		if s.answered {
			return
		}
		if n == 0 || s.started.Before(oldest) {
			oldest = s.started
		}
		n++
	})
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
	if c.serving.get(id) != nil {
		return broke("call-id", 8, "call %d is still open", id)
	}
	return nil
}

// refusal is why a call can't be served now, or nil. The caller holds mu.
func (c *Conn) refusal() *CallError {
	open := c.serving.n + c.unwritten
	switch {
	case c.refusing:
		return &CallError{Code: ErrUnavailable, Message: "draining", Started: StartedNo}
	case open >= c.maxInflight:
		return &CallError{Code: ErrOverloaded, Message: fmt.Sprintf("%d calls are open", open), Started: StartedNo}
	case c.cfg.Handler == nil:
		return &CallError{Code: ErrUnknownCommand, Message: "no commands are served here", Started: StartedNo}
	}
	return nil
}

// incoming is a call that is whole. Its payload is in the reader's buffer, or
// if own is set in one that goes with it.
type incoming struct {
	id, arg uint32
	command *command
	codec   Codec
	payload []byte
	own     bool
	files   []*os.File
}

// serve starts the handler of a call, or refuses it. It is only called by the
// reader.
func (c *Conn) serve(in incoming) *breach {
	inline := in.command.inline
	c.mu.Lock()
	refusal := c.refusal()
	if c.err != nil || refusal != nil {
		ended := c.err != nil
		c.mu.Unlock()
		Message{Files: in.files}.CloseFiles()
		if ended {
			return nil
		}
		return c.reply(errorFrame(in.id, refusal))
	}
	if inline {
		c.unwritten++
		c.mu.Unlock()
		c.serveInline(in)
		return nil
	}
	s := newServing()
	s.id, s.started, s.credit = in.id, c.now(), firstCredit
	s.call = &Call{Command: in.command.name, conn: c, serving: s}
	s.call.ctx.parent = c.ctx
	if in.arg > 0 {
		s.call.ctx.deadline = s.started.Add(time.Duration(in.arg) * time.Millisecond)
		c.expire(s.call.ctx.deadline)
	}
	c.serving.put(in.id, s)
	if in.own {
		s.buf = in.payload
	} else {
		s.buf = append(s.buf[:0], in.payload...)
	}
	s.call.Message = Message{in.codec, s.buf, in.files}
	c.mu.Unlock()
	c.woke++
	go s.run()
	return nil
}

// errNoReturn is the answer of a handler that has ended its goroutine.
var errNoReturn = errors.New("the command's handler did not return")

// work runs the handler and sends the call's one terminal frame.
func (c *Conn) work(s *serving) {
	call := s.call
	m, err := Message{}, errNoReturn
	defer func() { c.answer(call, m, err) }()
	m, err = c.cfg.Handler(&call.ctx, call)
}

// answer queues the terminal frames of a call of the peer's. It may be gone
// once mu is let go of.
func (c *Conn) answer(call *Call, m Message, err error) {
	fds, err := c.sendable(m, err)
	var failure Frame
	if err != nil {
		failure = errorFrame(0, toCallError(&call.ctx, err))
	}
	c.mu.Lock()
	s := call.serving
	call.serving = nil
	s.answered = true
	s.out = outgoing{Header: Header{Type: TypeResult, ID: s.id, NFDs: uint8(len(fds)), Codec: m.Codec}, payload: m.Payload, fds: fds, served: s}
	if err != nil {
		s.out = outgoing{Header: failure.Header, name: string(failure.Name), payload: failure.Payload, served: s}
		s.out.ID = s.id
	}
	taken := c.err == nil && c.out.failed == nil
	if taken {
		c.out.msgs.push(&s.out)
	}
	led := c.lead()
	c.mu.Unlock()
	if !taken {
		closeFDs(fds)
	}
	call.ctx.end(context.Canceled)
	if led {
		c.writeTogether()
	}
}

// sendable is what is wrong with a handler's answer, or duplicates of its
// files, which are closed. The peer has said HELLO.
func (c *Conn) sendable(m Message, err error) ([]int, error) {
	switch {
	case err != nil:
	case len(m.Payload) > c.peer.MaxMessage:
		err = &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("the answer is %d bytes, the caller accepts %d", len(m.Payload), c.peer.MaxMessage), Started: StartedYes}
	case len(m.Files) > c.peer.FDs:
		err = &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("the answer has %d descriptors, the caller accepts %d", len(m.Files), c.peer.FDs), Started: StartedYes}
	case m.Codec > CodecText:
		err = fmt.Errorf("the answer has %v", m.Codec)
	}
	if len(m.Files) == 0 {
		return nil, err
	}
	var fds []int
	if err == nil {
		fds, err = c.duplicates(m.Files)
	}
	m.CloseFiles()
	return fds, err
}

// errorFrame puts e into one frame, shortening what does not fit.
func errorFrame(id uint32, e *CallError) Frame {
	code := e.Code
	if !ValidName(string(code)) {
		code = ErrFailed
	}
	body := errorBody{Message: shorten(e.Message), Details: e.Details, Started: e.Started.String()}
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

// reply puts a short answer ahead of all messages. It is only called by the
// reader, which writes it when it has read what there is.
func (c *Conn) reply(f Frame) *breach {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := HeaderSize + len(f.Name) + len(f.Payload)
	if c.out.asked > 0 && c.out.asked+n > maxUrgent { // a single one always may, however large
		return c.out.unread(c.out.asked)
	}
	if c.err == nil {
		c.out.urgent = AppendFrame(c.out.urgent, f)
		c.out.asked += n
	}
	return nil
}

// cancelServing ends a call of the peer's. One that is not there has crossed
// its answer.
func (c *Conn) cancelServing(id uint32) {
	c.mu.Lock()
	var call *Call
	if s := c.serving.get(id); s != nil {
		call = s.call
	}
	c.mu.Unlock()
	if call != nil {
		call.ctx.end(context.Canceled)
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
	if !c.refusing || c.err == nil && (c.serving.n > 0 || c.unwritten > 0 || !c.out.empty() || c.out.writing || c.out.failed != nil) {
		return
	}
	select {
	case <-c.idle:
	default:
		close(c.idle)
	}
}
