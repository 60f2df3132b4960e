package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A caller keeps to the peer's max_inflight; a call that was given up counts
// until its terminal frame has come.
func TestMaxInflightOfThePeer(t *testing.T) {
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{MaxInflight: 2})
	ctx, cancel := context.WithCancel(within(t))
	first, second := calling(ctx, c, "a", Message{}), calling(within(t), c, "b", Message{})
	ids := map[string]uint32{}
	for range 2 {
		f := p.next()
		ids[string(f.Name)] = f.ID
	}
	_, err := c.Call(within(t), "c", Message{})
	wantCode(t, err, ErrOverloaded, StartedNo)

	cancel()
	wantCode(t, got(t, first).err, ErrCanceled, StartedUnknown)
	p.want(TypeCancel, ids["a"])
	_, err = c.Call(within(t), "d", Message{})
	wantCode(t, err, ErrOverloaded, StartedNo)
	if n := c.Open(); n != 2 {
		t.Errorf("%d calls are open", n)
	}

	p.write(failure(ids["a"], ErrCanceled), result(ids["b"], nil))
	if o := got(t, second); o.err != nil {
		t.Fatal(o.err)
	}
	third := calling(within(t), c, "e", Message{}) // no d: it was never sent
	f := p.next()
	if string(f.Name) != "e" {
		t.Fatalf("got %v %s", f.Type, f.Name)
	}
	p.write(result(f.ID, []byte("fine")))
	if o := got(t, third); o.err != nil || string(o.msg.Payload) != "fine" || c.Open() != 0 {
		t.Errorf("%+v, %d open", o, c.Open())
	}
}

// A callee refuses what is beyond its max_inflight, at once.
func TestMaxInflightOfThisEnd(t *testing.T) {
	c, p := face(t, Worker, Config{Handler: blockUntilDone, Hello: Hello{MaxInflight: 2}})
	p.greet(Hello{})
	p.write(call(1, "a", nil), call(3, "b", nil), call(5, "c", nil))
	refused(t, p.want(TypeError, 5), ErrOverloaded, "no")
	if n, oldest := c.Inflight(); n != 2 || oldest.IsZero() {
		t.Errorf("%d at work since %v", n, oldest)
	}
	p.write(Frame{Header: Header{Type: TypeCancel, ID: 1}})
	refused(t, p.want(TypeError, 1), ErrCanceled, "yes")
	p.write(call(1, "again", nil), call(5, "c", nil)) // both ids are free again, one place is
	refused(t, p.want(TypeError, 5), ErrOverloaded, "no")
}

func refused(t *testing.T, f Frame, code Code, started string) {
	t.Helper()
	var body errorBody
	if err := json.Unmarshal(f.Payload, &body); err != nil || Code(f.Name) != code || body.Started != started {
		t.Fatalf("got %s %s, want %s, started %s", f.Name, f.Payload, code, started)
	}
}

func TestDeadlineTravels(t *testing.T) {
	c, p := face(t, Worker, Config{})
	p.greet(Hello{})
	for _, d := range []struct{ left, low, high time.Duration }{
		{0, 0, 0},
		{time.Hour, time.Hour - 20*time.Second, time.Hour},
		{100 * 24 * time.Hour, math.MaxUint32 * time.Millisecond, math.MaxUint32 * time.Millisecond},
		{math.MaxInt64, math.MaxUint32 * time.Millisecond, math.MaxUint32 * time.Millisecond},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		if d.left > 0 {
			var stop context.CancelFunc
			ctx, stop = context.WithDeadline(ctx, time.Now().Add(d.left))
			defer stop()
		}
		o := calling(ctx, c, "x", Message{})
		f := p.next()
		if left := time.Duration(f.Arg) * time.Millisecond; left < d.low || left > d.high {
			t.Errorf("%v left travels as %v", d.left, left)
		}
		cancel()
		wantCode(t, got(t, o).err, ErrCanceled, StartedUnknown)
		p.want(TypeCancel, f.ID)
	}
}

func TestMillisRoundsUp(t *testing.T) {
	for d, want := range map[time.Duration]uint32{
		-1: 0, 0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, math.MaxInt64: math.MaxUint32, math.MinInt64: 0,
	} {
		if got := millis(d); got != want {
			t.Errorf("%d ns: %d ms, want %d", d, got, want)
		}
	}
}

