//go:build unix

package worker

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/brood/ipc"
)

// A drain takes no new work, answers what is at work, and then is over.
func TestDrainFinishesWhatIsOpen(t *testing.T) {
	var w Worker
	h := hold(&w)
	f := supervise(t, context.Background(), &w)
	var open []<-chan error
	for range 5 {
		open = append(open, f.call("hold", ipc.Message{}))
		receive(t, "a command", h.begun)
	}
	if err := f.Drain(time.Minute); err != nil {
		t.Fatal(err)
	}
	receive(t, "Draining", w.Draining())
	if _, err := f.Call(within(t), "hold", ipc.Message{}); !errors.Is(err, ipc.ErrUnavailable) {
		t.Errorf("a new command: %v", err)
	}
	select {
	case err := <-f.ended:
		t.Fatalf("over while commands are open: %v", err)
	default:
	}
	close(h.let)
	for _, done := range open {
		if err := receive(t, "an answer", done); err != nil {
			t.Error(err)
		}
	}
	if err := receive(t, "the end", f.ended); err != nil {
		t.Errorf("Wait: %v", err)
	}
	receive(t, "the end of the connection", f.Done())
	if err := f.Err(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection ended with %v", err)
	}
}

func TestDrainTimeout(t *testing.T) {
	var w Worker
	h := hold(&w)
	f := supervise(t, context.Background(), &w)
	open := f.call("hold", ipc.Message{})
	receive(t, "the command", h.begun)
	if err := f.Drain(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	err := receive(t, "the end", f.ended)
	if !errors.Is(err, ErrDrainTimeout) || !strings.Contains(err.Error(), "1 commands did not finish within 1ms") {
		t.Errorf("Wait: %v", err)
	}
	if err := receive(t, "the outcome", open); !errors.Is(err, ipc.ErrLost) {
		t.Errorf("the command: %v", err)
	}
	receive(t, "its context", h.cause)
}

// A second DRAIN changes the grace, whether Wait has heeded the first or not.
func TestAnotherGrace(t *testing.T) {
	for range 20 {
		var w Worker
		h := hold(&w)
		f := supervise(t, context.Background(), &w)
		f.call("hold", ipc.Message{})
		receive(t, "the command", h.begun)
		if err := errors.Join(f.Drain(time.Hour), f.Drain(time.Millisecond), f.Drain(0)); err != nil {
			t.Fatal(err)
		}
		err := receive(t, "the end", f.ended)
		if !errors.Is(err, ErrDrainTimeout) || !strings.Contains(err.Error(), "within 1ms") {
			t.Errorf("Wait: %v", err)
		}
	}
}

// The end of ctx is a drain too.
func TestEndOfContextDrains(t *testing.T) {
	var w Worker
	h := hold(&w)
	ctx, cancel := context.WithCancel(context.Background())
	f := supervise(t, ctx, &w)
	open := f.call("hold", ipc.Message{})
	receive(t, "the command", h.begun)
	cancel()
	receive(t, "Draining", w.Draining())
	close(h.let)
	if err := errors.Join(receive(t, "the answer", open), receive(t, "the end", f.ended)); err != nil {
		t.Error(err)
	}
}

// EOF is the death of the supervisor: Wait returns at once, and what is at
// work is told.
func TestSupervisorGone(t *testing.T) {
	var w Worker
	h := hold(&w)
	f := supervise(t, context.Background(), &w)
	f.call("hold", ipc.Message{})
	receive(t, "the command", h.begun)
	f.Close()
	if err := receive(t, "the end", f.ended); !errors.Is(err, ErrSupervisorGone) || !errors.Is(err, io.EOF) {
		t.Errorf("Wait: %v", err)
	}
	if err := receive(t, "its context", h.cause); !errors.Is(err, context.Canceled) {
		t.Errorf("the command's context: %v", err)
	}
}

// During a drain too.
func TestSupervisorGoneDuringDrain(t *testing.T) {
	var w Worker
	h := hold(&w)
	f := supervise(t, context.Background(), &w)
	f.call("hold", ipc.Message{})
	receive(t, "the command", h.begun)
	if err := f.Drain(time.Minute); err != nil {
		t.Fatal(err)
	}
	receive(t, "Draining", w.Draining())
	f.Close()
	if err := receive(t, "the end", f.ended); !errors.Is(err, ErrSupervisorGone) {
		t.Errorf("Wait: %v", err)
	}
}

// A caller that gives up, or whose time is over, ends the command's context.
func TestCommandsEndWithTheirCaller(t *testing.T) {
	var w Worker
	h := hold(&w)
	f := supervise(t, context.Background(), &w)
	ctx, cancel := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	calls.Go(func() {
		if _, err := f.Call(ctx, "hold", ipc.Message{}); !errors.Is(err, ipc.ErrCanceled) {
			t.Errorf("canceled: %v", err)
		}
	})
	receive(t, "the command", h.begun)
	cancel()
	if err := receive(t, "its context", h.cause); !errors.Is(err, context.Canceled) {
		t.Errorf("context of a canceled command: %v", err)
	}
	calls.Wait()
	short, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	if _, err := f.Call(short, "hold", ipc.Message{}); !errors.Is(err, ipc.ErrTimeout) {
		t.Errorf("in no time: %v", err)
	}
}
