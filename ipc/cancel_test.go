package ipc

import (
	"context"
	"errors"
	"testing"
	"time"
)

// CANCEL ends the handler's ctx, and only that call's.
func TestCancelReachesTheHandler(t *testing.T) {
	for _, role := range []Role{Supervisor, Worker} {
		started := make(chan string)
		ended := make(chan error, 1)
		_, p := face(t, role, Config{Handler: func(ctx context.Context, c *Call) (Message, error) {
			started <- c.Command
			if c.Command == "other" {
				<-ctx.Done()
				return Message{}, ctx.Err()
			}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return Text("stopped"), nil // a late answer is an answer
		}})
		p.greet(Hello{})
		p.write(call(p.id(0), "other", nil))
		<-started
		p.write(call(p.id(1), "mine", nil))
		<-started
		p.write(Frame{Header: Header{Type: TypeCancel, ID: p.id(1)}}, Frame{Header: Header{Type: TypeCancel, ID: p.id(1)}})
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("cause %v", err)
		}
		p.want(TypeResult, p.id(1))
		p.write(Frame{Header: Header{Type: TypeCancel, ID: p.id(1)}}) // has crossed the answer
		p.write(Frame{Header: Header{Type: TypeCancel, ID: p.id(0)}})
		p.want(TypeError, p.id(0))
	}
}

// The end of the connection ends the handlers' ctx too.
func TestEndReachesTheHandler(t *testing.T) {
	noLeaks(t)
	started, ended := make(chan bool), make(chan error, 1)
	c, p := face(t, Worker, Config{Handler: func(ctx context.Context, _ *Call) (Message, error) {
		started <- true
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return Message{}, nil
	}})
	p.greet(Hello{})
	p.write(call(1, "a", nil))
	<-started
	c.Close()
	if err := <-ended; err != ErrClosed {
		t.Errorf("cause %v", err)
	}
}

// stuck has c in the middle of writing a message that the peer does not read:
// its first frame has been read, the others are waiting.
func stuck(t *testing.T, c *Conn, p *rawPeer) <-chan outcome {
	t.Helper()
	o := calling(within(t), c, "stuck", Bytes(make([]byte, 1<<20)))
	if f := p.next(); string(f.Name) != "stuck" || f.Flags&FlagMore == 0 {
		t.Fatalf("got %v %s", f.Type, f.Name)
	}
	return o
}

// queued waits until n messages wait in c's outbox.
func queued(t *testing.T, c *Conn, n int) {
	t.Helper()
	eventually(t, "messages wait", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.out.msgs.len() == n
	})
}

// Of a call that is given up before it was sent, neither CALL nor CANCEL goes.
func TestCancelBeforeSending(t *testing.T) {
	c, p := faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{})
	first := stuck(t, c, p)
	ctx, cancel := context.WithCancel(within(t))
	var waiting []<-chan outcome
	for range 10 {
		waiting = append(waiting, calling(ctx, c, "waiting", Bytes(make([]byte, 100))))
	}
	queued(t, c, 11)
	last := calling(within(t), c, "last", Message{})
	queued(t, c, 12)
	cancel()
	for _, w := range waiting {
		wantCode(t, got(t, w).err, ErrCanceled, StartedNo)
	}
	if n := c.Open(); n != 2 {
		t.Errorf("%d calls are open", n)
	}
	p.message(TypeCall, 1)
	f := p.next()
	if f.Type != TypeCall || string(f.Name) != "last" {
		t.Fatalf("got %v %d %s", f.Type, f.ID, f.Name)
	}
	p.write(result(1, nil), result(f.ID, nil))
	if a, b := got(t, first), got(t, last); a.err != nil || b.err != nil {
		t.Error(a.err, b.err)
	}
}

// A message once begun is sent to its end, and then its CANCEL.
func TestCancelWhileSending(t *testing.T) {
	c, p := faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{})
	ctx, cancel := context.WithCancel(within(t))
	big := calling(ctx, c, "big", Bytes(make([]byte, 1<<20)))
	size := len(p.want(TypeCall, 1).Payload)
	next := calling(within(t), c, "next", Message{})
	queued(t, c, 2)
	cancel()
	wantCode(t, got(t, big).err, ErrCanceled, StartedUnknown)
	if size += len(p.message(TypeCall, 1)); size != 1<<20 {
		t.Errorf("%d bytes arrived", size)
	}
	p.want(TypeCancel, 1)
	p.want(TypeCall, 3)
	p.write(failure(1, ErrCanceled), result(3, nil))
	if o := got(t, next); o.err != nil {
		t.Error(o.err)
	}
}

