package ipc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// aheadOf counts the frames that come before the first of type typ.
func aheadOf(t *testing.T, p *rawPeer, typ Type) (f Frame, n int) {
	t.Helper()
	for ; ; n++ {
		if f = p.next(); f.Type == typ {
			return f, n
		}
	}
}

// A ping, and the answer to one, goes ahead of waiting messages of 16 MiB: not
// more than what the socket holds and the batch at hand is before it.
func TestPingGoesAhead(t *testing.T) {
	for _, role := range []Role{Supervisor, Worker} {
		heard := make(chan struct{}, 2)
		c, p := faceNarrow(t, role, Config{Pong: func() Pong { heard <- struct{}{}; return Pong{} }})
		p.greet(Hello{Chunk: 16 << 20}) // that it would take larger frames does not make it wait longer
		big := make([]byte, DefaultMaxMessage)
		for range 3 {
			calling(within(t), c, "big", Bytes(big))
		}
		p.next()
		queued(t, c, 3)
		token, err := c.SendPing()
		if err != nil {
			t.Fatal(err)
		}
		if f, n := aheadOf(t, p, TypePing); f.Arg != token || n > 3 {
			t.Errorf("%v: ping %d came after %d frames", role, f.Arg, n)
		}
		for token := range uint32(2) { // the first has been answered when the second is heard
			p.write(Frame{Header: Header{Type: TypePing, Arg: 77 + token}})
			<-heard
		}
		if f, n := aheadOf(t, p, TypePong); f.Arg != 77 || n > 6 {
			t.Errorf("%v: pong %d came after %d frames", role, f.Arg, n)
		}
	}
}

// Nor do pings without end hold the messages up.
func TestMessagesMoveUnderPings(t *testing.T) {
	c, p := faceNarrow(t, Worker, Config{})
	p.greet(Hello{})
	o := calling(within(t), c, "big", Bytes(make([]byte, 1<<20)))
	p.want(TypeCall, 2)
	for { // the lane is never empty again
		if _, err := c.SendPing(); err != nil {
			break
		}
	}
	frames := 1
	for whole := false; !whole; {
		f := p.next()
		switch f.Type {
		case TypePing:
			c.SendPing()
		case TypeCall:
			frames++
			whole = f.Flags&FlagMore == 0
		}
	}
	if frames != 17 {
		t.Errorf("%d frames", frames)
	}
	p.write(result(2, nil))
	if o := got(t, o); o.err != nil {
		t.Error(o.err)
	}
}

// Events keep their order among themselves and with answers.
func TestEventsKeepTheirOrder(t *testing.T) {
	var own *Conn
	_, p := faceNarrow(t, Worker, Config{
		OnOpen: func(c *Conn) { own = c },
		Handler: func(context.Context, *Call) (Message, error) {
			for n := range 10 {
				if err := own.Event("log", Text(fmt.Sprint(n))); err != nil {
					return Message{}, err
				}
			}
			return Bytes(make([]byte, 100<<10)), nil
		},
	})
	p.greet(Hello{})
	for n := range uint32(5) {
		p.write(call(2*n+1, "x", nil))
		for want := range 10 {
			if f := p.want(TypeEvent, 0); string(f.Payload) != fmt.Sprint(want) {
				t.Fatalf("event %q, want %d", f.Payload, want)
			}
		}
		p.message(TypeResult, 2*n+1)
	}
}

// The payload of an event is the caller's again once Event has returned.
func TestEventCopies(t *testing.T) {
	c, p := faceNarrow(t, Worker, Config{})
	p.greet(Hello{})
	calling(within(t), c, "stuck", Bytes(make([]byte, 1<<20)))
	p.want(TypeCall, 2)
	text := []byte("first")
	if err := c.Event("log", Bytes(text)); err != nil {
		t.Fatal(err)
	}
	copy(text, "other")
	if f, _ := aheadOf(t, p, TypeEvent); string(f.Payload) != "first" {
		t.Errorf("got %q", f.Payload)
	}
}

// The stream may arrive, and be taken, in pieces of any size.
func TestSplitReads(t *testing.T) {
	for _, role := range []Role{Supervisor, Worker} {
		_, p := face(t, role, Config{Handler: echo})
		in := AppendFrame(nil, helloFrame(t, Hello{}))
		in = AppendFrame(in, call(p.id(0), "echo", []byte("hello")))
		in = AppendFrame(in, Frame{Header: Header{Type: 99}, Payload: []byte("skipped")})
		in = AppendFrame(in, more(call(p.id(1), "echo", []byte("two "))))
		in = AppendFrame(in, Frame{Header: Header{Type: TypeCall, ID: p.id(1)}, Payload: []byte("pieces")})
		want := map[uint32]string{p.id(0): "hello", p.id(1): "two pieces"}
		for i := range in {
			p.bytes(in[i : i+1])
		}
		var out []byte
		one := make([]byte, 1)
		for n := 0; n < 3; {
			if _, err := p.f.Read(one); err != nil {
				t.Fatal(err)
			}
			out = append(out, one...)
			f, size, err := ParseFrame(out, DefaultChunk)
			if err != nil {
				t.Fatal(err)
			}
			if size == 0 {
				continue
			}
			if f.Type == TypeResult && want[f.ID] != string(f.Payload) {
				t.Errorf("call %d: %q", f.ID, f.Payload)
			}
			out = nil
			n++
		}
	}
}

