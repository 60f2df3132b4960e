//go:build unix

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/brood/ipc"
)

// far is the supervisor's side of a worker under test.
type far struct {
	*ipc.Conn
	hello  chan ipc.Hello
	ready  chan struct{}
	events chan ipc.Event
	ended  chan error // what Wait returned
}

// supervise starts w as a worker and speaks with it as its supervisor does.
func supervise(t *testing.T, ctx context.Context, w *Worker) *far {
	t.Helper()
	return superviseWith(t, ctx, w, func(*ipc.Config) {})
}

func superviseWith(t *testing.T, ctx context.Context, w *Worker, change func(*ipc.Config)) *far {
	t.Helper()
	parent, _ := inherit(t)
	t.Setenv("BROOD_WORKER", "web/2")
	t.Setenv("BROOD_POOL", "web")
	t.Setenv("BROOD_SLOT", "2")
	t.Setenv("BROOD_GENERATION", "7")
	t.Setenv("BROOD_SOCKET", "/run/brood/control.sock")
	f := &far{
		hello: make(chan ipc.Hello, 1), ready: make(chan struct{}, 1), events: make(chan ipc.Event, 16), ended: make(chan error, 1),
	}
	var err error
	cfg := ipc.Config{
		Role:    ipc.Supervisor,
		OnHello: func(h ipc.Hello) { f.hello <- h },
		OnReady: func() { f.ready <- struct{}{} },
		OnEvent: func(e ipc.Event) {
			e.Payload = append([]byte(nil), e.Payload...)
			f.events <- e
		},
		Handler: func(_ context.Context, c *ipc.Call) (ipc.Message, error) {
			return ipc.Text("supervisor: " + c.Command), nil
		},
	}
	change(&cfg)
	f.Conn, err = ipc.NewConn(parent, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Ready(); err != nil {
		t.Fatal(err)
	}
	go func() { f.ended <- w.Wait(ctx) }()
	receive(t, "READY", f.ready)
	t.Cleanup(func() { f.Close(); w.conn.Close() })
	return f
}

// receive waits for something that is to come.
func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// call sends a command in the background.
func (f *far) call(command string, m ipc.Message) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := f.Call(context.Background(), command, m)
		done <- err
	}()
	return done
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// held is a command that says when it has begun and goes on until it is let go
// or its context ends.
type held struct {
	begun chan struct{}
	let   chan struct{}
	cause chan error // what its context ended with, if it did
}

func hold(w *Worker) *held {
	h := &held{make(chan struct{}, 100), make(chan struct{}), make(chan error, 100)}
	w.Handle("hold", "until let go", func(ctx context.Context, _ *Request) (any, error) {
		h.begun <- struct{}{}
		select {
		case <-h.let:
			return "held", nil
		case <-ctx.Done():
			h.cause <- ctx.Err()
			return nil, ctx.Err()
		}
	})
	return h
}

func TestHelloTellsWhatTheWorkerIs(t *testing.T) {
	w := &Worker{MaxInflight: 3}
	w.Handle("greet", "say hello", nothing)
	w.Handle("leave", "", nothing)
	f := supervise(t, context.Background(), w)
	h := receive(t, "HELLO", f.hello)
	if h.PID == 0 || !strings.HasPrefix(h.SDK, "brood-go/") || h.MaxInflight != 3 || fmt.Sprint(h.Commands) != "[{greet say hello} {leave }]" {
		t.Errorf("%+v", h)
	}
	if got, want := w.Self(), (Self{"web/2", "web", 2, 7, "/run/brood/control.sock"}); got != want {
		t.Errorf("Self is %+v, want %+v", got, want)
	}
	if err := w.Start(); err == nil {
		t.Error("started twice")
	}
}

func nothing(context.Context, *Request) (any, error) { return nil, nil }

