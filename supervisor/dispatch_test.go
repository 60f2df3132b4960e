package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

func init() {
	testWorkers["narrow"] = func() { // takes one command at a time, whoever sends it
		w := worker.Worker{MaxInflight: 1}
		handleCommon(&w)
		finish(w.Run(context.Background()))
	}
	testWorkers["late"] = func() { // starts once its file is there, as a program that takes its time
		for {
			if _, err := os.Stat(os.Getenv("AWAITS")); err == nil {
				break
			}
			<-time.After(time.Millisecond)
		}
		testWorkers["echo"]()
	}
}

// sent is a command on its way.
type sent struct {
	cancel context.CancelFunc
	done   chan error // what became of it
}

func sendTo(t *testing.T, s *Supervisor, to, command string) *sent {
	t.Helper()
	target := target(t, to)
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	c := &sent{cancel, make(chan error, 1)}
	go func() {
		_, err := s.Call(ctx, target, command, ipc.Text(command))
		c.done <- err
	}()
	return c
}

// over waits for the command to end.
func (c *sent) over(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
		return nil
	}
}

// narrowly is a pool of so many workers that takes one command each, and two
// more wait.
func narrowly(n int) Pool {
	p := echoes(n)
	p.Dispatch = Dispatch{Concurrency: 1, Queue: 2, Timeout: -1}
	return p
}

func queued(t *testing.T, s *Supervisor, n int) {
	t.Helper()
	poll(t, fmt.Sprintf("%d commands to wait", n), func() bool { return s.Status().Pools[0].Queued == n })
}

func busy(t *testing.T, s *Supervisor, n int) {
	t.Helper()
	poll(t, fmt.Sprintf("%d commands at work", n), func() bool {
		total := 0
		for _, w := range s.Status().Pools[0].Slots {
			total += w.Inflight
		}
		return total == n
	})
}

// Commands to a pool wait in the order in which they came, as many as the queue
// takes. A command to a named worker does not wait.
func TestQueueOfAPool(t *testing.T) {
	s := run(t, Config{Pools: []Pool{narrowly(1)}})
	await(t, s, "all ready", allReady)
	first := sendTo(t, s, "web", "hang")
	busy(t, s, 1)
	second := sendTo(t, s, "web", "hang")
	queued(t, s, 1)
	third := sendTo(t, s, "web", "echo")
	queued(t, s, 2)
	_, err := s.Call(within(t, time.Minute), target(t, "web"), "echo", ipc.Text("x"))
	var ce *ipc.CallError
	if !errors.As(err, &ce) || ce.Code != ipc.ErrOverloaded || ce.Started != ipc.StartedNo || !strings.Contains(ce.Message, "all 1 ready workers are busy and 2 commands wait") {
		t.Errorf("one too many: %v", err)
	}
	if _, err := s.Call(within(t, time.Minute), target(t, "web/1"), "echo", ipc.Text("x")); err != nil {
		t.Errorf("to the worker: %v", err)
	}
	first.cancel() // the second's turn
	if err := first.over(t); !errors.Is(err, ipc.ErrCanceled) {
		t.Error(err)
	}
	queued(t, s, 1)
	select {
	case err := <-third.done:
		t.Fatalf("the third overtook the second: %v", err)
	default:
	}
	second.cancel()
	second.over(t)
	if err := third.over(t); err != nil {
		t.Error(err)
	}
	queued(t, s, 0)
}

// A command that gives up while it waits was not started, and makes room.
func TestGivingUpInTheQueue(t *testing.T) {
	s := run(t, Config{Pools: []Pool{narrowly(1)}})
	await(t, s, "all ready", allReady)
	first := sendTo(t, s, "web", "hang")
	busy(t, s, 1)
	second := sendTo(t, s, "web", "echo")
	queued(t, s, 1)
	second.cancel()
	var ce *ipc.CallError
	if err := second.over(t); !errors.As(err, &ce) || ce.Code != ipc.ErrCanceled || ce.Started != ipc.StartedNo {
		t.Error(err)
	}
	queued(t, s, 0)
	if _, err := s.Call(within(t, 50*time.Millisecond), target(t, "web"), "echo", ipc.Text("x")); !errors.As(err, &ce) || ce.Code != ipc.ErrTimeout || ce.Started != ipc.StartedNo {
		t.Error(err)
	}
	first.cancel()
	first.over(t)
}

