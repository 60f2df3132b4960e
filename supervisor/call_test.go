package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

func init() {
	testWorkers["asker"] = func() {
		var w worker.Worker
		handleCommon(&w)
		w.Handle("ask", "ask the supervisor", func(ctx context.Context, r *worker.Request) (any, error) {
			m, err := w.Call(ctx, "answer", r.Message)
			var ce *ipc.CallError
			if errors.As(err, &ce) {
				return nil, &worker.Error{Code: string(ce.Code), Message: ce.Message}
			}
			return m, err
		})
		finish(w.Run(context.Background()))
	}
}

func target(t *testing.T, text string) Target {
	t.Helper()
	to, err := ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// Who can't be reached is refused at once, and the error says why in its code
// and its words. Nothing of it was started.
func TestCallsThatReachNobody(t *testing.T) {
	down := pool("down", "echo", 1)
	broken := quick("/no/such/program")
	broken.Name, broken.Restart.BackoffMin, broken.Restart.BackoffMax = "broken", time.Hour, time.Hour
	plain := quick("sleep", "1000")
	plain.Name = "plain"
	s := run(t, Config{Pools: []Pool{echoes(2), down, broken, plain}, Log: discard()})
	await(t, s, "all there", func(st Status) bool {
		return st.Pools[0].Ready == 2 && st.Pools[1].Ready == 1 && st.Pools[2].Slots[0].State == InBackoff && st.Pools[3].Ready == 1
	})
	ctx := within(t, time.Minute)
	if _, err := s.Stop(ctx, Target{Pool: "down"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restart(ctx, Target{Pool: "web", Slot: 1}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		target string
		code   error
		words  string
	}{
		{"down/1", ipc.ErrUnavailable, "it is stopped: stopped by hand"},
		{"down", ipc.ErrUnavailable, "none of its 1 workers is ready"},
		{"broken/1", ipc.ErrUnavailable, "it is backoff: it could not be started: stat /no/such/program"},
		{"broken/1", ipc.ErrUnavailable, "the next try is in "},
		{"plain/1", ipc.ErrUnknownCommand, "it is a plain worker"},
		{"plain", ipc.ErrUnknownCommand, "it is a plain worker"},
		{"web/1#1", ErrStale, "web/1#1 is gone, web/1#2 is there"},
		{"web/1#3", ErrStale, "there has been no web/1#3 yet, web/1#2 is there; name web/1 to reach whichever is"},
		{"web/3", ErrNoTarget, "pool web has slots 1 to 2"},
		{"nobody", ErrNoTarget, `there is no pool "nobody"; the pools are web, down, broken, plain`},
		{"@1", ErrNotOne, "say which of web, down, broken, plain"},
		{"web/*", ErrNotOne, "use CallAll"},
		{"*", ErrNotOne, "use CallAll"},
	} {
		_, err := s.Call(ctx, target(t, c.target), "echo", ipc.Text("x"))
		if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %v: %s", c.target, err, c.code, c.words)
		}
		var ce *ipc.CallError
		if errors.As(err, &ce) && ce.Started != ipc.StartedNo {
			t.Errorf("%s: started: %v", c.target, ce.Started)
		}
	}
}

// What the worker says, and how it ends, is the caller's to know, with the
// process that it was.
func TestCallsThatReachSomebody(t *testing.T) {
	s := run(t, Config{Pools: []Pool{echoes(2)}})
	await(t, s, "all ready", allReady)
	ctx := within(t, time.Minute)
	for text, from := range map[string]string{"web/1": "web/1#1", "web/2#1": "web/2#1", "@2": "web/2#1"} {
		r, err := s.Call(ctx, target(t, text), "echo", ipc.Text("x"))
		if err != nil || r.From.String() != from || string(r.Payload) != "x" {
			t.Errorf("%s: %q from %v, %v", text, r.Payload, r.From, err)
		}
	}
	canceled, give := context.WithCancel(ctx)
	give()
	for _, c := range []struct {
		ctx     context.Context // nil: of a second
		command string
		code    error
		words   string
		started ipc.Started
	}{
		{ctx, "fail", ipc.ErrFailed, "web/2#1: fail: error: as asked", ipc.StartedYes},
		{ctx, "no-such", ipc.ErrUnknownCommand, `web/2#1: no-such: unknown_command: this worker has no command "no-such"`, ipc.StartedNo},
		{ctx, "two words", ipc.ErrUnknownCommand, "a command's name is", ipc.StartedNo},
		{nil, "hang", ipc.ErrTimeout, "web/2#1: hang: timeout", ipc.StartedUnknown},
		{canceled, "echo", ipc.ErrCanceled, "web/2#1: echo: canceled", ipc.StartedNo},
		{ctx, "die", ipc.ErrLost, "web/2#1: die: lost", ipc.StartedUnknown},
	} {
		if c.ctx == nil {
			c.ctx = within(t, time.Second)
		}
		r, err := s.Call(c.ctx, target(t, "web/2"), c.command, ipc.Args("3"))
		var ce *ipc.CallError
		if !errors.As(err, &ce) || !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.words) || ce.Started != c.started && ce.Started != ipc.StartedYes {
			t.Errorf("%s: %v, started %v", c.command, err, ce)
		}
		if r.From.String() != "web/2#1" {
			t.Errorf("%s: from %v", c.command, r.From)
		}
	}
	await(t, s, "web/2 back", func(st Status) bool { w := st.Pools[0].Slots[1]; return w.Ready && w.Generation == 2 })
	if e := s.Status().Pools[0].Slots[1].LastExit; e.Code != 3 {
		t.Errorf("%+v", e)
	}
}

func TestCallAll(t *testing.T) {
	s := run(t, Config{Pools: []Pool{echoes(3), pool("other", "echo", 1)}})
	await(t, s, "all ready", allReady)
	ctx := within(t, time.Minute)
	if _, err := s.Stop(ctx, Target{Pool: "web", Slot: 2}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"web/*":   "web/1#1 ok, web/2 unavailable, web/3#1 ok",
		"web":     "web/1#1 ok, web/2 unavailable, web/3#1 ok",
		"*":       "web/1#1 ok, web/2 unavailable, web/3#1 ok, other/1#1 ok",
		"web/3":   "web/3#1 ok",
		"web/3#9": "web/3 stale",
	} {
		replies, err := s.CallAll(ctx, target(t, text), "echo", ipc.Text("x"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		var got []string
		for _, r := range replies {
			how := "ok"
			switch {
			case errors.Is(r.Err, ipc.ErrUnavailable):
				how = "unavailable"
			case errors.Is(r.Err, ErrStale):
				how = "stale"
			case r.Err != nil || string(r.Payload) != "x":
				how = fmt.Sprint(r.Err)
			}
			got = append(got, r.From.String()+" "+how)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s, want %s", text, strings.Join(got, ", "), want)
		}
	}
	if _, err := s.CallAll(ctx, Target{Pool: "nobody"}, "echo", ipc.Text("x")); !errors.Is(err, ErrNoTarget) {
		t.Error(err)
	}
}

// A command to a pool goes to the least busy of its ready workers.
func TestPoolPicksTheLeastBusy(t *testing.T) {
	const n = 3
	s := run(t, Config{Pools: []Pool{echoes(n)}})
	await(t, s, "all ready", allReady)
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	ended := make(chan error, n)
	busy := func() (total int) {
		for _, w := range s.Status().Pools[0].Slots {
			if w.Inflight > 1 {
				t.Errorf("%v has %d commands", w.Target(), w.Inflight)
			}
			total += w.Inflight
		}
		return total
	}
	for i := range n {
		go func() {
			_, err := s.Call(ctx, Target{Pool: "web"}, "hang", ipc.Message{})
			ended <- err
		}()
		poll(t, "the command", func() bool { return busy() == i+1 })
	}
	cancel()
	for range n {
		if err := <-ended; !errors.Is(err, ipc.ErrCanceled) {
			t.Error(err)
		}
	}
}

func TestPing(t *testing.T) {
	web := echoes(1)
	web.Stop.Timeout = time.Second
	s := run(t, Config{Pools: []Pool{web, quick("sleep", "1000")}})
	await(t, s, "all ready", allReady)
	ctx := within(t, time.Minute)
	p, err := s.Ping(ctx, target(t, "web/1#1"))
	if err != nil || p.From.String() != "web/1#1" || p.RTT <= 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := s.Ping(ctx, target(t, "web/1#2")); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	if _, err := s.Ping(ctx, target(t, "job/1")); !errors.Is(err, ipc.ErrUnknownCommand) {
		t.Error(err)
	}
	freeze(t, s)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := s.Ping(short, target(t, "web/1")); !errors.Is(err, ipc.ErrTimeout) || !strings.Contains(err.Error(), "web/1#1: ping: timeout") {
		t.Error(err)
	}
}

// A worker's commands to its supervisor are answered by Config.Handler.
func TestWorkersCallTheSupervisor(t *testing.T) {
	handler := func(_ context.Context, c *ipc.Call) (ipc.Message, error) {
		switch text := string(c.Payload); {
		case c.Command != "answer":
			return ipc.Message{}, ipc.ErrUnknownCommand
		case text == "no":
			return ipc.Message{}, &ipc.CallError{Code: "refused", Message: "not you"}
		default:
			return ipc.Text("you said " + text), nil
		}
	}
	s := run(t, Config{Handler: handler, Pools: []Pool{pool("web", "asker", 2)}})
	await(t, s, "all ready", allReady)
	ctx := within(t, time.Minute)
	r, err := s.Call(ctx, Target{Pool: "web"}, "ask", ipc.Text("hello"))
	if err != nil || string(r.Payload) != "you said hello" {
		t.Errorf("%q, %v", r.Payload, err)
	}
	if _, err := s.Call(ctx, Target{Pool: "web"}, "ask", ipc.Text("no")); !errors.Is(err, ipc.Code("refused")) {
		t.Error(err)
	}
	bare := run(t, Config{Pools: []Pool{pool("web", "asker", 1)}})
	await(t, bare, "all ready", allReady)
	if _, err := bare.Call(ctx, Target{Pool: "web"}, "ask", ipc.Text("hello")); !errors.Is(err, ipc.ErrUnknownCommand) {
		t.Errorf("without a handler: %v", err)
	}
}