// The handler's ctx has the deadline that came along, ends with it, and the
// outcome says so, even if the handler wraps the error.
func TestDeadlineArrives(t *testing.T) {
	deadlines := make(chan time.Time, 1)
	_, p := face(t, Worker, Config{Handler: func(ctx context.Context, c *Call) (Message, error) {
		d, ok := ctx.Deadline()
		if !ok {
			d = time.Time{}
		}
		deadlines <- d
		<-ctx.Done()
		return Message{}, fmt.Errorf("%s gave up: %w", c.Command, ctx.Err())
	}})
	p.greet(Hello{})

	sent := time.Now()
	f := call(1, "a", nil)
	f.Arg = 1
	p.write(f)
	if d := <-deadlines; d.Before(sent) {
		t.Errorf("the deadline is %v before the call was sent", sent.Sub(d))
	}
	refused(t, p.want(TypeError, 1), ErrTimeout, "yes")

	f = call(3, "b", nil)
	f.Arg = 3_600_000
	p.write(f)
	if d := <-deadlines; time.Until(d) > time.Hour || time.Until(d) < time.Hour-20*time.Second {
		t.Errorf("the deadline is in %v", time.Until(d))
	}
	p.write(Frame{Header: Header{Type: TypeCancel, ID: 3}})
	refused(t, p.want(TypeError, 3), ErrCanceled, "yes")

	p.write(call(5, "c", nil))
	if d := <-deadlines; !d.IsZero() {
		t.Errorf("no limit became %v", d)
	}
	p.write(Frame{Header: Header{Type: TypeCancel, ID: 5}})
	p.want(TypeError, 5)
}

func TestTimeoutOfTheCaller(t *testing.T) {
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := c.Call(ctx, "slow", Message{})
	var ce *CallError
	if !errors.As(err, &ce) || ce.Outcome() != ErrTimeout || ce.Command != "slow" {
		t.Fatalf("got %v", err)
	}
	<-ctx.Done()
	_, err = c.Call(ctx, "late", Message{})
	wantCode(t, err, ErrTimeout, StartedNo)
}

// What a handler returns, and what the caller sees.
func TestHandlerOutcomes(t *testing.T) {
	details := json.RawMessage(`{"have":["all"]}`)
	handlers := map[string]Handler{
		"plain": func(context.Context, *Call) (Message, error) { return Message{}, errors.New("no\xffluck") },
		"code": func(context.Context, *Call) (Message, error) {
			return Message{}, fmt.Errorf("wrapped: %w", ErrUnavailable)
		},
		"typed": func(context.Context, *Call) (Message, error) {
			return Message{}, fmt.Errorf("wrapped: %w", &CallError{Code: "no_such_cache", Message: "m", Details: details, Started: StartedYes})
		},
		"bad_code": func(context.Context, *Call) (Message, error) { return Message{}, &CallError{Code: "a b"} },
		"long": func(context.Context, *Call) (Message, error) {
			return Message{}, &CallError{Code: "x", Message: strings.Repeat("\x00", 1<<20), Details: json.RawMessage(`"` + strings.Repeat("y", 1<<20) + `"`)}
		},
		"bad_details": func(context.Context, *Call) (Message, error) {
			return Message{}, &CallError{Code: "x", Details: json.RawMessage("{")}
		},
		"bad_codec": func(context.Context, *Call) (Message, error) { return Message{Codec: 3}, nil },
		"too_large": func(context.Context, *Call) (Message, error) { return Bytes(make([]byte, 101)), nil },
		"goexit":    func(context.Context, *Call) (Message, error) { runtime.Goexit(); return Message{}, nil },
		"foreign_timeout": func(context.Context, *Call) (Message, error) {
			return Message{}, fmt.Errorf("disk: %w", context.DeadlineExceeded)
		},
	}
	s, _ := connect(t, Config{Hello: Hello{MaxMessage: 100}}, Config{Handler: func(ctx context.Context, c *Call) (Message, error) {
		return handlers[c.Command](ctx, c)
	}})
	want := map[string]struct {
		code, outcome Code
		started       Started
	}{
		"plain":           {ErrFailed, ErrFailed, StartedYes},
		"code":            {ErrUnavailable, ErrUnavailable, StartedYes},
		"typed":           {"no_such_cache", ErrFailed, StartedYes},
		"bad_code":        {ErrFailed, ErrFailed, StartedUnknown},
		"long":            {"x", ErrFailed, StartedUnknown},
		"bad_details":     {"x", ErrFailed, StartedUnknown},
		"bad_codec":       {ErrFailed, ErrFailed, StartedYes},
		"too_large":       {ErrTooLarge, ErrFailed, StartedYes},
		"goexit":          {ErrFailed, ErrFailed, StartedYes},
		"foreign_timeout": {ErrFailed, ErrFailed, StartedYes},
	}
	for command := range handlers {
		_, err := s.Call(within(t), command, Message{})
		var ce *CallError
		w := want[command]
		if !errors.As(err, &ce) || ce.Code != w.code || ce.Outcome() != w.outcome || !errors.Is(err, w.outcome) || ce.Started != w.started || ce.Command != command {
			t.Errorf("%s: got %#v", command, err)
		}
		if command == "typed" && string(ce.Details) != string(details) {
			t.Errorf("details arrived as %s", ce.Details)
		}
	}
}