// The pool's own limit ends a command that nobody else would.
func TestTimeoutOfAPool(t *testing.T) {
	p := narrowly(1)
	p.Dispatch.Timeout = 50 * time.Millisecond
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "all ready", allReady)
	for _, command := range []string{"hang", "hang"} {
		if err := sendTo(t, s, "web", command).over(t); !errors.Is(err, ipc.ErrTimeout) {
			t.Error(err)
		}
	}
}

// Who waits for a worker that is still to come gets it; when none will come any
// more, it is told.
func TestWaitingForAWorkerToCome(t *testing.T) {
	file := t.TempDir() + "/now"
	p := narrowly(1)
	p.Command, p.Env = asWorker("late"), map[string]string{"AWAITS": file}
	s := run(t, Config{Pools: []Pool{p}})
	waits := sendTo(t, s, "web", "echo")
	queued(t, s, 1)
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := waits.over(t); err != nil {
		t.Error(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Restart(ended, target(t, "web/1")); err != nil {
		t.Fatal(err)
	}
	await(t, s, "its successor to start", func(st Status) bool {
		w := st.Pools[0].Slots[0]
		return w.Generation == 2 && w.State == Starting
	})
	waits = sendTo(t, s, "web", "echo")
	queued(t, s, 1)
	if _, err := s.Stop(within(t, time.Minute), target(t, "web/1")); err != nil {
		t.Fatal(err)
	}
	if err := waits.over(t); !errors.Is(err, ipc.ErrUnavailable) || !strings.Contains(err.Error(), "the last of its workers has gone") {
		t.Error(err)
	}
	if _, err := s.Call(within(t, time.Minute), target(t, "web"), "echo", ipc.Text("x")); !errors.Is(err, ipc.ErrUnavailable) {
		t.Error(err)
	}
}

// A command that its worker took no part of goes to another, and to none twice.
func TestWhatWasNotStartedIsTriedElsewhere(t *testing.T) {
	p := narrowly(2)
	p.Command = asWorker("narrow")
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "all ready", allReady)
	direct := sendTo(t, s, "web/1", "hang") // the pool does not know that it is full
	busy(t, s, 1)
	for range 20 {
		r, err := s.Call(within(t, time.Minute), target(t, "web"), "echo", ipc.Text("x"))
		if err != nil || r.From.Slot != 2 {
			t.Fatalf("from %v: %v", r.From, err)
		}
	}
	other := sendTo(t, s, "web/2", "hang")
	busy(t, s, 2)
	r, err := s.Call(within(t, time.Minute), target(t, "web"), "echo", ipc.Text("x"))
	if !errors.Is(err, ipc.ErrOverloaded) || r.From.Slot == 0 {
		t.Errorf("both full: from %v: %v", r.From, err)
	}
	direct.cancel()
	other.cancel()
	direct.over(t)
	other.over(t)
}

// Whoever waits while workers come and go is not forgotten.
func TestNobodyIsForgottenInTheQueue(t *testing.T) {
	p := echoes(2)
	p.Dispatch = Dispatch{Concurrency: 1, Queue: 1000, Timeout: -1}
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "all ready", allReady)
	ctx := within(t, 2*time.Minute)
	const commands = 50
	for i := range 20 {
		done := make(chan error, commands)
		for range commands {
			go func() {
				_, err := s.Call(ctx, target(t, "web"), "echo", ipc.Text("x"))
				done <- err
			}()
		}
		if _, err := s.Restart(ctx, Target{Pool: "web", Slot: 1 + i%2}); err != nil {
			t.Fatal(err)
		}
		for range commands {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	queued(t, s, 0)
}