func TestAnswersByType(t *testing.T) {
	var w Worker
	answers := map[string]any{
		"text": "hi", "bytes": []byte{0, 1}, "message": ipc.Message{Codec: ipc.CodecJSON, Payload: []byte("[1]")},
		"nothing": nil, "number": 7, "struct": Self{Name: "web/2"}, "unencodable": func() {},
	}
	for name, v := range answers {
		w.Handle(name, "", func(context.Context, *Request) (any, error) { return v, nil })
	}
	f := supervise(t, context.Background(), &w)
	for name, want := range map[string]ipc.Message{
		"text": ipc.Text("hi"), "bytes": ipc.Bytes([]byte{0, 1}), "message": {Codec: ipc.CodecJSON, Payload: []byte("[1]")},
		"nothing": {}, "number": {Codec: ipc.CodecJSON, Payload: []byte("7")},
		"struct": {Codec: ipc.CodecJSON, Payload: []byte(`{"Name":"web/2","Pool":"","Slot":0,"Generation":0,"Socket":""}`)},
	} {
		got, err := f.Call(within(t), name, ipc.Message{})
		if err != nil || got.Codec != want.Codec || string(got.Payload) != string(want.Payload) {
			t.Errorf("%s: %v %q, %v", name, got.Codec, got.Payload, err)
		}
	}
	if _, err := f.Call(within(t), "unencodable", ipc.Message{}); !errors.Is(err, ipc.ErrFailed) {
		t.Errorf("unencodable: %v", err)
	}
	if _, err := f.Call(within(t), "absent", ipc.Message{}); !errors.Is(err, ipc.ErrUnknownCommand) || !strings.Contains(err.Error(), `no command "absent"; it has `) {
		t.Errorf("absent: %v", err)
	}
}

func TestErrorsKeepTheirCode(t *testing.T) {
	own := &Error{Code: "no_stock", Message: "all gone", Details: map[string]int{"left": 0}}
	var w Worker
	for name, err := range map[string]error{
		"own": own, "wrapped": fmt.Errorf("while packing: %w", own), "plain": errors.New("as asked"),
		"details": &Error{Code: "odd", Message: "see", Details: func() {}},
	} {
		w.Handle(name, "", func(context.Context, *Request) (any, error) { return nil, err })
	}
	w.Handle("decode", "", func(_ context.Context, r *Request) (any, error) {
		var v struct{ N int }
		return &v, r.Decode(&v)
	})
	f := supervise(t, context.Background(), &w)
	for name, want := range map[string]*ipc.CallError{
		"own":     {Code: "no_stock", Message: "all gone", Details: json.RawMessage(`{"left":0}`)},
		"wrapped": {Code: "no_stock", Message: "all gone", Details: json.RawMessage(`{"left":0}`)},
		"plain":   {Code: ipc.ErrFailed, Message: "as asked"},
		"details": {Code: "odd", Message: "see (details left out: json: unsupported type: func())"},
		"decode":  {Code: "bad_payload", Message: "decode takes JSON, got text"},
	} {
		_, err := f.Call(within(t), name, ipc.Text("x"))
		var got *ipc.CallError
		if !errors.As(err, &got) || got.Code != want.Code || got.Message != want.Message || string(got.Details) != string(want.Details) ||
			got.Started != ipc.StartedYes || !errors.Is(err, ipc.ErrFailed) {
			t.Errorf("%s: %#v", name, err)
		}
	}
	got, err := f.Call(within(t), "decode", ipc.Message{Codec: ipc.CodecJSON, Payload: []byte(`{"N":3}`)})
	if err != nil || string(got.Payload) != `{"N":3}` {
		t.Errorf("decode: %q, %v", got.Payload, err)
	}
	if _, err := f.Call(within(t), "decode", ipc.Message{Codec: ipc.CodecJSON, Payload: []byte("{")}); !errors.Is(err, ipc.Code("bad_payload")) {
		t.Errorf("decode of half an object: %v", err)
	}
}