// CANCEL of a call that was sent goes ahead of what waits.
func TestCancelGoesAhead(t *testing.T) {
	c, p := faceNarrow(t, Supervisor, Config{})
	p.greet(Hello{})
	ctx, cancel := context.WithCancel(within(t))
	sent := calling(ctx, c, "sent", Message{})
	p.want(TypeCall, 1)
	stuck(t, c, p)
	cancel()
	wantCode(t, got(t, sent).err, ErrCanceled, StartedUnknown)
	for n := 0; ; n++ {
		if f := p.next(); f.Type == TypeCancel {
			if f.ID != 1 || n > 4 {
				t.Errorf("CANCEL %d came after %d frames", f.ID, n)
			}
			return
		}
	}
}

// After Refuse, or DRAIN, calls are unavailable; what is at work is finished,
// and idle is told once its answer is written to the last byte.
func TestRefuse(t *testing.T) {
	for name, drain := range map[string]func(c *Conn, p *rawPeer){
		"Refuse": func(c *Conn, _ *rawPeer) { c.Refuse() },
		"DRAIN":  func(_ *Conn, p *rawPeer) { p.write(Frame{Header: Header{Type: TypeDrain, Arg: 1500}}) },
	} {
		t.Run(name, func(t *testing.T) {
			release, graces := make(chan bool), make(chan time.Duration, 1)
			c, p := faceNarrow(t, Worker, Config{
				OnDrain: func(d time.Duration) { graces <- d },
				Handler: func(context.Context, *Call) (Message, error) {
					<-release
					return Bytes(make([]byte, 1<<20)), nil
				},
			})
			p.greet(Hello{})
			p.write(call(1, "work", nil), more(call(3, "late", nil)))
			eventually(t, "the call is at work", func() bool { n, _ := c.Inflight(); return n == 1 })
			drain(c, p)
			if name == "DRAIN" {
				if g := <-graces; g != 1500*time.Millisecond {
					t.Errorf("grace %v", g)
				}
			}
			idle := c.Refuse()
			p.write(Frame{Header: Header{Type: TypeCall, ID: 3}}, call(5, "later", nil))
			refused(t, p.want(TypeError, 3), ErrUnavailable, "no")
			refused(t, p.want(TypeError, 5), ErrUnavailable, "no")
			notYet(t, idle, "a call is at work")
			close(release)
			half := 0
			for half < 1<<19 {
				half += len(p.want(TypeResult, 1).Payload)
			}
			notYet(t, idle, "half an answer is written")
			p.message(TypeResult, 1)
			select {
			case <-idle:
			case <-within(t).Done():
				t.Fatal("all is answered, and idle was not told")
			}
			if c.Err() != nil {
				t.Error(c.Err())
			}
		})
	}
}

func notYet(t *testing.T, idle <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-idle:
		t.Fatalf("idle was told, but %s", why)
	default:
	}
}

// The last answer may be wholly with the writer, and not with the socket.
func TestRefuseWhileTheLastAnswerIsWritten(t *testing.T) {
	started := make(chan bool)
	c, p := faceNarrow(t, Worker, Config{Handler: func(context.Context, *Call) (Message, error) {
		started <- true
		return Bytes(make([]byte, 60<<10)), nil
	}})
	p.greet(Hello{})
	p.write(call(1, "x", nil))
	<-started
	eventually(t, "the writer has the answer", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.serving.n == 0
	})
	idle := c.Refuse()
	notYet(t, idle, "the answer is not written")
	p.message(TypeResult, 1)
	<-idle
}

func TestRefuseWithNothingAtWork(t *testing.T) {
	c, p := face(t, Worker, Config{Handler: echo})
	p.greet(Hello{})
	<-c.Refuse()
	c.Close()
	<-c.Refuse()

	c, _ = face(t, Worker, Config{Handler: echo})
	c.Close()
	<-c.Refuse()
}