// What this end's program does wrong is told to it, and never reaches the peer.
func TestOwnFaultsStayHere(t *testing.T) {
	c, p := face(t, Worker, Config{Handler: echo})
	p.greet(Hello{MaxMessage: 10})
	for _, bad := range []struct {
		command string
		m       Message
		code    Code
	}{
		{"", Message{}, ErrUnknownCommand},
		{"two words", Message{}, ErrUnknownCommand},
		{strings.Repeat("n", maxName+1), Message{}, ErrUnknownCommand},
		{"codec", Message{Codec: 3}, ErrFailed},
		{"long", Bytes(make([]byte, 11)), ErrTooLarge},
	} {
		_, err := c.Call(within(t), bad.command, bad.m)
		wantCode(t, err, bad.code, StartedNo)
	}
	for _, err := range []error{
		c.Drain(time.Second), c.Event("two words", Message{}), c.Event("codec", Message{Codec: 3}),
		c.Event("long", Bytes(make([]byte, DefaultChunk))),
	} {
		if err == nil {
			t.Error("no error")
		}
	}
	p.write(Frame{Header: Header{Type: TypePing, Arg: 1}})
	p.want(TypePong, 0) // nothing came before it
}

// An end that accepts large frames does not send them to one that does not.
func TestOwnChunkIsNotThePeers(t *testing.T) {
	c, p := face(t, Worker, Config{Hello: Hello{Chunk: 1 << 20}})
	p.greet(Hello{Chunk: 1 << 30})
	if err := c.Event("log", Bytes(make([]byte, DefaultChunk))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an event beyond the peer's chunk: %v", err)
	}
	if err := c.Event("log", Bytes(make([]byte, DefaultChunk-3))); err != nil {
		t.Error(err)
	}
	p.want(TypeEvent, 0)
	o := calling(within(t), c, "big", Bytes(make([]byte, 1<<20)))
	p.write(result(2, p.message(TypeCall, 2)[:100]))
	if o := got(t, o); o.err != nil {
		t.Error(o.err)
	}
	// Nor does it mistake what is larger than it asked for.
	p.write(more(call(1, "x", make([]byte, 1<<20-1))))
	p.write(Frame{Header: Header{Type: TypeCall, ID: 1}, Payload: make([]byte, 1<<20+1)})
	wantBreach(t, c, "length", p.last+4)
}

func TestIDsWrapAround(t *testing.T) {
	for role, ids := range map[Role][3]uint32{Supervisor: {math.MaxUint32, 1, 5}, Worker: {math.MaxUint32 - 1, 2, 6}} {
		c, p := face(t, role, Config{})
		p.greet(Hello{})
		c.mu.Lock()
		c.nextID = ids[0]
		c.calls.put(ids[1]+2, &pending{msg: outgoing{whole: true}}) // 3 or 4, from the last round
		c.mu.Unlock()
		for _, id := range ids {
			o := calling(within(t), c, "x", Message{})
			p.want(TypeCall, id)
			p.write(result(id, nil))
			if o := got(t, o); o.err != nil {
				t.Error(o.err)
			}
		}
	}
}