// pattern is n bytes that tell where they are.
func pattern(n int) []byte {
	var b []byte
	for i := range n / 4 {
		b = binary.BigEndian.AppendUint32(b, uint32(i)*2654435761)
	}
	return b
}

// A write into a full socket goes on when the peer reads again, where it
// stopped.
func TestFullSocketGoesOn(t *testing.T) {
	c, p := faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{})
	payload := pattern(1 << 20)
	const calls = 20
	var outcomes []<-chan outcome
	for range calls {
		outcomes = append(outcomes, calling(within(t), c, "x", Bytes(payload)))
	}
	eventually(t, "all calls are queued", func() bool { return c.Open() == calls })
	for range calls {
		first := p.next()
		whole := first.Payload
		if first.Flags&FlagMore != 0 {
			whole = append(bytes.Clone(whole), p.message(TypeCall, first.ID)...)
		}
		if !bytes.Equal(whole, payload) {
			t.Fatalf("call %d arrived otherwise than it was sent", first.ID)
		}
		p.write(result(first.ID, whole[:8]))
	}
	for _, o := range outcomes {
		if o := got(t, o); o.err != nil || !bytes.Equal(o.msg.Payload, payload[:8]) {
			t.Errorf("%v", o.err)
		}
	}
}

// A peer that only writes does not stop an end that only writes: this one goes
// on reading.
func TestReaderNeverWaitsForTheWriter(t *testing.T) {
	for _, role := range []Role{Supervisor, Worker} {
		before := heap()
		done := make(chan int, 8)
		c, p := face(t, role, Config{Handler: func(_ context.Context, call *Call) (Message, error) {
			done <- len(call.Payload)
			return Message{}, nil
		}})
		p.greet(Hello{})
		for range 8 {
			calling(within(t), c, "big", Bytes(make([]byte, 1<<20)))
		}
		chunk := make([]byte, DefaultChunk)
		for n := range uint32(8) { // nothing is read meanwhile
			p.write(more(call(p.id(n), "big", nil)))
			for range 31 {
				p.write(more(Frame{Header: Header{Type: TypeCall, ID: p.id(n)}, Payload: chunk}))
			}
			p.write(Frame{Header: Header{Type: TypeCall, ID: p.id(n)}})
			if size := <-done; size != 31*DefaultChunk {
				t.Errorf("%d bytes", size)
			}
		}
		if after := heap(); after > before+24<<20 {
			t.Errorf("8 MiB wait to be written, and the heap grew by %d KiB", (after-before)>>10)
		}
	}
}

// Two ends that both have much to write get it all across.
func TestBothOnlyWrite(t *testing.T) {
	noLeaks(t)
	s, w := connect(t, Config{Handler: echo}, Config{Handler: echo})
	payload := pattern(1 << 20)
	var outcomes []<-chan outcome
	for range 8 {
		for _, c := range []*Conn{s, w} {
			outcomes = append(outcomes, calling(within(t), c, "echo", Bytes(payload)))
		}
	}
	for _, o := range outcomes {
		if o := got(t, o); o.err != nil || !bytes.Equal(o.msg.Payload, payload) {
			t.Errorf("%d bytes, %v", len(o.msg.Payload), o.err)
		}
	}
}

// Descriptors that nobody asked for are not kept, nor do they come where the system
// can see to that.
func TestUninvitedDescriptors(t *testing.T) {
	noLeaks(t)
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	fds := len(openFDs())
	ping := AppendFrame(nil, Frame{Header: Header{Type: TypePing, Arg: 1}})
	for range 100 {
		control(t, p.f, func(fd int) error {
			err := unix.Sendmsg(fd, ping, unix.UnixRights(fd, fd, fd), nil, 0)
			if err == unix.EPERM {
				err = unix.Sendmsg(fd, ping, nil, nil, 0)
			}
			return err
		})
		p.want(TypePong, 0)
	}
	if n := len(openFDs()); n != fds {
		t.Errorf("%d descriptors before, %d after", fds, n)
	}
	declared := Frame{Header: Header{Type: TypePing, NFDs: 1}}
	p.write(declared)
	if err := ended(t, c); !errors.Is(err, ErrProtocol) {
		t.Error(err)
	}
}
