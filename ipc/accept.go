package ipc

import "time"

// What the frames that have come mean.

// accept acts on one frame. Frame bytes are the reader's buffer: what outlives
// the call is copied.
func (c *Conn) accept(f Frame) *breach {
	if !c.heard && f.Type != TypeHello {
		return broke("hello-first", 2, "the first frame is HELLO, got %v", f.Type)
	}
	if !f.Type.known() {
		return nil
	}
	if from := shapes[f.Type].from; from != 0 && from != c.cfg.Role.peer() {
		return broke("direction", 2, "%v is not the %v's to send", f.Type, c.cfg.Role.peer())
	}
	if shapes[f.Type].more {
		return c.acceptPart(f)
	}
	if shapes[f.Type].name == needed && len(f.Name) == 0 {
		return broke("name", 16, "%v needs a name", f.Type)
	}
	switch f.Type {
	case TypeHello:
		return c.acceptHello(f)
	case TypeReady:
		if c.cfg.OnReady != nil {
			c.cfg.OnReady()
		}
	case TypePing:
		return c.answerPing(f.Arg)
	case TypePong:
		var p Pong
		if br := decodeJSON(f, &p); br != nil {
			return br
		}
		c.onPong(f.Arg, p)
	case TypeError:
		return c.acceptError(f)
	case TypeCancel:
		c.cancelServing(f.ID)
	case TypeEvent:
		if c.cfg.OnEvent != nil {
			c.cfg.OnEvent(Event{string(f.Name), Message{Codec: f.Codec, Payload: f.Payload}})
		}
	case TypeData:
		return c.acceptData(f)
	case TypeWindow:
		return c.acceptWindow(f)
	case TypeRetire:
		return c.acceptRetire(f)
	case TypeDrain:
		c.Refuse()
		if c.cfg.OnDrain != nil {
			c.cfg.OnDrain(time.Duration(f.Arg) * time.Millisecond)
		}
	}
	return nil
}

func (c *Conn) acceptHello(f Frame) *breach {
	if c.heard {
		return broke("hello", 2, "HELLO comes once")
	}
	var said struct {
		Hello
		Protocol []int `json:"protocol"` // a list of any length, or none
	}
	if len(f.Payload) == 0 {
		return broke("hello", 4, "HELLO carries JSON")
	}
	if br := decodeJSON(f, &said); br != nil {
		return br
	}
	h := said.Hello
	if said.Protocol != nil {
		if len(said.Protocol) != 2 || said.Protocol[1] < Version {
			return broke("hello", HeaderSize, "it speaks versions %v, want the lowest and the highest, and %d among them", said.Protocol, Version)
		}
		h.Protocol = [2]int(said.Protocol)
	}
	h = h.withDefaults()
	if bad := h.check(); bad != "" {
		return broke("hello", HeaderSize, "%s", bad)
	}
	c.mu.Lock()
	c.peer = h
	c.mu.Unlock()
	c.heard = true
	close(c.greeted)
	if c.cfg.OnHello != nil {
		c.cfg.OnHello(h)
	}
	return nil
}

func (c *Conn) acceptRetire(f Frame) *breach {
	var r retirement
	if br := decodeJSON(f, &r); br != nil {
		return br
	}
	if !c.retired && c.cfg.OnRetire != nil {
		c.retired = true
		c.cfg.OnRetire(string(f.Name), r.Text)
	}
	return nil
}

func (c *Conn) answerPing(token uint32) *breach {
	f := Frame{Header: Header{Type: TypePong, Arg: token}}
	var p Pong
	if c.cfg.Pong != nil {
		p = c.cfg.Pong()
	}
	var oldest time.Time
	if p.Inflight, oldest = c.Inflight(); p.Inflight > 0 {
		p.OldestMS = time.Since(oldest).Milliseconds()
	}
	if p != (Pong{}) {
		m, err := JSON(p)
		if err == nil && len(m.Payload) <= DefaultChunk {
			f.Codec, f.Payload = CodecJSON, m.Payload
		}
	}
	return c.reply(f)
}

func (c *Conn) acceptError(f Frame) *breach {
	var body errorBody
	if br := decodeJSON(f, &body); br != nil {
		return br
	}
	code := Code(f.Name)
	if code == ErrLost { // it is not lost: it has answered
		code = ErrFailed
	}
	return c.finish(f.ID, answer{err: &CallError{
		Code: code, Message: body.Message, Details: body.Details, Started: ParseStarted(body.Started),
	}}, true)
}
