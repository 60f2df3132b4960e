package ipc

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// flood writes frames, a batch at a time, and reads nothing, until the Conn has
// had enough. It gives up after limit bytes.
func flood(t *testing.T, p *rawPeer, limit int64, frame func(n uint32) Frame) {
	t.Helper()
	var n uint32
	for p.sent < limit {
		before := p.sent
		var b []byte
		for range 500 {
			b = AppendFrame(b, frame(n))
			n++
		}
		p.bytes(b)
		if p.sent < before+int64(len(b)) {
			return
		}
	}
	t.Fatalf("after %d bytes the connection still stands", p.sent)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// wantFlat checks that the connection holds no more than a few MiB.
func wantFlat(t *testing.T, before uint64) {
	t.Helper()
	if after := heap(); after > before+8<<20 {
		t.Errorf("the heap grew by %d KiB", (after-before)>>10)
	}
}

func wantUnread(t *testing.T, c *Conn) {
	t.Helper()
	var pe *ProtocolError
	if err := ended(t, c); !errors.As(err, &pe) || pe.Rule != "unread" {
		t.Fatalf("ended by %v", err)
	}
}

// A peer that asks and never reads the answers is cut off, and little is held
// for it meanwhile.
func TestUnread(t *testing.T) {
	const limit = 4 << 20 // what the sockets and the outbox take is far below
	answer := make([]byte, 32<<10)
	for name, x := range map[string]struct {
		handler Handler
		frame   func(n uint32) Frame
		inline  bool
	}{
		"pings":                {nil, func(n uint32) Frame { return Frame{Header: Header{Type: TypePing, Arg: n}} }, false},
		"refused calls":        {nil, func(n uint32) Frame { return call(2*n+1, "x", nil) }, false},
		"calls at work":        {blockUntilDone, func(n uint32) Frame { return call(2*n+1, "x", nil) }, false},
		"short answers":        {echo, func(n uint32) Frame { return call(2*n+1, "x", make([]byte, 100)) }, false},
		"inline answers":       {echo, func(n uint32) Frame { return call(2*n+1, "x", make([]byte, 100)) }, true},
		"large inline answers": {func(context.Context, *Call) (Message, error) { return Bytes(answer), nil }, func(n uint32) Frame { return call(2*n+1, "x", nil) }, true},
		"long answers": {func(context.Context, *Call) (Message, error) { return Bytes(answer), nil },
			func(n uint32) Frame { return call(2*n+1, "x", nil) }, false},
		"failures": {func(context.Context, *Call) (Message, error) { return Message{}, errors.New("no") },
			func(n uint32) Frame { return call(2*n+1, "x", nil) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			before := heap()
			c, p := face(t, Worker, Config{Handler: x.handler, Inline: func(string) bool { return x.inline }})
			p.write(helloFrame(t, Hello{}))
			flood(t, p, limit, x.frame)
			wantUnread(t, c)
			wantFlat(t, before)
		})
	}
}

// The CANCELs of this end's own calls are not the peer's fault, however many wait.
func TestOwnCancelsAreNotUnread(t *testing.T) {
	c, p := faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{MaxInflight: maxOpen})
	const calls = 14000 // their CANCELs are longer than what may wait of answers
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	over := make(chan error, calls)
	for range calls {
		go func() {
			_, err := c.Call(ctx, "x", Message{})
			over <- err
		}()
	}
	frames := func(typ Type) {
		for range calls {
			if f := p.next(); f.Type != typ {
				t.Fatalf("got %v %d, want %v", f.Type, f.ID, typ)
			}
		}
	}
	frames(TypeCall)
	cancel()
	for range calls {
		wantCode(t, <-over, ErrCanceled, StartedUnknown)
	}
	p.write(Frame{Header: Header{Type: TypePing, Arg: 7}})
	eventually(t, "the ping is answered behind the CANCELs", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.out.asked > 0 && len(c.out.urgent) > maxUrgent || c.err != nil
	})
	frames(TypeCancel)
	if f := p.want(TypePong, 0); f.Arg != 7 {
		t.Errorf("PONG %d", f.Arg)
	}
}

