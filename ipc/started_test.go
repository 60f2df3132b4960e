package ipc

import (
	"errors"
	"io"
	"testing"
)

// offeredAndParked waits until the writer has begun call id and waits for the
// peer to read; then nothing is in a system call, and what offered says is
// exact.
func offeredAndParked(t *testing.T, c *Conn, id uint32, offered bool) {
	t.Helper()
	eventually(t, "the writer waits in the middle of its batch", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		p := c.calls.get(id)
		return p != nil && p.msg.begun && p.msg.offered == offered
	})
}

// A call of which a byte was written may have run, even while the write that
// carried it waits with the rest.
func TestLostAfterTheFirstByte(t *testing.T) {
	c, p := faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{})
	first := stuck(t, c, p)
	small := calling(within(t), c, "small", Message{})
	queued(t, c, 2)
	large := calling(within(t), c, "large", Bytes(make([]byte, 1<<20)))
	queued(t, c, 3)
	behind := calling(within(t), c, "behind", Message{})
	queued(t, c, 4)
	p.message(TypeCall, 1)
	p.want(TypeCall, 3) // small has arrived and runs, for all the caller knows
	p.f.Close()
	wantCode(t, got(t, first).err, ErrLost, StartedUnknown)
	wantCode(t, got(t, small).err, ErrLost, StartedUnknown)
	if o := got(t, large); !errors.Is(o.err, ErrLost) {
		t.Error(o.err)
	}
	wantCode(t, got(t, behind).err, ErrLost, StartedNo)
	if err := ended(t, c); err != io.EOF {
		t.Error(err)
	}
}

// A call of which no byte was written has certainly not run, even if it had its
// place in a write.
func TestLostBeforeTheFirstByte(t *testing.T) {
	c, p := faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{})
	stuck(t, c, p)
	ahead := calling(within(t), c, "ahead", Bytes(make([]byte, 32<<10)))
	queued(t, c, 2)
	behind := calling(within(t), c, "behind", Message{})
	queued(t, c, 3)
	p.message(TypeCall, 1)
	offeredAndParked(t, c, 3, true)
	offeredAndParked(t, c, 5, false)
	c.Close()
	wantCode(t, got(t, ahead).err, ErrLost, StartedUnknown)
	wantCode(t, got(t, behind).err, ErrLost, StartedNo)
}

// The writer may be at any point when the connection ends. What was said not to
// have started is never written after.
func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	for range 300 {
		c, p := faceNarrow(t, Supervisor, Config{})
		p.greet(Hello{})
		calls := map[string]<-chan outcome{}
		for _, name := range []string{"a", "b", "c", "d"} {
			calls[name] = calling(within(t), c, name, Bytes(make([]byte, 3000)))
		}
		go c.Close()
		var arrived []string
		for {
			f, err := p.read()
			if err != nil {
				break
			}
			arrived = append(arrived, string(f.Name))
		}
		if len(p.in) > HeaderSize { // cut off
			arrived = append(arrived, string(p.in[HeaderSize:HeaderSize+1]))
		}
		for _, name := range arrived {
			var ce *CallError
			if o := got(t, calls[name]); !errors.As(o.err, &ce) || ce.Code != ErrLost || ce.Started == StartedNo {
				t.Fatalf("%s arrived, of %q, and its outcome is %#v", name, arrived, o.err)
			}
		}
		p.f.Close()
	}
}

// Answers that the peer wrote before it went are found, even if a write of
// this end's failed meanwhile.
func TestLastWords(t *testing.T) {
	c, p := faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{})
	answered := calling(within(t), c, "answered", Message{})
	p.want(TypeCall, 1)
	cut := stuck(t, c, p)
	p.write(result(1, []byte("last words")))
	p.f.Close()
	if o := got(t, answered); o.err != nil || string(o.msg.Payload) != "last words" {
		t.Errorf("%q, %v", o.msg.Payload, o.err)
	}
	wantCode(t, got(t, cut).err, ErrLost, StartedUnknown)
	if err := ended(t, c); err != io.EOF {
		t.Error(err)
	}
}

// An answer to a call that is still being sent is no answer.
func TestAnswerBeforeTheCallIsWhole(t *testing.T) {
	c, p := faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{})
	o := stuck(t, c, p)
	p.write(result(1, []byte("whatever it is, yes")))
	wantBreach(t, c, "answer", p.last+8)
	wantCode(t, got(t, o).err, ErrLost, StartedUnknown)

	c, p = faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{})
	stuck(t, c, p)
	o = calling(within(t), c, "waiting", Message{})
	queued(t, c, 2)
	p.write(more(result(3, nil)))
	wantBreach(t, c, "answer", p.last+8)
	wantCode(t, got(t, o).err, ErrLost, StartedNo)
}
