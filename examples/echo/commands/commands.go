// Package commands is what the echo example and `brood demo` serve: small
// commands that show what a handler may do.
package commands

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

// Stats answers the command stats.
type Stats struct {
	Calls    int64 `json:"calls"`
	UptimeMS int64 `json:"uptime_ms"`
	PID      int   `json:"pid"`
}

// Register gives w the commands echo, sleep, fail, pid, stats, count and work, and
// those by which a worker does more than answer: fds, ask, status and retire.
func Register(w *worker.Worker) {
	var calls atomic.Int64
	started := time.Now()
	handle := func(name, help string, h worker.Handler) {
		w.Handle(name, help, func(ctx context.Context, r *worker.Request) (any, error) {
			calls.Add(1)
			return h(ctx, r)
		})
	}
	// So quick a command needs no goroutine of its own.
	w.HandleInline("echo", "WORDS…: say them again", func(_ context.Context, c *ipc.Call) (ipc.Message, error) {
		calls.Add(1)
		if args := (&worker.Request{Message: c.Message}).Args(); args != nil {
			return ipc.Text(strings.Join(args, " ")), nil
		}
		return c.Message, nil
	})
	handle("sleep", "DURATION: answer after, say, 200ms", sleep)
	handle("fail", "[WORDS…]: say no", func(_ context.Context, r *worker.Request) (any, error) {
		text := strings.Join(r.Args(), " ")
		if text == "" {
			text = "failed as asked"
		}
		return nil, &worker.Error{Code: "asked", Message: text}
	})
	handle("pid", "the process id", func(context.Context, *worker.Request) (any, error) {
		return strconv.Itoa(os.Getpid()), nil
	})
	handle("stats", "calls, uptime and process id, as JSON", func(context.Context, *worker.Request) (any, error) {
		return Stats{calls.Load(), time.Since(started).Milliseconds(), os.Getpid()}, nil
	})
	handle("count", "N [DURATION]: the numbers from 1 to N as they come, one each DURATION", count)
	handle("work", "DURATION: be at it that long, and tell how far it is", work)
	handle("fds", "hand the descriptors that came back, in their order", func(_ context.Context, r *worker.Request) (any, error) {
		m, err := ipc.JSON(len(r.Files))
		m.Files = r.Files // which are closed when they are sent
		return m, err
	})
	handle("ask", "TEXT: what the supervisor's own command echo answers", func(ctx context.Context, r *worker.Request) (any, error) {
		m, err := w.Call(ctx, "echo", strings.Join(r.Args(), " "))
		return string(m.Plain()), err
	})
	handle("status", "TEXT: set the worker's status line", func(_ context.Context, r *worker.Request) (any, error) {
		return nil, w.Status(strings.Join(r.Args(), " "))
	})
	handle("retire", "[REASON]: ask to be replaced", func(_ context.Context, r *worker.Request) (any, error) {
		reason := strings.Join(r.Args(), " ")
		if reason == "" {
			reason = "asked"
		}
		return nil, w.Retire(reason)
	})
}

// count streams its answer: each number is sent when its time has come.
func count(ctx context.Context, r *worker.Request) (any, error) {
	args := append(r.Args(), "", "")
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 0 {
		return nil, &worker.Error{Code: "usage", Message: "count takes a number, got " + strconv.Quote(args[0])}
	}
	every, err := time.ParseDuration("0" + args[1])
	if err != nil {
		return nil, &worker.Error{Code: "usage", Message: "count takes a duration such as 200ms after the number, got " + strconv.Quote(args[1])}
	}
	for i := range n {
		if err := pause(ctx, every); err != nil {
			return nil, err
		}
		if err := r.Send(strconv.Itoa(i+1) + "\n"); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// work tells a caller that wants to know how far it has come.
func work(ctx context.Context, r *worker.Request) (any, error) {
	text := strings.Join(r.Args(), "")
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, &worker.Error{Code: "usage", Message: "work takes a duration such as 5s, got " + strconv.Quote(text)}
	}
	const steps = 10
	for i := range int64(steps) {
		if err := r.Progress(i, steps, "step "+strconv.FormatInt(i+1, 10)); err != nil {
			return nil, err
		}
		if err := pause(ctx, d/steps); err != nil {
			return nil, err
		}
	}
	return "worked " + d.String(), r.Progress(steps, steps, "done")
}

// sleep ends early, with the caller's own reason, when the caller gives up.
func sleep(ctx context.Context, r *worker.Request) (any, error) {
	text := strings.Join(r.Args(), "")
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, &worker.Error{Code: "usage", Message: "sleep takes a duration such as 200ms, got " + strconv.Quote(text)}
	}
	if err := pause(ctx, d); err != nil {
		return nil, err
	}
	return "slept " + d.String(), nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
