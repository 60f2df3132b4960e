package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// pause pauses c.
func pause(t *testing.T, c *Conn) {
	t.Helper()
	if err := c.Pause(within(t)); err != nil {
		t.Fatal(err)
	}
}

// heard waits for the peer's HELLO.
func heard(t *testing.T, c *Conn) {
	t.Helper()
	eventually(t, "the HELLO is read", func() bool { _, ok := c.Peer(); return ok })
}

// stateOf is the State of a paused connection as it comes out of JSON.
func stateOf(t *testing.T, c *Conn) State {
	t.Helper()
	st, err := c.State()
	if err != nil {
		t.Fatal(err)
	}
	return throughJSON(t, st)
}

func throughJSON(t *testing.T, st State) (come State) {
	t.Helper()
	b, err := json.Marshal(st)
	if err == nil {
		err = json.Unmarshal(b, &come)
	}
	if err != nil {
		t.Fatal(err)
	}
	return come
}

// carry goes on with a paused connection, in another Conn.
func carry(t *testing.T, c *Conn, cfg Config) *Conn {
	t.Helper()
	return carryState(t, c, cfg, stateOf(t, c))
}

func carryState(t *testing.T, c *Conn, cfg Config, st State) *Conn {
	t.Helper()
	fd, err := c.FD()
	if err != nil {
		t.Fatal(err)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	cfg.Role = Supervisor
	next, err := Continue(os.NewFile(uintptr(own), "carried"), cfg, st)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	return next
}

// Nothing is read and nothing is written while a connection is paused; it all is
// afterwards.
func TestPause(t *testing.T) {
	noLeaks(t)
	events := make(chan string, 10)
	c, p := face(t, Supervisor, Config{OnEvent: func(e Event) { events <- string(e.Payload) }})
	p.greet(Hello{})
	heard(t, c)
	goroutines := runtime.NumGoroutine()
	for range 3 {
		pause(t, c)
		eventually(t, "the reader has returned", func() bool { return runtime.NumGoroutine() < goroutines })
		if err := c.Pause(within(t)); err == nil {
			t.Error("it was paused twice")
		}
		o := calling(within(t), c, "x", Text("waits"))
		p.write(Frame{Header: Header{Type: TypeEvent}, Name: []byte("log"), Payload: []byte("waits too")})
		eventually(t, "the call is queued", func() bool { return c.Waiting() == 1 })
		control(t, p.f, func(fd int) error {
			if _, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_DONTWAIT|unix.MSG_PEEK); err != unix.EAGAIN {
				t.Errorf("something was written, %v", err)
			}
			return nil
		})
		if len(events) > 0 {
			t.Error("something was read")
		}
		c.Resume()
		c.Resume() // changes nothing
		if e := <-events; e != "waits too" {
			t.Errorf("the event is %q", e)
		}
		f := p.next()
		p.write(result(f.ID, f.Payload))
		if o := got(t, o); o.err != nil || string(o.msg.Payload) != "waits" {
			t.Errorf("%q, %v", o.msg.Payload, o.err)
		}
	}
	w, _ := face(t, Worker, Config{})
	if err := w.Pause(within(t)); err == nil {
		t.Error("a worker's end was paused")
	}
}

// A callback that runs is waited for, within ctx; in vain, all goes on.
func TestPauseWaitsForCallbacks(t *testing.T) {
	noLeaks(t)
	begun, let := make(chan bool), make(chan bool)
	var over atomic.Bool
	c, p := face(t, Supervisor, Config{OnEvent: func(Event) { begun <- true; <-let; over.Store(true) }})
	p.greet(Hello{})
	event := Frame{Header: Header{Type: TypeEvent}, Name: []byte("log")}
	p.write(event)
	<-begun
	ctx, cancel := context.WithCancel(within(t))
	cancel()
	if err := c.Pause(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Pause: %v", err)
	}
	o := calling(within(t), c, "x", Message{})
	f := p.next()
	let <- true
	p.write(result(f.ID, nil))
	if o := got(t, o); o.err != nil {
		t.Error(o.err)
	}
	p.write(event)
	<-begun
	over.Store(false)
	paused := make(chan error)
	go func() { paused <- c.Pause(within(t)) }()
	eventually(t, "the pause is asked for", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.pause != nil })
	let <- true
	if err := <-paused; err != nil || !over.Load() {
		t.Errorf("Pause: %v, the callback is over: %v", err, over.Load())
	}
	c.Resume()
}

