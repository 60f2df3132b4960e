package ipc

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// shut shuts one direction, or both, of the peer's end.
func (p *rawPeer) shut(how int) {
	p.t.Helper()
	control(p.t, p.f, func(fd int) error { return unix.Shutdown(fd, how) })
}

// The peer's end, at whatever point, is io.EOF between frames and
// io.ErrUnexpectedEOF within something; its calls' ctx ends and this end's
// calls are lost.
func TestDeath(t *testing.T) {
	whole := AppendFrame(nil, call(2, "half", []byte("payload")))
	deaths := []struct {
		what string
		die  func(p *rawPeer)
		want error
	}{
		{"close", func(p *rawPeer) { p.want(TypeCall, 1); p.f.Close() }, io.EOF},
		{"close with unread bytes", func(p *rawPeer) { p.f.Close() }, io.EOF},
		{"half-close of writing", func(p *rawPeer) { p.shut(unix.SHUT_WR) }, io.EOF},
		{"shutdown", func(p *rawPeer) { p.shut(unix.SHUT_RDWR) }, io.EOF},
		{"in a header", func(p *rawPeer) { p.bytes(whole[:HeaderSize-1]); p.f.Close() }, io.ErrUnexpectedEOF},
		{"after one byte", func(p *rawPeer) { p.bytes(whole[:1]); p.shut(unix.SHUT_WR) }, io.ErrUnexpectedEOF},
		{"after a header", func(p *rawPeer) { p.bytes(whole[:HeaderSize]); p.f.Close() }, io.ErrUnexpectedEOF},
		{"in a body", func(p *rawPeer) { p.bytes(whole[:len(whole)-1]); p.f.Close() }, io.ErrUnexpectedEOF},
		{"between the frames of a call", func(p *rawPeer) { p.write(more(call(2, "half", nil))); p.f.Close() }, io.ErrUnexpectedEOF},
		{"between the frames of an answer", func(p *rawPeer) {
			p.want(TypeCall, 1)
			p.write(more(result(1, []byte("half"))))
			p.f.Close()
		}, io.ErrUnexpectedEOF},
	}
	for _, d := range deaths {
		t.Run(d.what, func(t *testing.T) {
			noLeaks(t)
			started, over := make(chan bool, 1), make(chan error, 1)
			c, p := face(t, Supervisor, Config{Handler: func(ctx context.Context, _ *Call) (Message, error) {
				started <- true
				<-ctx.Done()
				over <- context.Cause(ctx)
				return Message{}, nil
			}})
			p.greet(Hello{})
			o := calling(within(t), c, "x", Message{})
			eventually(t, "the call is written", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.calls.get(1) != nil && c.calls.get(1).msg.whole && !c.out.writing
			})
			p.write(call(4, "x", nil))
			<-started
			d.die(p)
			if err := ended(t, c); err != d.want {
				t.Errorf("ended by %v, want %v", err, d.want)
			}
			wantCode(t, got(t, o).err, ErrLost, StartedUnknown)
			if err := <-over; err != d.want {
				t.Errorf("the handler was told %v", err)
			}
			_, err := c.Call(within(t), "late", Message{})
			wantCode(t, err, ErrLost, StartedNo)
			if _, _, err := c.Ping(within(t)); !errors.Is(err, ErrLost) {
				t.Errorf("a late ping: %v", err)
			}
			if _, err := c.SendPing(); !errors.Is(err, d.want) {
				t.Errorf("a late SendPing: %v", err)
			}
		})
	}
}

// A peer that no longer reads is gone as soon as there is something to tell it,
// however much it goes on saying.
func TestPeerThatReadsNoMore(t *testing.T) {
	noLeaks(t)
	c, p := face(t, Supervisor, Config{Handler: echo})
	p.greet(Hello{})
	p.shut(unix.SHUT_RD)
	stop := make(chan bool)
	go func() {
		defer close(stop)
		ping := AppendFrame(nil, Frame{Header: Header{Type: TypePing}})
		for {
			if _, err := p.f.Write(ping); err != nil {
				return
			}
		}
	}()
	_, err := c.Call(within(t), "x", Message{})
	wantCode(t, err, ErrLost, StartedNo)
	if err := ended(t, c); err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Errorf("ended by %v", err)
	}
	<-stop
}

