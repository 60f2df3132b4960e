package ipc

// Inline handlers, which the reader runs itself. Their answers gather until it
// has read what there is, and are written together.

// gathering is how many bytes of answers gather at most.
const gathering = 32 << 10

// serveInline runs a handler and encodes its answer. It is only called by the
// reader. The answer counts as unwritten already.
func (c *Conn) serveInline(in incoming) {
	s := &c.inline
	s.id, s.credit = in.id, firstCredit
	call := &c.inlineCall
	*call = Call{Command: in.command.name, Message: Message{in.codec, in.payload, in.files}, conn: c, serving: s, inline: true}
	m, err := c.cfg.Handler(c.ctx, call)
	call.serving = nil
	if err == nil && len(m.Payload) < largePayload && len(m.Files) == 0 && m.Codec <= CodecText && len(m.Payload) <= c.peer.MaxMessage {
		r := c.gather()
		b := Header{Type: TypeResult, Length: uint32(len(m.Payload)), ID: in.id, Codec: m.Codec}.append(r.payload)
		r.payload = append(b, m.Payload...)
		r.answers++
		if in.own {
			putBuffer(in.payload)
		}
		if len(r.payload) >= gathering {
			c.handIn()
		}
		return
	}
	c.answerInline(in, m, err)
}

// answerInline answers with what does not gather: errors, files, large
// payloads.
func (c *Conn) answerInline(in incoming, m Message, err error) {
	c.handIn()
	fds, err := c.sendable(m, err)
	if err != nil {
		f := errorFrame(in.id, toCallError(c.ctx, err))
		r := c.gather()
		r.payload = AppendFrame(r.payload, f)
		r.answers++
		c.handIn()
		return
	}
	large := newServing()
	large.id = in.id
	if in.own {
		large.buf = in.payload
	} else { // the answer may be a part of the reader's buffer
		m.Payload = append(large.buf[:0], m.Payload...)
		large.buf = m.Payload
	}
	large.answered = true
	large.call = &Call{conn: c}
	large.call.ctx.parent = c.ctx
	large.out = outgoing{Header: Header{Type: TypeResult, ID: in.id, NFDs: uint8(len(fds)), Codec: m.Codec}, payload: m.Payload, fds: fds, served: large}
	c.mu.Lock()
	c.unwritten-- // it counts as served from now on
	c.serving.put(in.id, large)
	taken := c.err == nil && c.out.failed == nil
	if taken {
		c.out.msgs.push(&large.out)
	}
	c.mu.Unlock()
	if !taken {
		closeFDs(fds)
	}
}

// gather is where answers gather.
func (c *Conn) gather() *outgoing {
	if c.gathered == nil {
		c.gathered = replies.Get().(*outgoing)
	}
	return c.gathered
}

// handIn queues what has gathered.
func (c *Conn) handIn() {
	if c.gathered == nil {
		return
	}
	c.mu.Lock()
	if c.err == nil && c.out.failed == nil {
		c.out.msgs.push(c.gathered)
	}
	c.mu.Unlock()
	c.gathered = nil
}

// command is what is kept of a name that the peer calls.
type command struct {
	name   string
	inline bool
}

// maxKept bounds what is kept of names; further ones are made anew each time.
const maxKept = 512

// commandOf finds the command that name, in the reader's buffer, means.
func (c *Conn) commandOf(name []byte) *command {
	if k := c.commands[string(name)]; k != nil {
		return k
	}
	k := &command{name: string(name)}
	k.inline = c.cfg.Inline != nil && c.cfg.Inline(k.name)
	if len(c.commands) < maxKept {
		if c.commands == nil {
			c.commands = map[string]*command{}
		}
		c.commands[k.name] = k
	}
	return k
}