// However a connection ends beside a pause, OnClose is told once.
func TestPauseAndTheEnd(t *testing.T) {
	noLeaks(t)
	for name, x := range map[string]struct {
		end  func(c *Conn, p *rawPeer)
		want func(error) bool
	}{
		"close":   {func(c *Conn, _ *rawPeer) { c.Close() }, func(err error) bool { return err == ErrClosed }},
		"EOF":     {func(_ *Conn, p *rawPeer) { p.f.Close() }, func(err error) bool { return err == io.EOF }},
		"breach":  {func(_ *Conn, p *rawPeer) { p.f.Write([]byte("junk")) }, func(err error) bool { return errors.Is(err, ErrProtocol) }},
		"half":    {func(_ *Conn, p *rawPeer) { p.f.Write([]byte{Magic}); p.f.Close() }, func(err error) bool { return err == io.ErrUnexpectedEOF }},
		"release": {func(c *Conn, _ *rawPeer) { c.Release(); c.Close() }, func(err error) bool { return err == ErrClosed }},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 300 {
				closes, closed := closeCounter()
				c, p := face(t, Supervisor, Config{OnClose: closed})
				p.greet(Hello{})
				o := calling(within(t), c, "x", Message{})
				if i%2 == 0 {
					p.want(TypeCall, 1)
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					for range 20 {
						if err := c.Pause(within(t)); err != nil {
							t.Error(err)
						}
						c.State()
						c.Resume()
					}
				})
				if i%3 > 0 {
					runtime.Gosched()
				}
				if name == "release" { // is not for two goroutines at once
					wg.Wait()
					pause(t, c)
				}
				x.end(c, p)
				wg.Wait()
				if err := ended(t, c); !x.want(err) {
					t.Fatalf("ended by %v", err)
				}
				if name == "release" {
					if told := closes.Load(); told != nil {
						t.Fatalf("OnClose was told %v", *told)
					}
				} else if told := closes.Load(); told == nil || *told != c.Err() {
					t.Fatalf("OnClose was told %v, it ended by %v", told, c.Err())
				}
				if got(t, o).err == nil {
					t.Fatal("the call has an answer")
				}
				p.f.Close()
			}
		})
	}
}

// What ends while it is paused is told afterwards: by Resume, or by who goes on.
func TestEndWhilePaused(t *testing.T) {
	noLeaks(t)
	for _, how := range []string{"resume", "continue", "close"} {
		closes, closed := closeCounter()
		c, p := face(t, Supervisor, Config{OnClose: closed})
		p.greet(Hello{})
		heard(t, c)
		pause(t, c)
		p.f.Close()
		st := stateOf(t, c)
		if st.Ended != "" || closes.Load() != nil {
			t.Fatalf("%s: it has ended already: %q", how, st.Ended)
		}
		want := io.EOF
		switch how {
		case "resume":
			c.Resume()
		case "continue":
			old := c
			c = carryState(t, c, Config{OnClose: closed}, st)
			if err := ended(t, old); err != ErrClosed {
				t.Errorf("the old one: %v", err)
			}
		case "close":
			c.Close()
			want = ErrClosed
		}
		if err := ended(t, c); err != want || *closes.Load() != want {
			t.Errorf("%s: ended by %v, OnClose was told %v", how, err, *closes.Load())
		}
	}
}

// A call that a pause has kept from the socket has certainly not started when the
// connection ends there.
func TestStartedWhilePaused(t *testing.T) {
	noLeaks(t)
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	heard(t, c)
	c.file.SetWriteDeadline(past) // as if the pause came when the batch is filled
	o := calling(within(t), c, "x", Message{})
	eventually(t, "the call is with the writer", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.calls.n == 1 && c.calls.get(1).msg.whole })
	pause(t, c)
	c.Close()
	wantCode(t, got(t, o).err, ErrLost, StartedNo)
}

// A connection that has ended before is carried as such, and tells nobody again.
func TestEndedIsCarried(t *testing.T) {
	noLeaks(t)
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{PID: 7})
	p.shut(unix.SHUT_WR)
	ended(t, c)
	for range 2 {
		pause(t, c)
		st := stateOf(t, c)
		if st.Ended != "EOF" {
			t.Fatalf("ended by %q", st.Ended)
		}
		c.Resume()
		var opened *Conn
		next, err := Continue(nil, Config{Role: Supervisor, OnOpen: func(c *Conn) { opened = c }, OnClose: func(error) { t.Error("OnClose is told again") }}, st)
		if err != nil || opened != next {
			t.Fatal(opened, err)
		}
		c = next
		ended(t, c)
		if h, ok := c.Peer(); !ok || h.PID != 7 {
			t.Errorf("the peer is %+v, %v", h, ok)
		}
		_, err = c.Call(within(t), "x", Message{})
		wantCode(t, err, ErrLost, StartedNo)
		if _, _, err := c.Ping(within(t)); !errors.Is(err, ErrLost) {
			t.Errorf("a ping: %v", err)
		}
		if _, err := c.FD(); err == nil {
			t.Error("it has a descriptor")
		}
		if err := errors.Join(c.Close(), c.Release()); !errors.Is(err, errNotPaused) {
			t.Error(err)
		}
	}
}