// Answers that nobody reads count towards max_inflight until they are written.
func TestUnreadAnswersAreBounded(t *testing.T) {
	var started atomic.Int32
	answer := make([]byte, 16<<10)
	accepted := make(chan bool)
	c, p := faceNarrow(t, Supervisor, Config{
		Hello:   Hello{MaxInflight: 8},
		OnEvent: func(Event) { accepted <- true },
		Handler: func(context.Context, *Call) (Message, error) {
			started.Add(1)
			return Bytes(answer), nil
		},
	})
	p.greet(Hello{})
	for n := range uint32(100) {
		p.write(call(p.id(n), "x", nil), Frame{Header: Header{Type: TypeEvent}, Name: []byte("next")})
		<-accepted
		eventually(t, "the call is answered or refused", func() bool { n, _ := c.Inflight(); return n == 0 })
	}
	c.mu.Lock()
	waiting := c.out.msgs.len()
	c.mu.Unlock()
	// A batch of five is with the writer, eight more may wait.
	if n := started.Load(); n > 20 || waiting > 8 {
		t.Errorf("%d calls were taken, %d answers wait", n, waiting)
	}
	results := 0
	for range 100 {
		if p.next().Type == TypeResult {
			results++
		}
	}
	if results != int(started.Load()) {
		t.Errorf("%d calls were taken, %d answered", started.Load(), results)
	}
	p.write(call(p.id(0), "x", nil)) // there is room again
	p.want(TypeResult, p.id(0))
}

// What this end itself has to say, and the peer does not read, is bounded and
// leaves room for answers.
func TestOwnWordsAreBounded(t *testing.T) {
	handled := make(chan bool)
	c, p := faceNarrow(t, Worker, Config{Handler: func(context.Context, *Call) (Message, error) {
		handled <- true
		return Message{}, nil
	}})
	p.greet(Hello{})
	event := Bytes(make([]byte, 1000))
	untilOverloaded := func(what string, say func() error) (n int) {
		for n < 1<<20 {
			if err := say(); err != nil {
				if !errors.Is(err, ErrOverloaded) {
					t.Errorf("%s: %v", what, err)
				}
				return n
			}
			n++
		}
		t.Errorf("%d %s were taken", n, what)
		return n
	}
	empty := untilOverloaded("empty events", func() error { return c.Event("log", Message{}) })
	if held := empty * (HeaderSize + len("log")); held > 2*maxEvents { // the socket has some
		t.Errorf("%d bytes of empty events were taken", held)
	}
	for range empty {
		p.want(TypeEvent, 0)
	}
	queued(t, c, 0)
	events := untilOverloaded("events", func() error { return c.Event("log", event) })
	pings := untilOverloaded("pings", func() error { _, err := c.SendPing(); return err })
	untilOverloaded("READYs", c.Ready)
	for range 100 {
		p.write(Frame{Header: Header{Type: TypePing, Arg: 99}})
	}
	p.write(call(1, "x", nil))
	<-handled // and so the pings have been answered
	seen := map[Type]int{}
	for seen[TypeResult] == 0 {
		seen[p.next().Type]++
	}
	if seen[TypePong] != 100 || seen[TypeEvent] != events || seen[TypePing] != pings {
		t.Errorf("%d events and %d pings were taken, and these came: %v", events, pings, seen)
	}
	if again := untilOverloaded("events", func() error { return c.Event("log", event) }); again < events/2 {
		t.Errorf("all has been read, and there is room for %d events of %d", again, events)
	}
}

// Pings are answered, and the connection goes on, while the peer has no end of
// other things to say.
func TestFloodOfSkippedFrames(t *testing.T) {
	before := heap()
	c, p := face(t, Supervisor, Config{OnEvent: func(Event) {}, OnPong: func(uint32, time.Duration, Pong) {}})
	p.greet(Hello{})
	junk := make([]byte, 1000)
	for range 20000 {
		p.write(
			Frame{Header: Header{Type: 99}, Payload: junk},
			Frame{Header: Header{Type: TypeEvent}, Name: []byte("log"), Payload: junk},
			Frame{Header: Header{Type: TypePong, Arg: 5}},
			Frame{Header: Header{Type: TypeCancel, ID: 2}},
		)
	}
	p.write(Frame{Header: Header{Type: TypePing, Arg: 1}})
	p.want(TypePong, 0)
	wantFlat(t, before)
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// A call that was sent holds its payload no longer, even if it is never
// answered.
func TestSentPayloadsAreReleased(t *testing.T) {
	before := heap()
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{MaxInflight: 40})
	ctx, cancel := context.WithCancel(within(t))
	var calls []<-chan outcome
	for range 40 {
		calls = append(calls, calling(ctx, c, "x", Bytes(make([]byte, 1<<20))))
	}
	for range 40 {
		for p.next().Flags&FlagMore != 0 {
		}
	}
	cancel()
	for _, o := range calls {
		wantCode(t, got(t, o).err, ErrCanceled, StartedUnknown)
	}
	if n := c.Open(); n != 40 {
		t.Errorf("%d calls are open", n)
	}
	wantFlat(t, before)
}
