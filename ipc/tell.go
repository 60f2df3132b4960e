package ipc

import (
	"bytes"
	"fmt"
	"time"
)

// What is said outside of calls.

// Ready tells the supervisor that this worker serves from now on.
func (c *Conn) Ready() error { return c.control(Header{Type: TypeReady}) }

// Drain asks the worker to take no new work, finish and exit within grace. It
// goes behind the calls that are queued, and later ones are refused here: none
// may reach a worker that has finished and is about to exit.
func (c *Conn) Drain(grace time.Duration) error {
	return c.queue(TypeDrain, func(o *outbox) bool {
		c.drained = true // under mu, as queue says
		o.msgs.push(&outgoing{Header: Header{Type: TypeDrain, Arg: millis(grace)}})
		return true
	})
}

// Event tells the supervisor something, in the order of events and answers. It
// fails with ErrOverloaded when 256 KiB of events wait to be written.
func (c *Conn) Event(name string, m Message) error {
	size := len(name) + len(m.Payload)
	switch {
	case !ValidName(name):
		return fmt.Errorf("ipc: event name %q: 1 to %d bytes of printable ASCII without spaces", name, maxName)
	case m.Codec > CodecText:
		return fmt.Errorf("ipc: event %s: %v", name, m.Codec)
	case size > DefaultChunk:
		return &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("an event of %d bytes, at most %d", size, DefaultChunk), Started: StartedNo}
	}
	return c.tell(TypeEvent, name, m)
}

// Retire asks the supervisor to replace this worker. reason is count, age,
// memory or the worker's own; text says more, or is empty. The worker goes on
// serving until it is drained. A second request changes nothing.
func (c *Conn) Retire(reason, text string) error {
	if !ValidName(reason) {
		return fmt.Errorf("ipc: reason %q: 1 to %d bytes of printable ASCII without spaces", reason, maxName)
	}
	var m Message
	if text != "" {
		m, _ = JSON(retirement{shorten(text)}) // a string always encodes
	}
	return c.tell(TypeRetire, reason, m)
}

// retirement is the payload of RETIRE.
type retirement struct {
	Text string `json:"text,omitempty"`
}

// tell queues an EVENT or a RETIRE behind the answers.
func (c *Conn) tell(t Type, name string, m Message) error {
	e := &outgoing{Header: Header{Type: t, Codec: m.Codec}, name: name, payload: bytes.Clone(m.Payload)}
	n := cost(len(name), len(m.Payload), 0)
	return c.queue(t, func(o *outbox) bool {
		if o.events+n > maxEvents {
			return false
		}
		o.events += n
		o.msgs.push(e)
		return true
	})
}

// control sends a frame without a body, ahead of all waiting messages.
func (c *Conn) control(h Header) error {
	return c.queue(h.Type, func(o *outbox) bool {
		if !o.room(HeaderSize, maxOwn) {
			return false
		}
		o.urgent = h.append(o.urgent)
		return true
	})
}

// queue has put, which reports whether there was room, queue a frame of type t
// and sends it.
func (c *Conn) queue(t Type, put func(*outbox) bool) error {
	if from := shapes[t].from; from != 0 && from != c.cfg.Role {
		return fmt.Errorf("ipc: %v is not the %v's to send", t, c.cfg.Role)
	}
	c.mu.Lock()
	err := c.err
	if err != nil {
		err = fmt.Errorf("ipc: %v not sent: %w", t, err)
	} else if !put(&c.out) {
		err = &CallError{Code: ErrOverloaded, Message: t.String() + " not sent: the peer does not read", Started: StartedNo}
	}
	led := c.lead()
	c.mu.Unlock()
	if led {
		c.write()
	}
	return err
}