// What can't be carried is said, and all goes on.
func TestStateRefuses(t *testing.T) {
	noLeaks(t)
	at := make(chan bool)
	let := make(chan bool)
	c, p := faceNarrow(t, Supervisor, Config{Hello: taking(2), Handler: func(context.Context, *Call) (Message, error) {
		at <- true
		<-let
		return Message{}, nil
	}})
	refused := func(words string) {
		t.Helper()
		if _, err := c.State(); err == nil {
			t.Fatalf("it is not paused and has a State")
		}
		pause(t, c)
		_, err := c.State()
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("State: %v, want it to say %q", err, words)
		}
		c.Resume()
	}
	p.greet(Hello{FDs: 2})
	o := calling(within(t), c, "x", Message{})
	p.want(TypeCall, 1)
	refused(`1 calls wait for their answer, one of them is "x"`)
	p.write(result(1, nil))
	got(t, o)

	ping := make(chan error)
	go func() { _, _, err := c.Ping(within(t)); ping <- err }()
	f := p.want(TypePing, 0)
	if n := c.Waiting(); n != 1 {
		t.Errorf("%d wait", n)
	}
	refused("1 callers wait for a ping")
	p.write(Frame{Header: Header{Type: TypePong, Arg: f.Arg}})
	<-ping

	p.write(call(2, "y", nil))
	<-at
	refused(`1 calls of the worker's are at work, one of them is "y"`)
	let <- true
	p.want(TypeResult, 2)

	with := call(4, "y", nil)
	with.NFDs = 1
	b := AppendFrame(nil, with)
	p.smuggle(b[:HeaderSize], scratch(t, ""))
	eventually(t, "the descriptor is read", func() bool {
		pause(t, c)
		defer c.Resume()
		return len(c.arrived.fds) == 1
	})
	refused("1 descriptors that came wait")
	p.bytes(b[HeaderSize:])
	<-at
	let <- true
	p.want(TypeResult, 4)

	ctx, cancel := context.WithCancel(within(t))
	big := calling(ctx, c, "z", Bytes(make([]byte, 1<<20)))
	eventually(t, "the call is begun", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.calls.get(3) != nil && c.calls.get(3).msg.begun
	})
	file := scratch(t, "")
	give, giveUp := context.WithCancel(within(t))
	files := calling(give, c, "z", Message{Files: []*os.File{file}})
	eventually(t, "the file is queued", func() bool { return c.Waiting() == 2 })
	refused("1 descriptors wait to be sent")
	giveUp()
	wantCode(t, got(t, files).err, ErrCanceled, StartedNo)
	cancel()
	wantCode(t, got(t, big).err, ErrCanceled, StartedUnknown)
	pause(t, c)
	c = carry(t, c, Config{}) // and now it can be
	if n := len(p.message(TypeCall, 3)); n != 1<<20 {
		t.Errorf("%d bytes of the call have come", n)
	}
	p.want(TypeCancel, 3)
	p.write(failure(3, ErrCanceled))
	eventually(t, "the call is over", func() bool { return c.Open() == 0 })
}

// A State that is not one is refused.
func TestContinueChecks(t *testing.T) {
	noLeaks(t)
	own := Hello{}.withDefaults()
	queued := func(h Header) State { return State{Own: own, NextID: 1, Queue: []Queued{{Header: h}}} }
	for _, x := range []struct {
		role Role
		st   State
		says string
	}{
		{Worker, State{Own: own, NextID: 1}, "only a supervisor's"},
		{Supervisor, State{}, "versions"},
		{Supervisor, State{Own: own}, "id is 0"},
		{Supervisor, State{Own: own, NextID: 1, Peer: &Hello{}}, "versions"},
		{Supervisor, State{Own: own, NextID: 1, Calls: []GivenUp{{ID: 1}, {ID: 1}}}, "call 1 is there twice"},
		{Supervisor, queued(Header{Type: TypeCall, ID: 1}), "not open"},
		{Supervisor, queued(Header{Type: TypeReady}), "READY is queued"},
		{Supervisor, State{Own: own, NextID: 1, Queue: slices.Repeat([]Queued{{Header: Header{Type: TypeResult, ID: 2}}}, 2)}, "answered twice"},
	} {
		f, other, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Continue(f, Config{Role: x.role}, x.st); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%+v: %v, want it to say %q", x.st, err, x.says)
		}
		other.Close()
	}
}
