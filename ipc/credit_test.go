package ipc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
)

func window(id, n uint32) Frame { return Frame{Header: Header{Type: TypeWindow, ID: id, Arg: n}} }

// A handler that sends more than the caller takes waits, and is told when the
// caller gives up, or is gone, meanwhile.
func TestSendWaitsForCredit(t *testing.T) {
	piece := Bytes(make([]byte, 10<<10))
	const fit = firstCredit / (10<<10 + HeaderSize)
	for _, end := range []string{"window", "cancel", "close"} {
		var sent atomic.Int32
		over := make(chan error, 1)
		c, p := face(t, Worker, Config{Handler: func(ctx context.Context, c *Call) (Message, error) {
			for {
				if err := c.Send(ctx, Piece{Message: piece}); err != nil {
					over <- err
					return Message{}, err
				}
				if sent.Add(1) == fit+1 {
					over <- nil
					return Text("done"), nil
				}
			}
		}})
		p.greet(Hello{})
		p.write(call(1, "x", nil))
		for range fit {
			p.want(TypeData, 1)
		}
		eventually(t, "Send waits", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.serving.get(1) != nil && c.serving.get(1).granted != nil
		})
		if n := sent.Load(); n != fit {
			t.Fatalf("%d pieces were sent, %d fit", n, fit)
		}
		switch end {
		case "window":
			p.write(window(1, 1), window(1, 10<<10+HeaderSize))
			if err := <-over; err != nil {
				t.Error(err)
			}
			p.want(TypeData, 1)
			p.want(TypeResult, 1)
		case "cancel":
			p.write(Frame{Header: Header{Type: TypeCancel, ID: 1}})
			if err := <-over; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			refused(t, p.want(TypeError, 1), ErrCanceled, "yes")
		case "close":
			p.f.Close()
			if err := <-over; err == nil {
				t.Error("no error")
			}
		}
	}
}

// A consumer that takes its time bounds what is held for it by the credit, and
// all of it arrives.
func TestSlowConsumer(t *testing.T) {
	var sent atomic.Int64
	const pieces = 400
	payload := pattern(10 << 10)
	s, _ := connect(t, Config{}, Config{Handler: func(ctx context.Context, c *Call) (Message, error) {
		for range pieces {
			if err := c.Send(ctx, Piece{Message: Bytes(payload)}); err != nil {
				return Message{}, err
			}
			sent.Add(1)
		}
		return Message{}, nil
	}})
	var seen int64
	_, err := s.CallStream(within(t), "x", Message{}, func(p Piece) error {
		seen++
		if ahead := sent.Load() - seen; ahead*(10<<10) > firstCredit {
			return fmt.Errorf("%d pieces ahead", ahead)
		}
		if !bytes.Equal(p.Payload, payload) {
			return errors.New("not what was sent")
		}
		return nil
	})
	if err != nil || seen != pieces {
		t.Errorf("%d, %v", seen, err)
	}
}

// DATA beyond the credit ends the connection, at the byte that says how much it
// is; what fits exactly does not.
func TestCredit(t *testing.T) {
	for _, there := range []bool{
		true,  // a consumer that takes none
		false, // nobody is there any more
	} {
		c, p := face(t, Supervisor, Config{})
		p.greet(Hello{})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		o := streaming(ctx, c, "x", func(Piece) error { <-c.Done(); return errors.New("late") })
		p.want(TypeCall, 1)
		if !there {
			cancel()
			eventually(t, "the call is given up", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.calls.get(1).given
			})
		}
		for range 3 {
			p.write(data(1, "", make([]byte, DefaultChunk)))
		}
		last := firstCredit - 3*(DefaultChunk+HeaderSize) - HeaderSize
		p.write(data(1, "", make([]byte, last-HeaderSize)), data(1, "", nil))
		p.write(Frame{Header: Header{Type: TypePing, Arg: 3}})
		if _, n := aheadOf(t, p, TypePong); n > 1 { // but for the CANCEL
			t.Errorf("%d frames before the PONG", n)
		}
		p.write(data(1, "", nil))
		wantBreach(t, c, "credit", p.last+4)
		got(t, o)
	}
}

// Credit that is granted and not used may not grow without end.
func TestWindow(t *testing.T) {
	c, p := face(t, Worker, Config{Handler: blockUntilDone})
	p.greet(Hello{})
	p.write(call(1, "x", nil), window(1, maxCredit-firstCredit), Frame{Header: Header{Type: TypePing}})
	p.want(TypePong, 0)
	p.write(window(1, 1))
	wantBreach(t, c, "window", p.last+12)
}

// Credit is granted however much else waits for a worker that does not read: one
// that has none left would wait for it to the end of its call.
func TestCreditIsGrantedWithoutRoom(t *testing.T) {
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	begun, let := make(chan bool), make(chan bool)
	pieces := 0
	o := streaming(within(t), c, "x", func(Piece) error {
		if pieces++; pieces == 1 {
			begun <- true
			<-let
		}
		return nil
	})
	p.want(TypeCall, 1)
	piece := data(1, "", make([]byte, firstCredit/4-HeaderSize))
	p.write(piece)
	<-begun
	p.write(piece, piece, piece)
	pauseAt(t, c, p.sent)
	c.mu.Lock()
	waiting := 0
	for c.out.room(HeaderSize, maxUrgent) {
		c.out.urgent = Header{Type: TypePong}.append(c.out.urgent)
		waiting++
	}
	c.mu.Unlock()
	let <- true
	eventually(t, "all is dealt with", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		s := c.calls.get(1).stream
		return len(s.queue) == 0 && s.credit == firstCredit
	})
	c.Resume()
	for range waiting {
		p.want(TypePong, 0)
	}
	for range 4 {
		if f := p.want(TypeWindow, 1); f.Arg != firstCredit/4 {
			t.Errorf("a WINDOW of %d", f.Arg)
		}
	}
	p.write(piece, piece, piece, piece, result(1, nil))
	if o := got(t, o); o.err != nil || pieces != 8 {
		t.Errorf("%d pieces, %v", pieces, o.err)
	}
}

// A caller that grants no end of credit and reads nothing makes the handlers
// wait, and this end hold no more than it likes.
func TestUnreadStreamIsBounded(t *testing.T) {
	noLeaks(t)
	before := heap()
	var sent atomic.Int64
	c, p := faceNarrow(t, Worker, Config{Handler: func(ctx context.Context, c *Call) (Message, error) {
		for {
			if err := c.Send(ctx, Piece{Message: Bytes(make([]byte, 60<<10))}); err != nil {
				return Message{}, err
			}
			sent.Add(60 << 10)
		}
	}})
	p.greet(Hello{})
	for n := range uint32(8) {
		p.write(call(2*n+1, "x", nil), window(2*n+1, maxCredit-firstCredit))
	}
	eventually(t, "there is no room", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.out.drained != nil && c.out.data > maxData-DefaultChunk
	})
	wantFlat(t, before)
	for range 100 { // and goes on when it is read
		if f := p.next(); f.Type != TypeData {
			t.Fatalf("got %v", f.Type)
		}
	}
	if n := sent.Load(); n < 100*(60<<10) || n > 200*(60<<10)+2*maxData {
		t.Errorf("%d bytes were sent", n)
	}
}