// The peer goes while an answer is being written: idle is told with the end of
// the connection, not when the write fails.
func TestRefuseAndThePeerGoes(t *testing.T) {
	started, reading, held := make(chan bool), make(chan bool), make(chan bool)
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	c, p := faceNarrow(t, Supervisor, Config{
		Handler: func(context.Context, *Call) (Message, error) {
			started <- true
			return Bytes(make([]byte, 60<<10)), nil
		},
		OnEvent: func(Event) { reading <- true; <-held }, // the reader does not see the end yet
	})
	p.greet(Hello{})
	p.write(call(2, "x", nil), Frame{Header: Header{Type: TypeEvent}, Name: []byte("x")})
	<-started
	<-reading
	state := func(cond func() bool) func() bool {
		return func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return cond()
		}
	}
	eventually(t, "the writer has the answer", state(func() bool { return c.serving.n == 0 }))
	p.f.Close()
	eventually(t, "the write has failed", state(func() bool { return c.out.failed != nil }))
	idle := c.Refuse()
	notYet(t, idle, "the answer is not written")
	release()
	<-idle
	if err := ended(t, c); err != io.EOF {
		t.Errorf("ended by %v", err)
	}
}

// Close may come from anywhere and any number of times; OnClose comes once and
// after all other callbacks.
func TestCloseFromEverywhere(t *testing.T) {
	for _, busy := range []bool{false, true} {
		for range 50 {
			var closes atomic.Int32
			after := func() {
				if closes.Load() != 0 {
					t.Error("a callback came after OnClose")
				}
			}
			var own *Conn
			c, p := face(t, Supervisor, Config{
				OnOpen:  func(c *Conn) { own = c },
				OnHello: func(Hello) { after() },
				OnEvent: func(Event) { after() },
				OnReady: after,
				Pong:    func() Pong { after(); return Pong{} },
				Handler: func(context.Context, *Call) (Message, error) { own.Close(); return Message{}, nil },
				OnClose: func(err error) {
					closes.Add(1)
					if err == nil {
						t.Error("OnClose was told nothing")
					}
				},
			})
			p.greet(Hello{})
			var wg sync.WaitGroup
			if busy {
				wg.Go(func() {
					for n := range uint32(1000) {
						b := AppendFrame(nil, Frame{Header: Header{Type: TypeEvent}, Name: []byte("x")})
						b = AppendFrame(b, Frame{Header: Header{Type: TypePing}})
						b = AppendFrame(b, Frame{Header: Header{Type: TypeReady}})
						if n == 500 {
							b = AppendFrame(b, call(2, "close", nil))
						}
						if _, err := p.f.Write(b); err != nil {
							return
						}
					}
				})
				wg.Go(func() { io.Copy(io.Discard, p.f) })
				wg.Go(func() { c.Call(context.Background(), "x", Bytes(make([]byte, 1<<20))) })
			}
			for range 4 {
				wg.Go(func() {
					if err := c.Close(); err != nil {
						t.Error(err)
					}
					if closes.Load() != 1 {
						t.Errorf("Close returned, and OnClose was called %d times", closes.Load())
					}
				})
			}
			wg.Wait()
			if err := ended(t, c); err == nil {
				t.Error("ended by nothing")
			}
		}
	}
}

// What NewConn refuses, it closes.
func TestNewConnRefuses(t *testing.T) {
	noLeaks(t)
	for _, cfg := range []Config{
		{},
		{Role: 3},
		{Role: Worker, Hello: Hello{Chunk: 1}},
		{Role: Worker, Hello: Hello{Chunk: maxChunk + 1}},
		{Role: Worker, Hello: Hello{MaxMessage: -1}},
		{Role: Worker, Hello: Hello{Protocol: [2]int{2, 2}}},
		{Role: Worker, Hello: Hello{Commands: []CommandInfo{{Name: "two words"}}}},
		{Role: Worker, Hello: Hello{SDK: string(make([]byte, maxHello))}},
	} {
		p, c, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := NewConn(p, cfg); err == nil {
			conn.Close()
			t.Errorf("%+v was accepted", cfg)
		}
		if err := p.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%+v: the file was left open", cfg)
		}
		c.Close()
	}
}