func TestArgs(t *testing.T) {
	for _, c := range []struct {
		m    ipc.Message
		want string
	}{
		{ipc.Args("a", "b c"), `["a" "b c"]`},
		{ipc.Args(), `[]`},
		{ipc.Text(`["a"]`), `[]`},
		{ipc.Message{Codec: ipc.CodecJSON, Payload: []byte(`[1]`)}, `[]`},
		{ipc.Message{}, `[]`},
	} {
		r := &Request{Message: c.m}
		if got := fmt.Sprintf("%q", r.Args()); got != c.want {
			t.Errorf("%q: got %s, want %s", c.m.Payload, got, c.want)
		}
	}
	if got := (&Request{Message: ipc.Message{Codec: ipc.CodecJSON, Payload: []byte(`"hi"`)}}).Text(); got != "hi" {
		t.Errorf("got %q", got)
	}
}

func TestHandlePanicsOnFaultsOfTheProgram(t *testing.T) {
	var w Worker
	w.Handle("taken", "", nothing)
	for _, name := range []string{"", "two words", "ünicode", "taken", strings.Repeat("x", 256)} {
		panics(t, name, func() { w.Handle(name, "", nothing) })
	}
	supervise(t, context.Background(), &w)
	panics(t, "after Start", func() { w.Handle("late", "", nothing) })
}

func panics(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

// A worker that is busy to the brim still answers pings, and says how busy.
func TestPingsAreAnsweredWhileAllIsBusy(t *testing.T) {
	w := &Worker{MaxInflight: 2}
	h := hold(w)
	f := supervise(t, context.Background(), w)
	first, second := f.call("hold", ipc.Message{}), f.call("hold", ipc.Message{})
	receive(t, "the first", h.begun)
	receive(t, "the second", h.begun)
	if _, err := f.Call(within(t), "hold", ipc.Message{}); !errors.Is(err, ipc.ErrOverloaded) {
		t.Errorf("a third: %v", err)
	}
	if err := w.Status("busy"); err != nil {
		t.Fatal(err)
	}
	w.Beat()
	_, p, err := f.Ping(within(t))
	if err != nil || p.Inflight != 2 || p.Status != "busy" || p.BeatMS == nil {
		t.Errorf("%+v, %v", p, err)
	}
	close(h.let)
	if err := errors.Join(receive(t, "an answer", first), receive(t, "an answer", second)); err != nil {
		t.Error(err)
	}
}

// A status is cut, and the PONG says all the rest beside it.
func TestLongStatus(t *testing.T) {
	var w Worker
	f := supervise(t, context.Background(), &w)
	w.Beat()
	if err := w.Status(strings.Repeat("é", 600)); err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("é", 512)
	if e := receive(t, "the event", f.events); string(e.Payload) != want {
		t.Errorf("EVENT with %d bytes", len(e.Payload))
	}
	for _, text := range []string{"x" + strings.Repeat("é", 600), strings.Repeat("\x01", 65000)} {
		if err := w.Status(text); err != nil {
			t.Fatal(err)
		}
		_, p, err := f.Ping(within(t))
		if err != nil || p.BeatMS == nil || p.Status == "" || len(p.Status) > 1024 || !strings.HasPrefix(text, p.Status) {
			t.Errorf("%+v, %v", p, err)
		}
	}
}

func TestEventsAndCallsToTheSupervisor(t *testing.T) {
	var w Worker
	f := supervise(t, context.Background(), &w)
	if err := errors.Join(w.Status("warm"), w.Event("metric", map[string]int{"n": 1})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`status warm`, `metric {"n":1}`} {
		e := receive(t, want, f.events)
		if got := e.Name + " " + string(e.Payload); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	m, err := w.Call(within(t), "who", nil)
	if err != nil || string(m.Payload) != "supervisor: who" {
		t.Errorf("%q, %v", m.Payload, err)
	}
	if err := w.Event("metric", func() {}); err == nil {
		t.Error("an event that can't be encoded was sent")
	}
	if _, err := w.Call(within(t), "who", func() {}); err == nil {
		t.Error("a call that can't be encoded was sent")
	}
}
